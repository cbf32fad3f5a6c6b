"""The verdict on an existing sweep: whether its optimum transfers to a target width.

The rules are those of the verdict on a job. The sweep takes the form of a *ladder*, telescope's own
search at increasing widths (`as_ladder`); each width is a *level*. One statistical model of the
losses, the *pooled* model, is fitted to runs of all widths together. The verdict depends on the
optimal learning rate: whether the values tried bracket this rate, how precisely it is known, and
how far it moves with width (`telescope.studies.telescoping.answer.verdict.judged`). Each width also
gets a verdict on its own optimum (`levels`).
"""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from telescope.errors import InvalidInput
from telescope.statistics.estimates import Array, Estimate, ScalingFit, scaling_fit
from telescope.studies.telescoping.answer.budget import laws_of
from telescope.studies.telescoping.answer.levels import (
    drift,
)
from telescope.studies.telescoping.answer.transfer import copying
from telescope.studies.telescoping.answer.verdict import (
    Remarks,
    all_diverged,
    judged,
    judged_values,
)
from telescope.studies.telescoping.answer.wording import words
from telescope.studies.telescoping.axes import AxisName
from telescope.studies.telescoping.evidence import (
    Copying,
    Drift,
    Hyperparameter,
    Verdict,
    digits,
    from_estimate,
)
from telescope.studies.telescoping.fold.estimates import lowest_of, pooled_estimates
from telescope.studies.telescoping.judge.as_ladder import (
    ladder_of,
    near_optimum,
    weight_decays_tried,
)
from telescope.studies.telescoping.judge.levels import JudgedLevel, border_sides, judged_level
from telescope.studies.telescoping.judge.records import WIDEST
from telescope.studies.telescoping.judge.sweep import Sweep
from telescope.studies.telescoping.ladder.ladder import (
    Done,
    Ladder,
    argmin,
    outcomes,
    pooled_fit,
    seed_means,
)
from telescope.studies.telescoping.ladder.pooled import Fit
from telescope.studies.telescoping.reasons import (
    Advice,
    Corners,
    Reason,
    ReasonPart,
    Remark,
    SeedBlocks,
)
from telescope.studies.telescoping.schedules import blocks


@dataclass(frozen=True)
class Judgement:
    """The verdict on a sweep. The hyperparameters hold for `target_width`."""

    verdict: Verdict
    reason: str
    target_width: int
    hyperparameters: dict[AxisName, Hyperparameter]
    levels: tuple[JudgedLevel, ...]
    drift: Drift | None
    # predicted cost of using the narrowest width's optimum at each wider width and at the target;
    # empty if the pooled model could not be fitted, or if there is only one width
    copying: tuple[Copying, ...]
    # measured cost, at the widest width, of using the best hyperparameters of the narrowest width;
    # in % of the lowest mean loss at the widest width; None in the cases that the function
    # `measured_regret` states
    measured_regret: float | None
    # fitted law of the loss against width; None if a width has no finite loss, or in the cases that
    # the function `scaling_fit` states
    scaling_fit: ScalingFit | None
    notes: tuple[str, ...]  # remarks on how the sweep was interpreted
    because: Reason | None = None  # `reason` as a code with values


def judge(sweep: Sweep, target_width: int | None = None) -> Judgement:
    """The verdict on whether a sweep's optimum transfers to `target_width`. The default target is
    twice the widest width of the sweep.

    Raises InvalidInput if the target is narrower than the widest width, or wider than 2 * WIDEST.
    """
    notes = sweep.notes
    if target_width is None:
        target_width = 2 * sweep.widths[-1]
        judged_for = f"judged for width {target_width}, twice the widest width"
        notes = (*notes, f"{judged_for}; set target_width to judge for another width")
    if not sweep.widths[-1] <= target_width <= 2 * WIDEST:
        remedy = "for a narrower target, leave out the rows of wider widths"
        least = f"must be at least {sweep.widths[-1]}, the widest width in the sweep"
        message = f"{least}, and at most {2 * WIDEST}; {remedy}"
        raise InvalidInput.of("target_width", message, target_width)
    ladder, done = ladder_of(sweep, target_width)
    near = tuple(near_optimum(stage) for stage in done)
    # `laws` predict the cost of copying an optimum to a wider width. They are fitted to all runs,
    # since the copied optimum may lie far from the optimum of the wider width.
    fit, laws = pooled_fit(ladder, near), laws_of(ladder, done)
    levels = tuple(judged_level(ladder, done, fit, level) for level in range(ladder.levels))
    values = values_at_target(ladder, done, pooled_estimates(ladder, near), fit)
    verdict, because = judged_sweep(ladder, done, fit, values, levels)
    losses = [level.loss for level in levels]
    return Judgement(
        verdict=verdict,
        reason=words(because),
        target_width=target_width,
        hyperparameters=values | unswept(sweep) if values else {},
        levels=levels,
        drift=drift(fit, ladder.levels) if fit else None,
        copying=copying(laws, fit.optima[0].tolist(), ladder.widths, target_width)
        if fit and laws and ladder.levels > 1
        else (),
        measured_regret=measured_regret(ladder, done),
        scaling_fit=scaling_fit(ladder.widths, losses) if all(map(math.isfinite, losses)) else None,
        notes=notes,
        because=because,
    )


