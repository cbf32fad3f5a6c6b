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
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from api import admission, curves, schemas
from api.errors import described
from api.job import JobState, Verb
from api.rows import JobRow
from api.settings import Settings
from api.store import Store
from telescope import data
from telescope.spec import OptimizerName
from telescope.studies import Study, registry
from telescope.trial import TrialState

LARGEST_PAGE = 1000
READY_SECONDS = 2.0
POLL_AGAIN = {"Retry-After": "2"}
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


Rows = Annotated[Store, Depends(_store)]
Choices = Annotated[Settings, Depends(_settings)]
Document = Annotated[Any, Depends(_document)]
JobId = Annotated[str, Path(pattern=r"^[\w.:-]+$", max_length=64)]
TrialId = Annotated[int, Path(ge=0, le=INT32)]
PageSize = Annotated[int, Query(ge=0, description=f"Items per page; 0 leaves it to the server, at most {LARGEST_PAGE} are sent.")]
PageToken = Annotated[str | None, Query(description="The `next_page_token` of the page before.", max_length=512)]
Points = Annotated[int, Query(ge=2, le=10_000, description="About how many points each curve is thinned out to.")]
Width = Annotated[int | None, Query(ge=1, le=INT32)]
IfNoneMatch = Annotated[str | None, Header()]
IdempotencyKey = Annotated[
    str | None,
    Header(max_length=128, pattern=r"^[!-~]+$", description="Repeating a POST with its key and body returns the first job."),
]


# Jobs


def _admitted(document: Any, settings: Settings) -> Study:
    """The study that a document asks for, its data opened and tokenised, if that may be had over HTTP."""
    return registry.resolved(registry.parse(document), lambda spec: admission.allowed(spec, settings.data_roots, names()))


@router.post("/jobs", status_code=202, tags=["jobs"], responses=described(413, 422))
def submit(
    document: Document, store: Rows, settings: Choices, response: Response, idempotency_key: IdempotencyKey = None
) -> schemas.JobDetail:
    """Hand a study in. It is checked and its corpus opened before the answer; then the coordinator takes it."""
    resolved = registry.to_document(_admitted(document, settings))
    asked = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    job, _ = store.create_job(resolved, idempotency_key=idempotency_key, body_hash=asked)
    response.headers.update({"Location": f"/v1/jobs/{job.id}", "ETag": _tag(job)} | POLL_AGAIN)
    return _detail(job, store)


@router.post("/jobs:preview", tags=["jobs"], responses=described(413, 422))
def preview(document: Document, settings: Choices) -> Any:
    """What the study would run and cost, stage by stage; spends nothing."""
    return registry.preview(_admitted(document, settings))


@router.get("/jobs", tags=["jobs"], responses=described(422))
def jobs(
    store: Rows, page_size: PageSize = 50, page_token: PageToken = None, state: JobState | None = None
) -> schemas.Page[schemas.Job]:
    """All jobs, the newest first."""
    page = store.jobs(_rows(page_size), page_token, state=state)
    return schemas.Page[schemas.Job].model_validate(page)


@router.get("/jobs/{job_id}", tags=["jobs"], response_model=schemas.JobDetail, responses=described(404, 422) | UNCHANGED)
def job(job_id: JobId, store: Rows, response: Response, if_none_match: IfNoneMatch = None) -> Any:
    """One job with its study."""
    row = store.job(job_id)
    if _seen(row, if_none_match):
        return Response(status_code=304, headers={"ETag": _tag(row)})
    response.headers["ETag"] = _tag(row)
    return _detail(row, store)
