"""Routes of a compute-time job's tables at a target loss.

There are three tables, each computed for the loss in the query: hours against devices, tokens
against batch size, and the ratio of the optimizers' tokens. They are sent as JSON in pages, or, if
the Accept header prefers it, as CSV with all rows. Each response carries an ETag of everything that
it depends on. A poll with If-None-Match costs one query and no analysis; another target loss of the
same job version also costs one query, since the analysis is cached (`api.jobs.analyses`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.exceptions import HTTPException

from api.http import bodies, schemas
from api.http.dependencies import UNCHANGED, IfNoneMatch, JobId, PageSize, PageToken, Rows
from api.http.errors import error_responses
from api.http.representations import CSV, JSON, csv_text, entity_tag, preferred, seen
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
DEFAULT_PAGE_SIZE = 50
PARAMETERS = ("target_loss", "page_size", "page_token")
TAGGED = {"ETag": {"schema": {"type": "string"}}, "Vary": {"schema": {"type": "string"}}}
ALSO_CSV: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The rows with their summary; as CSV only the rows.",
        "content": {CSV: {"schema": {"type": "string"}}},
        "headers": TAGGED,
    }
}

router = APIRouter(
    prefix="/v1/jobs/{job_id}",
    tags=["results"],
    responses=error_responses(404, 406, 422, 500, 503) | UNCHANGED | ALSO_CSV,
)

TargetLoss = Annotated[
    float, Query(gt=0, allow_inf_nan=False, description="Held-out loss to reach.")
]
Optimizer = Annotated[OptimizerName | None, Query(description="Only rows of this optimizer.")]
Answer = FrontierAnswer | BatchAnswer | RatioAnswer


@dataclass(frozen=True)
class Asked:
    """The parameters that all three requests share."""

    request: Request
    store: Rows
    job_id: JobId
    target_loss: TargetLoss
    page_size: PageSize = 0
    page_token: PageToken = None
    if_none_match: IfNoneMatch = None


Asking = Annotated[Asked, Depends()]


@router.get("/frontier", response_model=schemas.FrontierPage)
def frontier(asked: Asking, optimizer: Optimizer = None) -> Response:
    """Hours to a loss against devices: the best batch of each optimizer, and which one is ahead."""
    bodies.require_known(asked.request.query_params, *PARAMETERS, "optimizer")
    table = Table(
        "frontier",
        FrontierRow,
        schemas.FrontierPage,
        lambda analysis: analysis.frontier(asked.target_loss, optimizer),
    )
    return negotiated_table(asked, table, optimizer)


@router.get("/batch-sizes", response_model=schemas.BatchPage)
def batch_sizes(asked: Asking, optimizer: Optimizer = None) -> Response:
    """Tokens and steps to a loss against batch size, and where tokens start to rise."""
    bodies.require_known(asked.request.query_params, *PARAMETERS, "optimizer")
    table = Table(
        "batch-sizes",
        BatchRow,
        schemas.BatchPage,
        lambda analysis: analysis.batch_sizes(asked.target_loss, optimizer),
    )
    return negotiated_table(asked, table, optimizer)


@router.get("/token-ratio", response_model=schemas.RatioPage)
def token_ratio(asked: Asking) -> Response:
    """Ratio of AdamW's tokens to Muon's against batch size, and whether it falls."""
    bodies.require_known(asked.request.query_params, *PARAMETERS)
    table = Table(
        "token-ratio",
        RatioRow,
        schemas.RatioPage,
        lambda analysis: analysis.token_ratio(asked.target_loss),
    )
    return negotiated_table(asked, table)


@dataclass(frozen=True)
class Table:
    """One of the three tables."""

    name: str
    row: type
    page: type[schemas.FrontierPage | schemas.BatchPage | schemas.RatioPage]
    of: Callable[[Analysis], Answer]


def negotiated_table(asked: Asked, table: Table, optimizer: str | None = None) -> Response:
    """Send a table in the media type that the client prefers, or 304 if the client has it."""
    media = accepted(asked.request)
    if media == CSV and (asked.page_size or asked.page_token):
        message = "does not apply to CSV, which has all rows; leave out page_size and page_token"
        raise InvalidInput.of("page_size", message, asked.page_size)
    row = asked.store.job(asked.job_id)
    require_frontier(row)
    everything = [
        asked.request.app.version,
        table.name,
        row.id,
        row.version,
        asked.target_loss,
        optimizer,
    ]
    headers = {
        "ETag": entity_tag(*everything, media, asked.page_size, asked.page_token),
        "Vary": "Accept",
    }
    if seen(headers["ETag"], asked.if_none_match):
        return Response(status_code=304, headers=headers)
    analysis = asked.request.app.state.analyses.of(row, lambda: analysed(row.id, asked.store))
    answer = table.of(analysis)
    if media == CSV:
        return Response(as_csv(answer, table), media_type=f"{CSV}; charset=utf-8", headers=headers)
    page_size = asked.page_size or DEFAULT_PAGE_SIZE
    page = cut(answer.rows, page_size, asked.page_token, entity_tag(*everything))
    values = vars(answer) | {"items": page.items, "next_page_token": page.next_page_token}
    document = table.page.model_validate(values).model_dump_json()
    return Response(document, media_type=JSON, headers=headers)


def accepted(request: Request) -> str:
    """The media type that the client prefers, JSON or CSV; 406 if it accepts neither."""
    media = preferred(",".join(request.headers.getlist("Accept")), (JSON, CSV))
    if media is None:
        raise HTTPException(406, f"rows are available as {JSON} or {CSV}; accept one of the two")
    return media


def require_frontier(row: JobRow) -> None:
    """Refuse jobs of kinds that have no frontier."""
    if row.kind not in analysed_kinds():
        able = ", ".join(analysed_kinds())
        message = f"is a job of kind {row.kind}; only jobs of kind {able} have a frontier"
        raise InvalidInput.of("job_id", message, row.id)


def as_csv(answer: Answer, table: Table) -> str:
    """All rows as CSV; InvalidInput above `MOST_CSV_ROWS`."""
    if len(answer.rows) > MOST_CSV_ROWS:
        limit = f"has {len(answer.rows)} rows, more than the {MOST_CSV_ROWS} sent as CSV"
        message = f"{limit}; ask for one optimizer, or for JSON in pages"
        raise InvalidInput.of("target_loss", message, answer.target_loss)
    return csv_text(answer.rows, table.row)
