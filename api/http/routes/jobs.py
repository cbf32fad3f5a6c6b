"""Routes of jobs: submit, preview, list, read, and the verbs."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse

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
from api.jobs.submission import accept
from api.settings import Settings
from api.store.rows import JobRow
from api.store.store import Store
from telescope.studies import registry
from telescope.studies.telescoping.question.variants import FIELD

RETRY_AFTER = {"Retry-After": "2"}
router = APIRouter(prefix="/v1", responses=described(500, 503))


@router.post("/jobs", status_code=202, tags=["jobs"], responses=described(413, 422))
def submit(
    document: Annotated[Any, Depends(document_of)],
    settings: Annotated[Settings, Depends(settings_of)],
    store: Rows,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> schemas.JobDetail:
    """Hand a study in. It is checked and its corpus opened before the answer; then the coordinator takes it."""
    row = accept(document, document, idempotency_key, store, settings)
    response.headers.update(_located(row))
    return _detail(row, store)


@router.post("/jobs:preview", tags=["jobs"], responses=described(413, 422))
def preview(study: Study, settings: Annotated[Settings, Depends(settings_of)], store: Rows) -> JSONResponse:
    """What a study would run and cost, width by width, and what else could be done instead; spends nothing."""
    return JSONResponse(registry.report_document(study.preview(machine.known(settings, store))))


@router.get("/jobs", tags=["jobs"], responses=described(422))
def jobs(store: Rows, page_size: PageSize = 0, page_token: PageToken = None, state: JobState | None = None) -> schemas.Page[schemas.Job]:
    """All jobs, the newest first."""
    return schemas.Page[schemas.Job].model_validate(store.jobs(page_size or 50, page_token, state=state))


@router.get("/jobs/{job_id}", tags=["jobs"], response_model=schemas.JobDetail, responses=described(404, 422) | UNCHANGED)
def job(job_id: JobId, store: Rows, if_none_match: IfNoneMatch = None) -> Any:
    """One job with its study."""
    row = store.job(job_id)
    return unless_seen(row, if_none_match) or tagged(row, _detail(row, store).model_dump(mode="json"))


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
def retry(job_id: JobId, store: Rows, settings: Annotated[Settings, Depends(settings_of)]) -> schemas.Job:
    """Go on with a job that failed or was cancelled: what failed or was stopped runs again, what was finished is kept."""
    admission.require_factories(store.study_document(job_id), settings.factories)
    return schemas.Job.model_validate(store.request(job_id, Verb.RETRY))


@router.post("/jobs/{job_id}:clone", status_code=202, tags=["jobs"], responses=described(404, 413, 422))
def clone(
    job_id: JobId,
    changes: Annotated[Any, Depends(changes_of)],
    settings: Annotated[Settings, Depends(settings_of)],
    store: Rows,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> schemas.JobDetail:
    """A new job with the study of this one, changed by the body's merge patch (RFC 7396); finished trials that it shares are reused."""
    document = patched(store.study_document(job_id), changes)
    new_data = not changes.keys().isdisjoint({"data", FIELD})  # else their paths were accepted with the first job, if only at a terminal
    row = accept(document, [job_id, changes], idempotency_key, store, settings, new_data)
    response.headers.update(_located(row))
    return _detail(row, store)


def _located(row: JobRow) -> dict[str, str]:
    return {"Location": f"/v1/jobs/{row.id}", "ETag": tag_of(row)} | RETRY_AFTER


def _detail(row: JobRow, store: Store) -> schemas.JobDetail:
    return schemas.JobDetail(**dict(schemas.Job.model_validate(row)), study=store.study_document(row.id))