def judged_sweep(
    ladder: Ladder,
    done: tuple[Done, ...],
    fit: Fit | None,
    values: dict[AxisName, Hyperparameter],
    levels: Sequence[JudgedLevel],
) -> tuple[Verdict, Reason]:
    """The verdict on the transfer to the target width, and the reason for the verdict with any
    advice.
    """
    if not values:
        return "unbracketed", all_diverged(done)
    drift_advice = Remark.of(Advice.SWEEP_WIDTH, width=2 * ladder.widths[-1])
    verdict, reason = judged(
        values["lr"],
        fit,
        ladder.levels - 1,
        Remarks(lambda fit: to_narrow(ladder, done, fit), drift_advice),
    )
    if verdict == "resolved":
        return verdict, reason
    return verdict, replace(reason, parts=width_reasons(verdict, fit, levels))


def unswept(sweep: Sweep) -> dict[AxisName, Hyperparameter]:
    """The weight decay as a fixed hyperparameter, if the sweep states the same weight decay for all
    runs. Otherwise empty.
    """
    if len(tried := weight_decays_tried(sweep)) != 1:
        return {}
    value = tried[0]
    return {"weight_decay": Hyperparameter(value, value, value, False, "fixed", 0.0, None)}


def values_at_target(
    ladder: Ladder, done: tuple[Done, ...], estimates: dict[int, Estimate], fit: Fit | None
) -> dict[AxisName, Hyperparameter]:
    """The swept hyperparameters at the target. `estimates` are the pooled model's estimates, by
    index of the axis. An axis without an estimate has its best value at the narrowest width with a
    finite loss.

    On an axis, the optimum at the target counts as at a border if the optimum of the narrowest or
    of the widest width lies at a border of the values tried there (`border_sides`).

    The result is empty if every run diverged.
    """
    best = {i: Estimate(x, x, x) for i, x in enumerate(lowest_of(done) or ())}
    ends = [border_sides(ladder, done, fit, level) for level in (0, ladder.levels - 1)]
    at_border = [axis for sides in ends for axis in sides]
    return judged_values(ladder, fit, best | estimates, at_border)


def width_reasons(
    verdict: Verdict, fit: Fit | None, levels: Sequence[JudgedLevel]
) -> tuple[ReasonPart, ...]:
    """The parts of the reason for the sweep's verdict: reasons for the verdicts on single widths.

    If the sweep is `unbracketed`, the parts are the reasons of the unbracketed widths. Otherwise,
    if the pooled model could not be fitted, the parts are the reasons of all widths. Otherwise,
    there are no parts.
    """
    if verdict == "unbracketed":
        levels = [level for level in levels if level.verdict == "unbracketed"]
    elif fit is not None:
        return ()
    return tuple(ReasonPart(level.because, width=level.width) for level in levels if level.because)


def to_narrow(ladder: Ladder, done: tuple[Done, ...], fit: Fit) -> Remark:
    """Advice on how to narrow the interval of the learning rate.

    If the sweep has only one width and the target is wider, the advice is to add a second width.
    Otherwise, the advice is to add the groups of runs that `schedules.blocks.greedy` chooses. If
    MOST_BLOCKS groups do not suffice, the advice is to make runs wider or longer.
    """
    if ladder.levels == 1 and ladder.doublings:
        return Remark.of(Advice.SECOND_WIDTH, width=2 * ladder.widths[0])
    added = Counter[int]()
    for level, covariance in itertools.islice(
        blocks.greedy(ladder, done, fit, math.inf), blocks.MOST_BLOCKS
    ):
        added[level] += 1
        if fit.target_half_widths(covariance)[0] <= blocks.LR_TOLERANCE:
            half_spans = blocks.half_spans(done, fit)
            runs = tuple(
                SeedBlocks(count, ladder.widths[level], corners(ladder, fit, level, half_spans))
                for level, count in sorted(added.items())
            )
            return Remark.of(Advice.NEW_SEEDS, runs=runs)
    return Remark.of(Advice.WIDER_OR_LONGER)


def corners(ladder: Ladder, fit: Fit, level: int, half_spans: Array) -> tuple[Corners, ...]:
    """The two values that each fitted axis takes in a group of runs around a level's optimum.
    `half_spans` [axis] are the distances, in octaves, from the optimum to these values.
    """
    names, optimum = [ladder.axes[i].name for i in ladder.fitted], fit.optima[level]
    return tuple(
        Corners(name, from_estimate(x - half, name), from_estimate(x + half, name))
        for name, x, half in zip(names, optimum, half_spans, strict=True)
    )


def measured_regret(ladder: Ladder, done: tuple[Done, ...]) -> float | None:
    """The measured cost, at the widest width, of using the best hyperparameters of the narrowest
    width. The cost is in % of the lowest mean loss at the widest width.

    `None` if there is only one width, or if every run of the narrowest width diverged. `None` also
    if no run at the widest width has these hyperparameters, or if such a run diverged.
    """
    narrowest, means = outcomes(done, 0), seed_means(outcomes(done, ladder.levels - 1))
    loss = means.get(argmin(narrowest), math.inf)
    known = math.isfinite(loss) and any(o.finite for o in narrowest)
    if ladder.levels == 1 or not known:
        return None
    return digits(100 * (loss / min(means.values()) - 1))
