"""The rules of the verdict: resolved, unresolved, unbracketed or refused, with the reason.

The learning rate decides, in this order: **refused**, the coordinate check fails; **unbracketed**,
its optimum lies at a border that may not or could not be moved, or every run diverged;
**unresolved**, a limit was reached, its 90 % interval at the target is wider than half an octave to
each side, or its optimum shifted by more than 0.4 octave between the two widest levels;
**resolved** otherwise. The other hyperparameters are held to tolerances of equal loss cost, and are
flat where the worst point of their interval costs almost nothing and no group of runs elsewhere did
better than the model allows. Among several optimizers the verdict of the best one holds; among
several variants, that of the worst one (`comparison`).

Parts: `verdict_of` a ladder at any moment · `judged`, the verdict on a finished fit · `last_move` ·
`judged_values`, a status for each hyperparameter.
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

LR_HALF_WIDTH = 0.5  # octaves
LR_MOVE = 0.4  # octaves between the two widest levels
FLAT_COST = 0.2  # % of the loss
SURPRISE = 1.6  # standard errors by which runs may beat the bowl; 1 % of correct bowls exceed it
CALIBRATE_WIDER = Remark.of(Advice.CALIBRATE_WIDER)
# The widths between which an optimum shifted: one doubling, several, or part of one.
Span = Literal["one", "several", "part"]


def verdict_of(
    found: LadderProgress,
    fit: Fit | None,
    values: dict[AxisName, Hyperparameter],
    borders: tuple[Border, ...],
    ended: Ended | None,
) -> tuple[Verdict, Reason]:
    """Verdict and reason, by the learning rate; the module's docstring gives the order."""
    check, stopped = found.check.report, ended or (Ended(found.limit) if found.limit else None)
    if check and found.refused:
        return "refused", Reason.of(Code.COORDINATES_FAIL, check=check.reason, cause=check.cause)
    if not values and found.done:
        if not stopped and found.ended:
            return "unbracketed", all_diverged(found.done)
        by, detail = (str(stopped.cause), stopped.detail) if stopped else (None, None)
        return "unresolved", Reason.of(
            Code.ALL_DIVERGED_SO_FAR, by=by, detail=detail, lr=lowest_lr(found.done)
        )
    if stopped:
        return "unresolved", stopped_by(stopped)
    if not values:
        return "unresolved", Reason.of(
            Code.STAGE_UNFINISHED, stage="grid" if check else COORDINATES
        )
    lr = values["lr"]
    if not found.ended:
        return "unresolved", Reason.of(
            Code.SO_FAR, half_width=lr.half_width if lr.has_interval else None
        )
    wider = advice(found, fit, drifting=True) if fit else CALIBRATE_WIDER
    return judged(
        lr,
        fit,
        blocks.top_level(found.done),
        Remarks(lambda fit: advice(found, fit), wider),
        borders,
    )


def stopped_by(ended: Ended) -> Reason:
    """The reason of a study, or of a ladder, that was ended before it was answered."""
    return Reason.of(Code.STOPPED, by=str(ended.cause), detail=ended.detail)


def lowest_lr(done: Sequence[Done]) -> float:
    """The lowest learning rate tried."""
    return from_estimate(min(o.point.x[0] for o in outcomes(done)))


def all_diverged(done: Sequence[Done]) -> Reason:
    """The reason where no run has a finite loss."""
    return Reason.of(Code.ALL_DIVERGED, lr=lowest_lr(done))


@dataclass(frozen=True)
class Remarks:
    """Advice for an answer that is not resolved."""

    narrower: Callable[[Fit], Remark]  # to narrow the interval
    wider: Remark = CALIBRATE_WIDER  # to tell drift from chance


