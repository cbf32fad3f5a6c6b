"""Which requests does telescope answer?

Under /v1 jobs, what they found, their trials, and corpora; outside it /livez and /readyz. Handlers are synchronous (they wait for the
database, on threads), short, and say nothing of SQL, Ray or errors: `api.store` has the rows, `api.admission` judges what comes in,
`api.errors` turns what is raised into problem+json.

Rules that hold everywhere: a list is paged (`page_size` above 1000 counts as 1000); a job and its result carry an ETag, and a
poll with If-None-Match costs one query; a verb that was carried out already is no error.
"""

import asyncio
import hashlib
import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from api import admission, machine, schemas, variants
from api.changes import patched
from api.curves import thin
from api.engines import CoordinatorLock
from api.errors import described
from api.from_jobs import filled
from api.job import JobState, Verb
from api.representations import seen
from api.rows import JobRow
from api.settings import Settings
from api.store import Store
from telescope import corpora
from telescope.errors import InvalidInput, Problem, TelescopeError, Unavailable
from telescope.judge import Judgement, judge
from telescope.spec import OptimizerName
from telescope.studies import registry
from telescope.studies.compute_time.bill import Bill
from telescope.studies.registry import AnyStudy
from telescope.studies.telescoping.preview import Preview
from telescope.studies.telescoping.variants import FIELD
from telescope.sweep import read_csv, read_document
from telescope.trial import TrialState

READY_SECONDS = 2.0
RETRY_AFTER = {"Retry-After": "2"}
CSV_TYPES = frozenset({"text/csv", "application/csv"})
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "Unchanged since the ETag in If-None-Match."}}
INT32 = 2**31 - 1

router = APIRouter(prefix="/v1", responses=described(500, 503))
health = APIRouter(tags=["health"])


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _body(request: Request) -> bytes:
    return await request.body()


def _document(request: Request, body: Annotated[bytes, Depends(_body)]) -> Any:
    return admission.document(body, request.headers.get("Content-Type"))


def _changes(request: Request, body: Annotated[bytes, Depends(_body)]) -> Any:
    """What a clone changes; without a body, nothing."""
    return _document(request, body) if body else {}


def _study(document: Annotated[Any, Depends(_document)], settings: Annotated[Settings, Depends(_settings)]) -> AnyStudy:
    """The study that the body asks for, its corpus opened and tokenised."""
    return _open(document, settings)


Rows = Annotated[Store, Depends(_store)]
Study = Annotated[AnyStudy, Depends(_study)]
JobId = Annotated[str, Path(pattern=r"^[\w.:-]+$", max_length=64)]
TrialId = Annotated[int, Path(ge=0, le=INT32)]
PageSize = Annotated[int, Query(ge=0, description="Items per page; at most 1000 are sent, and 0 leaves it to the server.")]
PageToken = Annotated[str | None, Query(max_length=512, description="The `next_page_token` of the page before.")]
Points = Annotated[int, Query(ge=2, le=10_000, description="About how many points each curve is thinned out to.")]
Width = Annotated[int | None, Query(ge=1, le=INT32)]
IfNoneMatch = Annotated[str | None, Header(description="The ETag of an earlier answer: 304 if nothing changed since.")]
IdempotencyKey = Annotated[
    str | None,
    Header(max_length=128, pattern="^[!-~]+$", description="A repeated POST with the same key and body returns the first job."),
]


# Jobs


