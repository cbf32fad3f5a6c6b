"""Route of exports: a job's answer for another trainer, as JSON, as Python that needs torch alone, or as flags for Megatron-LM.

One, in three forms: JSON, Python that needs torch alone, flags for Megatron-LM. The form is a parameter, not a media type to negotiate,
since each is another thing to do with the answer. What is sent depends on the job's version alone, and so does its tag.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from api.http import bodies
from api.http.dependencies import UNCHANGED, IfNoneMatch, JobId, Rows
from api.http.errors import described
from api.http.representations import JSON, entity_tag, seen
from api.jobs.exports import exported
from telescope.export import Format, Wanted
from telescope.trials.types import OptimizerName

MEDIA: dict[Format, str] = {"json": JSON, "torch": "text/x-python", "megatron": "text/plain"}
FORMS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer: a document, a Python file, or flags with a comment before each.",
        "content": {JSON: {"schema": {"type": "object"}}} | {MEDIA[form]: {"schema": {"type": "string"}} for form in ("torch", "megatron")},
        "headers": {"ETag": {"schema": {"type": "string"}}},
    }
}

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], responses=described(404, 409, 422, 500, 503) | UNCHANGED | FORMS)

To = Annotated[
    Format, Query(description="json has everything; torch runs without telescope; megatron is refused where flags cannot say it.")
]
Optimizer = Annotated[OptimizerName | None, Query(description="Whose ladder; by default the better one's.")]

Variant = Annotated[str | None, Query(description="Of a job that compares several, which; needed where their losses do not compare.")]


@router.get("/export", response_class=Response)
def export(
    request: Request,
    job_id: JobId,
    store: Rows,
    to: To,
    optimizer: Optimizer = None,
    variant: Variant = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Hyperparameters at the target for another trainer; 409 names each rule that a form cannot express, or why there are none."""
    bodies.require_known(request.query_params, "to", "optimizer", "variant")
    row = store.job(job_id)
    headers = {"ETag": entity_tag(request.app.version, "export", row.id, row.version, to, optimizer, variant)}
    if seen(headers["ETag"], if_none_match):
        return Response(status_code=304, headers=headers)
    media = MEDIA[to] if to == "json" else f"{MEDIA[to]}; charset=utf-8"
    return Response(exported(store, row, Wanted(to, optimizer, variant)), media_type=media, headers=headers)
