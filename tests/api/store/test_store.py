"""The store on both databases: jobs, trials and their attempts, reuse, retries."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, get_args

import pytest
from sqlalchemy import Engine, event, select

from api.job_states import JobState, Verb
from api.store.jobs import IdempotencyMismatch, new_job_id
from api.store.record import CoordinatorStore
from api.store.rows import Begun, TrainingRate, TrialFilter, TrialRow
from api.store.store import Store
from api.store.tables import results, trials
from telescope.errors import NotFound
from telescope.train.flops import trial_flops
from telescope.trials.data import DataSpec
from telescope.trials.horizon import Branch
from telescope.trials.outcome import Failure, Measurement, TrialState, completed
from telescope.trials.types import OptimizerName
from tests.api.trials import DOCUMENT, labelled, outcome, point, points, spec

MAX_QUERIES = 5


def running_job(record: CoordinatorStore, trials: int = 1) -> str:
    """A started job with pending trials."""
    job, _ = record.create_job(DOCUMENT)
    record.begin_job(job.id)
    record.plan_trials(job.id, labelled([spec(seed) for seed in range(trials)]))
    return job.id


def first_trial(record: CoordinatorStore, job_id: str) -> TrialRow:
    return record.trials(job_id, 1).items[0]


def running_trial(record: CoordinatorStore) -> TrialRow:
    """A trial that a worker has started."""
    trial = first_trial(record, running_job(record))
    assert record.trial_started(trial.id, 1, Begun(0, "worker", "cpu"))
    return record.trial(trial.id)


@contextmanager
def counted(record: CoordinatorStore) -> Iterator[list[str]]:
    """The SQL statements that are sent in the block."""
    statements: list[str] = []

    def append(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    engines: set[Engine] = {record._reader, record._writer}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", append)
    yield statements
    for engine in engines:
        event.remove(engine, "before_cursor_execute", append)


# Jobs


def test_a_new_job_is_queued_and_keeps_its_study(record: CoordinatorStore) -> None:
    job, created = record.create_job(DOCUMENT, owner="ada")
    assert created
    assert (job.state, job.name, job.kind) == (JobState.QUEUED, "a job", "telescope")
    assert (job.owner, job.max_parallel) == ("ada", 3)
    assert job.created_at.tzinfo is not None
    assert record.job(job.id) == job
    assert record.study_document(job.id) == DOCUMENT
    assert record.result(job.id) is None


def test_one_idempotency_key_creates_one_job_and_refuses_another_body(
    record: CoordinatorStore,
) -> None:
    first, created = record.create_job(DOCUMENT, idempotency_key="key", body_hash="a")
    repeated, created_twice = record.create_job(DOCUMENT, idempotency_key="key", body_hash="a")
    assert (created, created_twice, repeated.id) == (True, False, first.id)
    with pytest.raises(IdempotencyMismatch, match="key"):
        record.create_job(DOCUMENT, idempotency_key="key", body_hash="b")
    foreign, _ = record.create_job(DOCUMENT, idempotency_key="key", body_hash="b", owner="ada")
    assert foreign.id != first.id
    assert len(record.jobs().items) == 2


def test_one_key_sent_many_times_at_once_makes_one_job(record: CoordinatorStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        created_jobs = list(
            pool.map(
                lambda _: record.create_job(DOCUMENT, idempotency_key="key", body_hash="a"),
                range(16),
            )
        )
    assert len({job.id for job, _ in created_jobs}) == 1
    assert sum(created for _, created in created_jobs) == 1


def test_jobs_without_a_key_are_all_different(record: CoordinatorStore) -> None:
    assert record.create_job(DOCUMENT)[0].id != record.create_job(DOCUMENT)[0].id


def test_job_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1_000_000_000_000_000_000, 1_000_000_001_000_000_000, 2_000_000_000_000_000_000])
    monkeypatch.setattr("time.time_ns", lambda: next(clock))
    ids = [new_job_id() for _ in range(3)]
    assert ids == sorted(ids)


@pytest.mark.parametrize(
    "ask", [Store.job, Store.study_document, Store.result, Store.trials, Store.curves]
)
def test_an_unknown_job_is_not_found(
    record: CoordinatorStore, ask: Callable[[Store, str], Any]
) -> None:
    with pytest.raises(NotFound, match="no job job-x"):
        ask(record, "job-x")


@pytest.mark.parametrize("ask", [Store.trial, Store.trial_spec, Store.curve])
def test_an_unknown_trial_is_not_found(
    record: CoordinatorStore, ask: Callable[[Store, int], Any]
) -> None:
    with pytest.raises(NotFound, match="no trial 7"):
        ask(record, 7)


# Trials


def test_planning_twice_starts_nothing_twice(record: CoordinatorStore) -> None:
    job_id = running_job(record, trials=3)
    assert record.plan_trials(job_id, labelled([spec(seed) for seed in range(5)])) == 2
    assert record.plan_trials(job_id, labelled([spec(seed) for seed in range(5)])) == 0
    assert record.job(job_id).trials_total == 5
    assert [trial.seed for trial in record.trials(job_id).items] == [0, 1, 2, 3, 4]
    assert record.trial_digests(job_id) == {spec(seed).digest for seed in range(5)}


def test_two_jobs_may_have_the_same_trial(record: CoordinatorStore) -> None:
    first, second = running_job(record), running_job(record)
    assert first_trial(record, first).digest == first_trial(record, second).digest
    assert first_trial(record, first).id != first_trial(record, second).id


def test_the_columns_of_trials_have_room_for_every_optimizer_name() -> None:
    longest = max(map(len, get_args(OptimizerName)))
    assert longest <= trials.c.optimizer.type.length == trials.c.ladder.type.length


def test_specs_survive_the_database(record: CoordinatorStore, database_url: str) -> None:
    job_id = running_job(record)
    trial = first_trial(record, job_id)
    stranger = CoordinatorStore(database_url)  # without parsed specs in its cache
    assert stranger.trial_spec(trial.id) == spec(0)
    assert stranger.trial_spec(trial.id).digest == trial.digest == spec(0).digest
    assert stranger.pending_trials(job_id, 1)[0].spec == spec(0)
    stranger.close()


def test_the_longest_pending_trials_come_first(
    record: CoordinatorStore,
) -> None:
    job_id = running_job(record, trials=0)
    planned = [spec(0), spec(0, width=64), spec(1), spec(0, optimizer="muon"), spec(0, steps=1000)]
    record.plan_trials(job_id, labelled(planned[:3]))
    record.plan_trials(job_id, labelled(planned[3:]))
    waiting = [pending.spec for pending in record.pending_trials(job_id, 10)]
    short, wide, equal, muon, long = planned
    assert waiting == [long, wide, muon, short, equal]
    assert [trial_flops(spec) for spec in waiting] == sorted(
        map(trial_flops, planned), reverse=True
    )
    assert record.pending_trials(job_id, 2)[-1].spec == wide
    record.trial_started(record.pending_trials(job_id, 1)[0].trial_id, 1, Begun(0, "worker", "cpu"))
    assert record.pending_trials(job_id, 1)[0].spec == wide


def test_completed_trials_are_counted_and_the_lowest_loss_is_the_jobs_best(
    record: CoordinatorStore,
) -> None:
    job_id = running_job(record, trials=4)
    for trial, loss in zip(record.trials(job_id).items, (3.0, 2.0, float("inf"), 2.5), strict=True):
        record.trial_started(trial.id, 1, Begun(0, "worker", "cpu"))
        assert record.trial_finished(trial.id, *outcome(spec(trial.seed), loss))
    job = record.job(job_id)
    assert (job.trials_done, job.best_loss) == (4, 2.0)
    assert [trial.loss for trial in record.terminal_trials(job_id)] == [3.0, 2.0, float("inf"), 2.5]
    diverged = record.trials(job_id).items[2]
    assert (diverged.loss, diverged.diverged, diverged.failure_kind) == (None, True, "scientific")
    assert record.terminal_trials(job_id)[2].diverged


@pytest.mark.parametrize("measure", ["coordinates", "time"])
def test_trials_that_measure_coordinates_or_time_count_neither_for_best_loss_nor_pace(
    record: CoordinatorStore, measure: Literal["coordinates", "time"]
) -> None:
    checks = [replace(spec(0), measure=measure), spec(1)]
    job_id = running_job(record, trials=0)
    record.plan_trials(job_id, labelled(checks))
    for trial, planned, loss in zip(record.trials(job_id).items, checks, (1.0, 2.0), strict=True):
        assert trial.measure == planned.measure
        record.trial_started(trial.id, 1, Begun(0, "worker", "cpu"))
        assert record.trial_finished(trial.id, *outcome(planned, loss))
    assert (record.job(job_id).trials_done, record.job(job_id).best_loss) == (2, 2.0)
    assert [rate.trials for rate in record.rates()] == [1]
    later = running_job(record, trials=0)
    record.plan_trials(later, labelled(checks))
    assert record.reuse_trials(later, "cpu") == 2
    assert record.job(later).best_loss == 2.0


def test_a_finished_trial_finishes_once(record: CoordinatorStore) -> None:
    trial = running_trial(record)
    assert record.trial_finished(trial.id, *outcome(spec(0), 2.0))
    done = record.trial(trial.id)
    assert not record.trial_finished(trial.id, *outcome(spec(0), 1.0))
    assert not record.trial_started(trial.id, 1, Begun(0, "late", "cpu"))
    assert not record.trial_measured(trial.id, 1, points(1, 20))
    assert not record.trial_released(trial.id, 1)
    assert record.trial_failed(trial.id, 1, Failure("operational", "late"), 3) is None
    assert record.trial(trial.id) == done
    assert record.job(trial.job_id).trials_done == 1


def test_a_repeated_report_changes_nothing(record: CoordinatorStore) -> None:
    trial = running_trial(record)
    assert record.trial_measured(trial.id, 1, points(1, 3))
    assert record.trial_measured(trial.id, 1, points(4, 6))
    before = record.trial(trial.id)
    assert not record.trial_measured(trial.id, 1, points(4, 6))
    assert not record.trial_measured(trial.id, 1, points(1, 3))
    assert record.trial(trial.id) == before
    assert record.curve(trial.id).step == (1, 2, 3, 4, 5, 6)


def test_repeated_steps_count_as_spent_and_not_as_useful_flops(record: CoordinatorStore) -> None:
    trial = running_trial(record)
    record.trial_measured(trial.id, 1, points(1, 6))
    assert record.requeue_lost() == 1
    assert record.pending_trials(trial.job_id, 1)[0].attempt == 2
    record.trial_started(trial.id, 2, Begun(4, "another worker", "cpu"))
    resumed = record.trial(trial.id)
    assert (resumed.step, resumed.flops, resumed.flops_spent) == (4, 4e6, 6e6)
    record.trial_measured(trial.id, 2, points(5, 10))
    record.trial_finished(trial.id, *outcome(spec(0), attempt=2))
    done = record.trial(trial.id)
    assert (done.step, done.flops, done.flops_spent, done.attempt) == (10, 10e6, 12e6, 2)
    assert record.curve(trial.id).step == tuple(range(1, 11))


TRUNK, BRANCH_STEP = spec(0), 4
BRANCHED = replace(spec(0, steps=12), branch=Branch(trunk=TRUNK.digest, step=BRANCH_STEP))


def branch_trial(record: CoordinatorStore, trunks: str = "cpu") -> TrialRow:
    """A pending branch whose trunk has been trained."""
    job_id = running_job(record)
    trunk = first_trial(record, job_id)
    record.trial_started(trunk.id, 1, Begun(0, "worker", trunks))
    record.trial_finished(trunk.id, *outcome(TRUNK))
    record.plan_trials(job_id, labelled([BRANCHED]))
    return record.trials(job_id).items[1]


def own_points(first: int, last: int) -> tuple[Measurement, ...]:
    """Points of a branch, whose FLOPs are those after its trunk."""
    return tuple(
        replace(point(step), flops=1e6 * (step - BRANCH_STEP)) for step in range(first, last + 1)
    )


@pytest.mark.parametrize(
    ("resumed_step", "useful", "spent"),
    [(8, 4e6, 10e6), (BRANCH_STEP, 0.0, 14e6), (2, 0.0, 14e6), (0, 0.0, 14e6)],
    ids=[
        "its own checkpoint",
        "its trunk's state",
        "a checkpoint within the trunk's steps",
        "nothing",
    ],
)
def test_a_branch_has_spent_its_own_steps_for_any_resumed_step(
    record: CoordinatorStore, resumed_step: int, useful: float, spent: float
) -> None:
    trial = branch_trial(record)
    assert record.trial_started(trial.id, 1, Begun(BRANCH_STEP, "worker", "cpu", BRANCHED.branch))
    begun = record.trial(trial.id)
    assert (begun.step, begun.flops, begun.flops_spent, begun.numerics) == (0, 0, 0, "cpu")
    record.trial_measured(trial.id, 1, own_points(5, 10))
    record.trial_released(trial.id, 1)
    assert record.trial_started(trial.id, 2, Begun(resumed_step, "worker", "cpu", BRANCHED.branch))
    resumed = record.trial(trial.id)
    assert (resumed.step, resumed.flops, resumed.flops_spent) == (resumed_step, useful, 6e6)
    record.trial_measured(trial.id, 2, own_points(max(5, resumed_step + 1), 12))
    done = record.trial(trial.id)
    assert (done.step, done.flops, done.flops_spent) == (12, 8e6, spent)


def test_restarts_of_a_branch_spend_nothing_with_or_without_the_state_of_its_trunk(
    record: CoordinatorStore,
) -> None:
    trial = branch_trial(record)
    record.trial_started(trial.id, 1, Begun(BRANCH_STEP, "worker", "cpu", BRANCHED.branch))
    record.trial_measured(trial.id, 1, own_points(5, 5))
    for attempt, resumed_step in ((2, BRANCH_STEP), (3, 0)):
        record.trial_released(trial.id, attempt - 1)
        assert record.trial_started(
            trial.id, attempt, Begun(resumed_step, "worker", "cpu", BRANCHED.branch)
        )
        assert (record.trial(trial.id).flops, record.trial(trial.id).flops_spent) == (0, 1e6)


def test_a_branch_that_resumes_from_a_trunk_of_other_numerics_is_mixed(
    record: CoordinatorStore,
) -> None:
    for trunks, resumed_step, expected in (
        ("cpu", BRANCH_STEP, "cpu"),
        ("gpu", BRANCH_STEP, "mixed"),
        ("gpu", 0, "cpu"),
        ("mixed", 4, "mixed"),
    ):
        trial = branch_trial(record, trunks)
        record.trial_started(trial.id, 1, Begun(resumed_step, "worker", "cpu", BRANCHED.branch))
        assert record.trial(trial.id).numerics == expected
        record.trial_measured(trial.id, 1, own_points(5, 6))
        record.trial_released(trial.id, 1)
        own_checkpoint = Begun(6, "worker", "cpu", BRANCHED.branch)
        record.trial_started(trial.id, 2, own_checkpoint)
        assert record.trial(trial.id).numerics == expected


def test_the_last_point_is_stored_with_the_end_of_the_trial(record: CoordinatorStore) -> None:
    trial = running_trial(record)
    record.trial_measured(trial.id, 1, points(1, 9))
    record.trial_finished(trial.id, *outcome(spec(0), 2.5))
    assert record.curve(trial.id).metrics["loss"] == (*[None] * 9, 2.5)


def test_failures_count_up_to_the_limit(record: CoordinatorStore) -> None:
    trial = running_trial(record)
    died = Failure("operational", "its worker died")
    retried = record.trial_failed(trial.id, 1, died, 2)
    assert retried is not None
    assert (retried.state, retried.attempt, retried.failures, retried.failure_message) == (
        TrialState.PENDING,
        2,
        1,
        "its worker died",
    )
    failed = record.trial_failed(trial.id, 2, died, 2)
    assert failed is not None
    assert (failed.state, failed.failures, failed.ended_at is not None) == (
        TrialState.FAILED,
        2,
        True,
    )


def test_a_stopped_attempt_is_pending_again_only_while_its_job_is_active(
    record: CoordinatorStore,
) -> None:
    trial = running_trial(record)
    assert record.trial_released(trial.id, 1)
    assert (record.trial(trial.id).state, record.trial(trial.id).attempt) == (TrialState.PENDING, 2)
    record.request(trial.job_id, Verb.CANCEL)
    record.carry_out(trial.job_id)
    assert not record.trial_released(trial.id, 2)
    assert record.trial(trial.id).state is TrialState.STOPPED


def test_curves_of_a_job_are_filtered_and_thinned(record: CoordinatorStore) -> None:
    job_id = running_job(record, trials=2)
    record.plan_trials(job_id, labelled([spec(0, width=64, optimizer="muon", steps=500)]))
    for trial in record.trials(job_id).items:
        record.trial_started(trial.id, 1, Begun(0, "worker", "cpu"))
        record.trial_measured(trial.id, 1, points(1, trial.steps))
    assert [len(curve.step) for curve in record.curves(job_id, points=100)] == [10, 10, 98]
    assert (
        len(record.curves(job_id, only=TrialFilter(width=64)))
        == len(record.curves(job_id, only=TrialFilter(optimizer="muon")))
        == 1
    )


def test_results_replace_one_another_and_the_final_one_ends_the_job(
    record: CoordinatorStore,
) -> None:
    job_id = running_job(record)
    record.put_result(job_id, {"final": False}, final=False)
    assert record.result(job_id) == {"final": False}
    version = record.job(job_id).version
    ended = record.finish_job(job_id, JobState.SUCCEEDED, None, {"final": True})
    assert (ended.state, record.result(job_id)) == (JobState.SUCCEEDED, {"final": True})
    assert ended.version > version
    assert first_trial(record, job_id).state is TrialState.STOPPED


def test_only_running_jobs_with_pending_trials_name_the_resource_they_wait_for(
    record: CoordinatorStore,
) -> None:
    waiting, queued = running_job(record), record.create_job(DOCUMENT)[0].id
    busy = running_trial(record).job_id
    record.set_waiting("a GPU")
    assert [record.job(job_id).waiting_for for job_id in (waiting, queued, busy)] == [
        "a GPU",
        None,
        None,
    ]
    version = record.job(waiting).version
    record.set_waiting("a GPU")
    assert record.job(waiting).version == version
    record.set_waiting(None)
    assert record.job(waiting).waiting_for is None


# Reuse


def finished_job(
    record: CoordinatorStore, losses: tuple[float, ...] = (3.0, 2.0), numerics: str = "cpu"
) -> str:
    """A job whose trials a worker has trained, with curves; their seeds count from 0."""
    job_id = running_job(record, trials=len(losses))
    for trial, loss in zip(record.trials(job_id).items, losses, strict=True):
        record.trial_started(trial.id, 1, Begun(0, "worker", numerics))
        record.trial_measured(trial.id, 1, points(1, 9))
        record.trial_finished(trial.id, *outcome(spec(trial.seed), loss))
    return job_id


def test_a_reused_trial_costs_nothing_and_has_all_measurements_of_the_original(
    record: CoordinatorStore,
) -> None:
    earlier = finished_job(record, (3.0, float("inf")))
    later = running_job(record, trials=3)
    version = record.job(later).version
    assert record.reuse_trials(later, "cpu") == 2
    assert record.job(later).version > version
    assert (record.job(later).trials_done, record.job(later).best_loss) == (2, 3.0)
    for old, new in zip(record.trials(earlier).items, record.trials(later).items[:2], strict=True):
        same = (
            "digest",
            "state",
            "loss",
            "diverged",
            "step",
            "flops",
            "failure_kind",
            "failure_message",
            "numerics",
        )
        assert [getattr(new, name) for name in same] == [getattr(old, name) for name in same]
        assert (new.reused_from, new.flops_spent, new.seconds, new.worker) == (old.id, 0, 0, None)
        assert new.ended_at is not None
        assert record.curve(new.id).step == record.curve(old.id).step == tuple(range(1, 11))
        assert record.curve(new.id).trial_id == new.id
    assert [curve.trial_id for curve in record.curves(later)] == [
        trial.id for trial in record.trials(later).items[:2]
    ]
    assert record.trials(later).items[2].state is TrialState.PENDING
    ours, theirs = record.terminal_trials(later), record.terminal_trials(earlier)
    assert [
        replace(trial, reused=False, seconds=old.seconds)
        for trial, old in zip(ours, theirs, strict=True)
    ] == theirs
    assert [(trial.reused, trial.diverged) for trial in ours] == [(True, False), (True, True)]
    assert record.reuse_trials(later, "cpu") == 0, "a second call changes nothing"


def test_a_reused_trial_names_the_trial_that_was_trained(record: CoordinatorStore) -> None:
    planned_before = running_job(record)
    trained = first_trial(record, finished_job(record))
    for job_id in (planned_before, running_job(record)):
        record.reuse_trials(job_id, "cpu")
        assert first_trial(record, job_id).reused_from == trained.id


def test_trials_of_other_numerics_and_unfinished_trials_are_not_reused(
    record: CoordinatorStore,
) -> None:
    finished_job(record, numerics="another device")
    failed = running_trial(record)
    record.trial_failed(failed.id, 1, Failure("operational", "died"), 1)
    busy = running_trial(record)
    later = running_job(record, trials=2)
    assert record.reuse_trials(later, "cpu") == 0
    assert record.trial(busy.id).state is TrialState.RUNNING
    assert {trial.state for trial in record.trials(later).items} == {TrialState.PENDING}


def test_trials_that_have_started_or_are_at_a_worker_are_not_replaced_by_reuse(
    record: CoordinatorStore,
) -> None:
    finished_job(record, (3.0, 2.0, 1.0))
    later = running_job(record, trials=3)
    begun, held, free = record.trials(later).items
    record.trial_started(begun.id, 1, Begun(0, "worker", "cpu"))
    record.trial_measured(begun.id, 1, points(1, 3))
    record.trial_released(begun.id, 1)
    assert record.reuse_trials(later, "cpu", [held.id]) == 1
    assert [trial.reused_from is None for trial in record.trials(later).items] == [
        True,
        True,
        False,
    ]
    assert record.trial(free.id).state is TrialState.COMPLETED


def test_a_trial_that_resumes_with_other_numerics_is_mixed(
    record: CoordinatorStore,
) -> None:
    trial = running_trial(record)
    assert record.trial(trial.id).numerics == "cpu"
    record.trial_measured(trial.id, 1, points(1, 5))
    record.trial_released(trial.id, 1)
    record.trial_started(trial.id, 2, Begun(5, "worker", "gpu"))
    assert record.trial(trial.id).numerics == "mixed"
    record.trial_released(trial.id, 2)
    record.trial_started(trial.id, 3, Begun(5, "worker", "gpu"))
    assert record.trial(trial.id).numerics == "mixed", "its first steps were on the cpu"
    record.trial_released(trial.id, 3)
    record.trial_started(trial.id, 4, Begun(0, "worker", "gpu"))
    assert record.trial(trial.id).numerics == "gpu", "it started from step 0"


def test_reusing_two_thousand_trials_takes_as_many_statements_as_reusing_two(
    record: CoordinatorStore,
) -> None:
    def statements(trials: int) -> int:
        finished_job(record)
        job_id = running_job(record, trials)
        with counted(record) as sent:
            assert record.reuse_trials(job_id, "cpu") == 2
        return len(sent)

    assert statements(2) == statements(2000) <= MAX_QUERIES


def test_all_metrics_of_the_last_point_are_stored(record: CoordinatorStore) -> None:
    trial = running_trial(record)
    last = point(10, train_loss=2.0, loss=2.5, update_rms=0.1, odd=float("inf"))
    record.trial_finished(trial.id, completed(spec(0), [last]), [last])
    assert record.terminal_trials(trial.job_id)[0].metrics == last.metrics


def test_equal_tokens_of_two_paths_are_one_trial_and_each_job_reads_its_own_path(
    record: CoordinatorStore, database_url: str
) -> None:
    def planned_at(corpus: str | dict[str, float]) -> str:
        job, _ = record.create_job(DOCUMENT | {"data": {"corpus": corpus, "tokenizer": "bytes"}})
        record.begin_job(job.id)
        trial_spec = replace(spec(0), data=replace(spec(0).data, corpus=corpus))
        record.plan_trials(job.id, labelled([trial_spec]))
        return job.id

    places = ("/here", "/there", {"/there": 7.0, "/here": 3.0})
    jobs = [planned_at(place) for place in places]
    assert len({first_trial(record, job_id).digest for job_id in jobs}) == 1
    stranger = CoordinatorStore(database_url)
    for job_id, place in zip(jobs, places, strict=True):
        data = replace(spec(0).data, corpus=place)
        assert stranger.pending_trials(job_id, 1)[0].spec.data == data
        assert stranger.trial_spec(first_trial(record, job_id).id).data == data
    stranger.close()


def test_each_text_of_a_job_over_several_is_read_from_the_path_of_the_job(
    record: CoordinatorStore, database_url: str
) -> None:
    def data(content: str, corpus: str) -> DataSpec:
        return replace(spec(0).data, content=content, corpus=corpus)

    def planned(texts: dict[str, str], study: dict[str, Any]) -> str:
        job, _ = record.create_job(DOCUMENT | study)
        record.begin_job(job.id)
        record.plan_trials(
            job.id,
            labelled(
                [replace(spec(0), data=data(content, corpus)) for content, corpus in texts.items()]
            ),
        )
        return job.id

    for content in "xy":  # elsewhere, by a job each
        planned(
            {content: f"/there/{content}"},
            {"data": {"corpus": f"/there/{content}", "content": content}},
        )
    entries = [{"name": name, "corpus": f"/here/{name}", "content": name} for name in "xy"]
    both = planned(
        {"x": "/here/x", "y": "/here/y"},
        {"data": {"corpus": "/nowhere"}, "sweep_over": {"data": entries}},
    )
    stranger = CoordinatorStore(database_url)
    assert {
        name.spec.data.content: name.spec.data.corpus for name in stranger.pending_trials(both, 9)
    } == {"x": "/here/x", "y": "/here/y"}
    digests = [trial.digest for trial in stranger.trials(both).items]
    assert {digest: spec.digest for digest, spec in stranger.specs(both, digests[:1]).items()} == {
        digests[0]: digests[0]
    }
    stranger.close()


def test_rates_are_of_trained_trials_by_shape_and_numerics(record: CoordinatorStore) -> None:
    finished_job(record, (3.0, float("inf")))
    record.reuse_trials(running_job(record), "cpu")
    wide = running_job(record, trials=0)
    record.plan_trials(wide, labelled([spec(0, width=64, steps=20)]))
    trial = first_trial(record, wide)
    record.trial_started(trial.id, 1, Begun(0, "worker", "gpu"))
    record.trial_finished(trial.id, *outcome(spec(0, width=64, steps=20)))
    mixed = running_trial(record)
    record.trial_started(mixed.id, 1, Begun(0, "worker", "cpu"))
    record.trial_released(mixed.id, 1)
    record.trial_started(mixed.id, 2, Begun(5, "worker", "gpu"))
    record.trial_finished(mixed.id, *outcome(spec(0), attempt=2))
    running_trial(record)
    newest, older = record.rates()
    assert newest == TrainingRate("adamw", 64, 32, "gpu", 1, pytest.approx(1e7))
    assert older == TrainingRate("adamw", 32, 32, "cpu", 2, pytest.approx(1e7))


# Retries


def test_a_retry_repeats_failed_and_stopped_trials_and_keeps_completed_ones(
    record: CoordinatorStore,
) -> None:
    job_id = finished_job(record)
    record.plan_trials(job_id, labelled([spec(seed) for seed in range(4)]))
    done, _, failed, stopped = record.trials(job_id).items
    record.trial_failed(failed.id, 1, Failure("operational", "died"), 1)
    record.finish_job(job_id, JobState.FAILED, "a trial failed", {"final": True, "best": "muon"})
    assert record.trial(stopped.id).state is TrialState.STOPPED

    queued = record.request(job_id, Verb.RETRY)
    assert (queued.state, queued.reason, queued.ended_at, queued.requested) == (
        JobState.QUEUED,
        None,
        None,
        None,
    )
    interim = {"final": False, "best": "muon"}
    assert record.result(job_id) == interim, "the result stays, and is no longer final"
    with record._read() as connection:
        query = select(results.c.final).where(results.c.job_id == job_id)
        assert connection.execute(query).scalar() is False
    running = record.begin_job(job_id)
    assert (running.state, running.trials_done, running.started_at) == (
        JobState.RUNNING,
        2,
        queued.started_at,
    )
    assert record.trial(done.id) == done
    for trial_id in (failed.id, stopped.id):
        retried = record.trial(trial_id)
        assert (retried.state, retried.attempt, retried.failures, retried.ended_at) == (
            TrialState.PENDING,
            2,
            0,
            None,
        )
    assert not record.trial_started(failed.id, 1, Begun(0, "zombie", "cpu"))


def test_a_retry_can_be_cancelled_before_it_begins(record: CoordinatorStore) -> None:
    job_id = running_job(record)
    record.finish_job(job_id, JobState.FAILED, "because")
    record.request(job_id, Verb.RETRY)
    record.request(job_id, Verb.CANCEL)
    assert record.carry_out(job_id).state is JobState.CANCELLED
    assert first_trial(record, job_id).state is TrialState.STOPPED