@router.post("/jobs", status_code=202, tags=["jobs"], responses=described(413, 422))
def submit(
    document: Annotated[Any, Depends(_document)],
    settings: Annotated[Settings, Depends(_settings)],
    store: Rows,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> schemas.JobDetail:
    """Hand a study in. It is checked and its corpus opened before the answer; then the coordinator takes it."""
    row = _accepted(document, document, idempotency_key, store, settings)
    response.headers.update(_located(row))
    return _detail(row, store)


@router.post("/jobs:preview", tags=["jobs"], responses=described(413, 422))
def preview(study: Study, settings: Annotated[Settings, Depends(_settings)], store: Rows) -> Preview | Bill:
    """What a study would run and cost, width by width, and what else could be done instead; spends nothing."""
    found: Preview | Bill = registry.preview(study, machine.known(settings, store))
    return found


@router.get("/jobs", tags=["jobs"], responses=described(422))
def jobs(store: Rows, page_size: PageSize = 0, page_token: PageToken = None, state: JobState | None = None) -> schemas.Page[schemas.Job]:
    """All jobs, the newest first."""
    return schemas.Page[schemas.Job].model_validate(store.jobs(page_size or 50, page_token, state=state))


@router.get("/jobs/{job_id}", tags=["jobs"], response_model=schemas.JobDetail, responses=described(404, 422) | UNCHANGED)
def job(job_id: JobId, store: Rows, if_none_match: IfNoneMatch = None) -> Any:
    """One job with its study."""
    row = store.job(job_id)
    return _unless_seen(row, if_none_match) or _tagged(row, _detail(row, store).model_dump(mode="json"))


@router.post("/jobs/{job_id}:cancel", tags=["jobs"], responses=described(404, 409, 422))
def cancel(job_id: JobId, store: Rows) -> schemas.Job:
    """End a job for good; what was measured stays readable."""
    return schemas.Job.model_validate(store.request(job_id, Verb.CANCEL))


@router.post("/jobs/{job_id}:pause", tags=["jobs"], responses=described(404, 409, 422))
def pause(job_id: JobId, store: Rows) -> schemas.Job:
    """Stop its trials, keeping their checkpoints."""
    return schemas.Job.model_validate(store.request(job_id, Verb.PAUSE))


@router.post("/jobs/{job_id}:resume", tags=["jobs"], responses=described(404, 409, 422))
def resume(job_id: JobId, store: Rows) -> schemas.Job:
    """Go on with a paused job."""
    return schemas.Job.model_validate(store.request(job_id, Verb.RESUME))


@router.post("/jobs/{job_id}:retry", tags=["jobs"], responses=described(404, 409, 422))
def retry(job_id: JobId, store: Rows, settings: Annotated[Settings, Depends(_settings)]) -> schemas.Job:
    """Go on with a job that failed or was cancelled: what failed or was stopped runs again, what was finished is kept."""
    admission.require_factories(store.study_document(job_id), settings.factories)
    return schemas.Job.model_validate(store.request(job_id, Verb.RETRY))


@router.post("/jobs/{job_id}:clone", status_code=202, tags=["jobs"], responses=described(404, 413, 422))
def clone(
    job_id: JobId,
    changes: Annotated[Any, Depends(_changes)],
    settings: Annotated[Settings, Depends(_settings)],
    store: Rows,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> schemas.JobDetail:
    """A new job with the study of this one, changed by the body's merge patch (RFC 7396); finished trials that it shares are reused."""
    document = patched(store.study_document(job_id), changes)
    new_data = not changes.keys().isdisjoint({"data", FIELD})  # else their paths were accepted with the first job, if only at a terminal
    row = _accepted(document, [job_id, changes], idempotency_key, store, settings, new_data)
    response.headers.update(_located(row))
    return _detail(row, store)


# What a job found


@router.get("/jobs/{job_id}/result", tags=["results"], response_model=dict[str, Any], responses=described(404, 422) | UNCHANGED)
def result(job_id: JobId, store: Rows, if_none_match: IfNoneMatch = None) -> Any:
    """The study's report, `final: false` while the job runs, with the levels decided so far."""
    row = store.job(job_id)
    return _unless_seen(row, if_none_match) or _tagged(row, _report(row, store))


@router.get("/jobs/{job_id}/levels", tags=["results"], responses=described(404, 422))
def levels(job_id: JobId, store: Rows) -> schemas.Levels:
    """The decided levels of all ladders: window, grid, optimum, interval."""
    report = _report(store.job(job_id), store)
    items = [
        {"optimizer": ladder["optimizer"], "variant": ladder.get("variant", ""), **level}
        for ladder in report.get("ladders", ())
        for level in ladder["levels"]
    ]
    return schemas.Levels(final=report["final"], items=[schemas.Level.model_validate(each) for each in items])


@router.get("/jobs/{job_id}/trials", tags=["results"], responses=described(404, 422))
def trials(
    job_id: JobId,
    store: Rows,
    page_size: PageSize = 0,
    page_token: PageToken = None,
    state: TrialState | None = None,
    width: Width = None,
    optimizer: OptimizerName | None = None,
) -> schemas.Page[schemas.Trial]:
    """A job's trials in the order of their planning."""
    page = store.trials(job_id, page_size or 50, page_token, state=state, width=width, optimizer=optimizer)
    return schemas.Page[schemas.Trial].model_validate(variants.trials(store, job_id, page))


@router.get("/jobs/{job_id}/curves", tags=["results"], responses=described(404, 422))
def curves(job_id: JobId, store: Rows, points: Points = 100, width: Width = None, optimizer: OptimizerName | None = None) -> schemas.Curves:
    """The curves of a job's trials, thinned out so that spikes survive."""
    found = store.curves(job_id, points, width=width, optimizer=optimizer)
    return schemas.Curves(items=[schemas.Curve.model_validate(curve) for curve in found])


@router.get("/trials/{trial_id}", tags=["results"], responses=described(404, 422))
def trial(trial_id: TrialId, store: Rows) -> schemas.TrialDetail:
    """One trial with its specification."""
    found = store.trial(trial_id)
    (named,) = variants.named(store, found.job_id, [found])
    return schemas.TrialDetail(**dict(schemas.Trial.model_validate(named)), spec=store.trial_spec(trial_id))


@router.get("/trials/{trial_id}/curve", tags=["results"], responses=described(404, 422))
def curve(trial_id: TrialId, store: Rows, points: Points | None = None) -> schemas.Curve:
    """A trial's curve over all its attempts; every point of it unless `points` is given."""
    whole = store.curve(trial_id)
    return schemas.Curve.model_validate(thin(whole, points) if points else whole)


# Sweeps that were run without telescope


@router.post("/judgements", tags=["judgements"], responses=described(413, 422))
def judge_sweep(request: Request, body: Annotated[bytes, Depends(_body)], target_width: Width = None) -> Judgement:
    """Does a sweep transfer? Judged by the rules of a job's result; as a CSV table, or as JSON that may name the target width itself."""
    admission.require_known(request.query_params, "target_width")
    content_type = request.headers.get("Content-Type", "")
    if content_type.partition(";")[0].strip().lower() in CSV_TYPES:
        return judge(read_csv(body), target_width)
    sweep, target = read_document(admission.document(body, content_type, "a CSV table as Content-Type: text/csv"))
    if target is not None and target_width is not None:
        raise InvalidInput.of("target_width", "is given twice; name it in the document or in the query, not in both", target)
    return judge(sweep, target_width if target is None else target)


# Corpora


@router.get("/corpora", tags=["corpora"])
def list_corpora() -> schemas.Corpora:
    """The texts that jobs can name in `data.corpus`: built-in ones, then registered ones."""
    return schemas.Corpora(items=[_corpus(each) for each in corpora.available()])


@router.post("/corpora", status_code=201, tags=["corpora"], responses=described(400, 409, 413, 422))
def register_corpus(new: schemas.NewCorpus, settings: Annotated[Settings, Depends(_settings)]) -> schemas.Corpus:
    """Give a path on the server a name; repeating it changes nothing."""
    if not admission.is_open(new.path, settings.data_roots):
        raise InvalidInput.of("path", admission.remedy(settings.data_roots), new.path)
    return _corpus(corpora.register(new.name, new.path, new.text_field))


# Health


@health.get("/livez")
async def live() -> schemas.Health:
    """The process answers; touches nothing else."""
    return schemas.Health(parts={"api": "ok"})


@health.get("/readyz", responses=described(503))
async def ready(store: Rows) -> schemas.Health:
    """The database is there, at the right revision, and a coordinator works on it; 503 names what is missing."""
    checks = {"database": store.check_revision, "coordinator": lambda: _require_coordinator(store.url)}
    missing = []
    for part, check in checks.items():
        try:
            await asyncio.wait_for(asyncio.to_thread(check), READY_SECONDS)
        except TimeoutError:
            missing.append(Problem(part, f"gave no answer within {READY_SECONDS:g} s"))
        except TelescopeError as error:
            missing.append(Problem(part, error.message))
        if missing:  # the coordinator is asked by way of the database
            raise Unavailable("; ".join(map(str, missing)), tuple(missing))
    return schemas.Health(parts=dict.fromkeys(("api", *checks), "ok"))


# How


def _require_coordinator(url: str) -> None:
    """Unavailable where nobody holds the lock that a coordinator holds for life."""
    lock = CoordinatorLock(url)
    try:
        if lock.acquire():
            raise Unavailable("no coordinator is at work; jobs wait. Start one with `telescope coordinator` or `telescope serve`")
    finally:
        lock.release()


def _open(document: Any, settings: Settings, new_data: bool = True) -> AnyStudy:
    """The study of a document, its corpus opened and tokenised; new data must lie, and models be made, where the operator allows."""
    admission.require_factories(document, settings.factories)
    study = registry.parse(document)
    if new_data:
        admission.require_open(registry.texts(study), settings.data_roots)
    return registry.resolved(study)


def _accepted(document: Any, asked: Any, idempotency_key: str | None, store: Store, settings: Settings, new_data: bool = True) -> JobRow:
    """The new job of a document, or the one that the same request made before by its key, which holds even if the corpus has gone since."""
    body_hash = hashlib.sha256(json.dumps(asked, sort_keys=True, default=repr).encode()).hexdigest()
    row = store.job_of_key(idempotency_key, body_hash) if idempotency_key else None
    if row is None:
        study = filled(_open(document, settings, new_data), store)
        row, _ = store.create_job(registry.to_document(study), idempotency_key=idempotency_key, body_hash=body_hash)
    return row


def _located(row: JobRow) -> dict[str, str]:
    return {"Location": f"/v1/jobs/{row.id}", "ETag": _tag(row)} | RETRY_AFTER


def _report(row: JobRow, store: Store) -> dict[str, Any]:
    """The latest report; before the first, that of no trials."""
    found = store.result(row.id)
    if found is not None:
        return found
    ended = "cancelled" if row.state is JobState.CANCELLED else ""  # before it began
    return registry.report_document(registry.parse(store.study_document(row.id)).report((), ended))


def _detail(row: JobRow, store: Store) -> schemas.JobDetail:
    return schemas.JobDetail(**dict(schemas.Job.model_validate(row)), study=store.study_document(row.id))


def _corpus(corpus: corpora.Corpus) -> schemas.Corpus:
    path = str(corpus.path) if corpus.path else None
    return schemas.Corpus(name=corpus.name, built_in=corpus.path is None, path=path)


def _tag(row: JobRow) -> str:
    return f'"{row.version}"'


def _tagged(row: JobRow, document: Any) -> Response:
    return JSONResponse(document, headers={"ETag": _tag(row)})


def _unless_seen(row: JobRow, if_none_match: str | None) -> Response | None:
    """304 if the client has this version already."""
    return Response(status_code=304, headers={"ETag": _tag(row)}) if seen(_tag(row), if_none_match) else None
