"""Trials that another job has completed are reused and not trained again."""

import random
from typing import Any

import pytest

from api.store.record import CoordinatorStore
from telescope.trials.outcome import TrialState
from tests.api.coordinator.driving import (
    ROBUST,
    WIDER,
    Coordinate,
    Killed,
    Mortal,
    document,
    drive,
    ended,
    expected,
    states,
    without_costs,
)
from tests.executors import InstantExecutor
from workers.interface import Waiting


@pytest.mark.parametrize("changes", [{}, ROBUST], ids=["paper", "robust with two ladders"])
def test_an_equal_study_has_the_same_report_and_trains_nothing(
    record: CoordinatorStore, coordinate: Coordinate, changes: dict[str, Any]
) -> None:
    first, _ = record.create_job(document(**changes))
    drive(coordinate(InstantExecutor(slots=5)), ended(record, first.id))
    again, _ = record.create_job(document(**changes) | {"name": "again"})
    executor = InstantExecutor(slots=5)
    drive(coordinate(executor), ended(record, again.id))

    assert executor.submitted == []
    before, after = record.result(first.id), record.result(again.id)
    assert before is not None
    assert after is not None
    assert without_costs(after) == without_costs(before)
    for old, new in zip(before["ladders"], after["ladders"], strict=True):
        assert (old["cost"]["reused"], new["cost"]["reused"]) == (0, old["cost"]["trials"])
        assert new["cost"]["trials"] == old["cost"]["trials"]
        assert [new["cost"][name] for name in ("flops", "tokens", "seconds")] == [0, 0, 0]
    row = record.job(again.id)
    assert row.trials_done == row.trials_total == record.job(first.id).trials_total
    assert row.best_loss == record.job(first.id).best_loss
    assert any(trial.diverged and trial.reused for trial in record.terminal_trials(again.id)), (
        "divergence is data, and reused as such"
    )
    trial = record.trials(again.id).items[0]
    assert record.curve(trial.id).step == tuple(range(1, trial.steps + 1))


def test_a_study_without_reuse_trains_all_its_trials(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    for name in ("first", "second"):
        job, _ = record.create_job(document(name=name, reuse=False))
        executor = InstantExecutor()
        drive(coordinate(executor), ended(record, job.id))
        assert len(executor.submitted) == record.job(job.id).trials_total
        assert record.result(job.id) == expected(document(name=name, reuse=False))


def test_trials_are_not_reused_across_numerics(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    first, _ = record.create_job(document())
    drive(coordinate(InstantExecutor()), ended(record, first.id))
    executor = InstantExecutor()
    executor.numerics = "another device"
    second, _ = record.create_job(document())
    drive(coordinate(executor), ended(record, second.id))
    assert len(executor.submitted) == record.job(second.id).trials_total
    assert record.result(second.id) == expected(document())


def test_a_study_that_shares_some_trials_trains_the_rest(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    first, _ = record.create_job(document())
    drive(coordinate(InstantExecutor()), ended(record, first.id))
    wider = {"search": WIDER}
    second, _ = record.create_job(document(**wider))
    executor = InstantExecutor()
    drive(coordinate(executor), ended(record, second.id))
    first_digests = record.trial_digests(first.id)
    assert not first_digests & {assignment.spec.digest for assignment in executor.submitted}
    report = record.result(second.id)
    assert report is not None
    assert without_costs(report) == without_costs(expected(document(**wider)))
    cost = report["ladders"][0]["cost"]
    assert cost["trials"] == cost["reused"] + len(executor.submitted)
    assert cost["flops"] == len(executor.submitted) * 5e9
    assert cost["reused"] == sum(trial.reused for trial in record.terminal_trials(second.id)) > 0


def test_no_trial_is_submitted_before_a_worker_reports_its_numerics(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    first, _ = record.create_job(document())
    drive(coordinate(InstantExecutor()), ended(record, first.id))
    again, _ = record.create_job(document())
    executor = InstantExecutor()
    executor.numerics = None
    executor.extra.append(Waiting("a GPU; 0 of 1 are free"))
    coordinator = coordinate(executor)
    drive(coordinator, lambda: record.job(again.id).waiting_for is not None)
    assert states(record, again.id) == {TrialState.PENDING}
    executor.numerics = "instant"
    drive(coordinator, ended(record, again.id))
    assert executor.submitted == []


def test_trials_that_a_parallel_job_completes_are_reused(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    first, _ = record.create_job(document(limits={"max_parallel": 1}))
    second, _ = record.create_job(document(name="other"))
    executor = InstantExecutor(slots=4)
    drive(coordinate(executor), ended(record, first.id, second.id))
    reused = sum(
        trial.reused for job in (first, second) for trial in record.terminal_trials(job.id)
    )
    assert reused > 0
    assert (
        len(executor.submitted) + reused
        == record.job(first.id).trials_total + record.job(second.id).trials_total
    )
    for job in (first, second):
        report = record.result(job.id)
        assert report is not None
        assert without_costs(report) == without_costs(expected(document()))


def test_coordinators_killed_during_reuse_change_nothing(
    record: CoordinatorStore, database_url: str, coordinate: Coordinate
) -> None:
    first, _ = record.create_job(document())
    drive(coordinate(InstantExecutor()), ended(record, first.id))
    wider = document(search={"lr": {"low": 0.005, "high": 0.25, "points": 8}})
    job, _ = record.create_job(wider)
    mortal, kills = Mortal(database_url, 0.06, random.Random(0), Killed), 0
    while not record.job(job.id).state.terminal:
        try:
            drive(coordinate(InstantExecutor(), mortal), ended(record, job.id))
        except Killed:
            kills += 1
    mortal.close()
    assert kills >= 1
    report = record.result(job.id)
    assert report is not None
    assert without_costs(report) == without_costs(expected(wider))
    assert report["ladders"][0]["cost"]["reused"] > 0
