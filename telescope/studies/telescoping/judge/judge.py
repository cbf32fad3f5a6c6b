"""The verdict on an existing sweep: whether its optimum transfers to a target width.

The functions are those of a job's report: the runs become the stages of a ladder (`ladder_of`), the
pooled model is fitted to all widths at once, and the learning rate decides the verdict
(`telescope.studies.telescoping.answer.verdict.judged`). Each width gets its own verdict, too:

    unbracketed   its lowest loss or fitted optimum lies at a border of the runs, or all diverged
    unresolved    fewer than three learning rates, or an interval wider than +-0.5 octave
    resolved      otherwise

Widths need not be doublings: a level lies log2(width / narrowest) doublings up. An axis is fitted
where some width has three values of it that did not diverge; otherwise its values are compared. The
fit uses only the runs near the optimum of each width (`near_optimum`).

Parts: `Judgement`, `JudgedLevel` · `judge` · `ladder_of` · `near_optimum` · `level_verdict` ·
`to_narrow`.
"""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from telescope.errors import InvalidInput
from telescope.statistics.estimates import Array, Estimate, ScalingFit, scaling_fit
from telescope.studies.telescoping.answer.budget import laws_of
from telescope.studies.telescoping.answer.levels import (
    drift,
    edges_at,
    level_estimates,
    report_without_edges,
)
from telescope.studies.telescoping.answer.transfer import copying
from telescope.studies.telescoping.answer.verdict import (
    LR_HALF_WIDTH,
    Remarks,
    all_diverged,
    judged,
    judged_values,
)
from telescope.studies.telescoping.answer.wording import edges_words, words
from telescope.studies.telescoping.axes import Axis, AxisName
from telescope.studies.telescoping.evidence import (
    Copying,
    Drift,
    Hyperparameter,
    LevelReport,
    Verdict,
    digits,
    from_estimate,
)
from telescope.studies.telescoping.fold.estimates import lowest_of, pooled_estimates
from telescope.studies.telescoping.judge.records import WIDEST
from telescope.studies.telescoping.judge.sweep import Row, Sweep
from telescope.studies.telescoping.ladder.ladder import (
    Done,
    Ladder,
    Outcome,
    Point,
    argmin,
    outcomes,
    pooled_fit,
    seed_means,
)
from telescope.studies.telescoping.ladder.pooled import Fit
from telescope.studies.telescoping.reasons import (
    Advice,
    Code,
    Corners,
    Reason,
    ReasonPart,
    Remark,
    SeedBlocks,
)
from telescope.studies.telescoping.schedules import blocks
from telescope.studies.telescoping.schedules.edges import side_of

FEWEST_LRS = 3
NEAR = 2.0 + 1e-9  # octaves
APART = 0.5  # octaves: a learning rate nearer than this to one tried adds nothing


@dataclass(frozen=True, kw_only=True)
class JudgedLevel(LevelReport):
    """A width of the sweep, with a verdict on its own optimum."""

    verdict: Verdict
    reason: str
    because: Reason | None = None  # the reason as values


@dataclass(frozen=True)
class Judgement:
    """The verdict on a sweep; hyperparameters are those for `target_width`."""

    verdict: Verdict
    reason: str
    target_width: int
    hyperparameters: dict[AxisName, Hyperparameter]
    levels: tuple[JudgedLevel, ...]
    drift: Drift | None
    # cost of the narrowest width's optimum at each wider one and at the target, by the fitted bowl
    copying: tuple[Copying, ...]
    # % of the loss at the widest width, of the narrowest's lowest point; None where it was not run,
    # or diverged
    measured_regret: float | None
    scaling_fit: ScalingFit | None  # of the loss at each optimum, against width
    notes: tuple[str, ...]
    because: Reason | None = None  # the reason as values


