"""Does the coordinator give the answer of the plain loop, whatever happens on the way?"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from api.coordinator.loop import Coordinator
from api.job_states import JobState, Verb
from api.store.engines import CoordinatorLock, Superseded
from api.store.record import Record
from api.store.rows import Begun, TrialFilter
from api.terminal.progress import progress
from telescope.errors import Unavailable, WorkersLost
from telescope.studies import registry, run
from telescope.studies.kind import AnyStudy, Ended, Kind, Label, Plan, Planned
from telescope.train.branch import cooldown, extension
from telescope.train.checkpoint import kept_path
from telescope.train.flops import trial_flops
from telescope.train.loop import train_one as train_plainly
from telescope.trials.outcome import Failure, Trial, TrialState, completed
from telescope.trials.spec import TrialSpec
from tests.api.trials import DOCUMENT
from tests.executors import Disturbances, InstantExecutor, train_one
from tests.telescope import small
from workers.interface import Assignment, Event, Finished, Measured, Started, Stopped, Waiting
from workers.local import LocalExecutor

DEADLINE_SECONDS = 60


def document(**changes: Any) -> dict[str, Any]:
    """A small study by the paper's rule: 4 runs at width 32, 2 at 64."""
    study = {
        "kind": "telescope",
        "name": "small",
        "optimizer": "adamw",
        "model": {"base_width": 32, "calibration_width": 64, "target_width": 128, "depth": 1, "head_dim": 16},
        "data": {"corpus": "none", "context": 16, "content": "none", "vocab_size": 256},
        "horizon": {"steps": 5, "batch_tokens": 32},
        "search": {"lr": {"low": 0.005, "high": 0.25, "points": 4}},
        "schedule": "paper",
        "coordinates": "skip",  # its executor trains nothing that would have layers
    }
    return registry.to_document(registry.parse(study | changes))


WIDER = {"lr": {"low": 0.005, "high": 0.25, "points": 8}}
ROBUST = {
    "model": {"base_width": 32, "calibration_width": 128, "target_width": 256, "depth": 1, "head_dim": 16},
    "search": {"lr": {"low": 0.002, "high": 0.25, "points": 8}, "weight_decay": {"low": 0.01, "high": 1.0, "points": 3}},
    "schedule": "robust",
    "optimizer": ["muon", "adamw"],
    "horizon": {"steps": 2, "batch_tokens": 32},
}


def expected(study: dict[str, Any]) -> Any:
    """The report of the loop that has no database."""
    return registry.report_document(run(registry.parse(study), train_one))


@pytest.fixture
def coordinate(record: Record, tmp_path: Path) -> Callable[..., Coordinator]:
    """A new coordinator on the same database and the same checkpoints."""

    def new(executor: InstantExecutor, on: Record = record, **options: Any) -> Coordinator:
        coordinator = Coordinator(on, executor, tmp_path / "checkpoints", poll_seconds=1e-9, **options)
        coordinator.recover()
        return coordinator

    return new


def drive(coordinator: Coordinator, done: Callable[[], bool]) -> None:
    """Step until something is so."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not done():
        assert time.monotonic() < deadline, "it never came to that"
        coordinator.step()


def ended(record: Record, *job_ids: str) -> Callable[[], bool]:
    return lambda: all(record.job(job_id).state.terminal for job_id in job_ids)


def states(record: Record, job_id: str) -> set[TrialState]:
    return {trial.state for trial in record.trials(job_id, 1000).items}


Coordinate = Callable[..., Coordinator]


@pytest.mark.parametrize("changes", [{}, ROBUST], ids=["paper", "robust with two ladders"])
def test_the_service_answers_as_the_plain_loop_does(record: Record, coordinate: Coordinate, changes: dict[str, Any]) -> None:
    study = document(**changes)
    job, _ = record.create_job(study)
    executor = InstantExecutor(slots=5, seed=1)
    drive(coordinate(executor), ended(record, job.id))

    row, report = record.job(job.id), record.result(job.id)
    assert row.state is JobState.SUCCEEDED
    assert report == expected(study)
    assert row.trials_done == row.trials_total == len(executor.submitted)
    assert row.best_loss == min(trial.loss for trial in record.trials(job.id, 1000).items if trial.loss is not None)
    trial = record.trials(job.id, 1).items[0]
    assert (trial.flops, trial.flops_spent, trial.step) == (trial.steps * 1e9, trial.steps * 1e9, trial.steps)
    assert record.curve(trial.id).step == tuple(range(1, trial.steps + 1))
    assert any(trial.diverged for trial in record.terminal_trials(job.id)), "divergence is data"


def test_reports_before_the_end_are_not_final(record: Record, coordinate: Coordinate) -> None:
    job, _ = record.create_job(document())
    coordinator = coordinate(InstantExecutor())
    drive(coordinator, lambda: record.result(job.id) is not None)
    report = record.result(job.id)
    assert report is not None
    assert report["final"] is False
    assert report["ladders"][0]["levels"][0]["width"] == 32
    drive(coordinator, ended(record, job.id))
    assert record.result(job.id) == expected(document())


class Killed(BaseException):
    """The coordinator's process was killed at this point."""


