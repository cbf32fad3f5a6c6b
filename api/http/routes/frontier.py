"""Routes of a compute-time job's tables at a target loss.

Three tables, each computed for the loss that the query names: hours against devices, tokens against batch size, one optimizer's tokens
over the other's. As JSON in pages, or as CSV, all rows at once, where the Accept header prefers that. Each answer carries an ETag of
everything that it depends on; a poll with If-None-Match costs one query and no analysis, and another target loss of the same job version
one query too, since the analysis is kept (`api.jobs.analyses`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.exceptions import HTTPException

from api.http import bodies, schemas
from api.http.dependencies import UNCHANGED, IfNoneMatch, JobId, PageSize, PageToken, Rows
from api.http.errors import described
from api.http.representations import CSV, JSON, csv_text, entity_tag, preferred, seen
from api.jobs.analyses import analysed, analysed_kinds
from api.store.pages import cut
from api.store.rows import JobRow
from telescope.errors import InvalidInput
from telescope.studies.compute_time.analysis import Analysis
from telescope.studies.compute_time.rows import BatchAnswer, BatchRow, FrontierAnswer, FrontierRow, RatioAnswer, RatioRow
from telescope.trials.types import OptimizerName

MOST_CSV_ROWS = 100_000
DEFAULT_PAGE_SIZE = 50
PARAMETERS = ("target_loss", "page_size", "page_token")
TAGGED = {"ETag": {"schema": {"type": "string"}}, "Vary": {"schema": {"type": "string"}}}
ALSO_CSV: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The rows, and what they amount to; as CSV the rows alone.",
        "content": {CSV: {"schema": {"type": "string"}}},
        "headers": TAGGED,
    }
}

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], responses=described(404, 406, 422, 500, 503) | UNCHANGED | ALSO_CSV)

TargetLoss = Annotated[float, Query(gt=0, allow_inf_nan=False, description="The held-out loss to be reached.")]
Optimizer = Annotated[OptimizerName | None, Query(description="Rows of this one alone.")]
Answer = FrontierAnswer | BatchAnswer | RatioAnswer


@dataclass(frozen=True)
class Asked:
    """What every one of these requests says."""

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
    """Hours to a loss against devices: which batch of which optimizer, and who is ahead."""
    bodies.require_known(asked.request.query_params, *PARAMETERS, "optimizer")
    table = Table("frontier", FrontierRow, schemas.FrontierPage, lambda found: found.frontier(asked.target_loss, optimizer))
    return answered(asked, table, optimizer)


@router.get("/batch-sizes", response_model=schemas.BatchPage)
def batch_sizes(asked: Asking, optimizer: Optimizer = None) -> Response:
    """Tokens and steps to a loss against batch size, and up to which batch tokens stay the same."""
    bodies.require_known(asked.request.query_params, *PARAMETERS, "optimizer")
    table = Table("batch-sizes", BatchRow, schemas.BatchPage, lambda found: found.batch_sizes(asked.target_loss, optimizer))
    return answered(asked, table, optimizer)


@router.get("/token-ratio", response_model=schemas.RatioPage)
def token_ratio(asked: Asking) -> Response:
    """AdamW's tokens to a loss over Muon's against batch size, and whether that falls."""
    bodies.require_known(asked.request.query_params, *PARAMETERS)
    return answered(asked, Table("token-ratio", RatioRow, schemas.RatioPage, lambda found: found.token_ratio(asked.target_loss)))


@dataclass(frozen=True)
class Table:
    """One of the three answers."""

    name: str
    row: type
    page: type[schemas.FrontierPage | schemas.BatchPage | schemas.RatioPage]
    of: Callable[[Analysis], Answer]


def answered(asked: Asked, table: Table, optimizer: str | None = None) -> Response:
    """The rows in the form that the client prefers, or that it has them already."""
    media = accepted(asked.request)
    if media == CSV and (asked.page_size or asked.page_token):
        raise InvalidInput.of("page_size", "means nothing to CSV, which sends all rows; leave it and page_token out", asked.page_size)
    row = asked.store.job(asked.job_id)
    require_frontier(row)
    everything = [asked.request.app.version, table.name, row.id, row.version, asked.target_loss, optimizer]
    headers = {"ETag": entity_tag(*everything, media, asked.page_size, asked.page_token), "Vary": "Accept"}
    if seen(headers["ETag"], asked.if_none_match):
        return Response(status_code=304, headers=headers)
    found = table.of(asked.request.app.state.analyses.of(row, lambda: analysed(row.id, asked.store)))
    if media == CSV:
        return Response(as_csv(found, table), media_type=f"{CSV}; charset=utf-8", headers=headers)
    page = cut(found.rows, asked.page_size or DEFAULT_PAGE_SIZE, asked.page_token, entity_tag(*everything))
    shown = vars(found) | {"items": page.items, "next_page_token": page.next_page_token}
    return Response(table.page.model_validate(shown).model_dump_json(), media_type=JSON, headers=headers)


def accepted(request: Request) -> str:
    """JSON or CSV, as the client prefers."""
    media = preferred(",".join(request.headers.getlist("Accept")), (JSON, CSV))
    if media is None:
        raise HTTPException(406, f"these rows are sent as {JSON} or {CSV}; accept one of them")
    return media


def require_frontier(row: JobRow) -> None:
    """Refuse the jobs of other kinds."""
    if row.kind not in analysed_kinds():
        raise InvalidInput.of(
            "job_id", f"is a job of kind {row.kind}; of kind {', '.join(analysed_kinds())} are those with a frontier", row.id
        )


def as_csv(found: Answer, table: Table) -> str:
    """All rows."""
    if len(found.rows) > MOST_CSV_ROWS:
        asked = f"has {len(found.rows)} rows, more than the {MOST_CSV_ROWS} sent as CSV; ask for one optimizer, or for pages of JSON"
        raise InvalidInput.of("target_loss", asked, found.target_loss)
    return csv_text(found.rows, table.row)
