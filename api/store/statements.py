"""SQL statements that several modules of `api.store` share.

The functions convert rows to types, return a job or a trial by id, change jobs, and insert rows.
`move_job` changes the state of a job; `change_job` and `touch_job` change other columns of a job.
All three increment the job's version.
"""

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, select, update
from sqlalchemy.dialects import postgresql, sqlite

from api.job_states import JobState, Verb, next_job_state
from api.store.rows import JobRow, TrialRow
from api.store.tables import jobs, trials
from telescope.errors import NotFound
from telescope.trials.outcome import TrialState

JOB_COLUMNS = [jobs.c[field.name] for field in fields(JobRow)]
TRIAL_COLUMNS = [trials.c[field.name] for field in fields(TrialRow) if field.name in trials.c]
OPEN = (TrialState.PENDING, TrialState.RUNNING)  # states of a trial that has not ended
# The column `numerics` names the device and the software that trained a trial. MIXED means that
# several devices or several versions of the software may have trained the trial. The outcome of
# such a trial is never reused.
MIXED = "mixed"


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def as_job(row: Any) -> JobRow:
    """Convert a row with the columns JOB_COLUMNS to a JobRow."""
    values = {field.name: getattr(row, field.name) for field in fields(JobRow)}
    requested = Verb(row.requested) if row.requested else None
    return JobRow(**values | {"state": JobState(row.state), "requested": requested})


def as_trial(row: Any) -> TrialRow:
    """Convert a row with the columns TRIAL_COLUMNS to a TrialRow."""
    values = {column.name: getattr(row, column.name) for column in TRIAL_COLUMNS}
    return TrialRow(**values | {"state": TrialState(row.state), "variant": row.variant or ""})


def job_not_found(job_id: str) -> NotFound:
    remedy = "list all jobs with `telescope jobs` or GET /v1/jobs"
    return NotFound(f"there is no job {job_id}; {remedy}")


def trial_not_found(trial_id: int) -> NotFound:
    remedy = "list the trials of a job with GET /v1/jobs/JOB/trials"
    return NotFound(f"there is no trial {trial_id}; {remedy}")


def the_job(connection: Connection, job_id: str, lock: bool = False) -> JobRow:
    """Return a job, or raise NotFound if there is no such job.

    If `lock` is true, other transactions cannot change the job's row until this transaction ends.
    """
    query = select(*JOB_COLUMNS).where(jobs.c.id == job_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise job_not_found(job_id)
    return as_job(row)


def the_trial(connection: Connection, trial_id: int, lock: bool = False) -> TrialRow:
    """Return a trial, or raise NotFound if there is no such trial.

    If `lock` is true, other transactions cannot change the trial's row until this transaction ends.
    """
    query = select(*TRIAL_COLUMNS).where(trials.c.id == trial_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise trial_not_found(trial_id)
    return as_trial(row)


def touch_job(connection: Connection, job_id: Any, **values: Any) -> None:
    """Change columns of a job, and increment its version. `job_id` may be a subquery."""
    connection.execute(
        update(jobs).where(jobs.c.id == job_id).values(version=jobs.c.version + 1, **values)
    )


def change_job(connection: Connection, job_id: str, **values: Any) -> JobRow:
    """Change columns of a job, increment its version, and return the job."""
    touch_job(connection, job_id, **values)
    return the_job(connection, job_id)


def move_job(
    connection: Connection, job: JobRow, to: JobState, reason: str | None = None
) -> JobRow:
    """Change a job's state, and return the job. Raises Conflict if the change is not permitted.

    The requested verb and `waiting_for` are cleared, and the job's times are updated.
    """
    moment = now()
    elapsed = (moment - job.running_since).total_seconds() if job.running_since else 0.0
    return change_job(
        connection,
        job.id,
        state=next_job_state(job.state, to),
        requested=None,
        reason=reason,
        waiting_for=None,
        started_at=job.started_at or (moment if to is JobState.RUNNING else None),
        ended_at=moment if to.terminal else None,
        running_since=moment if to is JobState.RUNNING else None,
        running_seconds=job.running_seconds + elapsed,
    )


def upsert(connection: Connection, table: Table) -> Any:
    """Return an INSERT statement to which ON CONFLICT can be added."""
    is_sqlite = connection.dialect.name == "sqlite"
    return sqlite.insert(table) if is_sqlite else postgresql.insert(table)


def insert_new(connection: Connection, table: Table, values: Any, *unique: str) -> None:
    """Insert one row or several rows.

    A row is skipped if the table already has a row with the same values in the columns `unique`.
    """
    if values:
        statement = upsert(connection, table).on_conflict_do_nothing(index_elements=unique)
        connection.execute(statement, values)
