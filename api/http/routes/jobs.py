"""Routes of jobs: submit, preview, list and read a job, and change its state or clone it."""

from dataclasses import fields
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter

from api.http import schemas
from api.http.dependencies import (
    UNCHANGED,
    CurrentStore,
    IdempotencyKey,
    IfNoneMatch,
    JobIdPath,
    PageSize,
    PageToken,
    PostedStudy,
    changes_of,
    document_of,
    settings_of,
)
from api.http.errors import error_responses
from api.http.representations import not_modified, tag_of, tagged
from api.job_states import JobState, Verb
from api.jobs import admission, machine
from api.jobs.changes import patched
from api.jobs.submission import Submission, accept
from api.settings import Settings
from api.store.rows import JobRow
from api.store.store import Store
from telescope.client.resources import Job, JobDetail
from telescope.studies import registry
from telescope.studies.telescoping.question.documents import SWEEP_OVER

RETRY_AFTER = {"Retry-After": "2"}
DETAIL = TypeAdapter(JobDetail)
router = APIRouter(prefix="/v1", responses=error_responses(500, 503))


@router.post("/jobs", status_code=202, tags=["jobs"], responses=error_responses(413, 422))
def submit(
    document: Annotated[Any, Depends(document_of)],
    settings: Annotated[Settings, Depends(settings_of)],
    store: CurrentStore,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> JobDetail:
    """Submit a study as a job.

    The response is sent once the study is validated, its corpora or tables are read, and the job is
    stored. A separate process, the coordinator, then runs the job.
    """
    row = accept(Submission(document, settings, idempotency_key=idempotency_key), store)
    response.headers.update(_headers(row))
    return _detail(row, store)


@router.post("/jobs:preview", tags=["jobs"], responses=error_responses(413, 422))
def preview(
    study: PostedStudy, settings: Annotated[Settings, Depends(settings_of)], store: CurrentStore
) -> Response:
    """Forecast the trials and the cost of a study without training anything.

    The forecast of a study of kind `telescope` lists the cost of each width. It also lists the cost
    of other ways to choose the learning rate, such as copying the optimum of the smallest width.
    """
    forecast = registry.preview(study, machine.measurements_in_database(settings, store))
    return JSONResponse({"kind": study.kind.name} | registry.report_document(forecast))


@router.get("/jobs", tags=["jobs"], responses=error_responses(422))
def jobs(
    store: CurrentStore,
    page_size: PageSize = 0,
    page_token: PageToken = None,
    state: JobState | None = None,
) -> schemas.ItemPage[Job]:
    """List jobs, newest first."""
    page = store.jobs(page_size or 50, page_token, state=state)
    return schemas.ItemPage[Job](items=page.items, next_page_token=page.next_page_token)


@router.get(
    "/jobs/{job_id}",
    tags=["jobs"],
    response_model=JobDetail,
    responses=error_responses(404, 422) | UNCHANGED,
)
def job(job_id: JobIdPath, store: CurrentStore, if_none_match: IfNoneMatch = None) -> Any:
    """Get a job with its study."""
    row = store.job(job_id)
    if unchanged := not_modified(row, if_none_match):
        return unchanged
    return tagged(row, DETAIL.dump_python(_detail(row, store), mode="json"))


@router.post("/jobs/{job_id}:cancel", tags=["jobs"], responses=error_responses(404, 409, 422))
def cancel(job_id: JobIdPath, store: CurrentStore) -> Job:
    """Cancel a job. The results of its trials stay readable."""
    return store.request(job_id, Verb.CANCEL)


@router.post("/jobs/{job_id}:pause", tags=["jobs"], responses=error_responses(404, 409, 422))
def pause(job_id: JobIdPath, store: CurrentStore) -> Job:
    """Pause a job: its running trials stop, and their checkpoints are kept."""
    return store.request(job_id, Verb.PAUSE)


@router.post("/jobs/{job_id}:resume", tags=["jobs"], responses=error_responses(404, 409, 422))
def resume(job_id: JobIdPath, store: CurrentStore) -> Job:
    """Resume a paused job."""
    return store.request(job_id, Verb.RESUME)


@router.post("/jobs/{job_id}:retry", tags=["jobs"], responses=error_responses(404, 409, 422))
def retry(
    job_id: JobIdPath, store: CurrentStore, settings: Annotated[Settings, Depends(settings_of)]
) -> Job:
    """Retry a failed or cancelled job: its unfinished trials run again.

    Trials that have finished keep their results.
    """
    admission.require_factories(store.study_document(job_id), settings.factories)
    return store.request(job_id, Verb.RETRY)


@router.post(
    "/jobs/{job_id}:clone", status_code=202, tags=["jobs"], responses=error_responses(404, 413, 422)
)
def clone(
    job_id: JobIdPath,
    changes: Annotated[Any, Depends(changes_of)],
    settings: Annotated[Settings, Depends(settings_of)],
    store: CurrentStore,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> JobDetail:
    """Create a job from this job's study, changed by the merge patch (RFC 7396) in the body.

    If both jobs need the same trial, and this job has completed the trial, the new job can reuse
    the trial's result.
    """
    document = patched(store.study_document(job_id), changes)
    # Paths that the patch does not change need no check: they were admitted with the original job.
    # That job may have come from `telescope run`, which admits every path on this machine.
    may_name_new_paths = not changes.keys().isdisjoint({"data", SWEEP_OVER})
    submission = Submission(
        document,
        server_settings=settings,
        may_name_new_paths=may_name_new_paths,
        idempotency_key=idempotency_key,
        keyed_request=[job_id, changes],
    )
    row = accept(submission, store)
    response.headers.update(_headers(row))
    return _detail(row, store)


def _headers(row: JobRow) -> dict[str, str]:
    """The headers of the response to a request that creates a job."""
    return {"Location": f"/v1/jobs/{row.id}", "ETag": tag_of(row)} | RETRY_AFTER


def _detail(row: JobRow, store: Store) -> JobDetail:
    return JobDetail(
        **{field.name: getattr(row, field.name) for field in fields(Job)},
        study=store.study_document(row.id),
    )
