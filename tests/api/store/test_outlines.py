"""Outlines are computed from complete curves and read per job in a constant number of queries."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sqlalchemy import delete

from api.coordinator.loop import Coordinator
from api.job_states import Verb
from api.store.curves import Chunk, encode, join_chunks, outline_of, packed, unpacked
from api.store.record import CoordinatorStore
from api.store.rows import Begun
from api.store.tables import outlines
from telescope.studies import registry, run_study
from telescope.studies.kind import Ended
from telescope.studies.telescoping.kind import KIND
from telescope.studies.telescoping.question.question import Question
from telescope.trials.outcome import Failure, Measurement, Trial, completed
from telescope.trials.outline import POINTS, Outline
from tests.api.coordinator.driving import document, drive, ended
from tests.api.store.test_store import counted, first_trial, running_job, running_trial
from tests.api.trials import outcome, point, points, spec
from tests.executors import InstantExecutor, train_one

FINITE = {"allow_nan": False, "allow_infinity": False}


def same(first: Outline | None, second: Outline | None) -> bool:
    """True if two outlines are equal to the last bit."""
    assert first is not None
    assert second is not None
    return (
        first.held_out == second.held_out
        and first.tokens.tobytes() == second.tokens.tobytes()
        and first.loss.tobytes() == second.loss.tobytes()
    )


def curve(steps: int, evaluated_every: int) -> list[Measurement]:
    """A curve with a held-out loss every few steps and at the end."""
    points_so_far = []
    for step in range(1, steps + 1):
        metrics = {"train_loss": 5 - math.log(step) / 3}
        if step % evaluated_every == 0 or step == steps:
            metrics["loss"] = 5 - math.log(step) / 4
        points_so_far.append(point(step, **metrics))
    return points_so_far


@given(
    st.integers(0, 9).flatmap(
        lambda n: arrays(np.float32, (2, n), elements=st.floats(width=32, **FINITE))
    ),
    st.booleans(),
)
def test_an_outline_is_read_back_bit_for_bit(columns: Any, held_out: bool) -> None:
    outline = Outline(columns[0], columns[1], held_out)
    assert len(packed(outline)) == 8 * columns.shape[1]
    assert same(unpacked(packed(outline), held_out), outline)


@pytest.mark.parametrize("evaluated_every", [10, 1000], ids=["held out", "trained on"])
def test_the_outline_of_a_stored_curve_is_the_outline_of_the_measured_one(
    evaluated_every: int,
) -> None:
    measured = curve(301, evaluated_every)
    measured[7] = point(8, train_loss=math.nan, loss=math.inf)
    stored = join_chunks(1, [Chunk(1, encode(measured[:200])), Chunk(1, encode(measured[200:]))])
    outline = outline_of(stored)
    assert same(outline, completed(spec(), measured).outline)
    assert outline.held_out is (evaluated_every == 10)
    assert len(outline.loss) == (31 if outline.held_out else POINTS)
    assert np.isfinite(outline.loss).all()


def test_a_curve_without_a_finite_loss_has_an_empty_outline() -> None:
    measured = [point(1, grad_norm=1.0), point(2, train_loss=math.nan)]
    outline = outline_of(join_chunks(1, [Chunk(1, encode(measured))]))
    assert (len(outline.tokens), len(outline.loss), outline.held_out) == (0, 0, False)
    assert same(unpacked(packed(outline), False), outline)


def test_the_outline_of_a_finished_trial_covers_all_its_attempts(record: CoordinatorStore) -> None:
    trial = running_trial(record)
    full_curve = curve(10, 2)
    record.trial_measured(
        trial.id, 1, [*full_curve[:3], point(4, train_loss=9.0), point(5, train_loss=9.0)]
    )
    record.trial_released(trial.id, 1)
    record.trial_started(trial.id, 2, Begun(3, "worker", "cpu"))
    record.trial_measured(trial.id, 2, full_curve[3:8])
    assert record.terminal_trials(trial.job_id, outlines=True) == []
    record.trial_finished(trial.id, completed(spec(), full_curve[8:], attempt=2), full_curve[8:])

    (finished,) = record.terminal_trials(trial.job_id, outlines=True)
    assert same(finished.outline, completed(spec(), full_curve).outline)
    assert finished.outline is not None
    assert finished.outline.tokens.tolist() == [64.0, 128.0, 192.0, 256.0, 320.0]
    assert record.terminal_trials(trial.job_id)[0].outline is None, "not asked for"


def test_a_diverged_trial_has_an_outline(record: CoordinatorStore) -> None:
    trial = running_trial(record)
    record.trial_measured(trial.id, 1, points(1, 4))
    record.trial_finished(trial.id, *outcome(spec(), math.inf))
    (diverged,) = record.terminal_trials(trial.job_id, outlines=True)
    assert diverged.diverged
    assert diverged.outline is not None
    assert len(diverged.outline.loss) == 4


def test_a_reused_trial_has_the_outline_of_the_original(
    record: CoordinatorStore,
) -> None:
    trained = running_trial(record)
    record.trial_measured(trained.id, 1, points(1, 9))
    record.trial_finished(trained.id, *outcome(spec()))
    later = running_job(record, trials=2)
    assert record.reuse_trials(later, "cpu") == 1
    (theirs,) = record.terminal_trials(trained.job_id, outlines=True)
    (ours,) = record.terminal_trials(later, outlines=True)
    assert ours.reused
    assert same(ours.outline, theirs.outline)


def test_a_trial_completed_before_outlines_existed_has_none(record: CoordinatorStore) -> None:
    trial = running_trial(record)
    record.trial_finished(trial.id, *outcome(spec()))
    with record._write() as connection:
        connection.execute(delete(outlines))
    (completed_trial,) = record.terminal_trials(trial.job_id, outlines=True)
    assert (completed_trial.loss, completed_trial.outline) == (3.0, None)


def test_a_failed_trial_has_no_outline(record: CoordinatorStore) -> None:
    trial = running_trial(record)
    record.trial_measured(trial.id, 1, points(1, 4))
    record.trial_failed(trial.id, 1, Failure("operational", "died"), 1)
    assert [
        trial_outcome.outline
        for trial_outcome in record.terminal_trials(trial.job_id, outlines=True)
    ] == [None]


def test_outlines_of_a_job_take_the_same_number_of_queries_for_any_number_of_trials(
    record: CoordinatorStore, database_url: str
) -> None:
    def queries(trials: int) -> int:
        job_id = running_job(record, trials)
        for trial in record.trials(job_id, trials).items:
            record.trial_started(trial.id, 1, Begun(0, "worker", "cpu"))
            record.trial_finished(trial.id, *outcome(spec(trial.seed)))
        stranger = CoordinatorStore(database_url)
        with counted(stranger) as statements:
            rows = stranger.terminal_trials(job_id, outlines=True)
        stranger.close()
        assert len([row for row in rows if row.outline is not None]) == trials
        return len(statements)

    assert queries(3) == queries(60) <= 3


def test_outlines_are_deleted_with_their_trial(record: CoordinatorStore) -> None:
    job_id = running_job(record)
    trial = first_trial(record, job_id)
    record.trial_started(trial.id, 1, Begun(0, "worker", "cpu"))
    record.trial_finished(trial.id, *outcome(spec()))
    with record._write() as connection:
        connection.exec_driver_sql("DELETE FROM jobs")
        assert connection.execute(outlines.select()).all() == []


# Studies that read curves


@dataclass(frozen=True)
class Read:
    """The contents of a study's outlines."""

    final: bool
    reason: str
    outlines: tuple[tuple[str, bool, tuple[float, ...], tuple[float, ...]], ...]


