"""The Tune executor copes with broken workers, reports shortages, and serves Tune's loggers.

The tests of the contract of all executors are in test_contract.
"""

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
from ray.tune.experiment import Trial
from tensorboardX.proto import event_pb2

from api.settings import Settings
from telescope.errors import Unavailable
from telescope.trials.outcome import Failure
from tests.telescope.small import trial
from tests.workers.driving import (
    LONG,
    Driver,
    descendants,
    reference_curve,
    until_dead,
    without_seconds,
)
from workers.desk import Desk
from workers.interface import Assignment, Event, Failed, Finished, Started, Stopped, Waiting
from workers.on_ray import experiment, tune
from workers.on_ray.cluster import Demand
from workers.on_ray.experiment import DeskSearcher, EventReporter, Flights
from workers.on_ray.placement import Placement
from workers.on_ray.tune import TuneExecutor

FEW = 4  # trials of the first experiment


@pytest.fixture(scope="module")
def executor(session_home: Path) -> Iterator[TuneExecutor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TELESCOPE_HOME", str(session_home))
        patch.setattr(tune, "TRIALS_PER_WORKER", FEW)
        executor = TuneExecutor(2, patience_seconds=1.0, loggers=("tensorboard",))
        while executor.numerics is None:
            executor.events(0.1)
        patch.setattr(tune, "TRIALS_PER_WORKER", 500)
        yield executor
        executor.close()


@pytest.fixture
def driver(executor: TuneExecutor, tmp_path: Path) -> Driver:
    return Driver(executor, tmp_path)


def test_an_experiment_ends_after_its_trials_and_the_next_goes_on_with_new_workers(
    driver: Driver,
) -> None:
    # the warm-up is one of the few
    assignments = [driver.submit(trial(seed=seed)) for seed in range(FEW + 2)]
    driver.until_end(*assignments)
    assert [without_seconds(driver.curve(assignment)) for assignment in assignments] == [
        reference_curve(trial(seed=seed)) for seed in range(FEW + 2)
    ]
    first_workers, later_workers = (
        {driver.pid(assignment) for assignment in part}
        for part in (assignments[: FEW - 1], assignments[FEW - 1 :])
    )
    assert not first_workers & later_workers


def test_trials_shorter_than_a_process_start_share_two_workers(driver: Driver) -> None:
    assignments = [driver.submit(trial()) for _ in range(300)]
    driver.until(
        lambda: (
            len(
                {driver.pid(assignment) for assignment in assignments if driver.started(assignment)}
            )
            == 2
        ),
        seconds=20,
    )
    for assignment in assignments:
        driver.executor.stop(assignment.trial_id)
    driver.until_end(*assignments, seconds=10)
    assert (
        len({driver.pid(assignment) for assignment in assignments if driver.started(assignment)})
        == 2
    )


def test_stopping_a_stuck_worker_kills_it(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "STUCK_SECONDS", 1.0)
    stuck = driver.submit(trial(horizon=LONG))
    driver.until_points(stuck)
    worker = psutil.Process(driver.pid(stuck))
    worker.suspend()
    driver.executor.stop(stuck.trial_id)
    assert driver.until_end(stuck, seconds=10)[-1] == Stopped(stuck.trial_id, 1)
    until_dead([worker], seconds=10)  # Ray asks for 5 s before it kills


class Holder:
    def ready(self) -> None:
        """Answers once the actor holds its CPU."""


def shortages(driver: Driver) -> list[str | None]:
    """Shortages in the order in which they were reported."""
    return [event.reason for event in driver.seen if isinstance(event, Waiting)]


def test_a_full_cluster_is_reported_and_a_waiting_trial_can_be_stopped(driver: Driver) -> None:
    running = driver.submit(trial(horizon=LONG))
    # one worker holds its CPU; another, from before, is ended meanwhile
    driver.until_points(running)
    foreign = ray.remote(num_cpus=1)(Holder).remote()
    ray.get(foreign.ready.remote(), timeout=20)
    waiting = driver.submit(trial(horizon=LONG))
    full = "a worker asks for 1 CPU; 0 of the cluster's 2 CPU are free; the rest is in use"
    driver.until(lambda: any(full in (reason or "") for reason in shortages(driver)), seconds=10)
    driver.executor.stop(waiting.trial_id)
    assert driver.until_end(waiting, seconds=2) == [Stopped(waiting.trial_id, 1)]
    driver.until(lambda: shortages(driver)[-1] is None, seconds=2)
    following = driver.submit(trial())
    ray.kill(foreign)
    assert isinstance(driver.until_end(following)[-1], Finished)
    driver.executor.stop(running.trial_id)
    driver.until_end(running, seconds=10)


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Scalars that TensorBoard would show: name -> step -> value."""
    by_name: dict[str, dict[int, float]] = {}
    for file in folder.glob("events.out.tfevents.*"):
        content = file.read_bytes()
        while content:  # length, its checksum, an event, its checksum
            (length,) = struct.unpack("<Q", content[:8])
            event, content = (
                event_pb2.Event.FromString(content[12 : 12 + length]),
                content[16 + length :],
            )
            for value in event.summary.value:
                by_name.setdefault(value.tag, {})[event.step] = value.simple_value
    return by_name


def test_close_ends_every_process_and_loggers_have_received_each_point(
    driver: Driver, session_home: Path
) -> None:
    finished = driver.submit(trial(seed=7))
    driver.until_end(finished)
    driver.until_points(driver.submit(trial(horizon=LONG)))
    children = descendants()
    start = time.monotonic()
    driver.executor.close()
    assert time.monotonic() - start < 10
    until_dead(children, seconds=0.1)
    (folder,) = (session_home / "tune").glob(f"*/trial-{finished.trial_id}-attempt-1")
    logged = scalars(folder)["ray/tune/train_loss"]
    assert logged == pytest.approx(
        {point.step: point.metrics["train_loss"] for point in driver.curve(finished)}, rel=1e-6
    )
    assert not list((session_home / "tune").glob("*/warm-up/events*"))


def test_a_logger_without_its_package_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(tune.LOGGERS, "mlflow", ("a_package_that_is_not_there", "", {}))
    with pytest.raises(
        Unavailable,
        match=r"TELESCOPE_TUNE_LOGGERS names mlflow.*; install a_package_that_is_not_there",
    ):
        TuneExecutor(2, loggers=("mlflow",))


def test_the_loggers_of_the_settings_are_names_between_commas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TELESCOPE_EXECUTOR", "ray_tune")
    monkeypatch.setenv("TELESCOPE_TUNE_LOGGERS", "tensorboard, wandb")
    assert Settings().tune_loggers == ("tensorboard", "wandb")
    assert set(Settings().tune_loggers) <= tune.LOGGERS.keys()


class TuneTrial(Trial):
    """A trial of Tune without a folder, and so without an error file."""

    error_file = None

    def __init__(self, tune_id: str) -> None:
        super().__init__("Attempt", stub=True, trial_id=tune_id)


class TuneCalls:
    """Calls that Tune makes, in an order that the test chooses and Tune leaves to chance."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.flights = Flights(
            self.desk, Placement(self.desk), Demand("CPU", 1.0), patience_seconds=30.0
        )
        self.feed, self.relay = DeskSearcher(self.flights), EventReporter(self.flights, ())

    def begin(self, tune_id: str) -> TuneTrial:
        """Let a worker take the desk's next assignment."""
        assert isinstance(self.feed.suggest(tune_id), dict)
        tune_trial = TuneTrial(tune_id)
        self.relay.on_trial_start(tune_trial)
        return tune_trial

    def report(self, tune_trial: TuneTrial, *events: Event) -> None:
        for event in events:
            self.relay.on_trial_result(tune_trial, {"event": event})