def judged(
    lr: Hyperparameter,
    fit: Fit | None,
    top: int,
    remarks: Remarks,
    borders: tuple[Border, ...] = (),
) -> tuple[Verdict, Reason]:
    """Verdict and reason of a ladder that ended at level `top`; the optimum lies at `borders`."""
    if lr.status == "unbracketed":
        return "unbracketed", Reason.of(Code.AT_BORDER, lr=lr.value, borders=borders)
    if fit is None:
        return "unresolved", Reason.of(Code.NO_NOISE_MODEL)
    if lr.half_width > LR_HALF_WIDTH:
        narrower = remarks.narrower(fit)
        return "unresolved", Reason.of(
            Code.INTERVAL_TOO_WIDE, half_width=lr.half_width, most=LR_HALF_WIDTH, advice=narrower
        )
    move, span, doublings = last_move(fit, top)
    if abs(move) > LR_MOVE:
        return "unresolved", Reason.of(
            Code.DRIFTING, move=move, span=span, doublings=doublings, advice=remarks.wider
        )
    return "resolved", Reason.of(
        Code.RESOLVED, half_width=lr.half_width, move=move, span=span, doublings=doublings
    )


def last_move(fit: Fit, top: int) -> tuple[float, Span, float]:
    """The shift of the learning rate's optimum between the two widest levels (octaves), the span
    between them and its doublings; 0 with one level.

    Where levels are not doublings, the shift is measured from the widest level that lies a doubling
    or more below; without one, per doubling from the lowest level.
    """
    if top == 0:
        return 0.0, "one", 1.0
    heights = fit.layout.heights
    below = max((i for i in range(top) if heights[top] - heights[i] > 1 - 1e-9), default=0)
    move, rise = float(fit.optima[top, 0] - fit.optima[below, 0]), heights[top] - heights[below]
    if abs(rise - 1) < 1e-9:
        return move, "one", 1.0
    if rise > 1:
        return move, "several", float(rise)
    return move / rise, "part", float(rise)


def judged_values(
    ladder: Ladder, fit: Fit | None, estimates: dict[int, Estimate], at_border: Sequence[int]
) -> dict[AxisName, Hyperparameter]:
    """The swept hyperparameters at the target, from their estimates in octaves per axis and the
    axes whose optimum lies at a border.
    """
    tolerances = dict(zip(ladder.fitted, blocks.tolerances(fit), strict=True)) if fit else {}
    tolerances[0] = LR_HALF_WIDTH
    result: dict[AxisName, Hyperparameter] = {}
    for i, estimate in sorted(estimates.items()):
        axis = ladder.axes[i]
        tolerance = float(tolerances[i]) if i in ladder.fitted and i in tolerances else None
        status = status_of(
            ladder,
            i,
            fit,
            Judged(estimate, tolerance, i in at_border or not axis.allows(estimate.value)),
        )
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
class Judged:
    """An estimate at the target, its tolerance, and whether its optimum lies at a border."""

    estimate: Estimate
    tolerance: float | None
    at_border: bool


def status_of(ladder: Ladder, i: int, fit: Fit | None, judged: Judged) -> Status:
    """The status of the swept hyperparameter at axis `i`."""
    estimate, tolerance = judged.estimate, judged.tolerance
    if not ladder.axes[i].fitted:
        return "swept"
    doubted = i > 0 and fit is not None and fit.surprise(ladder.fitted.index(i)) > SURPRISE
    if i > 0 and fit is not None and is_flat(fit, ladder.fitted.index(i), estimate) and not doubted:
        return "flat"
    if judged.at_border:
        return "unbracketed"
    if doubted:
        return "unresolved"
    return (
        "resolved"
        if fit is not None and tolerance is not None and estimate.half_width <= tolerance
        else "unresolved"
    )


def is_flat(fit: Fit, index: int, estimate: Estimate) -> bool:
    """Whether the worst point of the interval costs less than 0.2 % of the loss, or less than the
    noise of a seed.
    """
    costs = [fit.cost(index, end - estimate.value) for end in (estimate.low, estimate.high)]
    return max(costs) < max(FLAT_COST, fit.sigma)
