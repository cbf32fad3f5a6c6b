"""Routes of a job's results: report, levels, trials and curves."""

from typing import Any

from fastapi import APIRouter

from api.http import schemas
from api.http.dependencies import (
    UNCHANGED,
    CurrentStore,
    CurvePoints,
    IfNoneMatch,
    JobIdPath,
    PageSize,
    PageToken,
    TrialId,
    WidthQuery,
)
from api.http.errors import error_responses
from api.http.representations import not_modified, tagged
from api.jobs import reports, variants
from api.store.curves import thin
from api.store.rows import TrialFilter
from telescope.client.resources import Curve, TrialSummary
from telescope.trials.outcome import TrialState
from telescope.trials.types import OptimizerName

router = APIRouter(prefix="/v1", responses=error_responses(500, 503))


@router.get(
    "/jobs/{job_id}/result",
    tags=["results"],
    response_model=dict[str, Any],
    responses=error_responses(404, 422) | UNCHANGED,
)
def result(job_id: JobIdPath, store: CurrentStore, if_none_match: IfNoneMatch = None) -> Any:
    """Get the report of a job.

    Until the job ends, `final` is false, and the report has the results that are decided so far,
    such as the optima at the smallest widths.
    """
    row = store.job(job_id)
    return not_modified(row, if_none_match) or tagged(row, reports.latest(row, store))


@router.get("/jobs/{job_id}/levels", tags=["results"], responses=error_responses(404, 422))
def levels(job_id: JobIdPath, store: CurrentStore) -> schemas.Levels:
    """List the levels of a job that are decided so far.

    A level is one width at which the job searched. It has the range and the grid that were
    searched, the optimum and the optimum's interval. The levels of one optimizer and variant form a
    ladder. Only jobs of kind `telescope` have ladders; for other jobs the list is empty.
    """
    report = reports.latest(store.job(job_id), store)
    items = [
        {"optimizer": ladder["optimizer"], "variant": ladder.get("variant", ""), **level}
        for ladder in report.get("ladders", ())
        for level in ladder["levels"]
    ]
    levels = [schemas.Level.model_validate(item) for item in items]
    return schemas.Levels(final=report["final"], items=levels)


@router.get("/jobs/{job_id}/trials", tags=["results"], responses=error_responses(404, 422))
def trials(
    job_id: JobIdPath,
    store: CurrentStore,
    page_size: PageSize = 0,
    page_token: PageToken = None,
    state: TrialState | None = None,
    width: WidthQuery = None,
    optimizer: OptimizerName | None = None,
) -> schemas.ItemPage[TrialSummary]:
    """List a job's trials in the order in which they were planned."""
    only = TrialFilter(state=state, width=width, optimizer=optimizer)
    page = store.trials(job_id, page_size or 50, page_token, only=only)
    labelled = variants.trials_page(store, job_id, page)
    return schemas.ItemPage[TrialSummary](
        items=labelled.items, next_page_token=labelled.next_page_token
    )


@router.get("/jobs/{job_id}/curves", tags=["results"], responses=error_responses(404, 422))
def curves(
    job_id: JobIdPath,
    store: CurrentStore,
    points: CurvePoints = 100,
    width: WidthQuery = None,
    optimizer: OptimizerName | None = None,
) -> schemas.Curves:
    """List the loss curves of a job's trials, thinned in such a way that spikes remain visible."""
    thinned = store.curves(job_id, points, only=TrialFilter(width=width, optimizer=optimizer))
    return schemas.Curves(items=tuple(thinned))


@router.get("/trials/{trial_id}", tags=["results"], responses=error_responses(404, 422))
def trial(trial_id: TrialId, store: CurrentStore) -> schemas.TrialWithSpec:
    """Get a trial with its specification."""
    row = store.trial(trial_id)
    (labelled,) = variants.with_variants(store, row.job_id, [row])
    return schemas.TrialWithSpec(**vars(labelled), spec=store.trial_spec(trial_id))


@router.get("/trials/{trial_id}/curve", tags=["results"], responses=error_responses(404, 422))
def curve(trial_id: TrialId, store: CurrentStore, points: CurvePoints | None = None) -> Curve:
    """Get the loss curve of a trial, merged over all attempts to train the trial.

    The curve has all its points unless `points` is given.
    """
    full_curve = store.curve(trial_id)
    return thin(full_curve, points) if points else full_curve
