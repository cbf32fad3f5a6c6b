"""The route of the tables of a grokking job, which compares when optimizers generalise.

There are two tables: the cells, and the finished runs. A cell is a task together with a form of
softmax in the loss. In the table of cells, each cell has two rows, one for each definition of
generalisation (`telescope.trials.milestones`). Both tables are made from the job's latest report,
so they exist from the start of the job on. A table is sent as JSON in pages, or as CSV with all
rows if the Accept header prefers CSV. The response has an ETag, which changes whenever the content
of the table may have changed.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

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
from api.jobs import reports
from api.store.pages import cut
from api.store.rows import JobRow
from telescope.errors import InvalidInput
from telescope.studies.grokking.kind import KIND
from telescope.studies.grokking.report import GrokkingReport
from telescope.studies.grokking.rows import RunRow
from telescope.studies.grokking.tables import CellTableRow, cell_table

router = APIRouter(
    prefix="/v1/jobs/{job_id}",
    tags=["results"],
    responses=error_responses(404, 406, 422, 500, 503) | UNCHANGED | ALSO_CSV,
)
REPORT = TypeAdapter(GrokkingReport)


class TableName(StrEnum):
    """The tables of a grokking job."""

    CELLS = "cells"
    RUNS = "runs"


@dataclass(frozen=True)
class TableContent:
    """The rows of a table, their type, and the type of its pages."""

    rows: tuple[Any, ...]
    row_type: type
    page_type: type[schemas.GrokkingCellsPage | schemas.GrokkingRunsPage]


@router.get("/grokking", response_model=schemas.GrokkingCellsPage | schemas.GrokkingRunsPage)
def grokking(
    http: Request,
    store: CurrentStore,
    job_id: JobIdPath,
    table: Annotated[
        TableName, Query(description="The table: cells of the comparison, or finished runs.")
    ] = TableName.CELLS,
    page_size: PageSize = 0,
    page_token: PageToken = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """List the cells, or the finished runs, of a job of kind grokking.

    A cell is a task together with a form of softmax in the loss. Each cell has two rows. One row is
    about sustained generalisation. The other row is about the first evaluation with a held-out
    accuracy of at least 95 % after a run has memorised the training rows. Until the job ends,
    `final` is false, and the tables cover only the runs that have finished so far.
    """
    bodies.require_known_parameters(http.query_params, "table", "page_size", "page_token")
    media = preferred_media(http, page_size, page_token)
    row = store.job(job_id)
    require_grokking(row)
    inputs = [http.app.version, "grokking", table, row.id, row.version]
    tag = entity_tag(*inputs, media, page_size, page_token)
    headers = {"ETag": tag, "Vary": "Accept"}
    if matches_etag(tag, if_none_match):
        return Response(status_code=304, headers=headers)
    report = REPORT.validate_python(reports.latest(row, store))
    content = table_content(report, table)
    if media == CSV:
        text = csv_text(content.rows, content.row_type)
        return Response(text, media_type=f"{CSV}; charset=utf-8", headers=headers)
    page = cut(content.rows, page_size or DEFAULT_PAGE_SIZE, page_token, entity_tag(*inputs))
    values = vars(page) | {"final": report.final, "verdict": report.verdict}
    document = content.page_type.model_validate(values).model_dump_json()
    return Response(document, media_type=JSON, headers=headers)


def require_grokking(row: JobRow) -> None:
    """Raise InvalidInput if the job is of another kind."""
    if row.kind != KIND.name:
        message = (
            f"is a job of kind {row.kind}; name a job of kind {KIND.name}, which has these tables, "
            f"or get the report of this job from /v1/jobs/{row.id}/result"
        )
        raise InvalidInput.of("job_id", message, row.id)


def table_content(report: GrokkingReport, table: TableName) -> TableContent:
    """Return a table of a report."""
    if table is TableName.RUNS:
        return TableContent(report.runs, RunRow, schemas.GrokkingRunsPage)
    return TableContent(cell_table(report.cells), CellTableRow, schemas.GrokkingCellsPage)
