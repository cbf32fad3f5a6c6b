"""Jobs, their studies and results: what the api creates, requests and reads."""

import json
import secrets
import time
from typing import Any

from sqlalchemy import Connection, insert, select, update

from api.job_states import TARGET, JobState, Verb, follow, prospect
from api.store.database import Database
from api.store.pages import continued_after, page, row_limit
from api.store.rows import JobRow, Page
from api.store.statements import (
    JOB_COLUMNS,
    as_job,
    change_job,
    move_job,
    now,
    the_job,
    upsert,
)
from api.store.tables import jobs, results, studies
from telescope.errors import Conflict, NotFound

PAST = {Verb.CANCEL: "cancelled", Verb.PAUSE: "paused", Verb.RESUME: "resumed", Verb.RETRY: "retried"}
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


class IdempotencyMismatch(Conflict):
    """An idempotency key came again, with another body."""

    code, status = "idempotency_key_reused", 422


class Jobs(Database):
    """Jobs and verbs, each method one transaction."""

    def create_job(
        self, document: dict[str, Any], *, idempotency_key: str | None = None, body_hash: str = "", owner: str = ""
    ) -> tuple[JobRow, bool]:
        """The job of a study's document, and whether it is new: a key that came before gives the job that it made."""
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
            unless_known = upsert(connection, jobs).on_conflict_do_nothing(index_elements=["owner", "idempotency_key"])
            if connection.execute(unless_known.returning(jobs.c.id), values).scalar():
                connection.execute(insert(studies).values(job_id=values["id"], document=json.dumps(document)))
                return the_job(connection, values["id"]), True
        assert idempotency_key is not None, "only a key can have come before"
        known = self.job_of_key(idempotency_key, body_hash, owner)
        assert known is not None, "jobs are never deleted"
        return known, False

    def job_of_key(self, idempotency_key: str, body_hash: str, owner: str = "") -> JobRow | None:
        """The job that an earlier request with this key made, or None; IdempotencyMismatch if its body was another."""
        same_key = (jobs.c.owner == owner) & (jobs.c.idempotency_key == idempotency_key)
        with self._read() as connection:
            row = connection.execute(select(*JOB_COLUMNS, jobs.c.body_hash.label("hash")).where(same_key)).one_or_none()
        if row is not None and row.hash != body_hash:
            raise IdempotencyMismatch(f"idempotency key {idempotency_key!r} was used for another body; take a new key")
        return None if row is None else as_job(row)

    def job(self, job_id: str) -> JobRow:
        """One job, or NotFound."""
        with self._read() as connection:
            return the_job(connection, job_id)

    def jobs(self, page_size: int = 50, page_token: str | None = None, *, state: JobState | None = None) -> Page[JobRow]:
        """Jobs, newest first."""
        query = select(*JOB_COLUMNS).order_by(jobs.c.id.desc())
        if state:
            query = query.where(jobs.c.state == state)
        asked = f"jobs {state}"
        if page_token:
            query = query.where(jobs.c.id < continued_after(page_token, asked, str))
        with self._read() as connection:
            return page([as_job(row) for row in connection.execute(query.limit(row_limit(page_size)))], page_size, asked)

    def study_document(self, job_id: str) -> dict[str, Any]:
        """The study that a job answers, as it was accepted."""
        with self._read() as connection:
            document = connection.execute(select(studies.c.document).where(studies.c.job_id == job_id)).scalar()
        if document is None:
            raise NotFound(f"no job {job_id}")
        found: dict[str, Any] = json.loads(document)
        return found

    def result(self, job_id: str) -> dict[str, Any] | None:
        """The latest report, interim or final; None before the first."""
        query = select(jobs.c.id, results.c.document).outerjoin_from(jobs, results).where(jobs.c.id == job_id)
        with self._read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"no job {job_id}")
        return json.loads(row.document) if row.document else None

    def request(self, job_id: str, verb: Verb) -> JobRow:
        """Ask for a verb: done at once where nothing of the job runs, else left to the coordinator. Repeating it changes nothing."""
        with self._write() as connection:
            job = the_job(connection, job_id, lock=True)
            bound_for = prospect(job.state, job.requested)
            if bound_for == TARGET[verb]:
                return job
            try:
                follow(job.state if verb is Verb.RETRY else bound_for, verb)
            except Conflict as conflict:
                raise Conflict(f"job {job_id} cannot be {PAST[verb]}: {conflict}") from None
            if verb is Verb.RESUME and job.state is JobState.RUNNING:
                return change_job(connection, job_id, requested=None)  # the pause had not begun
            has_trials = job.started_at is not None
            if job.state is JobState.RUNNING or (verb is Verb.CANCEL and has_trials):
                return change_job(connection, job_id, requested=verb)
            if verb is Verb.RETRY:
                _reopen(connection, job_id)
            return move_job(connection, job, TARGET[verb])


def new_job_id() -> str:
    """A unique id that sorts by time of creation: 48 bits of milliseconds, 80 random ones."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return "job-" + "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def _reopen(connection: Connection, job_id: str) -> None:
    """The report that called itself final is the latest so far, until the coordinator has another."""
    of_job = results.c.job_id == job_id
    if document := connection.execute(select(results.c.document).where(of_job)).scalar():
        reopened = json.dumps(json.loads(document) | {"final": False})
        connection.execute(update(results).where(of_job).values(document=reopened, final=False))