def test_the_late_error_of_a_failed_attempt_does_not_end_the_next_one() -> None:
    calls = TuneCalls()
    calls.flights.numerics = "warm"
    failed = Failed(7, 1, Failure("operational", "boom"))
    calls.desk.submit(Assignment(7, 1, trial(), "7.pt"))
    first = calls.begin("first")
    calls.report(first, Started(7, 1, 0, "worker", "warm"), failed)
    calls.desk.submit(Assignment(7, 2, trial(), "7.pt"))
    second = calls.begin("second")  # on another worker
    assert calls.flights.of(7) is calls.flights["second"]
    calls.relay.on_trial_error(first)
    following = (Started(7, 2, 0, "worker", "warm"), Finished(7, 2, ()))
    calls.report(second, *following)
    calls.relay.on_trial_complete(second)
    assert calls.desk.events(0) == [Started(7, 1, 0, "worker", "warm"), failed, *following]


def test_repeated_failures_of_the_warm_up_are_reported_once_until_one_succeeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(experiment, "PAUSE_SECONDS", 0.0)
    calls = TuneCalls()
    for tune_id in ("first", "second"):
        assert calls.feed.suggest(tune_id) == {}
        calls.relay.on_trial_error(TuneTrial(tune_id))
    (waiting,) = calls.desk.events(0)
    assert isinstance(waiting, Waiting)
    assert "a worker's process could not start" in str(waiting.reason)
    calls.begin("third")
    assert calls.desk.events(0) == [Waiting(None)]
