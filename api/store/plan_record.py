"""The database operations of the coordinator on planned trials.

The coordinator is the process that runs the jobs. It inserts the trials (training runs) that the
study of a job plans. If the study permits reuse, a new trial gets the outcome of an equal trial of
another job. The remaining trials wait for a worker.
"""

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

EARLIER = trials.alias("earlier")  # trials whose outcomes may be reused
LOSS = "loss"  # value of the column `measure` for trials whose result is a final loss
REUSED_COLUMNS = (  # columns that are copied from the earlier trial to the trial that reuses it
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
    """The store, with the operations of the coordinator on jobs and planned trials."""

    def plan_trials(self, job_id: str, planned: Sequence[Planned]) -> int:
        """Insert those planned trials that the job does not have yet, and return their number."""
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

        A trial of another job is equal if it has the same digest and was trained to completion with
        the same `numerics`, a string that names the device and the software. Pending trials on
        which FLOPs were already spent stay pending. Trials that the executor holds also stay
        pending; `held` has the ids of these trials.

        Returns the number of trials that were completed. These trials have no curve of their own
        and spend no FLOPs.
        """
        not_begun = (trials.c.flops_spent == 0) & trials.c.id.not_in(held)
        is_pending = (trials.c.job_id == job_id) & (trials.c.state == TrialState.PENDING)
        may_reuse = is_pending & not_begun
        is_completed = EARLIER.c.state == TrialState.COMPLETED
        same_numerics = EARLIER.c.numerics == numerics
        was_trained = is_completed & same_numerics & EARLIER.c.reused_from.is_(None)
        is_needed = EARLIER.c.digest.in_(select(trials.c.digest).where(may_reuse))
        first_id = select(func.min(EARLIER.c.id).label("id")).where(was_trained, is_needed)
        first_ids = first_id.group_by(EARLIER.c.digest).subquery()
        source = trials.alias("source")
        statement = update(trials).where(
            may_reuse, trials.c.digest == source.c.digest, source.c.id == first_ids.c.id
        )
        values: dict[Any, Any] = {trials.c[name]: source.c[name] for name in REUSED_COLUMNS}
        values |= {trials.c.reused_from: source.c.id, trials.c.ended_at: now()}
        with self._write() as connection:
            count = connection.execute(statement.values(values)).rowcount
            if count:
                _recount(connection, job_id)
        return count

    def trial_digests(self, job_id: str) -> frozenset[str]:
        """Return the digests of all trials of a job."""
        query = select(trials.c.digest).where(trials.c.job_id == job_id)
        with self._read() as connection:
            return frozenset(connection.execute(query).scalars())

    def pending_trials(self, job_id: str, limit: int, held: Collection[int] = ()) -> list[Pending]:
        """Return up to `limit` pending trials of a job, the longest (in planned FLOPs) first.

        A long trial that starts last would keep one worker busy while all others are idle. Trials
        that the executor holds are left out; `held` has the ids of these trials.
        """
        spec_columns = (specs.c.digest, specs.c.document, studies.c.document.label("study"))
        query = select(trials.c.id, trials.c.attempt, trials.c.failures, *spec_columns)
        query = query.join_from(trials, specs).join(studies, studies.c.job_id == trials.c.job_id)
        is_pending = trials.c.state == TrialState.PENDING
        query = query.where(trials.c.job_id == job_id, is_pending, trials.c.id.not_in(list(held)))
        query = query.order_by(trials.c.flops_planned.desc(), trials.c.id).limit(limit)
        with self._read() as connection:
            rows = connection.execute(query).all()
        return [
            Pending(row.id, row.attempt, row.failures, self._spec_of_trial(row)) for row in rows
        ]


def _recount(connection: Connection, job_id: str) -> None:
    """Update a job's number of completed trials and its lowest loss.

    Trials whose result is not a final loss do not count for the lowest loss.
    """
    final_loss = case((trials.c.measure == LOSS, trials.c.loss))
    of_job = (trials.c.job_id == job_id) & (trials.c.state == TrialState.COMPLETED)
    query = select(func.count(), func.min(final_loss)).where(of_job)
    done, best_loss = connection.execute(query).one()
    touch_job(connection, job_id, trials_done=done, best_loss=best_loss)


def _new_row(job_id: str, planned: Planned, moment: datetime) -> dict[str, Any]:
    """Return the values of a planned trial's row, by column."""
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
