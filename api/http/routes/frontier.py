"""Routes of the tables of a compute-time job, which compares optimizers at many batch sizes.

There are three tables, each computed for the target loss in the query: the hours to this loss by
number of devices, the tokens to this loss by batch size, and AdamW's tokens divided by Muon's. A
table is sent as JSON in pages, or as CSV with all rows if the Accept header prefers CSV.

Each response carries an ETag, which is computed from everything that the response depends on. If a
client sends this ETag in If-None-Match and nothing has changed, the response has status 304 and
costs one query and no analysis. A request for another target loss also costs one query and no
analysis, as long as the analysis of the job's current version is in the cache
(`api.jobs.analyses`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from api.http import bodies, schemas
from api.http.dependencies import (
    UNCHANGED,
    CurrentStore,
    IfNoneMatch,
    JobIdPath,
    PageSize,
    PageToken,
)
from api.http.errors import error_responses
from api.http.representations import CSV, JSON, csv_text, entity_tag, matches_etag
from api.http.tables import ALSO_CSV, DEFAULT_PAGE_SIZE, preferred_media
from api.jobs.analyses import analysed, analysed_kinds
from api.store.pages import cut
from api.store.rows import JobRow
from telescope.errors import InvalidInput
from telescope.studies.compute_time.analysis import Analysis
from telescope.studies.compute_time.rows import (
    BatchAnswer,
    BatchRow,
    FrontierAnswer,
    FrontierRow,
    RatioAnswer,
    RatioRow,
)
from telescope.trials.types import OptimizerName

MOST_CSV_ROWS = 100_000
PARAMETERS = ("target_loss", "page_size", "page_token")

router = APIRouter(
    prefix="/v1/jobs/{job_id}",
    tags=["results"],
    responses=error_responses(404, 406, 422, 500, 503) | UNCHANGED | ALSO_CSV,
)

TargetLoss = Annotated[
    float,
    Query(gt=0, allow_inf_nan=False, description="Held-out loss to reach, in nats per token."),
]
OptimizerFilter = Annotated[OptimizerName | None, Query(description="Only rows of this optimizer.")]
Answer = FrontierAnswer | BatchAnswer | RatioAnswer


@dataclass(frozen=True)
class TableRequest:
    """The parameters that all three routes share."""

    http: Request
    store: CurrentStore
    job_id: JobIdPath
    target_loss: TargetLoss
    page_size: PageSize = 0
    page_token: PageToken = None
    if_none_match: IfNoneMatch = None


TableParameters = Annotated[TableRequest, Depends()]


@router.get("/frontier", response_model=schemas.FrontierPage)
def frontier(request: TableParameters, optimizer: OptimizerFilter = None) -> Response:
    """List the hours to the target loss by optimizer, number of devices and batch size.

    The response also compares the fewest hours with AdamW and with Muon, by number of devices.
    """
    bodies.require_known_parameters(request.http.query_params, *PARAMETERS, "optimizer")
    table = TableDefinition(
        "frontier",
        FrontierRow,
        schemas.FrontierPage,
        lambda analysis: analysis.frontier(request.target_loss, optimizer),
    )
    return negotiated_table(request, table, optimizer)


@router.get("/batch-sizes", response_model=schemas.BatchPage)
def batch_sizes(request: TableParameters, optimizer: OptimizerFilter = None) -> Response:
    """List the tokens and steps to the target loss by optimizer and batch size.

    The response also has each optimizer's token-optimal batch size, and its critical batch size,
    beyond which the tokens rise.
    """
    bodies.require_known_parameters(request.http.query_params, *PARAMETERS, "optimizer")
    table = TableDefinition(
        "batch-sizes",
        BatchRow,
        schemas.BatchPage,
        lambda analysis: analysis.batch_sizes(request.target_loss, optimizer),
    )
    return negotiated_table(request, table, optimizer)


@router.get("/token-ratio", response_model=schemas.RatioPage)
def token_ratio(request: TableParameters) -> Response:
    """List AdamW's tokens to the target loss divided by Muon's, by batch size.

    The response also has the trend of this ratio as the batch size grows.
    """
    bodies.require_known_parameters(request.http.query_params, *PARAMETERS)
    table = TableDefinition(
        "token-ratio",
        RatioRow,
        schemas.RatioPage,
        lambda analysis: analysis.token_ratio(request.target_loss),
    )
    return negotiated_table(request, table)


@dataclass(frozen=True)
class TableDefinition:
    """One of the three tables: its name, its types, and the function that computes the table."""

    name: str
    row: type
    page: type[schemas.FrontierPage | schemas.BatchPage | schemas.RatioPage]
    compute: Callable[[Analysis], Answer]


def negotiated_table(
    request: TableRequest, table: TableDefinition, optimizer: str | None = None
) -> Response:
    """Return a response with the table in the media type that the client prefers.

    The response has status 304 if the client already has the table in its current version.
    """
    media = preferred_media(request.http, request.page_size, request.page_token)
    row = request.store.job(request.job_id)
    require_tables(row)
    app, target_loss = request.http.app, request.target_loss
    inputs = [app.version, table.name, row.id, row.version, target_loss, optimizer]
    tag = entity_tag(*inputs, media, request.page_size, request.page_token)
    headers = {"ETag": tag, "Vary": "Accept"}
    if matches_etag(tag, request.if_none_match):
        return Response(status_code=304, headers=headers)
    analysis = app.state.analyses.of(row, lambda: analysed(row.id, request.store))
    answer = table.compute(analysis)
    if media == CSV:
        return Response(as_csv(answer, table), media_type=f"{CSV}; charset=utf-8", headers=headers)
    page_size = request.page_size or DEFAULT_PAGE_SIZE
    page = cut(answer.rows, page_size, request.page_token, entity_tag(*inputs))
    values = vars(answer) | {"items": page.items, "next_page_token": page.next_page_token}
    document = table.page.model_validate(values).model_dump_json()
    return Response(document, media_type=JSON, headers=headers)


def require_tables(row: JobRow) -> None:
    """Raise InvalidInput if the job is of a kind that has no tables."""
    if row.kind not in analysed_kinds():
        kinds = ", ".join(analysed_kinds())
        message = f"is a job of kind {row.kind}; name a job of kind {kinds}, which has these tables"
        raise InvalidInput.of("job_id", message, row.id)


def as_csv(answer: Answer, table: TableDefinition) -> str:
    """Format all rows as CSV; raise InvalidInput if there are more than `MOST_CSV_ROWS`."""
    if len(answer.rows) > MOST_CSV_ROWS:
        limit = f"the table has {len(answer.rows)} rows, and CSV may have at most {MOST_CSV_ROWS}"
        message = f"{limit}; ask for JSON, which comes in pages"
        raise InvalidInput.of("target_loss", message, answer.target_loss)
    return csv_text(answer.rows, table.row)
