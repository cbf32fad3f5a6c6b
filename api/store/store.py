"""What does the service remember, and what may its api ask and write?

Each public method of `Store` is one transaction and a constant number of statements, whatever the number of trials. The api creates
jobs and requests verbs; everything else here reads. What the coordinator alone may write is `api.store.record`. SQL is found in these two,
the `api.store.statements` that they share, and nowhere else.
"""

import json
import math
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, Select, func, insert, select, update

import migrations
from api.job_states import TARGET, JobState, Verb, follow, prospect
from api.store.curves import Chunk, merge, thin, unpacked
from api.store.engines import open_engines, translated
from api.store.pages import continued_after, page, row_limit
from api.store.rows import JobRow, Page, Rate, TrialRow
from api.store.statements import (
    JOB_COLUMNS,
    MIXED,
    OPEN,
    TRIAL_COLUMNS,
    as_job,
    as_trial,
    change_job,
    move_job,
    now,
    the_job,
    the_trial,
    upsert,
)
from api.store.tables import chunks, jobs, outlines, results, specs, studies, trials
from telescope.client.resources import Curve
from telescope.errors import Conflict, NotFound, Unavailable
from telescope.studies.telescoping.question.variants import data_blocks
from telescope.trials.data import ORIGIN
from telescope.trials.outcome import Failure, Trial, TrialState
from telescope.trials.outline import Outline
from telescope.trials.spec import TrialSpec

