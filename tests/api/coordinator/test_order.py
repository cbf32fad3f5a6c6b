"""The order in which trials go to workers, without idle workers."""

from pathlib import Path
from typing import Any

from api.store.record import CoordinatorStore
from api.store.rows import Begun
from telescope.train.flops import trial_flops
from telescope.trials.outcome import TrialState, completed
from tests.api.coordinator.driving import (
    WIDER,
    Coordinate,
    document,
    drive,
    ended,
    expected,
    states,
)
from tests.executors import InstantExecutor, train_one
from workers.interface import Waiting


def test_jobs_share_the_slots_evenly_within_their_limits(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    narrow, _ = record.create_job(document(limits={"max_parallel": 1}, reuse=False))
    wide, _ = record.create_job(document(name="wide", reuse=False))
    executor = InstantExecutor(slots=4)
    coordinator = coordinate(executor)
    share = {narrow.id: 0, wide.id: 0}

    def both_ended() -> bool:
        job_ids = [Path(assignment.checkpoint).parent.name for assignment in executor.running]
        for job_id, most in share.items():
            share[job_id] = max(most, job_ids.count(job_id))
        return ended(record, narrow.id, wide.id)()

    drive(coordinator, both_ended)
    assert share == {narrow.id: 1, wide.id: 3}
    assert record.result(narrow.id) is not None
    assert record.result(wide.id) == expected(document(name="wide"))


def test_one_more_trial_than_slots_is_submitted(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    job, _ = record.create_job(document(search=WIDER))
    executor = InstantExecutor(slots=3)
    executor.held = True
    coordinator = coordinate(executor)
    drive(coordinator, lambda: len(executor.submitted) == 4)
    for _ in range(3):
        coordinator.step()
    assert len(executor.submitted) == 4
    assert states(record, job.id) == {TrialState.PENDING}


def test_a_job_limited_to_one_trial_has_none_waiting_at_the_executor(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    record.create_job(document(limits={"max_parallel": 1}))
    executor = InstantExecutor(slots=3)
    executor.held = True
    coordinator = coordinate(executor)
    for _ in range(5):
        coordinator.step()
    assert len(executor.submitted) == 1


def test_the_longest_trials_of_all_ladders_go_first(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    job, _ = record.create_job(document(optimizer=["adamw", "muon"]))
    executor = InstantExecutor(slots=1)
    drive(coordinate(executor), ended(record, job.id))
    order = [
        (assignment.spec.optimizer.name, assignment.spec.model.width)
        for assignment in executor.submitted
    ]
    cost = {
        (assignment.spec.optimizer.name, assignment.spec.model.width): trial_flops(assignment.spec)
        for assignment in executor.submitted
    }
    assert cost["adamw", 32] < cost["muon", 32] < cost["muon", 64]
    assert order[:4] == [("muon", 32)] * 4, "though the job names the other ladder first"
    assert order.index(("muon", 64)) < order.index(("adamw", 32)) + 4, (
        "those planned later do not stand behind"
    )
    assert record.result(job.id) == expected(document(optimizer=["adamw", "muon"]))


def test_a_ladder_continues_while_another_has_not_started(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    job, _ = record.create_job(document(optimizer=["muon", "adamw"]))
    first = InstantExecutor(slots=1)
    first.held = True
    drive(coordinate(first), lambda: record.job(job.id).trials_total == 8)
    for pending in record.pending_trials(job.id, 4):
        assert pending.spec.optimizer.name == "muon"
        record.trial_started(pending.trial_id, 1, Begun(0, "worker", "instant"))
        *_, last = train_one(pending.spec)
        record.trial_finished(pending.trial_id, completed(pending.spec, [last]), (last,))

    second = InstantExecutor(slots=1)
    second.held = True
    drive(coordinate(second), lambda: bool(second.submitted))
    assert (second.running[0].spec.optimizer.name, second.running[0].spec.model.width) == (
        "muon",
        64,
    )
    assert record.job(job.id).trials_done == 4, "no trial of the other ladder has begun"


def test_no_worker_waits_for_the_report_on_a_stage(
    database_url: str, coordinate: Coordinate
) -> None:
    executor = InstantExecutor(slots=2)
    handed_out: list[int] = []

    class Watched(CoordinatorStore):
        def put_result(self, job_id: str, document: dict[str, Any], final: bool) -> None:
            handed_out.append(len(executor.running))
            super().put_result(job_id, document, final)

    watched = Watched(database_url)
    job, _ = watched.create_job(document())
    drive(coordinate(executor, watched), ended(watched, job.id))
    watched.close()
    assert handed_out, "a stage was reported before the end"
    assert all(handed_out), "and the next one was under way by then"


def test_a_later_job_runs_before_an_earlier_one_ends(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    jobs = [
        record.create_job(document(name=name, reuse=False))[0].id for name in ("first", "second")
    ]
    coordinator = coordinate(InstantExecutor(slots=2))
    drive(coordinator, lambda: all(record.job(job_id).trials_done for job_id in jobs))
    assert not any(record.job(job_id).state.terminal for job_id in jobs)


def test_waiting_jobs_name_the_resource_that_workers_wait_for(
    record: CoordinatorStore, coordinate: Coordinate
) -> None:
    job, _ = record.create_job(document())
    executor = InstantExecutor(slots=1)
    executor.held = True
    executor.extra.append(Waiting("a GPU; 0 of 1 are free"))
    coordinator = coordinate(executor)
    drive(coordinator, lambda: record.job(job.id).waiting_for == "a GPU; 0 of 1 are free")
    later, _ = record.create_job(document(name="later"))
    drive(coordinator, lambda: record.job(later.id).waiting_for is not None)
    executor.extra.append(Waiting(None))
    drive(coordinator, lambda: record.job(job.id).waiting_for is None)
    assert record.job(later.id).waiting_for is None