def judge(sweep: Sweep, target_width: int | None = None) -> Judgement:
    """The verdict on a sweep's transfer to a width, by default twice its widest.

    Raises InvalidInput for a target narrower than the widest width.
    """
    notes = sweep.notes
    if target_width is None:
        target_width = 2 * sweep.widths[-1]
        notes = (
            *notes,
            f"judged for width {target_width}, twice the widest; set target_width for another",
        )
    if not sweep.widths[-1] <= target_width <= 2 * WIDEST:
        wanted = f"must be at least {sweep.widths[-1]}, the widest width in the sweep; for a narrower target, leave out the wider rows"
        raise InvalidInput.of("target_width", wanted, target_width)
    ladder, done = ladder_of(sweep, target_width)
    near = tuple(near_optimum(stage) for stage in done)
    # A copied optimum may lie far up the bowl, so its height is fitted on all runs.
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
    """Verdict on the transfer, and its reason with advice."""
    if not values:
        return "unbracketed", all_diverged(done)
    wider = Remark.of(Advice.SWEEP_WIDTH, width=2 * ladder.widths[-1])
    verdict, reason = judged(
        values["lr"],
        fit,
        ladder.levels - 1,
        Remarks(lambda fit: to_narrow(ladder, done, fit), wider),
    )
    if verdict == "resolved":
        return verdict, reason
    return verdict, replace(reason, parts=width_reasons(verdict, fit, levels))


def ladder_of(sweep: Sweep, target_width: int) -> tuple[Ladder, tuple[Done, ...]]:
    """The sweep as a ladder with one stage per width."""
    names: list[AxisName] = (
        ["lr", "weight_decay"] if len(weight_decays_tried(sweep)) > 1 else ["lr"]
    )
    ladder = Ladder(
        optimizer="adamw",  # unused: nothing is planned
        widths=sweep.widths,
        target_width=target_width,
        axes=tuple(axis_of(sweep, name) for name in names),
        costs=tuple((width / sweep.widths[0]) ** 2 for width in sweep.widths),
    )
    seeds = {seed: i for i, seed in enumerate(sorted({row.seed for row in sweep.rows}))}

    def outcome(row: Row) -> Outcome:
        x = tuple(octaves(row, name) for name in names)
        return Outcome(Point(sweep.widths.index(row.width), x, seeds[row.seed]), row.loss)

    stages = [
        sorted(outcome(row) for row in sweep.rows if row.width == width) for width in sweep.widths
    ]
    return ladder, tuple(Done("sweep", tuple(stage)) for stage in stages)


def axis_of(sweep: Sweep, name: AxisName) -> Axis:
    """A column as an axis with as many points as a width has values of it, without values at which
    every run diverged.
    """
    tried = {octaves(row, name) for row in sweep.rows}
    counts = [
        len({octaves(row, name) for row in sweep.rows if row.width == width and row.finite})
        for width in sweep.widths
    ]
    return Axis(name, min(tried), max(tried), max(counts) or len(tried), extend=True)


def octaves(row: Row, name: AxisName) -> float:
    """A hyperparameter of a run, in octaves."""
    return math.log2(row.lr if name == "lr" else row.weight_decay or 1.0)


def unswept(sweep: Sweep) -> dict[AxisName, Hyperparameter]:
    """Weight decay, where all runs had the same."""
    held = weight_decays_tried(sweep)
    return (
        {"weight_decay": Hyperparameter(held[0], held[0], held[0], False, "fixed", 0.0, None)}
        if len(held) == 1
        else {}
    )


def weight_decays_tried(sweep: Sweep) -> list[float]:
    """The weight decays tried; empty where the sweep has no such column."""
    return sorted({row.weight_decay for row in sweep.rows if row.weight_decay is not None})


