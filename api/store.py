"""What does the service remember, and in which words does it ask?

All SQL of telescope is here. Each public method of `Store` is one transaction and a constant number of statements, whatever the number
of trials. Three groups: jobs and verbs (written by the api), trials and curves (read by the api), and the coordinator's record, which
alone writes trials. Every write about a running trial names its `attempt` and changes nothing unless that attempt still runs, so that
late and repeated reports are harmless.
"""

import base64
import json
import math
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, Row, Select, Table, case, exists, func, insert, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

import migrations
from api.curves import Chunk, Curve, encode, merge, thin
from api.engines import open_engines
from api.job import TARGET, JobState, Verb, advance, prospect
from api.rows import JobRow, Page, Pending, TrialRow
from api.tables import chunks, jobs, results, specs, studies, trials
from telescope import trial as fate
from telescope.errors import Conflict, InvalidInput, NotFound, Unavailable
from telescope.spec import TrialSpec, canonical_json
from telescope.trial import Failure, Measurement, Trial, TrialState

MAX_PAGE_SIZE = 1000
JOB_COLUMNS = [jobs.c[field.name] for field in fields(JobRow)]
TRIAL_COLUMNS = [trials.c[field.name] for field in fields(TrialRow)]
OPEN = (TrialState.PENDING, TrialState.RUNNING)
SPEC = TypeAdapter(TrialSpec)


class IdempotencyMismatch(Conflict):
    """An idempotency key came again, with another body."""

    code, status = "idempotency_key_reused", 422


