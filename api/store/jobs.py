"""Reads of jobs, their studies and their results, and the writes that users request.

A study is the question that a user submits as a job. It is stored as a JSON document. A result is
the latest report of a job. A verb is a user's request to change the state of a job, such as cancel
or pause. The coordinator is the process that runs the jobs.
"""

import json
import secrets
import time
from typing import Any

from sqlalchemy import Connection, insert, select, update

from api.job_states import TARGET, JobState, Verb, prospect, state_after_verb
from api.store.database import Database
from api.store.pages import continued_after, page, row_limit
from api.store.rows import JobRow, Page
from api.store.statements import (
    JOB_COLUMNS,
    as_job,
    change_job,
    job_not_found,
    move_job,
    now,
    the_job,
    upsert,
)
from api.store.tables import jobs, results, studies
from telescope.errors import Conflict

PAST = {  # past participles of the verbs, for error messages
    Verb.CANCEL: "cancelled",
    Verb.PAUSE: "paused",
    Verb.RESUME: "resumed",
    Verb.RETRY: "retried",
}
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"  # digits of Crockford's base 32


class IdempotencyMismatch(Conflict):
    """A request has the idempotency key of an earlier, different request."""

    code, status = "idempotency_key_reused", 422


class JobTable(Database):
    """Reads and writes of jobs.

    Each method is one transaction, with one exception: if the idempotency key was used before,
    `create_job` needs a second transaction.
    """

    def create_job(
        self,
        document: dict[str, Any],
        *,
        idempotency_key: str | None = None,
        body_hash: str = "",
        owner: str = "",
    ) -> tuple[JobRow, bool]:
        """Create a job from a study's document, and return the job and True.

        If an earlier request of the same owner had this idempotency key, return the job that the
        earlier request created, and False. Raises IdempotencyMismatch if the earlier request had
        another `body_hash`.
        """
        limits = document.get("limits") or {}
        values = {
            "id": new_job_id(),
            "name": document.get("name") or document["kind"],
            "kind": document["kind"],
            "state": JobState.QUEUED,
            "owner": owner,
            "idempotency_key": idempotency_key,
            "body_hash": body_hash,
            "created_at": now(),
            "max_parallel": limits.get("max_parallel"),
            "max_seconds": limits.get("max_seconds"),
        }
        with self._write() as connection:
            key = ["owner", "idempotency_key"]
            insert_job = upsert(connection, jobs).on_conflict_do_nothing(index_elements=key)
            if connection.execute(insert_job.returning(jobs.c.id), values).scalar():
                study = {"job_id": values["id"], "document": json.dumps(document)}
                connection.execute(insert(studies).values(study))
                return the_job(connection, values["id"]), True
        assert idempotency_key is not None, "a job without a key conflicts with no other job"
        earlier = self.job_of_key(idempotency_key, body_hash, owner)
        assert earlier is not None, "jobs are never deleted"
        return earlier, False

    def job_of_key(self, idempotency_key: str, body_hash: str, owner: str = "") -> JobRow | None:
        """Return the job that an earlier request of `owner` with this idempotency key created.

        Returns None if there is no such job. Raises IdempotencyMismatch if the earlier request had
        another `body_hash`.
        """
        same_key = (jobs.c.owner == owner) & (jobs.c.idempotency_key == idempotency_key)
        query = select(*JOB_COLUMNS, jobs.c.body_hash.label("hash")).where(same_key)
        with self._read() as connection:
            row = connection.execute(query).one_or_none()
        if row is not None and row.hash != body_hash:
            message = (
                f"an earlier, different request had the idempotency key {idempotency_key!r}; "
                "use a new key"
            )
            raise IdempotencyMismatch(message)
        return None if row is None else as_job(row)

    def job(self, job_id: str) -> JobRow:
        """Return a job. Raises NotFound if there is no such job."""
        with self._read() as connection:
            return the_job(connection, job_id)

    def jobs(
        self, page_size: int = 50, page_token: str | None = None, *, state: JobState | None = None
    ) -> Page[JobRow]:
        """Return a page of jobs, newest first. If `state` is given, only jobs in this state."""
        query = select(*JOB_COLUMNS).order_by(jobs.c.id.desc())
        if state:
            query = query.where(jobs.c.state == state)
        listing = f"jobs {state}"
        if page_token:
            query = query.where(jobs.c.id < continued_after(page_token, listing, str))
        with self._read() as connection:
            rows = connection.execute(query.limit(row_limit(page_size)))
            return page([as_job(row) for row in rows], page_size, listing)

    def study_document(self, job_id: str) -> dict[str, Any]:
        """Return the stored document of a job's study.

        Raises NotFound if there is no such job.
        """
        query = select(studies.c.document).where(studies.c.job_id == job_id)
        with self._read() as connection:
            document = connection.execute(query).scalar()
        if document is None:
            raise job_not_found(job_id)
        study: dict[str, Any] = json.loads(document)
        return study

    def result(self, job_id: str) -> dict[str, Any] | None:
        """Return a job's latest report, which may be an interim report.

        Returns None if the job has no report yet. Raises NotFound if there is no such job.
        """
        query = (
            select(jobs.c.id, results.c.document)
            .outerjoin_from(jobs, results)
            .where(jobs.c.id == job_id)
        )
        with self._read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise job_not_found(job_id)
        return json.loads(row.document) if row.document else None

    def request(self, job_id: str, verb: Verb) -> JobRow:
        """Request a verb of a job, and return the job.

        If the job has the state that the verb leads to, or if a recorded request leads to this
        state, nothing changes.

        Two kinds of requests are only recorded, and the coordinator carries them out later: the
        pause or the cancellation of a running job, and the cancellation of a job that has run
        before. To resume a running job is to withdraw the recorded pause. Other requests change the
        job's state at once.

        Raises Conflict if the job's state does not permit the verb, and NotFound if there is no
        such job.
        """
        with self._write() as connection:
            job = the_job(connection, job_id, lock=True)
            next_state = prospect(job.state, job.requested)
            if next_state == TARGET[verb]:
                return job
            try:
                state_after_verb(job.state if verb is Verb.RETRY else next_state, verb)
            except Conflict as conflict:
                raise Conflict(f"job {job_id} cannot be {PAST[verb]}: {conflict}") from None
            if verb is Verb.RESUME and job.state is JobState.RUNNING:
                return change_job(connection, job_id, requested=None)  # withdraw the pause
            has_started = job.started_at is not None
            if job.state is JobState.RUNNING or (verb is Verb.CANCEL and has_started):
                return change_job(connection, job_id, requested=verb)
            if verb is Verb.RETRY:
                _reopen(connection, job_id)
            return move_job(connection, job, TARGET[verb])


def new_job_id() -> str:
    """Make a unique job id. Ids sort by the time of creation.

    An id encodes the Unix time in milliseconds (48 bits) and 80 random bits.
    """
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return "job-" + "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def _reopen(connection: Connection, job_id: str) -> None:
    """Mark the stored report as not final, since the job will run again."""
    of_job = results.c.job_id == job_id
    if document := connection.execute(select(results.c.document).where(of_job)).scalar():
        reopened = json.dumps(json.loads(document) | {"final": False})
        connection.execute(update(results).where(of_job).values(document=reopened, final=False))
