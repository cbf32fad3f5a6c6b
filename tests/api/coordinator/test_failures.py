"""Failures of trials, coordinators, workers and the database do not change reports."""

import random
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from api.job_states import JobState
from api.store.engines import CoordinatorLock, Superseded
from api.store.record import CoordinatorStore
from api.store.rows import TrialFilter
from telescope.errors import Unavailable, WorkersLost
from telescope.trials.outcome import Failure, TrialState
from tests.api.coordinator.driving import (
    Coordinate,
    Killed,
    Mortal,
    document,
    drive,
    ended,
    expected,
    states,
)
from tests.executors import Disturbances, InstantExecutor, train_one
from workers.interface import Assignment, Event, Finished, Measured, Started, Stopped


@pytest.mark.parametrize("seed", range(4))
def test_coordinators_killed_at_any_commit_change_nothing(
    record: CoordinatorStore, database_url: str, coordinate: Coordinate, seed: int
) -> None:
    rng = random.Random(seed)
    job, _ = record.create_job(document())
    # events of the workers of dead coordinators arrive late and repeatedly
    disturbances = Disturbances(repeat=0.2)
    mortal = Mortal(database_url, 0.06, rng, Killed)
    kills, completed = 0, set[int]()
    while not record.job(job.id).state.terminal:
        executor = InstantExecutor(slots=2, seed=rng.randrange(10**6), disturbances=disturbances)
        try:
            drive(coordinate(executor, mortal), ended(record, job.id))
        except Killed:
            kills += 1
        assert not completed & {assignment.trial_id for assignment in executor.submitted}, (
            "a finished trial ran again"
        )
        completed = {
            trial.id for trial in record.trials(job.id).items if trial.state is TrialState.COMPLETED
        }
    mortal.close()
    assert kills >= 1
    assert record.result(job.id) == expected(document())
    for trial in record.trials(job.id).items:
        assert record.curve(trial.id).step == tuple(range(1, trial.steps + 1))
        assert trial.flops == trial.steps * 1e9 <= trial.flops_spent


@pytest.mark.parametrize("seed", range(2))
def test_a_database_that_is_sometimes_unavailable_changes_nothing(
    record: CoordinatorStore, database_url: str, coordinate: Coordinate, seed: int
) -> None:
    job, _ = record.create_job(document())
    flaky = Mortal(database_url, 0.0, random.Random(seed), Unavailable)
    executor = InstantExecutor(slots=2, seed=seed)
    coordinator = coordinate(executor, flaky)
    flaky._chance = 0.1
    failures = 0
    while not record.job(job.id).state.terminal:
        try:
            coordinator.step()
        except Unavailable:
            failures += 1
    flaky.close()
    assert failures >= 1
    assert record.result(job.id) == expected(document())
    assert len(executor.submitted) == record.job(job.id).trials_total, "nothing ran twice"


