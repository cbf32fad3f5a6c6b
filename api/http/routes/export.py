"""Route of exports: a job's result in the format of another trainer.

There are three formats: JSON, Python code that needs only torch, and flags for Megatron-LM. Clients
choose the format by a query parameter. An Accept header would not fit, since it chooses among
representations of the same content, but Python code and flags cannot express every answer. The ETag
of a response is computed from the parameters, the job, the job's version and telescope's version.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from api.http import bodies
from api.http.dependencies import UNCHANGED, CurrentStore, IfNoneMatch, JobIdPath
from api.http.errors import error_responses
from api.http.representations import JSON, entity_tag, matches_etag
from api.jobs.exports import export_job
from telescope.export import ExportRequest, Format
from telescope.trials.types import OptimizerName

MEDIA: dict[Format, str] = {"json": JSON, "torch": "text/x-python", "megatron": "text/plain"}
FORMATS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A JSON document, a Python file, or flags for Megatron-LM with comments.",
        "content": {JSON: {"schema": {"type": "object"}}}
        | {MEDIA[name]: {"schema": {"type": "string"}} for name in ("torch", "megatron")},
        "headers": {"ETag": {"schema": {"type": "string"}}},
    }
}

router = APIRouter(
    prefix="/v1/jobs/{job_id}",
    tags=["results"],
    responses=error_responses(404, 409, 422, 500, 503) | UNCHANGED | FORMATS,
)

To = Annotated[
    Format,
    Query(
        description="Format of the export. json is a document that can express every answer. torch "
        "is Python code that runs without telescope. megatron gives flags for Megatron-LM. torch "
        "and megatron are refused for an answer that they cannot express."
    ),
]
OptimizerQuery = Annotated[
    OptimizerName | None,
    Query(
        description="Optimizer to export. By default the job's better optimizer, or the job's "
        "first optimizer if none is known to be better."
    ),
]

VariantQuery = Annotated[
    str | None,
    Query(
        description="Variant (architecture or text) to export, if the job compares several of "
        "them. By default the best variant. Required if no variant is known to be the best."
    ),
]


@router.get("/export", response_class=Response)
def export(
    request: Request,
    job_id: JobIdPath,
    store: CurrentStore,
    to: To,
    optimizer: OptimizerQuery = None,
    variant: VariantQuery = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Get a job's hyperparameters for the target model, in the format of another trainer.

    A response with status 409 says why there are no hyperparameters to export, or what the format
    cannot express.
    """
    bodies.require_known_parameters(request.query_params, "to", "optimizer", "variant")
    row = store.job(job_id)
    version = request.app.version
    tag = entity_tag(version, "export", row.id, row.version, to, optimizer, variant)
    headers = {"ETag": tag}
    if matches_etag(tag, if_none_match):
        return Response(status_code=304, headers=headers)
    media = MEDIA[to] if to == "json" else f"{MEDIA[to]}; charset=utf-8"
    text = export_job(store, row, ExportRequest(to, optimizer, variant))
    return Response(text, media_type=media, headers=headers)
