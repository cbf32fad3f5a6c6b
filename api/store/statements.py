"""SQL statements that the store and the coordinator's record share.

The functions take an open connection. They convert rows to types, return a job or trial by id, and
change jobs: `move_job` changes a job's state, `change_job` and `touch_job` all other columns. Every
change of a job increments its version.
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
MIXED = "mixed"  # numerics of a trial that was resumed with other numerics; never reused


def now() -> datetime:
    """The current time in UTC, used for all timestamps."""
    return datetime.now(UTC)


def as_job(row: Any) -> JobRow:
    """Convert a row of JOB_COLUMNS."""
    values = {field.name: getattr(row, field.name) for field in fields(JobRow)}
    requested = Verb(row.requested) if row.requested else None
    return JobRow(**values | {"state": JobState(row.state), "requested": requested})


def as_trial(row: Any) -> TrialRow:
    """Convert a row of TRIAL_COLUMNS."""
    values = {column.name: getattr(row, column.name) for column in TRIAL_COLUMNS}
    return TrialRow(**values | {"state": TrialState(row.state), "variant": row.variant or ""})


def job_not_found(job_id: str) -> NotFound:
    return NotFound(f"no job {job_id}; list jobs with `telescope jobs` or GET /v1/jobs")


def trial_not_found(trial_id: int) -> NotFound:
    return NotFound(f"no trial {trial_id}; list a job's trials with GET /v1/jobs/JOB/trials")


def the_job(connection: Connection, job_id: str, lock: bool = False) -> JobRow:
    """Return a job, or raise NotFound; `lock` locks its row until the transaction ends."""
    query = select(*JOB_COLUMNS).where(jobs.c.id == job_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise job_not_found(job_id)
    return as_job(row)


def the_trial(connection: Connection, trial_id: int, lock: bool = False) -> TrialRow:
    """Return a trial, or raise NotFound; `lock` locks its row until the transaction ends."""
    query = select(*TRIAL_COLUMNS).where(trials.c.id == trial_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise trial_not_found(trial_id)
    return as_trial(row)


def touch_job(connection: Connection, job_id: Any, **values: Any) -> None:
    """Change a job's columns and return nothing; `job_id` may be a subquery."""
    connection.execute(
        update(jobs).where(jobs.c.id == job_id).values(version=jobs.c.version + 1, **values)
    )


def change_job(connection: Connection, job_id: str, **values: Any) -> JobRow:
    """Change a job's columns and return the job."""
    touch_job(connection, job_id, **values)
    return the_job(connection, job_id)


def move_job(
    connection: Connection, job: JobRow, to: JobState, reason: str | None = None
) -> JobRow:
    """Change a job's state and return the job; raise Conflict if the change is not permitted.

    No other function changes the state.
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
    """Return an INSERT that accepts ON CONFLICT, which SQLAlchemy defines for each dialect."""
    is_sqlite = connection.dialect.name == "sqlite"
    return sqlite.insert(table) if is_sqlite else postgresql.insert(table)


def insert_new(connection: Connection, table: Table, values: Any, *unique: str) -> None:
    """Insert one row or several; skip rows that equal an existing row in `unique` columns."""
    if values:
        statement = upsert(connection, table).on_conflict_do_nothing(index_elements=unique)
        connection.execute(statement, values)