def test_a_failed_trial_is_retried_from_its_checkpoint(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    def twice(assignment: Assignment) -> Failure | None:
        return (
            Failure("operational", "its worker died")
            if assignment.attempt < 3 and assignment.spec.seed == 0
            else None
        )

    job, _ = record.create_job(document())
    executor = InstantExecutor(disturbances=Disturbances(fail=twice))
    drive(coordinate(executor), ended(record, job.id))
    attempts = {(assignment.attempt, assignment.failures) for assignment in executor.submitted}
    assert attempts == {(1, 0), (2, 1), (3, 2)}
    assert record.job(job.id).state is JobState.SUCCEEDED
    trial = record.trials(job.id).items[0]
    assert (trial.state, trial.attempt, trial.failures) == (TrialState.COMPLETED, 3, 2)
    assert trial.failure is None, "a completed trial has no failure"
    assert record.result(job.id) == expected(document())


@pytest.mark.parametrize(
    ("retryable", "attempts"), [(True, 3), (False, 1)], ids=["after its retries", "at once"]
)
def test_a_trial_that_cannot_run_fails_its_job_and_no_other(
    record: CoordinatorStore, coordinate: Coordinate, retryable: bool, attempts: int, tmp_path: Path
) -> None:
    bad, _ = record.create_job(document(name="bad", horizon={"steps": 4, "batch_tokens": 32}))
    good, _ = record.create_job(document(name="good"))

    def fail(assignment: Assignment) -> Failure | None:
        gone = Failure("operational", "the corpus is gone\nTraceback ...", retryable=retryable)
        return gone if assignment.spec.horizon.steps == 4 else None

    executor = InstantExecutor(slots=4, disturbances=Disturbances(fail=fail))
    drive(coordinate(executor), ended(record, bad.id, good.id))

    row = record.job(bad.id)
    assert row.state is JobState.FAILED
    assert row.reason is not None
    assert "the corpus is gone" in row.reason
    assert "Traceback" not in row.reason
    report = record.result(bad.id)
    assert report is not None
    assert (report["final"], report["reason"]) == (True, f"failed: {row.reason}")
    failed = record.trials(bad.id, only=TrialFilter(state=TrialState.FAILED)).items[0]
    assert (failed.attempt, failed.failures) == (attempts, attempts)
    assert states(record, bad.id) <= {TrialState.FAILED, TrialState.STOPPED}
    assert record.job(good.id).state is JobState.SUCCEEDED
    assert record.result(good.id) == expected(document(name="good"))
    assert list((tmp_path / "checkpoints").glob("*/*")) == []


def test_a_study_that_raises_fails_its_own_job(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    bad, _ = record.create_job(document(name="bad") | {"schedule": "unheard of"})
    good, _ = record.create_job(document())
    drive(coordinate(InstantExecutor()), ended(record, bad.id, good.id))
    assert record.job(bad.id).state is JobState.FAILED
    assert "schedule" in (record.job(bad.id).reason or "")
    assert record.result(good.id) == expected(document())


def test_events_of_an_attempt_that_is_over_change_nothing(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    job, _ = record.create_job(document())
    executor = InstantExecutor(slots=1)
    first = coordinate(executor)
    drive(first, lambda: TrialState.RUNNING in states(record, job.id))
    old = executor.running[0]

    successor = InstantExecutor(slots=1)
    successor.held = True
    second = coordinate(successor)
    drive(second, lambda: bool(successor.running))
    assert successor.running[0].trial_id == old.trial_id
    assert successor.running[0].attempt == old.attempt + 1
    *_, last = train_one(old.spec)
    late = [
        Started(old.trial_id, old.attempt, 0, "zombie", "instant"),
        Measured(old.trial_id, old.attempt, (last,)),
        Finished(old.trial_id, old.attempt, (last,)),
        Stopped(old.trial_id, old.attempt),
    ]
    before = record.trial(old.trial_id)
    successor.extra += late
    drive(second, lambda: not successor.extra)
    assert record.trial(old.trial_id) == before
    assert successor.running[0].trial_id == old.trial_id


class Headless(InstantExecutor):
    """An executor that has lost its workers."""

    def events(self, timeout: float) -> Sequence[Event]:
        raise WorkersLost("Ray's head does not answer")


def test_lost_workers_end_the_coordinator_and_the_next_one_continues(
    record: CoordinatorStore, coordinate: Coordinate, database_url: str
) -> None:
    job, _ = record.create_job(document())
    lock = CoordinatorLock(database_url)
    with pytest.raises(WorkersLost, match="head"):
        coordinate(Headless()).run(threading.Event(), lock)
    lock.release()
    assert record.job(job.id).state is JobState.RUNNING
    drive(coordinate(InstantExecutor()), ended(record, job.id))
    assert record.result(job.id) == expected(document())


class StopsWhenDone(InstantExecutor):
    """Asks its coordinator to stop once a job has ended."""

    def __init__(self, record: CoordinatorStore, job_id: str, stop: threading.Event) -> None:
        super().__init__()
        self._ended, self._stop = ended(record, job_id), stop

    def events(self, timeout: float) -> Sequence[Event]:
        if self._ended():
            self._stop.set()
        return super().events(timeout)


def test_a_coordinator_that_loses_its_lock_acquires_it_again_or_ends(
    record: CoordinatorStore, coordinate: Coordinate, database_url: str
) -> None:
    job, _ = record.create_job(document())
    first, second = CoordinatorLock(database_url), CoordinatorLock(database_url)
    assert first.acquire()
    first.release()  # as if the connection that holds the lock were cut
    assert second.acquire()
    executor = InstantExecutor()
    with pytest.raises(Superseded):
        coordinate(executor).run(threading.Event(), first)
    assert executor.submitted == [], "it must not run beside the other coordinator"
    second.release()
    stop = threading.Event()
    executor = StopsWhenDone(record, job.id, stop)
    coordinate(executor).run(stop, first)
    assert first.held()
    first.release()
    assert record.result(job.id) == expected(document())
