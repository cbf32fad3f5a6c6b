"""The coordinator's writes about planned trials: insert, reuse, and list those that are pending."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, func, select, update

from api.store.job_record import JobRecord
from api.store.rows import Pending
from api.store.statements import change_job, insert_new, now, the_job, touch_job
from api.store.tables import specs, studies, trials
from telescope.studies.kind import Planned
from telescope.train.flops import trial_flops
from telescope.trials.identity import canonical_json
from telescope.trials.outcome import TrialState

EARLIER = trials.alias("earlier")
LOSS = "loss"  # the measure of a trial of the search
REUSED_COLUMNS = (  # that a reused trial copies from the trial that was trained
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


class PlanRecord(JobRecord):
    """The store with the coordinator's writes about jobs and planned trials."""

    def plan_trials(self, job_id: str, planned: Sequence[Planned]) -> int:
        """Insert the trials that a job does not have yet; return their number."""
        with self._write() as connection:
            before = the_job(connection, job_id, lock=True).trials_total
            documents = [
                {"digest": trial.spec.digest, "document": canonical_json(trial.spec)}
                for trial in planned
            ]
            insert_new(connection, specs, documents, "digest")
            moment = now()
            rows = [_new_row(job_id, trial, moment) for trial in planned]
            insert_new(connection, trials, rows, "job_id", "digest")
            of_job = select(func.count()).select_from(trials).where(trials.c.job_id == job_id)
            total = of_job.scalar_subquery()
            new = change_job(connection, job_id, trials_total=total).trials_total - before
        self._specs.update((trial.spec.digest, trial.spec) for trial in planned)
        return new

    def reuse_trials(self, job_id: str, numerics: str, held: Collection[int] = ()) -> int:
        """Complete pending trials with the outcomes of equal trials of other jobs.

        Trials are equal if their digest and the worker's numerics are. Trials in `held` are left
        out. Returns the number of completed trials; they have no curve of their own, and spend no
        FLOPs.
        """
        unbegun = (trials.c.flops_spent == 0) & trials.c.id.not_in(held)
        waiting = (trials.c.job_id == job_id) & (trials.c.state == TrialState.PENDING) & unbegun
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
        values: dict[Any, Any] = {trials.c[name]: source.c[name] for name in REUSED_COLUMNS}
        values |= {trials.c.reused_from: source.c.id, trials.c.ended_at: now()}
        with self._write() as connection:
            count = connection.execute(linked.values(values)).rowcount
            if count:
                _recount(connection, job_id)
        return count

    def trial_digests(self, job_id: str) -> frozenset[str]:
        """Return the digests of all trials of a job."""
        query = select(trials.c.digest).where(trials.c.job_id == job_id)
        with self._read() as connection:
            return frozenset(connection.execute(query).scalars())

    def pending_trials(self, job_id: str, limit: int, held: Collection[int] = ()) -> list[Pending]:
        """Return up to `limit` pending trials of a job that are not in `held`, longest first.

        The longest goes first so that short trials are left for the end, where other workers may
        have to wait for the last one.
        """
        spec_columns = (specs.c.digest, specs.c.document, studies.c.document.label("study"))
        waiting = select(trials.c.id, trials.c.attempt, trials.c.failures, *spec_columns)
        waiting = waiting.join_from(trials, specs).join(
            studies, studies.c.job_id == trials.c.job_id
        )
        pending = trials.c.state == TrialState.PENDING
        waiting = waiting.where(trials.c.job_id == job_id, pending, trials.c.id.not_in(list(held)))
        waiting = waiting.order_by(trials.c.flops_planned.desc(), trials.c.id).limit(limit)
        with self._read() as connection:
            rows = connection.execute(waiting).all()
        return [Pending(row.id, row.attempt, row.failures, self._own_spec(row)) for row in rows]


def _recount(connection: Connection, job_id: str) -> None:
    """Update a job's counters from its completed trials."""
    search_loss = case((trials.c.measure == LOSS, trials.c.loss))
    of_job = (trials.c.job_id == job_id) & (trials.c.state == TrialState.COMPLETED)
    query = select(func.count(), func.min(search_loss)).where(of_job)
    done, best_loss = connection.execute(query).one()
    touch_job(connection, job_id, trials_done=done, best_loss=best_loss)


def _new_row(job_id: str, planned: Planned, moment: datetime) -> dict[str, Any]:
    """The columns of a planned trial."""
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