class Mortal(Record):
    """Kills its coordinator, or loses the database, at a read, or right before or right after a commit."""

    def __init__(self, url: str, chance: float, rng: random.Random, death: type[BaseException]) -> None:
        super().__init__(url)
        self._chance, self._rng, self._death = chance, rng, death

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        self._perhaps()
        with super()._write() as connection:
            yield connection
        self._perhaps()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        self._perhaps()
        with super()._read() as connection:
            yield connection

    def _perhaps(self) -> None:
        if self._rng.random() < self._chance:
            raise self._death("now")


@pytest.mark.parametrize("seed", range(4))
def test_coordinators_killed_at_any_commit_change_nothing(record: Record, database_url: str, coordinate: Coordinate, seed: int) -> None:
    rng = random.Random(seed)
    job, _ = record.create_job(document())
    disturbances = Disturbances(repeat=0.2)  # events of dead coordinators' workers come late, and twice
    mortal = Mortal(database_url, 0.06, rng, Killed)
    kills, completed = 0, set[int]()
    while not record.job(job.id).state.terminal:
        executor = InstantExecutor(slots=2, seed=rng.randrange(10**6), disturbances=disturbances)
        try:
            drive(coordinate(executor, mortal), ended(record, job.id))
        except Killed:
            kills += 1
        assert not completed & {assignment.trial_id for assignment in executor.submitted}, "a finished trial ran again"
        completed = {trial.id for trial in record.trials(job.id).items if trial.state is TrialState.COMPLETED}
    mortal.close()
    assert kills >= 1
    assert record.result(job.id) == expected(document())
    for trial in record.trials(job.id).items:
        assert record.curve(trial.id).step == tuple(range(1, trial.steps + 1))
        assert trial.flops == trial.steps * 1e9 <= trial.flops_spent


@pytest.mark.parametrize("seed", range(2))
def test_a_database_that_goes_away_now_and_then_changes_nothing(
    record: Record, database_url: str, coordinate: Coordinate, seed: int
) -> None:
    job, _ = record.create_job(document())
    flaky = Mortal(database_url, 0.0, random.Random(seed), Unavailable)
    executor = InstantExecutor(slots=2, seed=seed)
    coordinator = coordinate(executor, flaky)
    flaky._chance = 0.1
    away = 0
    while not record.job(job.id).state.terminal:
        try:
            coordinator.step()
        except Unavailable:
            away += 1
    flaky.close()
    assert away >= 1
    assert record.result(job.id) == expected(document())
    assert len(executor.submitted) == record.job(job.id).trials_total, "nothing ran twice"


def test_a_trial_that_fails_is_tried_again_from_its_checkpoint(record: Record, coordinate: Coordinate) -> None:
    def twice(assignment: Assignment) -> Failure | None:
        return Failure("operational", "its worker died") if assignment.attempt < 3 and assignment.spec.seed == 0 else None

    job, _ = record.create_job(document())
    executor = InstantExecutor(disturbances=Disturbances(fail=twice))
    drive(coordinate(executor), ended(record, job.id))
    assert {(each.attempt, each.failures) for each in executor.submitted} == {(1, 0), (2, 1), (3, 2)}
    assert record.job(job.id).state is JobState.SUCCEEDED
    trial = record.trials(job.id).items[0]
    assert (trial.state, trial.attempt, trial.failures) == (TrialState.COMPLETED, 3, 2)
    assert trial.failure is None, "what was overcome is no failure"
    assert record.result(job.id) == expected(document())


