"""The operations on jobs that only the coordinator needs.

The coordinator is the process that runs the jobs. A verb is a user's request to change the state of
a job, such as cancel or pause.
"""

import json
from typing import Any

from sqlalchemy import Connection, exists, or_, select, update

from api.job_states import TARGET, JobState, Verb
from api.store.rows import JobRow
from api.store.statements import (
    JOB_COLUMNS,
    OPEN,
    as_job,
    move_job,
    now,
    the_job,
    touch_job,
    upsert,
)
from api.store.store import Store
from api.store.tables import jobs, results, trials
from telescope.trials.outcome import TrialState


class JobRecord(Store):
    """The store, extended by the coordinator's operations on jobs."""

    def active_jobs(self) -> list[JobRow]:
        """Return the jobs that are queued or running or have a requested verb, oldest first."""
        queued_or_running = jobs.c.state.in_((JobState.QUEUED, JobState.RUNNING))
        active = or_(queued_or_running, jobs.c.requested.is_not(None))
        query = select(*JOB_COLUMNS).where(active).order_by(jobs.c.id)
        with self._read() as connection:
            return [as_job(row) for row in connection.execute(query)]

    def begin_job(self, job_id: str) -> JobRow:
        """Change a queued job to running, and return the job.

        Failed and stopped trials of the job become pending, for another attempt, and their failures
        are counted from 0 again. If the job is no longer queued, or if a verb is requested, nothing
        changes.
        """
        with self._write() as connection:
            job = the_job(connection, job_id, lock=True)
            if job.state is not JobState.QUEUED or job.requested:
                return job
            to_retry = trials.c.state.in_((TrialState.FAILED, TrialState.STOPPED))
            requeue = update(trials).where(trials.c.job_id == job_id, to_retry)
            next_attempt = {"state": TrialState.PENDING, "attempt": trials.c.attempt + 1}
            connection.execute(requeue.values(next_attempt | {"failures": 0, "ended_at": None}))
            return move_job(connection, job, JobState.RUNNING)

    def carry_out(self, job_id: str) -> JobRow:
        """Carry out the requested verb of a job, and return the job.

        Nothing changes if the request was withdrawn.
        """
        with self._write() as connection:
            job = the_job(connection, job_id, lock=True)
            if job.requested is None:
                return job
            if job.requested is Verb.CANCEL:
                _stop_trials(connection, job_id)
            return move_job(connection, job, TARGET[job.requested])

    def put_result(self, job_id: str, document: dict[str, Any], final: bool) -> None:
        """Store a report of a job in place of the previous report.

        `final` is False for an interim report.
        """
        with self._write() as connection:
            _put_result(connection, job_id, document, final)
            touch_job(connection, job_id)

    def finish_job(
        self, job_id: str, state: JobState, reason: str | None, result: dict[str, Any] | None = None
    ) -> JobRow:
        """End a job: change its state to `state`, and stop its unfinished trials.

        `reason` says why the job ended. `result` is the final report of the job; if it is None, the
        stored report stays as it is.
        """
        with self._write() as connection:
            job = the_job(connection, job_id, lock=True)
            if result is not None:
                _put_result(connection, job_id, result, final=True)
            _stop_trials(connection, job_id)
            return move_job(connection, job, state, reason=reason)

    def set_waiting(self, reason: str | None) -> None:
        """Set the column `waiting_for` of all running jobs with pending trials to `reason`.

        `reason` says what the jobs wait for, such as workers. If `reason` is None, the column is
        cleared in all jobs.
        """
        pending = exists().where(trials.c.job_id == jobs.c.id, trials.c.state == TrialState.PENDING)
        waiting, running = jobs.c.waiting_for.is_not(None), jobs.c.state == JobState.RUNNING
        affected = waiting if reason is None else running & pending
        changed = jobs.c.waiting_for.is_distinct_from(reason)
        statement = update(jobs).where(affected, changed)
        with self._write() as connection:
            connection.execute(statement.values(waiting_for=reason, version=jobs.c.version + 1))


def _put_result(connection: Connection, job_id: str, document: dict[str, Any], final: bool) -> None:
    values = {"document": json.dumps(document), "final": final}
    put = upsert(connection, results).values(job_id=job_id, **values)
    connection.execute(put.on_conflict_do_update(index_elements=["job_id"], set_=values))


def _stop_trials(connection: Connection, job_id: str) -> None:
    unfinished = update(trials).where(trials.c.job_id == job_id, trials.c.state.in_(OPEN))
    connection.execute(unfinished.values(state=TrialState.STOPPED, ended_at=now()))
