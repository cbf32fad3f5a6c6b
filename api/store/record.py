"""The coordinator's writes about trials: planning and events, one event per transaction.

`CoordinatorStore` is the store with all writes that only the coordinator makes; writes about jobs
are in `api.store.job_record`. A write about a running trial names its `attempt` and changes nothing
unless that attempt is still current, so that late and repeated reports are harmless.
"""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, insert, literal, or_, select, update

from api.store.curves import Chunk, encode, join_chunks, outline_of, packed
from api.store.job_record import JobRecord
from api.store.rows import Begun, Pending, TrialRow
from api.store.statements import (
    MIXED,
    OPEN,
    change_job,
    insert_new,
    now,
    the_job,
    the_trial,
    touch_job,
)
from api.store.tables import chunks, jobs, outlines, specs, studies, trials
from telescope.studies.kind import Planned
from telescope.train.flops import trial_flops
from telescope.trials.horizon import Branch
from telescope.trials.identity import canonical_json
from telescope.trials.outcome import Failure, Measurement, Trial, TrialState, next_trial_state

EARLIER = trials.alias("earlier")
TRUNK = trials.alias("trunk")
LOSS = "loss"  # the measure of a trial of the search
FATE_REUSED = (
    "state",
    "loss",
    "diverged",
    "step",
    "flops",
    "failure_kind",
    "failure_message",
    "metrics",
    "numerics",
)


class CoordinatorStore(JobRecord):
    """The store with all writes of the coordinator."""

    def requeue_lost(self) -> int:
        """Make trials that a dead coordinator left running pending again; return their number.

        Each gets a new attempt.
        """
        lost = update(trials).where(trials.c.state == TrialState.RUNNING)
        with self._write() as connection:
            values = {"state": TrialState.PENDING, "attempt": trials.c.attempt + 1}
            return connection.execute(lost.values(values)).rowcount

    def plan_trials(self, job_id: str, planned: Sequence[Planned]) -> int:
        """Insert the trials that a job does not have yet; return their number."""
        with self._write() as connection:
            before = the_job(connection, job_id, lock=True).trials_total
            documents = [
                {"digest": each.spec.digest, "document": canonical_json(each.spec)}
                for each in planned
            ]
            insert_new(connection, specs, documents, "digest")
            moment = now()
            rows = [_planned(job_id, each, moment) for each in planned]
            insert_new(connection, trials, rows, "job_id", "digest")
            of_job = select(func.count()).select_from(trials).where(trials.c.job_id == job_id)
            total = of_job.scalar_subquery()
            new = change_job(connection, job_id, trials_total=total).trials_total - before
        self._specs.update((each.spec.digest, each.spec) for each in planned)
        return new

    def reuse_trials(self, job_id: str, numerics: str, held: Collection[int] = ()) -> int:
        """Complete pending trials from runs of other jobs with the same digest and numerics.

        Trials in `held` are left out. Returns the number of completed trials; they have no curve of
        their own, and spend no FLOPs.
        """
        free = (trials.c.flops_spent == 0) & trials.c.id.not_in(held)
        waiting = (trials.c.job_id == job_id) & (trials.c.state == TrialState.PENDING) & free
        completed = EARLIER.c.state == TrialState.COMPLETED
        same_numerics = EARLIER.c.numerics == numerics
        trained = completed & same_numerics & EARLIER.c.reused_from.is_(None)
        needed = EARLIER.c.digest.in_(select(trials.c.digest).where(waiting))
        first = select(func.min(EARLIER.c.id).label("id")).where(trained, needed)
        first_of_each = first.group_by(EARLIER.c.digest).subquery()
        source = trials.alias("source")
        linked = update(trials).where(
            waiting, trials.c.digest == source.c.digest, source.c.id == first_of_each.c.id
        )
        values: dict[Any, Any] = {trials.c[name]: source.c[name] for name in FATE_REUSED}
        values |= {trials.c.reused_from: source.c.id, trials.c.ended_at: now()}
        with self._write() as connection:
            count = connection.execute(linked.values(values)).rowcount
            if count:
                _recount(connection, job_id)
        return count

    def known_digests(self, job_id: str) -> frozenset[str]:
        """Digests of all trials of a job."""
        query = select(trials.c.digest).where(trials.c.job_id == job_id)
        with self._read() as connection:
            return frozenset(connection.execute(query).scalars())

    def pending_trials(self, job_id: str, limit: int, held: Collection[int] = ()) -> list[Pending]:
        """The next pending trials of a job that are not in `held`, longest first.

        A short trial at the end keeps fewer workers waiting than a long one.
        """
        described = (specs.c.digest, specs.c.document, studies.c.document.label("study"))
        waiting = select(trials.c.id, trials.c.attempt, trials.c.failures, *described)
        waiting = waiting.join_from(trials, specs).join(
            studies, studies.c.job_id == trials.c.job_id
        )
        pending = trials.c.state == TrialState.PENDING
        waiting = waiting.where(trials.c.job_id == job_id, pending, trials.c.id.not_in(list(held)))
        waiting = waiting.order_by(trials.c.flops_planned.desc(), trials.c.id).limit(limit)
        with self._read() as connection:
            rows = connection.execute(waiting).all()
        return [Pending(row.id, row.attempt, row.failures, self._own_spec(row)) for row in rows]

    def trial_started(self, trial_id: int, attempt: int, begun: Begun) -> bool:
        """Record that a worker began an attempt; return False if the attempt is not current.

        Steps recorded after its checkpoint are discounted, since they are trained again. The steps
        of a trunk are counted with the trunk.
        """
        resumed_step, numerics, branch = begun.resumed_step, begun.numerics, begun.branch
        trunk_steps = branch.step if branch else 0
        own_steps, lost = resumed_step - trunk_steps, trials.c.step > resumed_step
        kept_flops: ColumnElement[Any] = literal(0.0)
        if own_steps > 0:
            kept_flops = trials.c.flops * own_steps / func.nullif(trials.c.step - trunk_steps, 0)
        begun_with = (
            _numerics_of_trunk(branch)
            if branch and resumed_step == branch.step
            else trials.c.numerics
        )
        values = {
            "state": TrialState.RUNNING,
            "worker": begun.worker,
            "numerics": case((begun_with == numerics, numerics), else_=MIXED)
            if resumed_step
            else numerics,
            "started_at": func.coalesce(
                trials.c.started_at, literal(now(), trials.c.started_at.type)
            ),
            "flops": case((lost, kept_flops), else_=trials.c.flops),
            "step": case((lost, resumed_step), else_=trials.c.step),
        }
        with self._write() as connection:
            return _change_trial(connection, trial_id, attempt, (TrialState.PENDING,), values)

    def trial_measured(self, trial_id: int, attempt: int, points: Sequence[Measurement]) -> bool:
        """Record new points of a curve; return False if they are recorded already."""
        with self._write() as connection:
            return _measured(connection, trial_id, attempt, points)

    def trial_finished(self, trial_id: int, outcome: Trial, points: Sequence[Measurement]) -> bool:
        """Record that a trial completed, diverged or not; `points` are the rest of its curve."""
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
            _measured(connection, trial_id, outcome.attempt, points)
            if not _change_trial(
                connection, trial_id, outcome.attempt, (TrialState.RUNNING,), values
            ):
                return False
            _keep_outline(connection, trial_id)
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
        """Record a failed attempt: the trial becomes pending again, or fails.

        Returns the trial's row, or None if the attempt was over already.
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
                values |= {
                    "state": next_trial_state(row.state, TrialState.FAILED),
                    "ended_at": now(),
                }
            _change_trial(connection, trial_id, attempt, OPEN, values)
            touch_job(connection, row.job_id)
            return the_trial(connection, trial_id)

    def trial_released(self, trial_id: int, attempt: int) -> bool:
        """Record a stopped attempt: the trial becomes pending again, unless its job has ended."""
        with self._write() as connection:
            values = {"state": TrialState.PENDING, "attempt": attempt + 1}
            return _change_trial(connection, trial_id, attempt, OPEN, values)


def _numerics_of_trunk(branch: Branch) -> ColumnElement[str | None]:
    """Numerics of the trunk that a branch continues."""
    trunk = (TRUNK.c.job_id == trials.c.job_id) & (TRUNK.c.digest == branch.trunk)
    return select(TRUNK.c.numerics).where(trunk).correlate(trials).scalar_subquery()


def _measured(
    connection: Connection, trial_id: int, attempt: int, points: Sequence[Measurement]
) -> bool:
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


def _keep_outline(connection: Connection, trial_id: int) -> None:
    """Store the outline of a finished trial's curve, over all its attempts."""
    query = select(chunks.c.attempt, chunks.c.blob).where(chunks.c.trial_id == trial_id)
    rows = connection.execute(query).all()
    outline = outline_of(join_chunks(trial_id, (Chunk(row.attempt, row.blob) for row in rows)))
    connection.execute(
        insert(outlines).values(trial_id=trial_id, held_out=outline.held_out, blob=packed(outline))
    )


