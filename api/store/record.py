"""The coordinator's records of events, such as the start or the failure of an attempt.

The coordinator is the process that runs the jobs. `CoordinatorStore` has all operations that only
the coordinator needs. It inherits the operations on jobs from `api.store.job_record`, and the
operations on planned trials from `api.store.plan_record`.

A trial may need several attempts, and each attempt has a number. The record of an event names the
attempt. If this attempt is no longer the current one, the record changes nothing. Late and repeated
reports of workers are therefore harmless.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, insert, literal, or_, select, update

from api.store.curves import Chunk, encode, join_chunks, outline_of, packed
from api.store.plan_record import LOSS, PlanRecord
from api.store.rows import Begun, TrialRow
from api.store.statements import MIXED, OPEN, insert_new, now, the_trial, touch_job
from api.store.tables import chunks, jobs, outlines, trials
from telescope.trials.horizon import Branch
from telescope.trials.outcome import Failure, Measurement, Trial, TrialState, next_trial_state

TRUNK = trials.alias("trunk")  # a trial that another trial, its branch, continues


class CoordinatorStore(PlanRecord):
    """The store, extended by all operations of the coordinator."""

    def requeue_lost(self) -> int:
        """Change all running trials to pending, and return their number.

        A coordinator calls this method when it starts. The trials were running when the previous
        coordinator ended. Each of the trials gets the number of the next attempt.
        """
        lost = update(trials).where(trials.c.state == TrialState.RUNNING)
        with self._write() as connection:
            values = {"state": TrialState.PENDING, "attempt": trials.c.attempt + 1}
            return connection.execute(lost.values(values)).rowcount

    def trial_started(self, trial_id: int, attempt: int, begun: Begun) -> bool:
        """Record that a worker began an attempt. Returns False if the attempt is not pending.

        The attempt continues from step `begun.resumed_step`. FLOPs that were recorded for later
        steps are subtracted from the column `flops`, since these steps are trained again. The
        column `flops_spent` keeps these FLOPs.

        A branch is a trial that continues another trial, its trunk, from a step on. The FLOPs up to
        this step count for the trunk only.

        The column `numerics` names the device and software that trained the trial. It becomes MIXED
        if the steps up to `begun.resumed_step` were trained with other or unknown numerics.
        """
        resumed_step, numerics, branch = begun.resumed_step, begun.numerics, begun.branch
        trunk_steps = branch.step if branch else 0
        own_steps, has_lost_steps = resumed_step - trunk_steps, trials.c.step > resumed_step
        flops_at_resume: ColumnElement[Any] = literal(0.0)
        if own_steps > 0:
            recorded_steps = func.nullif(trials.c.step - trunk_steps, 0)
            flops_at_resume = trials.c.flops * own_steps / recorded_steps
        numerics_before: ColumnElement[Any] = trials.c.numerics
        if branch and resumed_step == branch.step:
            numerics_before = _numerics_of_trunk(branch)
        numerics_value: Any = numerics
        if resumed_step:
            numerics_value = case((numerics_before == numerics, numerics), else_=MIXED)
        started_at = literal(now(), trials.c.started_at.type)
        values = {
            "state": TrialState.RUNNING,
            "worker": begun.worker,
            "numerics": numerics_value,
            "started_at": func.coalesce(trials.c.started_at, started_at),
            "flops": case((has_lost_steps, flops_at_resume), else_=trials.c.flops),
            "step": case((has_lost_steps, resumed_step), else_=trials.c.step),
        }
        with self._write() as connection:
            return _change_trial(connection, trial_id, attempt, (TrialState.PENDING,), values)

    def trial_measured(self, trial_id: int, attempt: int, points: Sequence[Measurement]) -> bool:
        """Record new points of a trial's loss curve.

        Returns False if the attempt is not running, or if the points are recorded already.
        """
        with self._write() as connection:
            return _record_points(connection, trial_id, attempt, points)

    def trial_finished(self, trial_id: int, outcome: Trial, points: Sequence[Measurement]) -> bool:
        """Record the outcome of a completed trial, whose loss may have diverged.

        `points` are the last points of the trial's curve. Returns False if the attempt is not
        running.
        """
        values: dict[str, Any] = {
            "state": outcome.state,
            "loss": None if outcome.diverged else outcome.loss,
            "diverged": outcome.diverged,
            "failure_kind": outcome.failure.kind if outcome.failure else None,
            "failure_message": outcome.failure.message if outcome.failure else None,
            "metrics": json.dumps(dict(outcome.metrics)),
            "seconds": points[-1].seconds,
            "ended_at": now(),
        }
        with self._write() as connection:
            attempt = outcome.attempt
            _record_points(connection, trial_id, attempt, points)
            if not _change_trial(connection, trial_id, attempt, (TrialState.RUNNING,), values):
                return False
            _insert_outline(connection, trial_id)
            job_id = select(trials.c.job_id).where(trials.c.id == trial_id).scalar_subquery()
            counters: dict[str, Any] = {"trials_done": jobs.c.trials_done + 1}
            if not outcome.diverged and outcome.spec.measure == LOSS:
                better = or_(jobs.c.best_loss.is_(None), jobs.c.best_loss > outcome.loss)
                counters["best_loss"] = case((better, outcome.loss), else_=jobs.c.best_loss)
            touch_job(connection, job_id, **counters)
            return True

    def trial_failed(
        self, trial_id: int, attempt: int, failure: Failure, max_attempts: int
    ) -> TrialRow | None:
        """Record a failed attempt.

        If the failure is retryable and fewer than `max_attempts` attempts have failed, the trial
        becomes pending again. Otherwise, the trial fails.

        Returns the trial's new row. Returns None, and changes nothing, if the attempt is no longer
        the current one or the trial has ended.
        """
        with self._write() as connection:
            row = the_trial(connection, trial_id, lock=True)
            if row.attempt != attempt or row.state.terminal:
                return None
            values: dict[str, Any] = {
                "failures": row.failures + 1,
                "failure_kind": failure.kind,
                "failure_message": failure.message,
            }
            if failure.retryable and row.failures + 1 < max_attempts:
                values |= {"state": TrialState.PENDING, "attempt": attempt + 1}
            else:
                failed = next_trial_state(row.state, TrialState.FAILED)
                values |= {"state": failed, "ended_at": now()}
            _change_trial(connection, trial_id, attempt, OPEN, values)
            touch_job(connection, row.job_id)
            return the_trial(connection, trial_id)

    def trial_released(self, trial_id: int, attempt: int) -> bool:
        """Record that a worker stopped an attempt without a result.

        The trial becomes pending again and gets the number of the next attempt. Returns False, and
        changes nothing, if the attempt is no longer the current one or the trial has ended.
        """
        with self._write() as connection:
            values = {"state": TrialState.PENDING, "attempt": attempt + 1}
            return _change_trial(connection, trial_id, attempt, OPEN, values)


def _numerics_of_trunk(branch: Branch) -> ColumnElement[str | None]:
    """Return a subquery for the numerics of the trunk that a branch continues."""
    trunk = (TRUNK.c.job_id == trials.c.job_id) & (TRUNK.c.digest == branch.trunk)
    return select(TRUNK.c.numerics).where(trunk).correlate(trials).scalar_subquery()


def _record_points(
    connection: Connection, trial_id: int, attempt: int, points: Sequence[Measurement]
) -> bool:
    """Record new points of a curve.

    Returns False if the attempt is not running, or if the points are recorded already.
    """
    last = points[-1]
    values = {
        "step": last.step,
        "flops": last.flops,
        "flops_spent": trials.c.flops_spent + last.flops - trials.c.flops,
        "seconds": last.seconds,
    }
    if not _change_trial(
        connection, trial_id, attempt, (TrialState.RUNNING,), values, trials.c.step < last.step
    ):
        return False
    chunk = {
        "trial_id": trial_id,
        "attempt": attempt,
        "first_step": points[0].step,
        "blob": encode(points),
    }
    insert_new(connection, chunks, chunk, "trial_id", "attempt", "first_step")
    return True


def _insert_outline(connection: Connection, trial_id: int) -> None:
    """Insert the outline of a completed trial's curve."""
    query = select(chunks.c.attempt, chunks.c.blob).where(chunks.c.trial_id == trial_id)
    rows = connection.execute(query).all()
    outline = outline_of(join_chunks(trial_id, (Chunk(row.attempt, row.blob) for row in rows)))
    values = {"trial_id": trial_id, "held_out": outline.held_out, "blob": packed(outline)}
    connection.execute(insert(outlines).values(values))


def _change_trial(
    connection: Connection,
    trial_id: int,
    attempt: int,
    states: tuple[TrialState, ...],
    values: dict[str, Any],
    *conditions: ColumnElement[bool],
) -> bool:
    """Change a trial's columns if `attempt` is current and the trial's state is in `states`.

    `conditions` are further SQL conditions that must hold. Returns True if the trial was changed.
    """
    same_attempt = (trials.c.id == trial_id) & (trials.c.attempt == attempt)
    statement = update(trials).where(same_attempt, trials.c.state.in_(states), *conditions)
    return connection.execute(statement.values(values)).rowcount == 1
