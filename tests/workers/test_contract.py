"""All executors keep the contract of `workers.interface`, training tiny models on real text."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import psutil
import pytest
import torch

from telescope.data import batches
from telescope.train.branch import cooldown
from telescope.train.checkpoint import FORMAT, kept_path
from telescope.train.loop import train_one
from telescope.train.program import Program
from telescope.trials.data import DataSpec
from telescope.trials.numerics import numerics
from telescope.trials.spec import TrialSpec
from tests.telescope.small import ADAMW, HORIZON, MODEL, trial
from tests.workers.driving import LONG, Driver, reference_curve, until_dead, without_seconds
from workers import local, packs
from workers.interface import (
    CHECKPOINT_SECONDS,
    Executor,
    Failed,
    Finished,
    Measured,
    Started,
    Stopped,
)
from workers.local import LocalExecutor
from workers.on_ray.actors import RayExecutor
from workers.on_ray.slot import Slot
from workers.on_ray.tune import TuneExecutor

EXECUTORS: dict[str, Callable[[], Executor]] = {
    "local": LocalExecutor,
    "ray": lambda: RayExecutor(2),
    "ray_tune": lambda: TuneExecutor(2),
}
RAY = ("ray", "ray_tune")  # executors whose workers are separate processes


def trunk_and_branch(seed: int) -> tuple[TrialSpec, TrialSpec]:
    """A trunk, and a branch off it at a step without a recorded point."""
    trunk = replace(
        trial(horizon=replace(HORIZON, decay="constant", record_every=4), seed=seed),
        kept_steps=(9,),
    )
    return trunk, cooldown(trunk, 9, 5)


@pytest.fixture(scope="module", params=EXECUTORS)
def executor(request: pytest.FixtureRequest, session_home: Path) -> Iterator[Executor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TELESCOPE_HOME", str(session_home))
        patch.setenv(CHECKPOINT_SECONDS, "0.05")
        executor = EXECUTORS[request.param]()
        yield executor
        executor.close()


@pytest.fixture
def driver(executor: Executor, tmp_path: Path) -> Iterator[Driver]:
    driver = Driver(executor, tmp_path)
    yield driver
    driver.stop_all()  # or a failing test would occupy the workers during all later tests


def test_a_trial_starts_once_is_measured_and_finishes_once(driver: Driver) -> None:
    assignment = driver.submit(trial())
    events = driver.until_end(assignment)
    assert [type(event) for event in events] == [Started, *[Measured] * (len(events) - 2), Finished]
    assert events[0].resumed_step == 0
    curve = driver.curve(assignment)
    assert len(curve) > 1
    assert all(a.step < b.step for a, b in pairwise(curve))
    assert events[-1].points[-1] == curve[-1]


def test_a_warm_executor_and_each_trial_report_their_numerics(driver: Driver) -> None:
    assignment = driver.submit(trial())
    events = driver.until_end(assignment)
    assert driver.executor.numerics == events[0].numerics == numerics()


def test_a_curve_is_bit_for_bit_the_curve_of_a_plain_loop(driver: Driver) -> None:
    spec = trial(seed=1)
    assignment = driver.submit(spec)
    driver.until_end(assignment)
    assert without_seconds(driver.curve(assignment)) == reference_curve(spec)


def test_a_branch_resumes_from_the_stored_state_of_its_trunk(driver: Driver) -> None:
    trunk, branch = trunk_and_branch(seed=2)
    driver.until_end(driver.submit(trunk))
    assert kept_path(driver.folder, trunk.digest, 9).exists()
    assignment = driver.submit(branch)
    events = driver.until_end(assignment)
    assert [type(event) for event in events] == [Started, *[Measured] * (len(events) - 2), Finished]
    assert events[0].resumed_step == 9
    assert without_seconds(driver.curve(assignment)) == reference_curve(branch)
    assert driver.curve(assignment)[0].step > 9


def test_a_branch_without_the_state_of_its_trunk_has_the_same_curve(driver: Driver) -> None:
    trunk, branch = trunk_and_branch(seed=3)
    driver.until_end(driver.submit(trunk))
    kept_path(driver.folder, trunk.digest, 9).unlink()
    assignment = driver.submit(branch)
    events = driver.until_end(assignment)
    assert [type(event) for event in events] == [Started, *[Measured] * (len(events) - 2), Finished]
    assert events[0].resumed_step == 0
    assert without_seconds(driver.curve(assignment)) == reference_curve(branch)


def test_a_trial_that_stops_below_its_loss_is_finished(driver: Driver) -> None:
    spec = trial(horizon=replace(HORIZON, evaluate_every=6, stop_below_loss=100.0))
    assignment = driver.submit(spec)
    event = driver.until_end(assignment)[-1]
    assert isinstance(event, Finished)
    assert driver.curve(assignment)[-1].step == 6
    assert without_seconds(driver.curve(assignment)) == reference_curve(spec)


def test_a_trial_that_measures_time_reports_the_time_of_a_step_at_its_end(driver: Driver) -> None:
    assignment = driver.submit(replace(trial(), measure="time"))
    driver.until_end(assignment)
    curve = driver.curve(assignment)
    assert [point.step for point in curve] == list(range(1, HORIZON.steps + 1))
    assert 0 < curve[-1].metrics["step_seconds"] < curve[-1].seconds


def test_each_of_many_queued_trials_keeps_the_order_of_events(driver: Driver) -> None:
    specs = [trial(seed=seed) for seed in range(5)]
    assignments = [driver.submit(spec) for spec in specs]
    driver.until_end(*assignments)
    for spec, assignment in zip(specs, assignments, strict=True):
        kinds = [type(event) for event in driver.of(assignment)]
        assert kinds == [Started, *[Measured] * (len(kinds) - 2), Finished]
        assert without_seconds(driver.curve(assignment)) == reference_curve(spec)


def test_a_running_trial_is_stopped_and_the_next_one_runs(driver: Driver) -> None:
    endless, after = driver.submit(trial(horizon=LONG)), trial(seed=2)
    driver.until_points(endless)
    driver.executor.stop(endless.trial_id)
    assert driver.until_end(endless, seconds=10)[-1] == Stopped(endless.trial_id, 1)
    following = driver.submit(after)
    driver.until_end(following)
    assert without_seconds(driver.curve(following)) == reference_curve(after)
    assert driver.of(endless)[-1] == Stopped(endless.trial_id, 1)


def test_a_queued_trial_is_stopped_without_having_started(driver: Driver) -> None:
    endless = [driver.submit(trial(horizon=LONG)) for _ in range(driver.executor.slots)]
    # wait until each has a worker, since a late worker could take two trials at once
    driver.until(lambda: all(driver.started(assignment) for assignment in endless))
    queued = driver.submit(trial())
    driver.executor.stop(queued.trial_id)
    assert driver.until_end(queued, seconds=1) == [Stopped(queued.trial_id, 1)]
    for assignment in endless:
        driver.executor.stop(assignment.trial_id)
    driver.until_end(*endless, seconds=10)


def test_a_trial_stopped_as_soon_as_it_is_submitted_ends(driver: Driver) -> None:
    for _ in range(10):
        endless = driver.submit(trial(horizon=LONG))
        driver.executor.stop(endless.trial_id)
        assert driver.until_end(endless, seconds=10)[-1] == Stopped(endless.trial_id, 1)


def test_stopping_an_unknown_or_finished_trial_does_nothing(driver: Driver) -> None:
    finished = driver.submit(trial())
    driver.until_end(finished)
    before = driver.of(finished)
    driver.executor.stop(finished.trial_id)
    driver.executor.stop(-1)
    driver.until_end(driver.submit(trial(seed=3)))
    assert driver.of(finished) == before
    assert len({event.trial_id for event in driver.seen}) == 2


def test_a_lost_corpus_fails_its_trial_for_good_and_no_other(driver: Driver) -> None:
    text = driver.folder / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog\n" * 500)
    spec = replace(trial(), data=batches.resolve(DataSpec(corpus=str(text), context=32)))
    text.unlink()
    lost = driver.submit(spec)
    event = driver.until_end(lost)[-1]
    assert isinstance(event, Failed)
    assert event.failure.kind == "operational"
    assert not event.failure.retryable
    assert str(text) in event.failure.message
    assert isinstance(driver.until_end(driver.submit(trial()))[-1], Finished)


def test_an_exception_is_a_retryable_failure_with_its_traceback(driver: Driver) -> None:
    foreign = driver.submit(trial(seed=4))
    driver.until_end(foreign)
    Path(foreign.checkpoint).parent.mkdir(exist_ok=True)
    point = (3, 384, 1e6, 0.1, {"train_loss": 3.0})
    torch.save(
        {"format": FORMAT, "step": 3, "curve": [point], "model": {}, "optimizer": {}},
        driver.folder / "broken.pt",
    )
    broken = replace(foreign, attempt=2, checkpoint=str(driver.folder / "broken.pt"))
    driver.executor.submit(broken)
    started, *_, event = driver.until_end(broken)
    assert isinstance(started, Started)
    assert started.resumed_step == 3
    assert isinstance(event, Failed)
    assert event.failure.retryable
    assert "Missing key(s) in state_dict" in event.failure.message
    assert "telescope/train/run.py" in event.failure.message
    assert isinstance(driver.until_end(driver.submit(trial()))[-1], Finished)


def test_a_diverged_trial_is_finished(driver: Driver) -> None:
    spec = trial(replace(ADAMW, lr=1e30), horizon=replace(HORIZON, steps=40))
    event = driver.until_end(driver.submit(spec))[-1]
    assert isinstance(event, Finished)
    assert not math.isfinite(event.points[-1].metrics["loss"])


def test_a_used_worker_gives_the_same_curves_as_a_fresh_one(driver: Driver) -> None:
    diverging = trial(replace(ADAMW, lr=1e30), horizon=replace(HORIZON, steps=40))
    wide = trial(model=replace(MODEL, width=64))
    driver.until_end(
        *[driver.submit(spec) for spec in (diverging, wide) for _ in range(driver.executor.slots)]
    )
    again = [driver.submit(trial()) for _ in range(driver.executor.slots)]
    driver.until_end(*again)
    for assignment in again:
        assert without_seconds(driver.curve(assignment)) == reference_curve(trial())


def test_trials_of_a_pack_keep_the_order_of_events_when_others_leave(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "REPAID_STEPS", 0)
    monkeypatch.setattr(local, "choose", lambda spec, most, steps: Program(most))
    monkeypatch.setattr(Slot, "_choose", lambda slot, first, most, steps: Program(most))
    wild, *calm = (
        trial(replace(ADAMW, lr=lr), horizon=LONG, seed=seed)
        for seed, lr in enumerate((1e30, *[1e-3] * 5))
    )
    diverging, stopped, *others = assignments = [driver.assignment(spec) for spec in (wild, *calm)]
    busy = [driver.submit(trial(horizon=LONG)) for _ in range(driver.executor.slots)]
    driver.until(
        lambda: all(driver.started(assignment) for assignment in busy)
    )  # all workers are warm
    driver.executor.submit(*assignments)
    for assignment in busy:
        driver.executor.stop(assignment.trial_id)
    for leaving in (stopped, *others):
        driver.until_points(leaving)
        driver.executor.stop(leaving.trial_id)
        assert driver.until_end(leaving, seconds=10)[-1] == Stopped(leaving.trial_id, 1)
    assert isinstance(driver.until_end(diverging)[-1], Finished)
    assert math.isinf(driver.curve(diverging)[-1].metrics["loss"])
    for assignment in assignments:
        kinds = [type(event) for event in driver.of(assignment)]
        assert kinds == [Started, *[Measured] * (len(kinds) - 2), kinds[-1]]
    for leaving in (stopped, *others):
        curve = without_seconds(driver.curve(leaving))
        assert curve == without_seconds(list(islice(train_one(leaving.spec), len(curve))))
    if not isinstance(driver.executor, TuneExecutor):  # whose trials never share a worker
        assert len({driver.pid(assignment) for assignment in assignments}) == driver.executor.slots
        assert all(
            driver.seen.index(driver.of(assignment)[0]) < driver.seen.index(driver.of(stopped)[-1])
            for assignment in assignments
        )


@pytest.mark.parametrize("executor", RAY, indirect=True)
def test_a_killed_worker_fails_its_trial_within_two_seconds_and_a_retry_resumes(
    driver: Driver,
) -> None:
    spec = trial(horizon=replace(HORIZON, steps=400, record_every=10))
    first = driver.submit(spec)
    driver.until(lambda: Path(first.checkpoint).exists() and len(driver.curve(first)) > 10)
    psutil.Process(driver.pid(first)).kill()
    killed = time.monotonic()
    event = driver.until_end(first, seconds=5)[-1]
    assert time.monotonic() - killed < 2
    assert isinstance(event, Failed)
    assert event.failure.retryable
    assert "worker process died: " in event.failure.message

    second = replace(first, attempt=2)
    driver.executor.submit(second)
    assert isinstance(driver.until_end(second)[-1], Finished)
    resumed = driver.started(second)
    assert resumed is not None
    assert 0 < resumed.resumed_step < 400
    assert without_seconds(driver.curve(second)) == reference_curve(
        spec
    )  # the points before its checkpoint included


@pytest.mark.parametrize("executor", RAY, indirect=True)
def test_a_worker_that_raised_an_exception_is_replaced(driver: Driver) -> None:
    file = driver.folder / "file"
    file.touch()
    unwritable = driver.submit(trial(horizon=LONG), checkpoint=str(file / "checkpoint.pt"))
    driver.until(lambda: driver.started(unwritable) is not None)
    worker = psutil.Process(driver.pid(unwritable))
    event = driver.until_end(unwritable)[-1]
    assert isinstance(event, Failed)
    assert event.failure.retryable
    until_dead([worker])
    assert isinstance(driver.until_end(driver.submit(trial()))[-1], Finished)


def test_close_may_be_called_twice_and_ends_all_events(driver: Driver) -> None:
    driver.until_points(driver.submit(trial(horizon=LONG)))
    driver.executor.close()
    driver.executor.close()
    driver.executor.events(0)  # events from before the end
    assert driver.executor.events(0.2) == []
