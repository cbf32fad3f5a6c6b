"""The HTTP route that judges hyperparameter sweeps which telescope did not run."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from api.http import bodies
from api.http.dependencies import WidthQuery, body_of
from api.http.errors import error_responses
from telescope.errors import InvalidInput
from telescope.studies.telescoping.judge.formats import read_csv, read_document
from telescope.studies.telescoping.judge.judge import Judgement, judge

router = APIRouter(prefix="/v1", responses=error_responses(500, 503))

CSV_TYPES = frozenset({"text/csv", "application/csv"})


@router.post("/judgements", tags=["judgements"], responses=error_responses(413, 422))
def judge_sweep(
    request: Request, body: Annotated[bytes, Depends(body_of)], target_width: WidthQuery = None
) -> Judgement:
    """Judge whether the optimum of a sweep transfers to a target width.

    The rules are those by which telescope judges its own jobs. The body is a CSV table, or a JSON
    or YAML document, with a row for each run of the sweep. The target width may be given in the
    query or in the document.
    """
    bodies.require_known_parameters(request.query_params, "target_width")
    content_type = request.headers.get("Content-Type", "")
    if content_type.partition(";")[0].strip().lower() in CSV_TYPES:
        return judge(read_csv(body), target_width)
    document = bodies.parse_body(body, content_type, "a CSV table as Content-Type: text/csv")
    sweep, target = read_document(document)
    if target is not None and target_width is not None:
        message = "is given in the document and in the query; give it in only one of them"
        raise InvalidInput.of("target_width", message, target)
    return judge(sweep, target_width if target is None else target)