SPEC = TypeAdapter(TrialSpec)
FATE = (
    "digest",
    "state",
    "attempt",
    "loss",
    "diverged",
    "step",
    "flops",
    "seconds",
    "failure_kind",
    "failure_message",
    "metrics",
    "reused_from",
)
FATE_COLUMNS = [trials.c[name] for name in FATE]
OUTLINE_COLUMNS = [outlines.c.held_out, outlines.c.blob]
TRAINED_AS = func.coalesce(trials.c.reused_from, trials.c.id)  # the trial that has the curve


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

    def check_revision(self) -> None:
        """Unavailable when the schema is not the one that this version works with."""
        with translated():
            found, wanted = migrations.current(self.url), migrations.head()
        if found != wanted:
            migrations.check_known(found)
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
            query = query.where(trials.c.id > continued_after(page_token, asked, int))
        with self._read() as connection:
            rows = [as_trial(row) for row in connection.execute(query.limit(row_limit(page_size)))]
            if not rows:
                the_job(connection, job_id)
        return page(rows, page_size, asked)

    def trial(self, trial_id: int) -> TrialRow:
        """One trial, or NotFound."""
        with self._read() as connection:
            return the_trial(connection, trial_id)

    def trial_spec(self, trial_id: int) -> TrialSpec:
        """What fully determines a trial."""
        query = select(specs.c.digest, specs.c.document, studies.c.document.label("study")).join_from(trials, specs)
        with self._read() as connection:
            row = connection.execute(query.join(studies, studies.c.job_id == trials.c.job_id).where(trials.c.id == trial_id)).one_or_none()
        if row is None:
            raise NotFound(f"no trial {trial_id}")
        return self._own_spec(row)

    def specs(self, job_id: str) -> dict[str, TrialSpec]:
        """What fully determines each of a job's trials, by digest."""
        ours = trials.c.job_id == job_id
        with self._read() as connection:
            digests = connection.scalars(select(trials.c.digest).where(ours)).all()
            self._know(connection, digests, ours)
        return {digest: self._specs[digest] for digest in digests}

    def curve(self, trial_id: int) -> Curve:
        """All points of a trial, over all its attempts; of a reused one, those of the trial that trained it."""
        with self._read() as connection:
            holder = the_trial(connection, trial_id).reused_from or trial_id
            found = connection.execute(select(chunks.c.attempt, chunks.c.blob).where(chunks.c.trial_id == holder)).all()
        return merge(trial_id, (Chunk(row.attempt, row.blob) for row in found))

    def curves(self, job_id: str, points: int = 100, *, width: int | None = None, optimizer: str | None = None) -> tuple[Curve, ...]:
        """The curves of a job's trials, thinned for display."""
        said = select(trials.c.id.label("trial_id"), chunks.c.attempt, chunks.c.blob)
        said = said.join_from(trials, chunks, chunks.c.trial_id == TRAINED_AS)
        query = _filtered(said, job_id, None, width, optimizer).order_by(trials.c.id)
        with self._read() as connection:
            the_job(connection, job_id)
            found = connection.execute(query).all()
        return tuple(
            thin(merge(trial_id, (Chunk(row.attempt, row.blob) for row in rows)), points)
            for trial_id, rows in groupby(found, key=lambda row: row.trial_id)
        )

    def terminal_trials(self, job_id: str, outlines: bool = False) -> list[Trial]:
        """A job's ended trials as its study sees them; with outlines of those that completed, for studies that read curves."""
        ended = (trials.c.job_id == job_id) & trials.c.state.not_in(OPEN)
        query = (_with_outlines() if outlines else select(*FATE_COLUMNS)).where(ended).order_by(trials.c.id)
        with self._read() as connection:
            rows = connection.execute(query).all()
            self._know(connection, {row.digest for row in rows}, ended)
        return [_fate(self._specs[row.digest], row, _outline(row) if outlines else None) for row in rows]

    def rates(self) -> list[Rate]:
        """How fast trials of each shape were trained, the latest kind of worker first."""
        shape = (trials.c.optimizer, trials.c.width, trials.c.batch_tokens, trials.c.numerics)
        speed = (func.count().label("trials"), (func.sum(trials.c.flops) / func.sum(trials.c.seconds)).label("flops_per_second"))
        trained = (trials.c.state == TrialState.COMPLETED) & trials.c.reused_from.is_(None) & (trials.c.seconds > 0)
        trained &= trials.c.measure == "loss"
        known = (trials.c.numerics != MIXED) & trials.c.batch_tokens.is_not(None)
        query = select(*shape, *speed).where(trained, known).group_by(*shape).order_by(func.max(trials.c.ended_at).desc(), *shape)
        with self._read() as connection:
            return [Rate(**row._mapping) for row in connection.execute(query)]

    # ------------------------------------------------------------------------------------------------------- parts

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with translated(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with translated(), self._writer.begin() as connection:
            yield connection

    def _own_spec(self, row: Any) -> TrialSpec:
        """A spec in its own job's words: equal tokens may come from elsewhere for the job that entered it first."""
        spec = self._spec(row.digest, row.document)
        named = data_blocks(json.loads(row.study))
        data = next((one for one in named if one.get("content") == spec.data.content), named[0])
        origin = {name: data[name] for name in ORIGIN if name in data and data[name] != getattr(spec.data, name)}
        return replace(spec, data=replace(spec.data, **origin)) if origin else spec

    def _know(self, connection: Connection, digests: Collection[str], of: ColumnElement[bool]) -> None:
        """See that the specs of these trials, which are those that `of` selects, are at hand."""
        if not self._specs.keys() >= set(digests):
            for found in connection.execute(select(specs).join_from(trials, specs).where(of)):
                self._spec(found.digest, found.document)

    def _spec(self, digest: str, document: str) -> TrialSpec:
        if digest not in self._specs:
            self._specs[digest] = SPEC.validate_json(document)
        return self._specs[digest]


PAST = {Verb.CANCEL: "cancelled", Verb.PAUSE: "paused", Verb.RESUME: "resumed", Verb.RETRY: "retried"}
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


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


def _outline(row: Any) -> Outline | None:
    """That of a trial that completed since there are any."""
    return None if row.blob is None else unpacked(row.blob, row.held_out)


def _fate(spec: TrialSpec, row: Any, outline: Outline | None) -> Trial:
    state = TrialState(row.state)
    ended_badly = row.diverged or state is TrialState.FAILED  # an attempt that failed before the last one is history
    failure = Failure(row.failure_kind, row.failure_message, retryable=False) if ended_badly else None
    return Trial(
        spec,
        state,
        row.attempt,
        math.inf if row.diverged else row.loss,
        row.flops,
        row.seconds,
        failure,
        metrics=json.loads(row.metrics) if row.metrics else {},
        reused=row.reused_from is not None,
        step=row.step,
        outline=outline,
    )


def _with_outlines() -> Select[Any]:
    """The fates of trials beside their outlines, those of reused trials from where they were trained."""
    return select(*FATE_COLUMNS, *OUTLINE_COLUMNS).outerjoin_from(trials, outlines, outlines.c.trial_id == TRAINED_AS)


def _filtered(query: Select[Any], job_id: str, state: TrialState | None, width: int | None, optimizer: str | None) -> Select[Any]:
    query = query.where(trials.c.job_id == job_id)
    for column, value in ((trials.c.state, state), (trials.c.width, width), (trials.c.optimizer, optimizer)):
        query = query if value is None else query.where(column == value)
    return query
