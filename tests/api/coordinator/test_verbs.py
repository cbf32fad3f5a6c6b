"""Verbs at any moment, and time limits, leave a legal state and lose no result."""

import random
from pathlib import Path

import pytest

from api.job_states import JobState, Verb
from api.store.record import CoordinatorStore
from telescope.trials.outcome import Failure, TrialState
from tests.api.coordinator.driving import Coordinate, document, drive, ended, expected, states
from tests.executors import Disturbances, InstantExecutor
from workers.interface import Assignment


def test_cancelling_stops_all_trials_at_once(
    record: CoordinatorStore, coordinate: Coordinate, tmp_path: Path
) -> None:
    job, _ = record.create_job(document())
    executor = InstantExecutor(slots=2)
    coordinator = coordinate(executor)
    drive(coordinator, lambda: any(tmp_path.glob("checkpoints/*/*")))
    assert record.request(job.id, Verb.CANCEL).requested is Verb.CANCEL
    drive(coordinator, ended(record, job.id))
    row = record.job(job.id)
    assert (row.state, row.requested, row.ended_at is not None) == (JobState.CANCELLED, None, True)
    report = record.result(job.id)
    assert report is not None
    assert (report["final"], report["reason"]) == (True, "cancelled")
    assert states(record, job.id) <= {TrialState.COMPLETED, TrialState.STOPPED}
    drive(coordinator, lambda: not executor.extra)
    coordinator.step()
    assert executor.running == []
    assert states(record, job.id) <= {TrialState.COMPLETED, TrialState.STOPPED}
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_resumed_job_continues_from_its_checkpoints(
    record: CoordinatorStore, coordinate: Coordinate, tmp_path: Path
) -> None:
    job, _ = record.create_job(document())
    executor = InstantExecutor(slots=2)
    coordinator = coordinate(executor)
    drive(coordinator, lambda: any(tmp_path.glob("checkpoints/*/*")))
    record.request(job.id, Verb.PAUSE)
    drive(coordinator, lambda: record.job(job.id).state is JobState.PAUSED)
    drive(coordinator, lambda: TrialState.RUNNING not in states(record, job.id))
    for _ in range(5):
        coordinator.step()
    assert executor.running == []
    record.request(job.id, Verb.RESUME)
    drive(coordinator, ended(record, job.id))
    assert record.result(job.id) == expected(document())
    assert all(trial.failures == 0 for trial in record.trials(job.id).items), (
        "a pause is no failure"
    )
    resumed = [assignment for assignment in executor.submitted if assignment.attempt > 1]
    assert resumed
    assert not any(assignment.failures for assignment in resumed), "workers see no failure either"


@pytest.mark.parametrize("seed", range(4))
def test_verbs_at_any_moment_leave_a_legal_state_and_lose_no_result(
    record: CoordinatorStore, coordinate: Coordinate, seed: int
) -> None:
    rng = random.Random(seed)
    job, _ = record.create_job(document())
    executor = InstantExecutor(slots=2, seed=seed, disturbances=Disturbances(repeat=0.1))
    coordinator = coordinate(executor)
    for _ in range(60):
        for _ in range(rng.randrange(4)):
            coordinator.step()
        state = record.job(job.id).state
        if state.terminal:
            break
        verb = (
            Verb.RESUME
            if state is JobState.PAUSED
            else rng.choice([Verb.PAUSE, Verb.PAUSE, Verb.RESUME])
        )
        if verb is Verb.PAUSE or state is JobState.PAUSED:
            record.request(job.id, verb)
    if seed % 2 and not record.job(job.id).state.terminal:
        record.request(job.id, Verb.CANCEL)
    elif record.job(job.id).state is JobState.PAUSED or record.job(job.id).requested is Verb.PAUSE:
        record.request(job.id, Verb.RESUME)
    drive(coordinator, ended(record, job.id))
    if record.job(job.id).state is JobState.SUCCEEDED:
        assert record.result(job.id) == expected(document())
    assert states(record, job.id) <= {TrialState.COMPLETED, TrialState.STOPPED}


def test_a_job_past_its_time_limit_starts_no_new_stage(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    job, _ = record.create_job(document(limits={"max_seconds": 1e-6}))
    drive(coordinate(InstantExecutor()), ended(record, job.id))
    row, report = record.job(job.id), record.result(job.id)
    assert (row.state, row.reason) == (JobState.SUCCEEDED, "limits.max_seconds is used up")
    assert report is not None
    assert (report["final"], report["verdict"]) == (True, "unresolved")
    assert report["reason"] == "limits.max_seconds is used up"


def test_a_retried_job_keeps_its_completed_trials(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    job, _ = record.create_job(document())

    def fail(assignment: Assignment) -> Failure | None:
        gone = assignment.spec.model.width == 64 and assignment.attempt == 1
        return Failure("operational", "the disk is full", retryable=False) if gone else None

    executor = InstantExecutor(disturbances=Disturbances(fail=fail))
    coordinator = coordinate(executor)
    drive(coordinator, ended(record, job.id))
    assert record.job(job.id).state is JobState.FAILED
    done = {
        trial.id for trial in record.trials(job.id).items if trial.state is TrialState.COMPLETED
    }
    assert done
    executor.submitted.clear()

    record.request(job.id, Verb.RETRY)
    drive(coordinator, lambda: record.result(job.id) is not None)
    interim = record.result(job.id)
    assert interim is not None
    assert (interim["final"], len(interim["ladders"][0]["levels"])) == (False, 1)
    drive(coordinator, ended(record, job.id))
    assert record.job(job.id).state is JobState.SUCCEEDED
    assert record.result(job.id) == expected(document())
    assert not done & {assignment.trial_id for assignment in executor.submitted}, (
        "a finished trial ran again"
    )
    assert all(assignment.attempt > 1 for assignment in executor.submitted)


@pytest.mark.parametrize("seed", range(2))
def test_a_job_cancelled_at_any_moment_and_retried_at_once_has_its_report(
    record: CoordinatorStore, coordinate: Coordinate, seed: int
) -> None:
    rng = random.Random(seed)
    job, _ = record.create_job(document())
    executor = InstantExecutor(slots=2, seed=seed, disturbances=Disturbances(repeat=0.1))
    coordinator = coordinate(executor)
    for _ in range(3):
        for _ in range(rng.randrange(1, 12)):
            coordinator.step()
        if record.job(job.id).state.terminal:
            break
        record.request(job.id, Verb.CANCEL)
        while not record.job(job.id).state.terminal:
            coordinator.step()
        record.request(job.id, Verb.RETRY)
    drive(coordinator, ended(record, job.id))
    assert record.job(job.id).state is JobState.SUCCEEDED
    assert record.result(job.id) == expected(document())
