"""Reads of trials and their loss curves."""

import json
import math
from collections.abc import Collection
from itertools import groupby
from typing import Any

from sqlalchemy import Select, func, select

from api.store.curves import Chunk, join_chunks, thin, unpacked
from api.store.database import Database
from api.store.pages import continued_after, page, row_limit
from api.store.rows import ALL_TRIALS, Page, TrainingRate, TrialFilter, TrialRow
from api.store.statements import (
    MIXED,
    OPEN,
    TRIAL_COLUMNS,
    as_trial,
    the_job,
    the_trial,
    trial_not_found,
)
from api.store.tables import chunks, outlines, specs, studies, trials
from telescope.client.resources import Curve
from telescope.trials.outcome import Failure, Trial, TrialState
from telescope.trials.outline import Outline
from telescope.trials.spec import TrialSpec

OUTCOME_NAMES = (
    "digest",
    "state",
    "attempt",
    "loss",
    "diverged",
    "step",
    "flops",
    "seconds",
    "failure_kind",
    "failure_message",
    "metrics",
    "reused_from",
)
OUTCOME_COLUMNS = [trials.c[name] for name in OUTCOME_NAMES]
OUTLINE_COLUMNS = [outlines.c.held_out, outlines.c.blob]
# Id of the trial that has the curve. A trial that reuses the outcome of another trial has no curve
# of its own.
TRAINED_ID = func.coalesce(trials.c.reused_from, trials.c.id)


class TrialTable(Database):
    """Reads of trials and curves. Each method is one transaction."""

    def trials(
        self,
        job_id: str,
        page_size: int = 50,
        page_token: str | None = None,
        only: TrialFilter = ALL_TRIALS,
    ) -> Page[TrialRow]:
        """Return a page of the job's trials that pass the filter `only`, in the order of their ids.

        Raises NotFound if there is no such job.
        """
        query = _filtered(select(*TRIAL_COLUMNS), job_id, only).order_by(trials.c.id)
        listing = f"trials {job_id} {only.state} {only.width} {only.optimizer}"
        if page_token:
            query = query.where(trials.c.id > continued_after(page_token, listing, int))
        with self._read() as connection:
            rows = [as_trial(row) for row in connection.execute(query.limit(row_limit(page_size)))]
            if not rows:
                the_job(connection, job_id)
        return page(rows, page_size, listing)

    def trial(self, trial_id: int) -> TrialRow:
        """Return a trial. Raises NotFound if there is no such trial."""
        with self._read() as connection:
            return the_trial(connection, trial_id)

    def trial_spec(self, trial_id: int) -> TrialSpec:
        """Return the specification of a trial: all settings that determine its training.

        Raises NotFound if there is no such trial.
        """
        columns = (specs.c.digest, specs.c.document, studies.c.document.label("study"))
        query = select(*columns).join_from(trials, specs)
        query = query.join(studies, studies.c.job_id == trials.c.job_id)
        with self._read() as connection:
            row = connection.execute(query.where(trials.c.id == trial_id)).one_or_none()
        if row is None:
            raise trial_not_found(trial_id)
        return self._spec_of_trial(row)

    def specs(self, job_id: str, digests: Collection[str]) -> dict[str, TrialSpec]:
        """Return the specifications with these digests, by digest.

        Each digest must belong to a trial of the job. All digests are parameters of a single query,
        so a caller should pass at most a page of trials.
        """
        with self._read() as connection:
            condition = (trials.c.job_id == job_id) & trials.c.digest.in_(digests)
            self._load_specs(connection, digests, condition)
        return {digest: self._specs[digest] for digest in digests}

    def curve(self, trial_id: int) -> Curve:
        """Return the whole curve of a trial, joined from all attempts.

        If the trial reuses the outcome of another trial, the curve of the other trial is returned.
        Raises NotFound if there is no such trial.
        """
        query = select(chunks.c.attempt, chunks.c.blob)
        with self._read() as connection:
            trained_id = the_trial(connection, trial_id).reused_from or trial_id
            rows = connection.execute(query.where(chunks.c.trial_id == trained_id)).all()
        return join_chunks(trial_id, (Chunk(row.attempt, row.blob) for row in rows))

    def curves(
        self, job_id: str, points: int = 100, only: TrialFilter = ALL_TRIALS
    ) -> tuple[Curve, ...]:
        """Return the curves of the job's trials that pass the filter `only`.

        Each curve is thinned to about `points` points (`api.store.curves.thin`). Trials without
        points are left out. Raises NotFound if there is no such job.
        """
        columns = select(trials.c.id.label("trial_id"), chunks.c.attempt, chunks.c.blob)
        joined = columns.join_from(trials, chunks, chunks.c.trial_id == TRAINED_ID)
        query = _filtered(joined, job_id, only).order_by(trials.c.id)
        with self._read() as connection:
            the_job(connection, job_id)
            all_chunks = connection.execute(query).all()
        return tuple(
            thin(join_chunks(trial_id, (Chunk(row.attempt, row.blob) for row in rows)), points)
            for trial_id, rows in groupby(all_chunks, key=lambda row: row.trial_id)
        )

    def terminal_trials(self, job_id: str, outlines: bool = False) -> list[Trial]:
        """Return the trials of a job that have ended.

        If `outlines` is true, the completed trials have outlines of their curves. Trials that were
        trained before migration 0004 have no outlines.
        """
        ended = (trials.c.job_id == job_id) & trials.c.state.not_in(OPEN)
        columns = _with_outlines() if outlines else select(*OUTCOME_COLUMNS)
        query = columns.where(ended).order_by(trials.c.id)
        with self._read() as connection:
            rows = connection.execute(query).all()
            self._load_specs(connection, {row.digest for row in rows}, ended)
        return [
            _as_outcome(self._specs[row.digest], row, _outline(row) if outlines else None)
            for row in rows
        ]

    def rates(self) -> list[TrainingRate]:
        """Return the training speed for each combination of trial shape and kind of worker.

        A shape is an optimizer, a width and a batch size. The column `numerics`, which names the
        device and the software, identifies the kind of worker. A speed is the sum of the FLOPs of
        trials, divided by the sum of their seconds. The most recently measured speed comes first.

        Only completed trials with the measure `loss` count. Left out are trials that reuse another
        trial's outcome, trials whose numerics are MIXED or unknown, and trials that are older than
        the column `batch_tokens`.
        """
        shape = (trials.c.optimizer, trials.c.width, trials.c.batch_tokens, trials.c.numerics)
        flops_per_second = func.sum(trials.c.flops) / func.sum(trials.c.seconds)
        speed = (func.count().label("trials"), flops_per_second.label("flops_per_second"))
        completed = trials.c.state == TrialState.COMPLETED
        trained = completed & trials.c.reused_from.is_(None) & (trials.c.seconds > 0)
        trained &= trials.c.measure == "loss"
        has_shape = (trials.c.numerics != MIXED) & trials.c.batch_tokens.is_not(None)
        query = select(*shape, *speed).where(trained, has_shape).group_by(*shape)
        query = query.order_by(func.max(trials.c.ended_at).desc(), *shape)
        with self._read() as connection:
            return [TrainingRate(**row._mapping) for row in connection.execute(query)]