class Store:
    """The database, to one process; usable from several threads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._writer, self._reader = open_engines(url)
        self._specs: dict[str, TrialSpec] = {}  # by digest; a spec never changes

    def close(self) -> None:
        """Give all connections back."""
        self._writer.dispose()
        self._reader.dispose()

    def ping(self) -> None:
        """Unavailable when the database is away."""
        with self._read() as connection:
            connection.execute(select(literal(1)))

    def check_revision(self) -> None:
        """Unavailable when the schema is not the one that this version works with."""
        with _translated():
            found, wanted = migrations.current(self.url), migrations.head()
        if found != wanted:
            state = f"at revision {found}" if found else "empty"
            raise Unavailable(f"the database is {state}, this version of telescope needs {wanted}; run `telescope migrate`")

    # ------------------------------------------------------------------------------------------------ jobs and verbs

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
            "created_at": _now(),
            "max_parallel": limits.get("max_parallel"),
            "max_seconds": limits.get("max_seconds"),
        }
        with self._write() as connection:
            new = self._insert_new(connection, jobs, values, "owner", "idempotency_key")
            if new:
                connection.execute(insert(studies).values(job_id=values["id"], document=json.dumps(document)))
                return _the_job(connection, values["id"]), True
            same_key = (jobs.c.owner == owner) & (jobs.c.idempotency_key == idempotency_key)
            row = connection.execute(select(*JOB_COLUMNS, jobs.c.body_hash.label("hash")).where(same_key)).one()
        if row.hash != body_hash:
            raise IdempotencyMismatch(f"idempotency key {idempotency_key!r} was used for another body; take a new key")
        return _job(row), False

    def job(self, job_id: str) -> JobRow:
        """One job, or NotFound."""
        with self._read() as connection:
            return _the_job(connection, job_id)

    def jobs(self, page_size: int = 50, page_token: str | None = None, *, state: JobState | None = None) -> Page[JobRow]:
        """Jobs, newest first."""
        query = select(*JOB_COLUMNS).order_by(jobs.c.id.desc())
        if state:
            query = query.where(jobs.c.state == state)
        asked = f"jobs {state}"
        if page_token:
            query = query.where(jobs.c.id < _key(page_token, asked, str))
        with self._read() as connection:
            return _page([_job(row) for row in connection.execute(query.limit(_size(page_size) + 1))], page_size, asked)

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
            job = _the_job(connection, job_id, lock=True)
            bound_for = prospect(job.state, job.requested)
            if bound_for == TARGET[verb]:
                return job
            try:
                advance(bound_for, TARGET[verb])
            except Conflict as conflict:
                raise Conflict(f"job {job_id} cannot be {_past(verb)}: {conflict}") from None
            if verb is Verb.RESUME and job.state is JobState.RUNNING:
                return _change(connection, job_id, requested=None)  # the pause had not begun
            has_trials = job.started_at is not None
            if job.state is JobState.RUNNING or (verb is Verb.CANCEL and has_trials):
                return _change(connection, job_id, requested=verb)
            return _move(connection, job, TARGET[verb])

    # ---------------------------------------------------------------------------------- trials and curves, as read

    def trials(
        self,
        job_id: str,
        page_size: int = 50,
        page_token: str | None = None,
        *,
        state: TrialState | None = None,
        width: int | None = None,
        optimizer: str | None = None,
    ) -> Page[TrialRow]:
        """A job's trials in the order of their planning."""
        query = _filtered(select(*TRIAL_COLUMNS), job_id, state, width, optimizer).order_by(trials.c.id)
        asked = f"trials {job_id} {state} {width} {optimizer}"
        if page_token:
            query = query.where(trials.c.id > _key(page_token, asked, int))
        with self._read() as connection:
            rows = [_trial(row) for row in connection.execute(query.limit(_size(page_size) + 1))]
            if not rows:
                _the_job(connection, job_id)
        return _page(rows, page_size, asked)

    def trial(self, trial_id: int) -> TrialRow:
        """One trial, or NotFound."""
        with self._read() as connection:
            return _the_trial(connection, trial_id)

    def trial_spec(self, trial_id: int) -> TrialSpec:
        """What fully determines a trial."""
        query = select(specs.c.digest, specs.c.document).join_from(trials, specs).where(trials.c.id == trial_id)
        with self._read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"no trial {trial_id}")
        return self._spec(row.digest, row.document)

    def curve(self, trial_id: int) -> Curve:
        """All points of a trial, over all its attempts."""
        with self._read() as connection:
            _the_trial(connection, trial_id)
            found = connection.execute(select(chunks.c.attempt, chunks.c.blob).where(chunks.c.trial_id == trial_id)).all()
        return merge(trial_id, (Chunk(row.attempt, row.blob) for row in found))

    def curves(self, job_id: str, points: int = 100, *, width: int | None = None, optimizer: str | None = None) -> tuple[Curve, ...]:
        """The curves of a job's trials, thinned for display."""
        query = _filtered(select(*chunks.c).join_from(chunks, trials), job_id, None, width, optimizer).order_by(trials.c.id)
        with self._read() as connection:
            _the_job(connection, job_id)
            found = connection.execute(query).all()
        return tuple(
            thin(merge(trial_id, (Chunk(row.attempt, row.blob) for row in rows)), points)
            for trial_id, rows in groupby(found, key=lambda row: row.trial_id)
        )

    def terminal_trials(self, job_id: str) -> list[Trial]:
        """A job's ended trials as its study sees them."""
        of_job = trials.c.job_id == job_id
        query = select(*TRIAL_COLUMNS).where(of_job, trials.c.state.not_in(OPEN)).order_by(trials.c.id)
        with self._read() as connection:
            rows = [_trial(row) for row in connection.execute(query)]
            if any(row.digest not in self._specs for row in rows):
                for found in connection.execute(select(specs).join_from(trials, specs).where(of_job)):
                    self._spec(found.digest, found.document)
        return [
            Trial(
                self._specs[row.digest],
                row.state,
                row.attempt,
                math.inf if row.diverged else row.loss,
                row.flops,
                row.seconds,
                row.failure if row.failure and (row.diverged or row.state is TrialState.FAILED) else None,
            )
            for row in rows
        ]

    # ------------------------------------------------------------------------------------ the coordinator's record

    def active_jobs(self) -> list[JobRow]:
        """Jobs that the coordinator has something to do about, oldest first."""
        active = or_(jobs.c.state.in_((JobState.QUEUED, JobState.RUNNING)), jobs.c.requested.is_not(None))
        with self._read() as connection:
            return [_job(row) for row in connection.execute(select(*JOB_COLUMNS).where(active).order_by(jobs.c.id))]

    def requeue_lost(self) -> int:
        """Trials left running by a dead coordinator wait again, for their next attempt; how many there were."""
        lost = update(trials).where(trials.c.state == TrialState.RUNNING)
        with self._write() as connection:
            return connection.execute(lost.values(state=TrialState.PENDING, attempt=trials.c.attempt + 1)).rowcount

    def begin_job(self, job_id: str) -> JobRow:
        """Take up a queued job, unless it was paused or cancelled meanwhile."""
        with self._write() as connection:
            job = _the_job(connection, job_id, lock=True)
            return _move(connection, job, JobState.RUNNING) if job.state is JobState.QUEUED and not job.requested else job

    def carry_out(self, job_id: str) -> JobRow:
        """Do what was requested of a job, if anything still is."""
        with self._write() as connection:
            job = _the_job(connection, job_id, lock=True)
            if job.requested is None:
                return job
            if job.requested is Verb.CANCEL:
                _stop_trials(connection, job_id)
            return _move(connection, job, TARGET[job.requested])

    def plan_trials(self, job_id: str, planned: Sequence[TrialSpec]) -> int:
        """Enter the trials that a job does not have yet; how many they were."""
        with self._write() as connection:
            before = _the_job(connection, job_id, lock=True).trials_total
            documents = [{"digest": spec.digest, "document": canonical_json(spec)} for spec in planned]
            self._insert_new(connection, specs, documents, "digest")
            now = _now()
            self._insert_new(connection, trials, [_planned(job_id, spec, now) for spec in planned], "job_id", "digest")
            count = select(func.count()).select_from(trials).where(trials.c.job_id == job_id).scalar_subquery()
            return _change(connection, job_id, trials_total=count).trials_total - before

    def pending_trials(self, job_id: str, limit: int) -> list[Pending]:
        """The next trials of a job that wait for a worker, in the order of their planning."""
        waiting = select(trials.c.id, trials.c.attempt, specs.c.digest, specs.c.document).join_from(trials, specs)
        waiting = waiting.where(trials.c.job_id == job_id, trials.c.state == TrialState.PENDING).order_by(trials.c.id).limit(limit)
        with self._read() as connection:
            rows = connection.execute(waiting).all()
        return [Pending(row.id, row.attempt, self._spec(row.digest, row.document)) for row in rows]

    def trial_started(self, trial_id: int, attempt: int, resumed_step: int, worker: str) -> bool:
        """A worker began; steps that were recorded after its checkpoint have to be made again."""
        lost = trials.c.step > resumed_step
        kept_flops = case((lost, trials.c.flops * resumed_step / func.nullif(trials.c.step, 0)), else_=trials.c.flops)
        values = {
            "state": TrialState.RUNNING,
            "worker": worker,
            "started_at": func.coalesce(trials.c.started_at, literal(_now(), trials.c.started_at.type)),
            "flops": kept_flops,
            "step": case((lost, resumed_step), else_=trials.c.step),
        }
        with self._write() as connection:
            return _change_trial(connection, trial_id, attempt, (TrialState.PENDING,), values)

    def trial_measured(self, trial_id: int, attempt: int, points: Sequence[Measurement]) -> bool:
        """New points of a curve, unless they were recorded before."""
        with self._write() as connection:
            return self._measured(connection, trial_id, attempt, points)

    def trial_finished(self, trial_id: int, outcome: Trial, last: Measurement) -> bool:
        """A trial completed, diverged or not; `last` is the last point of its curve."""
        values = {
            "state": outcome.state,
            "loss": None if outcome.diverged else outcome.loss,
            "diverged": outcome.diverged,
            "failure_kind": outcome.failure.kind if outcome.failure else None,
            "failure_message": outcome.failure.message if outcome.failure else None,
            "seconds": last.seconds,
            "ended_at": _now(),
        }
        with self._write() as connection:
            self._measured(connection, trial_id, outcome.attempt, (last,))
            if not _change_trial(connection, trial_id, outcome.attempt, (TrialState.RUNNING,), values):
                return False
            job_id = select(trials.c.job_id).where(trials.c.id == trial_id).scalar_subquery()
            better = or_(jobs.c.best_loss.is_(None), jobs.c.best_loss > values["loss"])
            best = jobs.c.best_loss if values["loss"] is None else case((better, values["loss"]), else_=jobs.c.best_loss)
            _bump(connection, job_id, trials_done=jobs.c.trials_done + 1, best_loss=best)
            return True

    def trial_failed(self, trial_id: int, attempt: int, failure: Failure, max_attempts: int) -> TrialRow | None:
        """An attempt failed: the trial waits for the next one, or has failed. None: that attempt was over already."""
        with self._write() as connection:
            row = _the_trial(connection, trial_id, lock=True)
            if row.attempt != attempt or row.state.terminal:
                return None
            values = {"failures": row.failures + 1, "failure_kind": failure.kind, "failure_message": failure.message}
            if failure.retryable and row.failures + 1 < max_attempts:
                values |= {"state": TrialState.PENDING, "attempt": attempt + 1}
            else:
                values |= {"state": fate.advance(row.state, TrialState.FAILED), "ended_at": _now()}
            _change_trial(connection, trial_id, attempt, OPEN, values)
            _bump(connection, row.job_id)
            return _the_trial(connection, trial_id)

    def trial_released(self, trial_id: int, attempt: int) -> bool:
        """An attempt was stopped before its end: the trial waits again, unless its job has ended."""
        with self._write() as connection:
            values = {"state": TrialState.PENDING, "attempt": attempt + 1}
            return _change_trial(connection, trial_id, attempt, OPEN, values)

    def put_result(self, job_id: str, document: dict[str, Any], final: bool) -> None:
        """Store a report in place of the one before."""
        with self._write() as connection:
            self._put_result(connection, job_id, document, final)
            _bump(connection, job_id)

    def finish_job(self, job_id: str, state: JobState, reason: str | None, result: dict[str, Any] | None = None) -> JobRow:
        """End a job, with its final report if it has one; trials that have not ended are stopped."""
        with self._write() as connection:
            job = _the_job(connection, job_id, lock=True)
            if result is not None:
                self._put_result(connection, job_id, result, final=True)
            _stop_trials(connection, job_id)
            return _move(connection, job, state, reason=reason)

    def set_waiting(self, reason: str | None) -> None:
        """Say on every running job with waiting trials what it waits for; None: none of them does any longer."""
        pending = exists().where(trials.c.job_id == jobs.c.id, trials.c.state == TrialState.PENDING)
        concerned = jobs.c.waiting_for.is_not(None) if reason is None else (jobs.c.state == JobState.RUNNING) & pending
        changed = update(jobs).where(concerned, jobs.c.waiting_for.is_distinct_from(reason))
        with self._write() as connection:
            connection.execute(changed.values(waiting_for=reason, version=jobs.c.version + 1))

    # ------------------------------------------------------------------------------------------------------- parts

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with _translated(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with _translated(), self._writer.begin() as connection:
            yield connection

    def _spec(self, digest: str, document: str) -> TrialSpec:
        if digest not in self._specs:
            self._specs[digest] = SPEC.validate_json(document)
        return self._specs[digest]

    def _insert_new(self, connection: Connection, table: Table, values: Any, *unique: str) -> int:
        """Insert rows, silently leaving out those whose `unique` columns exist; how many went in."""
        if not values:
            return 0
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        return connection.execute(dialect.insert(table).on_conflict_do_nothing(index_elements=unique), values).rowcount

    def _put_result(self, connection: Connection, job_id: str, document: dict[str, Any], final: bool) -> None:
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        values = {"document": json.dumps(document), "final": final}
        put = dialect.insert(results).values(job_id=job_id, **values)
        connection.execute(put.on_conflict_do_update(index_elements=["job_id"], set_=values))

    def _measured(self, connection: Connection, trial_id: int, attempt: int, points: Sequence[Measurement]) -> bool:
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
        self._insert_new(connection, chunks, chunk, "trial_id", "attempt", "first_step")
        return True


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise Unavailable(f"the database is away: {getattr(error, 'orig', None) or error}") from error


CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def new_job_id() -> str:
    """A unique id that sorts by time of creation: 48 bits of milliseconds, 80 random ones."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return "job-" + "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def _now() -> datetime:
    return datetime.now(UTC)


def _past(verb: Verb) -> str:
    return {Verb.CANCEL: "cancelled", Verb.PAUSE: "paused", Verb.RESUME: "resumed"}[verb]


def _job(row: Row[Any]) -> JobRow:
    values = {field.name: getattr(row, field.name) for field in fields(JobRow)}
    requested = values["requested"]
    return JobRow(**values | {"state": JobState(row.state), "requested": Verb(requested) if requested else None})


def _trial(row: Row[Any]) -> TrialRow:
    values = {field.name: getattr(row, field.name) for field in fields(TrialRow)}
    return TrialRow(**values | {"state": TrialState(row.state)})


def _the_job(connection: Connection, job_id: str, lock: bool = False) -> JobRow:
    query = select(*JOB_COLUMNS).where(jobs.c.id == job_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound(f"no job {job_id}")
    return _job(row)


def _the_trial(connection: Connection, trial_id: int, lock: bool = False) -> TrialRow:
    query = select(*TRIAL_COLUMNS).where(trials.c.id == trial_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound(f"no trial {trial_id}")
    return _trial(row)


def _bump(connection: Connection, job_id: Any, **values: Any) -> None:
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(version=jobs.c.version + 1, **values))


def _change(connection: Connection, job_id: str, **values: Any) -> JobRow:
    _bump(connection, job_id, **values)
    return _the_job(connection, job_id)


def _move(connection: Connection, job: JobRow, to: JobState, reason: str | None = None) -> JobRow:
    """The one place where a job changes its state."""
    now = _now()
    ran = (now - job.running_since).total_seconds() if job.running_since else 0.0
    return _change(
        connection,
        job.id,
        state=advance(job.state, to),
        requested=None,
        reason=reason,
        waiting_for=None,
        started_at=job.started_at or (now if to is JobState.RUNNING else None),
        ended_at=now if to.terminal else None,
        running_since=now if to is JobState.RUNNING else None,
        running_seconds=job.running_seconds + ran,
    )


def _stop_trials(connection: Connection, job_id: str) -> None:
    unfinished = update(trials).where(trials.c.job_id == job_id, trials.c.state.in_(OPEN))
    connection.execute(unfinished.values(state=TrialState.STOPPED, ended_at=_now()))


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


def _planned(job_id: str, spec: TrialSpec, now: datetime) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "digest": spec.digest,
        "optimizer": spec.optimizer.name,
        "width": spec.model.width,
        "lr": spec.optimizer.lr,
        "weight_decay": spec.optimizer.weight_decay,
        "seed": spec.seed,
        "steps": spec.horizon.steps,
        "state": TrialState.PENDING,
        "created_at": now,
    }


def _filtered(query: Select[Any], job_id: str, state: TrialState | None, width: int | None, optimizer: str | None) -> Select[Any]:
    query = query.where(trials.c.job_id == job_id)
    for column, value in ((trials.c.state, state), (trials.c.width, width), (trials.c.optimizer, optimizer)):
        query = query if value is None else query.where(column == value)
    return query


def _size(page_size: int) -> int:
    if page_size < 1:
        raise InvalidInput.of("page_size", "must be at least 1", page_size)
    return min(page_size, MAX_PAGE_SIZE)


def _page(rows: list[Any], page_size: int, asked: str) -> Page[Any]:
    """A page of the rows, of which one more than the page was read."""
    size = _size(page_size)
    token = json.dumps([asked, rows[size - 1].id]) if len(rows) > size else None
    return Page(tuple(rows[:size]), base64.urlsafe_b64encode(token.encode()).decode().rstrip("=") if token else None)


def _key(page_token: str, asked: str, kind: type) -> Any:
    """The sort key that a page token continues after; the token holds for the list it came from alone."""
    try:
        of, key = json.loads(base64.urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4)))
    except ValueError:
        of, key = None, None
    if of != asked or type(key) is not kind:
        raise InvalidInput.of("page_token", "is not one that this list gave with these filters; leave it out to start anew", page_token)
    return key
