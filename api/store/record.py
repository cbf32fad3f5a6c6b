"""The coordinator's record of trials: planning them, and what becomes of them, one event in one transaction.

`Record` is the store with all writes that belong to the one coordinator; those about jobs are in `api.store.job_record`. A write about a
running trial names its `attempt` and changes nothing unless that attempt still runs, so that late and repeated reports are harmless.
"""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, insert, literal, or_, select, update

from api.store.curves import Chunk, encode, merge, outline_of, packed
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
from telescope.trials.outcome import Failure, Measurement, Trial, TrialState, advance

EARLIER = trials.alias("earlier")
TRUNK = trials.alias("trunk")
LOSS = "loss"  # what a trial of the search measures
FATE_REUSED = ("state", "loss", "diverged", "step", "flops", "failure_kind", "failure_message", "metrics", "numerics")


class Record(JobRecord):
    """The database, to the coordinator."""

    def requeue_lost(self) -> int:
        """Trials left running by a dead coordinator wait again, for their next attempt; how many there were."""
        lost = update(trials).where(trials.c.state == TrialState.RUNNING)
        with self._write() as connection:
            return connection.execute(lost.values(state=TrialState.PENDING, attempt=trials.c.attempt + 1)).rowcount

    def plan_trials(self, job_id: str, planned: Sequence[Planned]) -> int:
        """Enter the trials that a job does not have yet; how many they were."""
        with self._write() as connection:
            before = the_job(connection, job_id, lock=True).trials_total
            documents = [{"digest": one.spec.digest, "document": canonical_json(one.spec)} for one in planned]
            insert_new(connection, specs, documents, "digest")
            moment = now()
            insert_new(connection, trials, [_planned(job_id, one, moment) for one in planned], "job_id", "digest")
            count = select(func.count()).select_from(trials).where(trials.c.job_id == job_id).scalar_subquery()
            new = change_job(connection, job_id, trials_total=count).trials_total - before
        self._specs.update((one.spec.digest, one.spec) for one in planned)
        return new

    def reuse_trials(self, job_id: str, numerics: str, held: Collection[int] = ()) -> int:
        """Complete the trials that wait, `held` ones aside, as another job's runs of the same digest and numerics did; how many they were.

        They keep no curve of their own, and spend nothing.
        """
        free = (trials.c.flops_spent == 0) & trials.c.id.not_in(held)
        waiting = (trials.c.job_id == job_id) & (trials.c.state == TrialState.PENDING) & free
        trained = (EARLIER.c.state == TrialState.COMPLETED) & (EARLIER.c.numerics == numerics) & EARLIER.c.reused_from.is_(None)
        wanted = EARLIER.c.digest.in_(select(trials.c.digest).where(waiting))
        first = select(func.min(EARLIER.c.id).label("id")).where(trained, wanted).group_by(EARLIER.c.digest).subquery()
        source = trials.alias("source")
        linked = update(trials).where(waiting, trials.c.digest == source.c.digest, source.c.id == first.c.id)
        kept = {trials.c[name]: source.c[name] for name in FATE_REUSED}
        with self._write() as connection:
            count = connection.execute(linked.values({**kept, trials.c.reused_from: source.c.id, trials.c.ended_at: now()})).rowcount
            if count:
                _recount(connection, job_id)
        return count

    def known_digests(self, job_id: str) -> frozenset[str]:
        """Identities of all trials that a job has."""
        with self._read() as connection:
            return frozenset(connection.execute(select(trials.c.digest).where(trials.c.job_id == job_id)).scalars())

    def pending_trials(self, job_id: str, limit: int, held: Collection[int] = ()) -> list[Pending]:
        """The next trials of a job that wait and are not held, the longest first: a short one at the end keeps fewer workers waiting."""
        described = (specs.c.digest, specs.c.document, studies.c.document.label("study"))
        waiting = select(trials.c.id, trials.c.attempt, trials.c.failures, *described)
        waiting = waiting.join_from(trials, specs).join(studies, studies.c.job_id == trials.c.job_id)
        waiting = waiting.where(trials.c.job_id == job_id, trials.c.state == TrialState.PENDING, trials.c.id.not_in(list(held)))
        waiting = waiting.order_by(trials.c.flops_planned.desc(), trials.c.id).limit(limit)
        with self._read() as connection:
            rows = connection.execute(waiting).all()
        return [Pending(row.id, row.attempt, row.failures, self._own_spec(row)) for row in rows]

    def trial_started(self, trial_id: int, attempt: int, begun: Begun) -> bool:
        """A worker began; steps that were recorded after its checkpoint have to be made again. Those of a trunk are its own affair."""
        resumed_step, numerics, branch = begun.resumed_step, begun.numerics, begun.branch
        trunk_steps = branch.step if branch else 0
        own_steps, lost = resumed_step - trunk_steps, trials.c.step > resumed_step
        kept_flops: ColumnElement[Any] = literal(0.0)
        if own_steps > 0:
            kept_flops = trials.c.flops * own_steps / func.nullif(trials.c.step - trunk_steps, 0)
        begun_with = _numerics_of_trunk(branch) if branch and resumed_step == branch.step else trials.c.numerics
        values = {
            "state": TrialState.RUNNING,
            "worker": begun.worker,
            "numerics": case((begun_with == numerics, numerics), else_=MIXED) if resumed_step else numerics,
            "started_at": func.coalesce(trials.c.started_at, literal(now(), trials.c.started_at.type)),
            "flops": case((lost, kept_flops), else_=trials.c.flops),
            "step": case((lost, resumed_step), else_=trials.c.step),
        }
        with self._write() as connection:
            return _change_trial(connection, trial_id, attempt, (TrialState.PENDING,), values)

    def trial_measured(self, trial_id: int, attempt: int, points: Sequence[Measurement]) -> bool:
        """New points of a curve, unless they were recorded before."""
        with self._write() as connection:
            return _measured(connection, trial_id, attempt, points)

    def trial_finished(self, trial_id: int, outcome: Trial, points: Sequence[Measurement]) -> bool:
        """A trial completed, diverged or not; `points` are the rest of its curve."""
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
            if not _change_trial(connection, trial_id, outcome.attempt, (TrialState.RUNNING,), values):
                return False
            _keep_outline(connection, trial_id)
            job_id = select(trials.c.job_id).where(trials.c.id == trial_id).scalar_subquery()
            counters: dict[str, Any] = {"trials_done": jobs.c.trials_done + 1}
            if not outcome.diverged and outcome.spec.measure == LOSS:
                better = or_(jobs.c.best_loss.is_(None), jobs.c.best_loss > outcome.loss)
                counters["best_loss"] = case((better, outcome.loss), else_=jobs.c.best_loss)
            touch_job(connection, job_id, **counters)
            return True

    def trial_failed(self, trial_id: int, attempt: int, failure: Failure, max_attempts: int) -> TrialRow | None:
        """An attempt failed: the trial waits for the next one, or has failed. None: that attempt was over already."""
        with self._write() as connection:
            row = the_trial(connection, trial_id, lock=True)
            if row.attempt != attempt or row.state.terminal:
                return None
            values: dict[str, Any] = {"failures": row.failures + 1, "failure_kind": failure.kind, "failure_message": failure.message}
            if failure.retryable and row.failures + 1 < max_attempts:
                values |= {"state": TrialState.PENDING, "attempt": attempt + 1}
            else:
                values |= {"state": advance(row.state, TrialState.FAILED), "ended_at": now()}
            _change_trial(connection, trial_id, attempt, OPEN, values)
            touch_job(connection, row.job_id)
            return the_trial(connection, trial_id)

    def trial_released(self, trial_id: int, attempt: int) -> bool:
        """An attempt was stopped before its end: the trial waits again, unless its job has ended."""
        with self._write() as connection:
            values = {"state": TrialState.PENDING, "attempt": attempt + 1}
            return _change_trial(connection, trial_id, attempt, OPEN, values)