@pytest.mark.parametrize(("retryable", "attempts"), [(True, 3), (False, 1)], ids=["after its retries", "at once"])
def test_a_trial_that_cannot_run_fails_its_job_and_no_other(
    record: Record, coordinate: Coordinate, retryable: bool, attempts: int, tmp_path: Path
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


def test_a_study_that_raises_fails_its_own_job(record: Record, coordinate: Coordinate) -> None:
    bad, _ = record.create_job(document(name="bad") | {"schedule": "unheard of"})
    good, _ = record.create_job(document())
    drive(coordinate(InstantExecutor()), ended(record, bad.id, good.id))
    assert record.job(bad.id).state is JobState.FAILED
    assert "schedule" in (record.job(bad.id).reason or "")
    assert record.result(good.id) == expected(document())


def test_jobs_share_the_slots_evenly_and_keep_to_their_limits(record: Record, coordinate: Coordinate) -> None:
    narrow, _ = record.create_job(document(limits={"max_parallel": 1}, reuse=False))
    wide, _ = record.create_job(document(name="wide", reuse=False))
    executor = InstantExecutor(slots=4)
    coordinator = coordinate(executor)
    share = {narrow.id: 0, wide.id: 0}

    def watched() -> bool:
        held = [Path(assignment.checkpoint).parent.name for assignment in executor.running]
        for job_id in share:
            share[job_id] = max(share[job_id], held.count(job_id))
        return ended(record, narrow.id, wide.id)()

    drive(coordinator, watched)
    assert share == {narrow.id: 1, wide.id: 3}
    assert record.result(narrow.id) is not None
    assert record.result(wide.id) == expected(document(name="wide"))


def test_a_worker_that_ends_a_trial_finds_one_in_line_before_anything_is_recorded(record: Record, coordinate: Coordinate) -> None:
    job, _ = record.create_job(document(search=WIDER))
    executor = InstantExecutor(slots=3)
    executor.held = True
    coordinator = coordinate(executor)
    drive(coordinator, lambda: len(executor.submitted) == 4)
    for _ in range(3):
        coordinator.step()
    assert len(executor.submitted) == 4
    assert states(record, job.id) == {TrialState.PENDING}


def test_a_job_that_may_run_one_trial_has_none_in_line(record: Record, coordinate: Coordinate) -> None:
    record.create_job(document(limits={"max_parallel": 1}))
    executor = InstantExecutor(slots=3)
    executor.held = True
    coordinator = coordinate(executor)
    for _ in range(5):
        coordinator.step()
    assert len(executor.submitted) == 1


def test_the_longest_trials_go_first_whichever_ladder_they_are_of(record: Record, coordinate: Coordinate) -> None:
    job, _ = record.create_job(document(optimizer=["adamw", "muon"]))
    executor = InstantExecutor(slots=1)
    drive(coordinate(executor), ended(record, job.id))
    order = [(assignment.spec.optimizer.name, assignment.spec.model.width) for assignment in executor.submitted]
    cost = {(one.spec.optimizer.name, one.spec.model.width): trial_flops(one.spec) for one in executor.submitted}
    assert cost["adamw", 32] < cost["muon", 32] < cost["muon", 64]
    assert order[:4] == [("muon", 32)] * 4, "though the job names the other ladder first"
    assert order.index(("muon", 64)) < order.index(("adamw", 32)) + 4, "those planned later do not stand behind"
    assert record.result(job.id) == expected(document(optimizer=["adamw", "muon"]))


def test_a_ladder_goes_on_while_another_has_not_begun(record: Record, coordinate: Coordinate) -> None:
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
    assert (second.running[0].spec.optimizer.name, second.running[0].spec.model.width) == ("muon", 64)
    assert record.job(job.id).trials_done == 4, "no trial of the other ladder has begun"


def test_no_worker_waits_for_the_report_on_a_stage(database_url: str, coordinate: Coordinate) -> None:
    executor = InstantExecutor(slots=2)
    handed_out: list[int] = []

    class Watched(Record):
        def put_result(self, job_id: str, document: dict[str, Any], final: bool) -> None:
            handed_out.append(len(executor.running))
            super().put_result(job_id, document, final)

    watched = Watched(database_url)
    job, _ = watched.create_job(document())
    drive(coordinate(executor, watched), ended(watched, job.id))
    watched.close()
    assert handed_out, "a stage was reported before the end"
    assert all(handed_out), "and the next one was under way by then"


def test_a_later_job_need_not_wait_for_the_end_of_an_earlier_one(record: Record, coordinate: Coordinate) -> None:
    jobs = [record.create_job(document(name=name, reuse=False))[0].id for name in ("first", "second")]
    coordinator = coordinate(InstantExecutor(slots=2))
    drive(coordinator, lambda: all(record.job(job_id).trials_done for job_id in jobs))
    assert not any(record.job(job_id).state.terminal for job_id in jobs)


def test_cancelling_stops_everything_at_once(record: Record, coordinate: Coordinate, tmp_path: Path) -> None:
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


def test_a_paused_job_goes_on_where_it_was(record: Record, coordinate: Coordinate, tmp_path: Path) -> None:
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
    assert all(trial.failures == 0 for trial in record.trials(job.id).items), "a pause is no failure"
    again = [assignment for assignment in executor.submitted if assignment.attempt > 1]
    assert again
    assert not any(assignment.failures for assignment in again), "and workers are told so"


@pytest.mark.parametrize("seed", range(4))
def test_verbs_at_any_moment_leave_a_legal_state_and_lose_no_result(record: Record, coordinate: Coordinate, seed: int) -> None:
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
        wanted = Verb.RESUME if state is JobState.PAUSED else rng.choice([Verb.PAUSE, Verb.PAUSE, Verb.RESUME])
        if wanted is Verb.PAUSE or state is JobState.PAUSED:
            record.request(job.id, wanted)
    if seed % 2 and not record.job(job.id).state.terminal:
        record.request(job.id, Verb.CANCEL)
    elif record.job(job.id).state is JobState.PAUSED or record.job(job.id).requested is Verb.PAUSE:
        record.request(job.id, Verb.RESUME)
    drive(coordinator, ended(record, job.id))
    if record.job(job.id).state is JobState.SUCCEEDED:
        assert record.result(job.id) == expected(document())
    assert states(record, job.id) <= {TrialState.COMPLETED, TrialState.STOPPED}


def test_what_workers_wait_for_is_said_on_the_jobs_that_wait(record: Record, coordinate: Coordinate) -> None:
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


def test_time_running_out_stops_new_stages_only(record: Record, coordinate: Coordinate) -> None:
    job, _ = record.create_job(document(limits={"max_seconds": 1e-6}))
    drive(coordinate(InstantExecutor()), ended(record, job.id))
    row, report = record.job(job.id), record.result(job.id)
    assert (row.state, row.reason) == (JobState.SUCCEEDED, "limit:max_seconds")
    assert report is not None
    assert (report["final"], report["verdict"], report["reason"]) == (True, "unresolved", "limit:max_seconds")


def test_events_of_an_attempt_that_is_over_change_nothing(record: Record, coordinate: Coordinate) -> None:
    job, _ = record.create_job(document())
    executor = InstantExecutor(slots=1)
    first = coordinate(executor)
    drive(first, lambda: TrialState.RUNNING in states(record, job.id))
    old = executor.running[0]

    heir = InstantExecutor(slots=1)
    heir.held = True
    second = coordinate(heir)
    drive(second, lambda: bool(heir.running))
    assert heir.running[0].trial_id == old.trial_id
    assert heir.running[0].attempt == old.attempt + 1
    *_, last = train_one(old.spec)
    late = [
        Started(old.trial_id, old.attempt, 0, "zombie", "instant"),
        Measured(old.trial_id, old.attempt, (last,)),
        Finished(old.trial_id, old.attempt, (last,)),
        Stopped(old.trial_id, old.attempt),
    ]
    before = record.trial(old.trial_id)
    heir.extra += late
    drive(second, lambda: not heir.extra)
    assert record.trial(old.trial_id) == before
    assert heir.running[0].trial_id == old.trial_id


def free(report: Any) -> dict[str, Any]:
    """A report without its bills: what the answer is."""
    return report | {"ladders": [{**ladder, "cost": None, "remedy": None} for ladder in report["ladders"]]}


@pytest.mark.parametrize("changes", [{}, ROBUST], ids=["paper", "robust with two ladders"])
def test_the_same_study_again_gives_the_same_answer_for_nothing(record: Record, coordinate: Coordinate, changes: dict[str, Any]) -> None:
    first, _ = record.create_job(document(**changes))
    drive(coordinate(InstantExecutor(slots=5)), ended(record, first.id))
    again, _ = record.create_job(document(**changes) | {"name": "again"})
    executor = InstantExecutor(slots=5)
    drive(coordinate(executor), ended(record, again.id))

    assert executor.submitted == []
    before, after = record.result(first.id), record.result(again.id)
    assert before is not None
    assert after is not None
    assert free(after) == free(before)
    for old, new in zip(before["ladders"], after["ladders"], strict=True):
        assert (old["cost"]["reused"], new["cost"]["reused"]) == (0, old["cost"]["trials"])
        assert new["cost"]["trials"] == old["cost"]["trials"]
        assert [new["cost"][name] for name in ("flops", "tokens", "seconds")] == [0, 0, 0]
    row = record.job(again.id)
    assert row.trials_done == row.trials_total == record.job(first.id).trials_total
    assert row.best_loss == record.job(first.id).best_loss
    assert any(trial.diverged and trial.reused for trial in record.terminal_trials(again.id)), "divergence is data, and reused as such"
    trial = record.trials(again.id).items[0]
    assert record.curve(trial.id).step == tuple(range(1, trial.steps + 1))


def test_a_study_that_says_so_trains_everything_itself(record: Record, coordinate: Coordinate) -> None:
    for name in ("first", "second"):
        job, _ = record.create_job(document(name=name, reuse=False))
        executor = InstantExecutor()
        drive(coordinate(executor), ended(record, job.id))
        assert len(executor.submitted) == record.job(job.id).trials_total
        assert record.result(job.id) == expected(document(name=name, reuse=False))


def test_workers_with_other_numerics_train_everything_again(record: Record, coordinate: Coordinate) -> None:
    first, _ = record.create_job(document())
    drive(coordinate(InstantExecutor()), ended(record, first.id))
    other = InstantExecutor()
    other.numerics = "another device"
    second, _ = record.create_job(document())
    drive(coordinate(other), ended(record, second.id))
    assert len(other.submitted) == record.job(second.id).trials_total
    assert record.result(second.id) == expected(document())


def test_a_study_that_shares_some_trials_trains_the_others(record: Record, coordinate: Coordinate) -> None:
    first, _ = record.create_job(document())
    drive(coordinate(InstantExecutor()), ended(record, first.id))
    wider = {"search": WIDER}
    second, _ = record.create_job(document(**wider))
    executor = InstantExecutor()
    drive(coordinate(executor), ended(record, second.id))
    known = record.known_digests(first.id)
    assert not known & {assignment.spec.digest for assignment in executor.submitted}
    report = record.result(second.id)
    assert report is not None
    assert free(report) == free(expected(document(**wider)))
    cost = report["ladders"][0]["cost"]
    assert cost["trials"] == cost["reused"] + len(executor.submitted)
    assert cost["flops"] == len(executor.submitted) * 5e9
    assert cost["reused"] == sum(trial.reused for trial in record.terminal_trials(second.id)) > 0


def test_nothing_is_handed_out_before_a_worker_has_said_what_it_computes_with(record: Record, coordinate: Coordinate) -> None:
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


def test_what_another_job_finishes_meanwhile_need_not_be_trained(record: Record, coordinate: Coordinate) -> None:
    one, _ = record.create_job(document(limits={"max_parallel": 1}))
    other, _ = record.create_job(document(name="other"))
    executor = InstantExecutor(slots=4)
    drive(coordinate(executor), ended(record, one.id, other.id))
    reused = sum(trial.reused for job in (one, other) for trial in record.terminal_trials(job.id))
    assert reused > 0
    assert len(executor.submitted) + reused == record.job(one.id).trials_total + record.job(other.id).trials_total
    for job in (one, other):
        report = record.result(job.id)
        assert report is not None
        assert free(report) == free(expected(document()))


def test_coordinators_killed_while_they_reuse_change_nothing(record: Record, database_url: str, coordinate: Coordinate) -> None:
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
    assert free(report) == free(expected(wider))
    assert report["ladders"][0]["cost"]["reused"] > 0


def test_a_failed_job_that_is_retried_is_finished_with_what_it_had(record: Record, coordinate: Coordinate) -> None:
    job, _ = record.create_job(document())

    def fail(assignment: Assignment) -> Failure | None:
        gone = assignment.spec.model.width == 64 and assignment.attempt == 1
        return Failure("operational", "the disk is full", retryable=False) if gone else None

    executor = InstantExecutor(disturbances=Disturbances(fail=fail))
    coordinator = coordinate(executor)
    drive(coordinator, ended(record, job.id))
    assert record.job(job.id).state is JobState.FAILED
    done = {trial.id for trial in record.trials(job.id).items if trial.state is TrialState.COMPLETED}
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
    assert not done & {assignment.trial_id for assignment in executor.submitted}, "a finished trial ran again"
    assert all(assignment.attempt > 1 for assignment in executor.submitted)


@pytest.mark.parametrize("seed", range(2))
def test_a_job_cancelled_at_any_moment_and_retried_at_once_gives_its_answer(record: Record, coordinate: Coordinate, seed: int) -> None:
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


def test_checkpoints_go_with_their_trials(record: Record, coordinate: Coordinate, tmp_path: Path) -> None:
    job, _ = record.create_job(document())
    coordinator = coordinate(InstantExecutor())
    drive(coordinator, lambda: any(tmp_path.glob("checkpoints/*/*")))
    drive(coordinator, ended(record, job.id))
    assert list((tmp_path / "checkpoints").iterdir()) == []


class Local(LocalExecutor):
    """Trains for real; after the first trial that ends it has no room, until somebody makes some."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Event] = []

    def events(self, timeout: float) -> Sequence[Event]:
        happened = super().events(timeout)
        self.heard += happened
        if any(isinstance(event, Finished) for event in happened):
            self.room = 0
        return happened


@dataclass(frozen=True)
class Branching:
    """The question of a trunk and its branches."""

    trunk: TrialSpec
    branches: tuple[TrialSpec, ...]
    name: str = "branching"
    reuse: bool = False

    def plan(self, trials: Sequence[Trial]) -> Plan:
        ended = {trial.digest for trial in trials}
        start = self.branches if self.trunk.digest in ended else (self.trunk,)
        return Plan(tuple(Planned(spec, Label("adamw", "runs")) for spec in start), ended >= {spec.digest for spec in self.branches})

    def report(self, trials: Sequence[Trial], ended: Ended | None = None) -> dict[str, Any]:
        return {"losses": {trial.digest: trial.loss for trial in trials}}

    @property
    def study(self) -> AnyStudy:
        kind: Kind[Any, Any, Any] = Kind(
            name="telescope",
            question=Branching,
            report=dict,
            preview=dict,
            check=lambda question: question,
            plan=Branching.plan,
            answer=Branching.report,
            forecast=lambda question, machine: {},
        )
        return kind.of(self)


def branching() -> Branching:
    trunk = replace(small.trial(small.ADAMW, horizon=replace(small.HORIZON, decay="constant")), kept_steps=(8, 12))
    return Branching(trunk, (cooldown(trunk, 8, 5), extension(trunk, 16)))


def test_what_a_trunk_keeps_is_there_while_its_job_lives_and_no_longer(
    record: Record, coordinate: Coordinate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = branching()
    job, _ = record.create_job(DOCUMENT)
    monkeypatch.setattr(registry, "parse", lambda document: study.study)
    folder = tmp_path / "checkpoints" / job.id
    kept = [kept_path(folder, study.trunk.digest, step) for step in (8, 12)]
    first = Local()
    drive(coordinate(first), lambda: record.job(job.id).trials_total == 3)
    first.close()
    assert sorted(folder.iterdir()) == sorted(kept), "and no checkpoint of the trunk, which has ended"

    second = Local()
    second.room = 0
    coordinator = coordinate(second)
    record.request(job.id, Verb.PAUSE)
    drive(coordinator, lambda: record.job(job.id).state is JobState.PAUSED)
    record.request(job.id, Verb.RESUME)
    drive(coordinator, lambda: record.job(job.id).state is JobState.RUNNING)
    assert sorted(folder.iterdir()) == sorted(kept)
    drive(coordinator, lambda: setattr(second, "room", 16) or ended(record, job.id)())  # type: ignore[func-returns-value]
    second.close()

    assert [event.resumed_step for event in second.heard if isinstance(event, Started)] in ([8, 12], [12, 8])
    assert list((tmp_path / "checkpoints").iterdir()) == []
    report = record.result(job.id)
    assert report is not None
    rows = record.trials(job.id).items
    for spec, row in zip((study.trunk, *study.branches), rows, strict=True):
        points = list(train_plainly(spec))
        assert report["losses"][spec.digest] == row.loss == points[-1].metrics["loss"]
        assert record.curve(row.id).step == tuple(point.step for point in points)
        assert row.flops == row.flops_spent == trial_flops(spec)
        assert (row.step, row.steps) == (spec.horizon.steps, spec.horizon.steps)


def test_a_trial_that_stops_below_its_loss_is_completed_with_it(
    record: Record, coordinate: Coordinate, monkeypatch: pytest.MonkeyPatch
) -> None:
    easy = replace(small.HORIZON, evaluate_every=4, stop_below_loss=100.0)
    study = Branching(small.trial(small.ADAMW, horizon=easy), (small.trial(small.ADAMW, horizon=easy, seed=1),))
    job, _ = record.create_job(DOCUMENT)
    monkeypatch.setattr(registry, "parse", lambda document: study.study)
    executor = LocalExecutor()
    drive(coordinate(executor), ended(record, job.id))
    executor.close()
    row, now = record.trials(job.id).items[0], record.job(job.id)
    points = list(train_plainly(study.trunk))
    assert (row.state, row.step, row.steps, row.loss) == (TrialState.COMPLETED, 4, 12, points[-1].metrics["loss"])
    assert row.flops == row.flops_spent == points[-1].flops < trial_flops(study.trunk)
    view = progress(now, record.trials(job.id).items, datetime.now(UTC), 2 * trial_flops(study.trunk))
    assert [(level.done, level.total) for level in view.levels] == [(2, 2)]
    assert [trial.failure for trial in record.terminal_trials(job.id)] == [None, None]


class Headless(InstantExecutor):
    """An executor whose workers are gone for good."""

    def events(self, timeout: float) -> Sequence[Event]:
        raise WorkersLost("Ray's head does not answer")


def test_workers_lost_for_good_end_the_coordinator_and_the_next_one_goes_on(
    record: Record, coordinate: Coordinate, database_url: str
) -> None:
    job, _ = record.create_job(document())
    lock = CoordinatorLock(database_url)
    with pytest.raises(WorkersLost, match="head"):
        coordinate(Headless()).run(threading.Event(), lock)
    lock.release()
    assert record.job(job.id).state is JobState.RUNNING
    drive(coordinate(InstantExecutor()), ended(record, job.id))
    assert record.result(job.id) == expected(document())


def test_a_coordinator_whose_lock_was_cut_takes_it_again_or_gives_way(record: Record, coordinate: Coordinate, database_url: str) -> None:
    job, _ = record.create_job(document())
    first, second = CoordinatorLock(database_url), CoordinatorLock(database_url)
    assert first.acquire()
    first.release()  # as when the connection that holds it is cut
    assert second.acquire()
    executor = InstantExecutor()
    with pytest.raises(Superseded):
        coordinate(executor).run(threading.Event(), first)
    assert executor.submitted == []  # it ran nothing beside the other
    second.release()
    stop = threading.Event()
    executor = StopsWhenDone(record, job.id, stop)
    coordinate(executor).run(stop, first)
    assert first.held()
    first.release()
    assert record.result(job.id) == expected(document())


class StopsWhenDone(InstantExecutor):
    """Asks its coordinator to end when a job has ended."""

    def __init__(self, record: Record, job_id: str, stop: threading.Event) -> None:
        super().__init__()
        self._ended, self._stop = ended(record, job_id), stop

    def events(self, timeout: float) -> Sequence[Event]:
        if self._ended():
            self._stop.set()
        return super().events(timeout)