def _recount(connection: Connection, job_id: str) -> None:
    """Update a job's counters from its completed trials."""
    searched = case((trials.c.measure == LOSS, trials.c.loss))
    of_job = (trials.c.job_id == job_id) & (trials.c.state == TrialState.COMPLETED)
    query = select(func.count(), func.min(searched)).where(of_job)
    done, best_loss = connection.execute(query).one()
    touch_job(connection, job_id, trials_done=done, best_loss=best_loss)


def _change_trial(
    connection: Connection,
    trial_id: int,
    attempt: int,
    states: tuple[TrialState, ...],
    values: dict[str, Any],
    *conditions: ColumnElement[bool],
) -> bool:
    """Change a trial if this attempt is current and in one of these states.

    Return whether it was.
    """
    same_attempt = (trials.c.id == trial_id) & (trials.c.attempt == attempt)
    fenced = update(trials).where(same_attempt, trials.c.state.in_(states), *conditions)
    return connection.execute(fenced.values(values)).rowcount == 1


def _planned(job_id: str, planned: Planned, moment: datetime) -> dict[str, Any]:
    spec, label = planned.spec, planned.label
    return {
        "job_id": job_id,
        "digest": spec.digest,
        "optimizer": spec.optimizer.name,
        "width": spec.model.width,
        "lr": spec.optimizer.lr,
        "weight_decay": spec.optimizer.weight_decay,
        "seed": spec.seed,
        "measure": spec.measure,
        "steps": spec.horizon.steps,
        "batch_tokens": spec.horizon.batch_tokens,
        "flops_planned": trial_flops(spec),
        "state": TrialState.PENDING,
        "ladder": label.ladder,
        "stage": label.stage,
        "level": label.level,
        "variant": label.variant,
        "created_at": moment,
    }