def outlines_of(question: Question, trials: Sequence[Trial], ended: Ended | None = None) -> Read:
    """The report of a study that plans as telescope does: all its outlines."""
    contents = []
    for trial in trials:
        assert trial.outline is not None
        contents.append(
            (
                trial.digest,
                trial.outline.held_out,
                tuple(trial.outline.tokens.tolist()),
                tuple(trial.outline.loss.tolist()),
            )
        )
    return Read(
        bool(ended) or KIND.plan(question, trials).done, str(ended or ""), tuple(sorted(contents))
    )


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The document of a study that reads curves."""
    study = document()
    monkeypatch.setitem(
        registry.KINDS,
        "telescope",
        replace(KIND, report=Read, answer=outlines_of, reads_curves=True),
    )
    return study


def test_a_report_on_outlines_is_the_report_of_the_plain_loop(
    record: CoordinatorStore, tmp_path: Path, reading: dict[str, Any]
) -> None:
    job, _ = record.create_job(reading)
    coordinator = Coordinator(record, InstantExecutor(slots=3, seed=2), tmp_path, poll_seconds=1e-9)
    drive(coordinator, lambda: record.result(job.id) is not None)
    interim = record.result(job.id)
    assert interim is not None
    assert len(interim["outlines"]) > 0
    drive(coordinator, ended(record, job.id))
    report = record.result(job.id)
    assert report == registry.report_document(run_study(registry.parse(reading), train_one))
    assert report is not None
    assert {len(tokens) for _, _, tokens, _ in report["outlines"]} == {0, 5}, (
        "a diverged run has no finite loss"
    )


def test_a_cancelled_job_has_a_report_on_outlines(
    record: CoordinatorStore, tmp_path: Path, reading: dict[str, Any]
) -> None:
    job, _ = record.create_job(reading)
    executor = InstantExecutor(slots=1, seed=2)
    coordinator = Coordinator(record, executor, tmp_path, poll_seconds=1e-9)
    drive(coordinator, lambda: record.job(job.id).trials_done > 0)
    record.request(job.id, Verb.CANCEL)
    drive(coordinator, ended(record, job.id))
    report = record.result(job.id)
    assert report is not None
    assert report["final"] is True
    assert len(report["outlines"]) == record.job(job.id).trials_done
