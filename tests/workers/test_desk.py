"""The desk keeps the contract of events when late or repeated ones are emitted."""

import signal
import threading
import time
from dataclasses import replace

import pytest

from telescope.train.flops import trial_flops
from telescope.trials.horizon import Branch
from telescope.trials.outcome import Failure, Measurement
from tests.telescope.small import HORIZON, trial
from workers.desk import Desk
from workers.interface import Assignment, Event, Failed, Finished, Measured, Started, Stopped

LOST = Failure("operational", "lost")


def taken(attempt: int, desk: Desk) -> None:
    desk.submit(Assignment(7, attempt, trial(), "7.pt"))
    assert desk.take(0) is not None


@pytest.mark.parametrize(
    "late",
    [
        Started(7, 1, 0, "w", "n"),
        Measured(7, 1, ()),
        Finished(7, 1, ()),
        Failed(7, 1, LOST),
        Stopped(7, 1),
    ],
)
def test_no_event_follows_the_terminal_event_of_an_attempt(
    late: Event,
) -> None:
    desk = Desk()
    taken(1, desk)
    desk.emit(Failed(7, 1, LOST))
    desk.emit(late)
    taken(2, desk)
    desk.emit(late)
    desk.emit(Finished(7, 2, ()))
    assert desk.events(0) == [Failed(7, 1, LOST), Finished(7, 2, ())]


def test_the_flops_left_of_a_branch_do_not_count_its_trunk() -> None:
    spec = replace(trial(), branch=Branch(trunk="0" * 32, step=HORIZON.steps - 4))
    desk = Desk()
    desk.submit(Assignment(7, 1, spec, "7.pt"))
    assert desk.flops_left() == trial_flops(spec)
    desk.take(0)
    assert desk.flops_left() == trial_flops(spec)
    desk.emit(Started(7, 1, HORIZON.steps - 4, "w", "n"))
    assert desk.flops_left() == trial_flops(spec)
    desk.emit(Measured(7, 1, (Measurement(HORIZON.steps - 1, 0, 0.0, 0.0, {}),)))
    assert desk.flops_left() == pytest.approx(trial_flops(spec) / 4)


def test_a_late_event_does_not_cancel_a_request_to_stop_the_next_attempt() -> None:
    desk = Desk()
    taken(1, desk)
    desk.emit(Failed(7, 1, LOST))
    taken(2, desk)
    desk.stop(7)
    desk.emit(Failed(7, 1, LOST))
    assert desk.stopping(7)
    desk.emit(Stopped(7, 2))
    assert not desk.stopping(7)


def test_a_signal_does_not_make_the_coordinator_wait_for_events_without_end() -> None:
    desk = Desk()
    taken(1, desk)
    late = threading.Timer(2.0, desk.emit, [Failed(7, 1, LOST)])
    previous = signal.signal(signal.SIGALRM, lambda *_: time.sleep(0.3))
    late.start()
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        assert desk.events(0.1) == [], "the handler ran past the timeout"
    finally:
        late.cancel()
        signal.signal(signal.SIGALRM, previous)