def near_optimum(stage: Done) -> Done:
    """The runs of a width that the fit uses: those within NEAR octaves of its lowest point in lr,
    and the next ones on either side.

    A sweep runs its whole grid at every width. Real bowls deviate from the model far up their
    walls, and many far points would outweigh the few that determine the optimum: with them a 90 %
    interval can hold the truth in only 60 % of cases, without them in 90 %.
    """
    lowest = argmin(stage.outcomes)[0]
    tried = sorted({o.point.x[0] for o in stage.outcomes if o.finite})
    beside = {*[x for x in tried if x < lowest][-1:], *[x for x in tried if x > lowest][:1]}
    return Done(
        stage.name,
        tuple(
            o
            for o in stage.outcomes
            if abs(o.point.x[0] - lowest) <= NEAR or o.point.x[0] in beside
        ),
    )


def values_at_target(
    ladder: Ladder, done: tuple[Done, ...], fitted: dict[int, Estimate], fit: Fit | None
) -> dict[AxisName, Hyperparameter]:
    """The hyperparameters at the target; an axis that is not fitted has the best value at the
    narrowest width with a finite loss.
    """
    best = {i: Estimate(x, x, x) for i, x in enumerate(lowest_of(done) or ())}
    ends = [border_sides(ladder, done, fit, level) for level in (0, ladder.levels - 1)]
    return judged_values(ladder, fit, best | fitted, [i for at in ends for i in at])


def judged_level(
    ladder: Ladder, done: tuple[Done, ...], fit: Fit | None, level: int
) -> JudgedLevel:
    """The report on a width, with its verdict."""
    at = border_sides(ladder, done, fit, level)
    edges = edges_at(ladder, at.items())
    found = level_estimates(ladder, fit, level) if fit else {}
    verdict, because = level_verdict(ladder, done, fit, level, at)
    known = replace(
        report_without_edges(ladder, done, fit, level, found),
        edge=edges_words(edges) or None,
        edges=edges,
    )
    described_so = {field.name: getattr(known, field.name) for field in fields(known)}
    return JudgedLevel(**described_so, verdict=verdict, reason=words(because), because=because)


def border_sides(
    ladder: Ladder, done: Sequence[Done], fit: Fit | None, level: int
) -> dict[int, int]:
    """The axes of a width whose optimum lies at a border of its runs: -1 for the low border, +1 for
    the high one.

    An optimum, fitted or lowest point, is at a border if it lies within a quarter of the last step
    of it. One of two values is always the lowest, so there only a fitted optimum outside them
    counts. Where every run diverged, the optimum lies below.
    """
    here = outcomes(done, level)
    if not any(o.finite for o in here):
        return {0: -1}
    lowest, at = argmin(here), dict[int, int]()
    for i, axis in enumerate(ladder.axes):
        values = sorted({o.point.x[i] for o in here})
        places = [float(fit.optima[level, ladder.fitted.index(i)])] if fit and axis.fitted else []
        margins = (0.0, 0.0)
        if len(values) >= FEWEST_LRS:
            places.append(lowest[i])
            margins = ((values[1] - values[0]) / 4, (values[-1] - values[-2]) / 4)
        if (
            axis.fitted
            and len(values) > 1
            and places
            and (side := side_of(values[0] + margins[0], values[-1] - margins[1], places))
        ):
            at[i] = side
    return at


def level_verdict(
    ladder: Ladder, done: Sequence[Done], fit: Fit | None, level: int, at: dict[int, int]
) -> tuple[Verdict, Reason]:
    """Verdict on a width's own optimum, and its reason with advice."""
    here = outcomes(done, level)
    tried, finite = sorted({o.point.x[0] for o in here}), {o.point.x[0] for o in here if o.finite}
    if not finite:
        return "unbracketed", Reason.of(Code.ALL_DIVERGED, lr=2.0 ** tried[0])
    if len(finite) < FEWEST_LRS:
        missing = missing_lrs(fit, level, tried, argmin(here)[0])
        return "unresolved", Reason.of(
            Code.TOO_FEW_RATES,
            finite=len(finite),
            fitted=fit is not None,
            advice=add_rates(missing),
        )
    if side := at.get(0, 0):
        border, step = (
            (tried[0], tried[1] - tried[0]) if side < 0 else (tried[-1], tried[-1] - tried[-2])
        )
        beyond = add_rates([border + side * step, border + 2 * side * step])
        return "unbracketed", Reason.of(
            Code.AT_END_OF_RATES, side=ladder.axes[0].side(side), advice=beyond
        )
    if fit is None:
        return "unresolved", Reason.of(Code.BASE_DIVERGED)
    half = level_estimates(ladder, fit, level)[0].half_width
    if half > LR_HALF_WIDTH:
        return "unresolved", Reason.of(
            Code.KNOWN_LOOSELY, half_width=digits(half), advice=Remark.of(Advice.ADD_SEEDS)
        )
    return "resolved", Reason.of(Code.KNOWN, half_width=digits(half))


