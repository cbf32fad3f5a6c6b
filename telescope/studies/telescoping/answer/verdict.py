"""The rules of the verdict: resolved, unresolved, unbracketed or refused, with the reason.

A *ladder* is the search of one optimizer over growing widths, its *levels*. The coordinate check
tests the scaling rules before the search, by runs of a few steps at several widths. The *pairing*
of a ladder is its combination of scaling rules. A pairing is sound if theory raises no objection to
it.

Among the hyperparameters, only the learning rate affects the verdict on a ladder. The verdict is
the first of these cases that applies:

- **refused**: the coordinate check fails although the pairing is sound
- **unbracketed**: the search is complete, and every run diverged
- **unresolved**: the search was stopped early, or is still running
- **unbracketed**: the optimum lies at a border of the values tried, or beyond the values allowed
- **unresolved**: no model of the losses could be fitted; or the half-width of the 90 % interval at
  the target is more than half an octave; or the optimum shifted by more than 0.4 octave over the
  last doubling of the width (`last_move`)
- **resolved**: no other case applies

If the ladder is complete, but runs at the target contradict its learning rate, `answer` replaces
the verdict by unresolved.

A swept hyperparameter has a status of its own, the first of these cases that applies:

- **swept**: it has fewer than three points, so no optimum is fitted
- **flat**: even the worst point of its interval costs almost no loss, and the model is not
  doubtful; the learning rate is never flat
- **unbracketed**: its optimum lies at a border of the values tried, or beyond the values allowed
- **unresolved**: no model could be fitted; or the model is doubtful; or the half-width of the
  interval is above the hyperparameter's tolerance
- **resolved**: no other case applies

The model of the losses is *doubtful* along a hyperparameter other than the learning rate if a group
of runs has much lower losses than the model predicts (`Fit.surprise`). The learning rate's
tolerance is half an octave. The tolerance of any other hyperparameter is the error that costs about
as much loss as an error of 0.4 octave in the learning rate. But this tolerance is at least 0.4 and
at most 1.2 octaves (`blocks.tolerances`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from telescope.statistics.estimates import Estimate
from telescope.studies.kind import Ended
from telescope.studies.telescoping.answer.remedy import advice
from telescope.studies.telescoping.axes import AxisName
from telescope.studies.telescoping.evidence import (
    Hyperparameter,
    Status,
    Verdict,
    digits,
    from_estimate,
    interval,
)
from telescope.studies.telescoping.fold.progress import COORDINATES, LadderProgress
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, outcomes
from telescope.studies.telescoping.ladder.pooled import Fit
from telescope.studies.telescoping.reasons import Advice, Border, Code, Reason, Remark
from telescope.studies.telescoping.schedules import blocks

LR_HALF_WIDTH = 0.5  # largest half-width of a resolved learning rate's interval, in octaves
LR_MOVE = 0.4  # largest shift (`last_move`) of a resolved optimum, in octaves
# limit on the cost of the worst point in a flat hyperparameter's interval, in % of the loss; the
# noise of a run replaces this limit if it is larger
FLAT_COST = 0.2
SURPRISE = 1.6  # largest `Fit.surprise` of a model that is not doubtful, in standard errors
CALIBRATE_WIDER = Remark.of(Advice.CALIBRATE_WIDER)
# distance between the two widths of a shift: one doubling, more than one, or less than one (a part)
DriftSpan = Literal["one", "several", "part"]


def verdict_of(
    progress: LadderProgress,
    fit: Fit | None,
    values: dict[AxisName, Hyperparameter],
    borders: tuple[Border, ...],
    ended: Ended | None,
) -> tuple[Verdict, Reason]:
    """The verdict on a ladder at any moment, with the reason for it.

    `values` are the ladder's hyperparameters at the target; they are empty without a finite loss.
    `borders` are the widths whose optimum lies at an edge of the values tried. `ended` states why
    the study ended early; it is None if the study did not.
    """
    check = progress.check.report
    stopped = ended or (Ended(progress.limit) if progress.limit else None)
    if check and progress.refused:
        return "refused", Reason.of(Code.COORDINATES_FAIL, check=check.reason, cause=check.cause)
    if not values and progress.done:
        if not stopped and progress.ended:
            return "unbracketed", all_diverged(progress.done)
        by, detail = (str(stopped.cause), stopped.detail) if stopped else (None, None)
        return "unresolved", Reason.of(
            Code.ALL_DIVERGED_SO_FAR, by=by, detail=detail, lr=lowest_lr(progress.done)
        )
    if stopped:
        return "unresolved", stopped_by(stopped)
    if not values:
        return "unresolved", Reason.of(
            Code.STAGE_UNFINISHED, stage="grid" if check else COORDINATES
        )
    lr = values["lr"]
    if not progress.ended:
        return "unresolved", Reason.of(
            Code.SO_FAR, half_width=lr.half_width if lr.has_interval else None
        )
    drift_advice = advice(progress, fit, drifting=True) if fit else CALIBRATE_WIDER
    return judged(
        lr,
        fit,
        blocks.top_level(progress.done),
        Remarks(lambda fit: advice(progress, fit), drift_advice),
        borders,
    )


def stopped_by(ended: Ended) -> Reason:
    """The reason for the verdict if a study or a ladder was stopped early."""
    return Reason.of(Code.STOPPED, by=str(ended.cause), detail=ended.detail)


def lowest_lr(done: Sequence[Done]) -> float:
    """The lowest learning rate tried in the stages `done`."""
    return from_estimate(min(o.point.x[0] for o in outcomes(done)))


def all_diverged(done: Sequence[Done]) -> Reason:
    """The reason for the verdict if the search is complete and every run diverged."""
    return Reason.of(Code.ALL_DIVERGED, lr=lowest_lr(done))


@dataclass(frozen=True)
class Remarks:
    """The advice to give if an answer is unresolved."""

    on_interval: Callable[[Fit], Remark]  # advice if the interval is too wide
    on_drift: Remark = CALIBRATE_WIDER  # advice if the optimum drifts


def judged(
    lr: Hyperparameter,
    fit: Fit | None,
    top: int,
    remarks: Remarks,
    borders: tuple[Border, ...] = (),
) -> tuple[Verdict, Reason]:
    """The verdict on a complete ladder, with the reason for it. `top` is the widest level that the
    ladder reached. `borders` are the widths whose optimum lies at an edge of the values tried.
    """
    if lr.status == "unbracketed":
        return "unbracketed", Reason.of(Code.AT_BORDER, lr=lr.value, borders=borders)
    if fit is None:
        return "unresolved", Reason.of(Code.NO_NOISE_MODEL)
    if lr.half_width > LR_HALF_WIDTH:
        interval_advice = remarks.on_interval(fit)
        return "unresolved", Reason.of(
            Code.INTERVAL_TOO_WIDE,
            half_width=lr.half_width,
            most=LR_HALF_WIDTH,
            advice=interval_advice,
        )
    move, span, doublings = last_move(fit, top)
    if abs(move) > LR_MOVE:
        return "unresolved", Reason.of(
            Code.DRIFTING, move=move, span=span, doublings=doublings, advice=remarks.on_drift
        )
    return "resolved", Reason.of(
        Code.RESOLVED, half_width=lr.half_width, move=move, span=span, doublings=doublings
    )


def last_move(fit: Fit, top: int) -> tuple[float, DriftSpan, float]:
    """The shift of the learning rate's optimum up to level `top`, and the distance over which the
    shift is measured. The distance is given twice: as a `DriftSpan`, and in doublings.

    The shift is measured in octaves from the widest level that lies at least one doubling below
    `top`. If there is no such level, the shift is measured from the narrowest level, and divided by
    the doublings from there to `top`. If `top` is the narrowest level, the shift is 0.
    """
    if top == 0:
        return 0.0, "one", 1.0
    doublings = fit.layout.level_doublings
    below = max((i for i in range(top) if doublings[top] - doublings[i] > 1 - 1e-9), default=0)
    move = float(fit.optima[top, 0] - fit.optima[below, 0])
    rise = doublings[top] - doublings[below]
    if abs(rise - 1) < 1e-9:
        return move, "one", 1.0
    if rise > 1:
        return move, "several", float(rise)
    return move / rise, "part", float(rise)


def judged_values(
    ladder: Ladder, fit: Fit | None, estimates: dict[int, Estimate], at_border: Sequence[int]
) -> dict[AxisName, Hyperparameter]:
    """The swept hyperparameters at the target, each with a status. An *axis* is a swept
    hyperparameter. `estimates` holds the estimate of each axis in octaves. `at_border` lists the
    axes on which the optimum lies at a border of the values tried.
    """
    tolerances = dict(zip(ladder.fitted, blocks.tolerances(fit), strict=True)) if fit else {}
    tolerances[0] = LR_HALF_WIDTH
    result: dict[AxisName, Hyperparameter] = {}
    for i, estimate in sorted(estimates.items()):
        axis = ladder.axes[i]
        tolerance = float(tolerances[i]) if i in ladder.fitted and i in tolerances else None
        at_border_or_beyond = i in at_border or not axis.allows(estimate.value)
        status = status_of(ladder, i, fit, AxisFindings(estimate, tolerance, at_border_or_beyond))
        span = interval(estimate.low, estimate.high, axis.name)
        result[axis.name] = Hyperparameter(
            value=from_estimate(estimate.value, axis.name),
            low=span.low,
            high=span.high,
            resolved=status == "resolved",
            status=status,
            half_width=digits(estimate.half_width),
            tolerance=digits(tolerance) if tolerance is not None else None,
        )
    return result


@dataclass(frozen=True)
class AxisFindings:
    """The properties of an axis that, together with the fit, determine its status."""

    estimate: Estimate
    # largest half-width of a resolved interval, in octaves; None for an axis with fewer than three
    # points; if there is no fit, only the learning rate can have a tolerance
    tolerance: float | None
    at_border: bool  # whether the optimum lies at a border, or beyond the values allowed


def status_of(ladder: Ladder, i: int, fit: Fit | None, findings: AxisFindings) -> Status:
    """The status of the swept hyperparameter on axis `i`, where axis 0 is the learning rate."""
    estimate, tolerance = findings.estimate, findings.tolerance
    if not ladder.axes[i].fitted:
        return "swept"
    doubtful = False
    if i > 0 and fit is not None:
        index = ladder.fitted.index(i)
        doubtful = fit.surprise(index) > SURPRISE
        if is_flat(fit, index, estimate) and not doubtful:
            return "flat"
    if findings.at_border:
        return "unbracketed"
    if doubtful or fit is None or tolerance is None or estimate.half_width > tolerance:
        return "unresolved"
    return "resolved"


def is_flat(fit: Fit, index: int, estimate: Estimate) -> bool:
    """Whether the worst point of the interval costs less loss than FLAT_COST, or less than the
    noise of a run.
    """
    costs = [fit.cost(index, end - estimate.value) for end in (estimate.low, estimate.high)]
    return max(costs) < max(FLAT_COST, fit.sigma)
