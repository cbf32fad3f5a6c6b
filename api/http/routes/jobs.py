"""Routes of jobs: submit, preview, list, read, and the verbs."""

from dataclasses import fields
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter

from api.http import schemas
from api.http.dependencies import (
    UNCHANGED,
    IdempotencyKey,
    IfNoneMatch,
    JobId,
    PageSize,
    PageToken,
    Rows,
    Study,
    changes_of,
    document_of,
    settings_of,
)
from api.http.errors import described
from api.http.representations import tag_of, tagged, unless_seen
from api.job_states import JobState, Verb
from api.jobs import admission, machine
from api.jobs.changes import patched
from api.jobs.submission import Submission, accept
from api.settings import Settings
from api.store.rows import JobRow
from api.store.store import Store
from telescope.client.resources import Job, JobDetail
from telescope.studies import registry
from telescope.studies.telescoping.question.documents import FIELD

RETRY_AFTER = {"Retry-After": "2"}
DETAIL = TypeAdapter(JobDetail)
router = APIRouter(prefix="/v1", responses=described(500, 503))


@router.post("/jobs", status_code=202, tags=["jobs"], responses=described(413, 422))
def submit(
    document: Annotated[Any, Depends(document_of)],
    settings: Annotated[Settings, Depends(settings_of)],
    store: Rows,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> JobDetail:
    """Hand a study in. It is checked and its corpus opened before the answer; then the coordinator takes it."""
    row = accept(Submission(document, settings, idempotency_key=idempotency_key), store)
    response.headers.update(_located(row))
    return _detail(row, store)


@router.post("/jobs:preview", tags=["jobs"], responses=described(413, 422))
def preview(study: Study, settings: Annotated[Settings, Depends(settings_of)], store: Rows) -> Response:
    """What a study would run and cost, width by width, and what else could be done instead; spends nothing."""
    found = registry.preview(study, machine.known(settings, store))
    return JSONResponse({"kind": study.kind.name} | registry.report_document(found))


@router.get("/jobs", tags=["jobs"], responses=described(422))
def jobs(store: Rows, page_size: PageSize = 0, page_token: PageToken = None, state: JobState | None = None) -> schemas.Page[Job]:
    """All jobs, the newest first."""
    found = store.jobs(page_size or 50, page_token, state=state)
    return schemas.Page[Job](items=found.items, next_page_token=found.next_page_token)


@router.get("/jobs/{job_id}", tags=["jobs"], response_model=JobDetail, responses=described(404, 422) | UNCHANGED)
def job(job_id: JobId, store: Rows, if_none_match: IfNoneMatch = None) -> Any:
    """One job with its study."""
    row = store.job(job_id)
    return unless_seen(row, if_none_match) or tagged(row, DETAIL.dump_python(_detail(row, store), mode="json"))


@router.post("/jobs/{job_id}:cancel", tags=["jobs"], responses=described(404, 409, 422))
def cancel(job_id: JobId, store: Rows) -> Job:
    """End a job for good; what was measured stays readable."""
    return store.request(job_id, Verb.CANCEL)


@router.post("/jobs/{job_id}:pause", tags=["jobs"], responses=described(404, 409, 422))
def pause(job_id: JobId, store: Rows) -> Job:
    """Stop its trials, keeping their checkpoints."""
    return store.request(job_id, Verb.PAUSE)


@router.post("/jobs/{job_id}:resume", tags=["jobs"], responses=described(404, 409, 422))
def resume(job_id: JobId, store: Rows) -> Job:
    """Go on with a paused job."""
    return store.request(job_id, Verb.RESUME)


@router.post("/jobs/{job_id}:retry", tags=["jobs"], responses=described(404, 409, 422))
def retry(job_id: JobId, store: Rows, settings: Annotated[Settings, Depends(settings_of)]) -> Job:
    """Go on with a job that failed or was cancelled: what failed or was stopped runs again, what was finished is kept."""
    admission.require_factories(store.study_document(job_id), settings.factories)
    return store.request(job_id, Verb.RETRY)


@router.post("/jobs/{job_id}:clone", status_code=202, tags=["jobs"], responses=described(404, 413, 422))
def clone(
    job_id: JobId,
    changes: Annotated[Any, Depends(changes_of)],
    settings: Annotated[Settings, Depends(settings_of)],
    store: Rows,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> JobDetail:
    """A new job with the study of this one, changed by the body's merge patch (RFC 7396); finished trials that it shares are reused."""
    document = patched(store.study_document(job_id), changes)
    new_data = not changes.keys().isdisjoint({"data", FIELD})  # else their paths were accepted with the first job, if only at a terminal
    row = accept(Submission(document, settings, new_data, idempotency_key, request=[job_id, changes]), store)
    response.headers.update(_located(row))
    return _detail(row, store)


def _located(row: JobRow) -> dict[str, str]:
    return {"Location": f"/v1/jobs/{row.id}", "ETag": tag_of(row)} | RETRY_AFTER


def _detail(row: JobRow, store: Store) -> JobDetail:
    return JobDetail(**{each.name: getattr(row, each.name) for each in fields(Job)}, study=store.study_document(row.id))
