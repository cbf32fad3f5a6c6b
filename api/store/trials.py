"""Trials and their curves, as the api, studies and forecasts read them."""

import json
import math
from collections.abc import Collection
from itertools import groupby
from typing import Any

from sqlalchemy import Select, func, select

from api.store.curves import Chunk, merge, thin, unpacked
from api.store.database import Database
from api.store.pages import continued_after, page, row_limit
from api.store.rows import ALL_TRIALS, Page, Rate, TrialFilter, TrialRow
from api.store.statements import (
    MIXED,
    OPEN,
    TRIAL_COLUMNS,
    as_trial,
    the_job,
    the_trial,
)
from api.store.tables import chunks, outlines, specs, studies, trials
from telescope.client.resources import Curve
from telescope.errors import NotFound
from telescope.trials.outcome import Failure, Trial, TrialState
from telescope.trials.outline import Outline
from telescope.trials.spec import TrialSpec

FATE = (
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
FATE_COLUMNS = [trials.c[name] for name in FATE]
OUTLINE_COLUMNS = [outlines.c.held_out, outlines.c.blob]
TRAINED_AS = func.coalesce(trials.c.reused_from, trials.c.id)  # the trial that has the curve


class Trials(Database):
    """Trials and curves, each method one transaction."""

    def trials(
        self,
        job_id: str,
        page_size: int = 50,
        page_token: str | None = None,
        only: TrialFilter = ALL_TRIALS,
    ) -> Page[TrialRow]:
        """A job's trials in the order of their planning."""
        query = _filtered(select(*TRIAL_COLUMNS), job_id, only).order_by(trials.c.id)
        asked = f"trials {job_id} {only.state} {only.width} {only.optimizer}"
        if page_token:
            query = query.where(trials.c.id > continued_after(page_token, asked, int))
        with self._read() as connection:
            rows = [as_trial(row) for row in connection.execute(query.limit(row_limit(page_size)))]
            if not rows:
                the_job(connection, job_id)
        return page(rows, page_size, asked)

    def trial(self, trial_id: int) -> TrialRow:
        """One trial, or NotFound."""
        with self._read() as connection:
            return the_trial(connection, trial_id)

    def trial_spec(self, trial_id: int) -> TrialSpec:
        """What fully determines a trial."""
        query = select(specs.c.digest, specs.c.document, studies.c.document.label("study")).join_from(trials, specs)
        with self._read() as connection:
            row = connection.execute(query.join(studies, studies.c.job_id == trials.c.job_id).where(trials.c.id == trial_id)).one_or_none()
        if row is None:
            raise NotFound(f"no trial {trial_id}")
        return self._own_spec(row)

    def specs(self, job_id: str, digests: Collection[str]) -> dict[str, TrialSpec]:
        """What fully determines some of a job's trials, at most a page of them, by digest."""
        with self._read() as connection:
            self._know(connection, digests, (trials.c.job_id == job_id) & trials.c.digest.in_(digests))
        return {digest: self._specs[digest] for digest in digests}

    def curve(self, trial_id: int) -> Curve:
        """All points of a trial, over all its attempts; of a reused one, those of the trial that trained it."""
        with self._read() as connection:
            holder = the_trial(connection, trial_id).reused_from or trial_id
            found = connection.execute(select(chunks.c.attempt, chunks.c.blob).where(chunks.c.trial_id == holder)).all()
        return merge(trial_id, (Chunk(row.attempt, row.blob) for row in found))

    def curves(self, job_id: str, points: int = 100, only: TrialFilter = ALL_TRIALS) -> tuple[Curve, ...]:
        """The curves of a job's trials, thinned for display."""
        said = select(trials.c.id.label("trial_id"), chunks.c.attempt, chunks.c.blob)
        said = said.join_from(trials, chunks, chunks.c.trial_id == TRAINED_AS)
        query = _filtered(said, job_id, only).order_by(trials.c.id)
        with self._read() as connection:
            the_job(connection, job_id)
            found = connection.execute(query).all()
        return tuple(
            thin(merge(trial_id, (Chunk(row.attempt, row.blob) for row in rows)), points)
            for trial_id, rows in groupby(found, key=lambda row: row.trial_id)
        )

    def terminal_trials(self, job_id: str, outlines: bool = False) -> list[Trial]:
        """A job's ended trials as its study sees them; with outlines of those that completed, for studies that read curves."""
        ended = (trials.c.job_id == job_id) & trials.c.state.not_in(OPEN)
        query = (_with_outlines() if outlines else select(*FATE_COLUMNS)).where(ended).order_by(trials.c.id)
        with self._read() as connection:
            rows = connection.execute(query).all()
            self._know(connection, {row.digest for row in rows}, ended)
        return [_fate(self._specs[row.digest], row, _outline(row) if outlines else None) for row in rows]

    def rates(self) -> list[Rate]:
        """How fast trials of each shape were trained, the latest kind of worker first."""
        shape = (trials.c.optimizer, trials.c.width, trials.c.batch_tokens, trials.c.numerics)
        speed = (func.count().label("trials"), (func.sum(trials.c.flops) / func.sum(trials.c.seconds)).label("flops_per_second"))
        trained = (trials.c.state == TrialState.COMPLETED) & trials.c.reused_from.is_(None) & (trials.c.seconds > 0)
        trained &= trials.c.measure == "loss"
        known = (trials.c.numerics != MIXED) & trials.c.batch_tokens.is_not(None)
        query = select(*shape, *speed).where(trained, known).group_by(*shape).order_by(func.max(trials.c.ended_at).desc(), *shape)
        with self._read() as connection:
            return [Rate(**row._mapping) for row in connection.execute(query)]


def _outline(row: Any) -> Outline | None:
    """That of a trial that completed since there are any."""
    return None if row.blob is None else unpacked(row.blob, row.held_out)


def _fate(spec: TrialSpec, row: Any, outline: Outline | None) -> Trial:
    state = TrialState(row.state)
    ended_badly = row.diverged or state is TrialState.FAILED  # an attempt that failed before the last one is history
    failure = Failure(row.failure_kind, row.failure_message, retryable=False) if ended_badly else None
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
    """The fates of trials beside their outlines, those of reused trials from where they were trained."""
    return select(*FATE_COLUMNS, *OUTLINE_COLUMNS).outerjoin_from(trials, outlines, outlines.c.trial_id == TRAINED_AS)


def _filtered(query: Select[Any], job_id: str, only: TrialFilter) -> Select[Any]:
    query = query.where(trials.c.job_id == job_id)
    for column, value in ((trials.c.state, only.state), (trials.c.width, only.width), (trials.c.optimizer, only.optimizer)):
        query = query if value is None else query.where(column == value)
    return query