def add_rates(octaves: Sequence[float]) -> Remark:
    """The advice to run these learning rates."""
    return Remark.of(Advice.ADD_RATES, rates=tuple(2.0**x for x in octaves))


def missing_lrs(fit: Fit | None, level: int, tried: Sequence[float], best: float) -> list[float]:
    """Learning rates, in octaves, that would bracket a width's optimum together with those
    tried.
    """
    centre = float(fit.optima[level, 0]) if fit else best
    wanted = [centre - 1, centre + 1, centre, centre - 2, centre + 2]
    new = [x for x in wanted if all(abs(x - other) > APART for other in tried)]
    return sorted(new[: max(1, FEWEST_LRS - len(tried))])


def width_reasons(
    verdict: Verdict, fit: Fit | None, levels: Sequence[JudgedLevel]
) -> tuple[ReasonPart, ...]:
    """The reasons of the widths that cause a verdict."""
    blamed = [one for one in levels if verdict != "unbracketed" or one.verdict == "unbracketed"]
    if verdict != "unbracketed" and fit is not None:
        return ()
    return tuple(ReasonPart(one.because, width=one.width) for one in blamed if one.because)


def to_narrow(ladder: Ladder, done: tuple[Done, ...], fit: Fit) -> Remark:
    """Advice to narrow the interval, by the greedy rule's forecast."""
    if ladder.levels == 1 and ladder.doublings:
        return Remark.of(Advice.SECOND_WIDTH, width=2 * ladder.widths[0])
    added = Counter[int]()
    for level, covariance in itertools.islice(
        blocks.greedy(ladder, done, fit, math.inf), blocks.MOST_BLOCKS
    ):
        added[level] += 1
        if fit.target_half_widths(covariance)[0] <= blocks.LR_TOLERANCE:
            spans = blocks.half_spans(done, fit)
            wanted = [
                SeedBlocks(count, ladder.widths[level], corners(ladder, fit, level, spans))
                for level, count in sorted(added.items())
            ]
            return Remark.of(Advice.NEW_SEEDS, runs=tuple(wanted))
    return Remark.of(Advice.WIDER_OR_LONGER)


def corners(ladder: Ladder, fit: Fit, level: int, spans: Array) -> tuple[Corners, ...]:
    """The values of each fitted axis in a block of runs around a level's optimum."""
    names, optimum = [ladder.axes[i].name for i in ladder.fitted], fit.optima[level]
    return tuple(
        Corners(name, from_estimate(x - half, name), from_estimate(x + half, name))
        for name, x, half in zip(names, optimum, spans, strict=True)
    )


def measured_regret(ladder: Ladder, done: tuple[Done, ...]) -> float | None:
    """The measured cost, at the widest width, of the narrowest width's lowest point, in % of the
    lowest loss there.
    """
    means = seed_means(outcomes(done, ladder.levels - 1))
    copied = means.get(argmin(outcomes(done, 0)), math.inf)
    return (
        digits(100 * (copied / min(means.values()) - 1))
        if ladder.levels > 1 and math.isfinite(copied)
        else None
    )