def _numerics_of_trunk(branch: Branch) -> ColumnElement[str | None]:
    """What the trial that a branch goes on from was computed with."""
    trunk = (TRUNK.c.job_id == trials.c.job_id) & (TRUNK.c.digest == branch.trunk)
    return select(TRUNK.c.numerics).where(trunk).correlate(trials).scalar_subquery()


def _measured(connection: Connection, trial_id: int, attempt: int, points: Sequence[Measurement]) -> bool:
    last = points[-1]
    values = {
        "step": last.step,
        "flops": last.flops,
        "flops_spent": trials.c.flops_spent + last.flops - trials.c.flops,
        "seconds": last.seconds,
    }
    if not _change_trial(connection, trial_id, attempt, (TrialState.RUNNING,), values, trials.c.step < last.step):
        return False
    chunk = {"trial_id": trial_id, "attempt": attempt, "first_step": points[0].step, "blob": encode(points)}
    insert_new(connection, chunks, chunk, "trial_id", "attempt", "first_step")
    return True


def _keep_outline(connection: Connection, trial_id: int) -> None:
    """Outline a finished trial's curve, as all its attempts made it."""
    found = connection.execute(select(chunks.c.attempt, chunks.c.blob).where(chunks.c.trial_id == trial_id)).all()
    outline = outline_of(merge(trial_id, (Chunk(row.attempt, row.blob) for row in found)))
    connection.execute(insert(outlines).values(trial_id=trial_id, held_out=outline.held_out, blob=packed(outline)))


def _recount(connection: Connection, job_id: str) -> None:
    """Bring a job's counters up to its completed trials."""
    searched = case((trials.c.measure == LOSS, trials.c.loss))
    completed = select(func.count(), func.min(searched)).where(trials.c.job_id == job_id, trials.c.state == TrialState.COMPLETED)
    done, best_loss = connection.execute(completed).one()
    touch_job(connection, job_id, trials_done=done, best_loss=best_loss)


def _change_trial(
    connection: Connection,
    trial_id: int,
    attempt: int,
    states: tuple[TrialState, ...],
    values: dict[str, Any],
    *conditions: ColumnElement[bool],
) -> bool:
    """Change a trial if this attempt at it is in one of these states; whether it was."""
    fenced = update(trials).where(trials.c.id == trial_id, trials.c.attempt == attempt, trials.c.state.in_(states), *conditions)
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