def _outline(row: Any) -> Outline | None:
    """Return the outline in a row, or None if the row has no outline."""
    return None if row.blob is None else unpacked(row.blob, row.held_out)


def _as_outcome(spec: TrialSpec, row: Any, outline: Outline | None) -> Trial:
    """Convert a row with the columns OUTCOME_COLUMNS to a Trial."""
    state = TrialState(row.state)
    # A trial that did not fail may still hold the failure of an earlier attempt, which is ignored.
    failure = None
    if row.diverged or state is TrialState.FAILED:
        failure = Failure(row.failure_kind, row.failure_message, retryable=False)
    return Trial(
        spec,
        state,
        row.attempt,
        math.inf if row.diverged else row.loss,
        row.flops,
        row.seconds,
        failure,
        metrics=json.loads(row.metrics) if row.metrics else {},
        reused=row.reused_from is not None,
        step=row.step,
        outline=outline,
    )


def _with_outlines() -> Select[Any]:
    """Return a SELECT of trials and the outlines of their curves.

    A trial that reuses the outcome of another trial gets the outline of the other trial.
    """
    columns = select(*OUTCOME_COLUMNS, *OUTLINE_COLUMNS)
    return columns.outerjoin_from(trials, outlines, outlines.c.trial_id == TRAINED_ID)


def _filtered(query: Select[Any], job_id: str, only: TrialFilter) -> Select[Any]:
    query = query.where(trials.c.job_id == job_id)
    for column, value in (
        (trials.c.state, only.state),
        (trials.c.width, only.width),
        (trials.c.optimizer, only.optimizer),
    ):
        query = query if value is None else query.where(column == value)
    return query
