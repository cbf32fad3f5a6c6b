"""The verdict on the optimum of a single width, from the sweep's runs at that width.

Among the hyperparameters, only the learning rate affects the verdict. The first case that applies
gives the verdict:

    unbracketed   every run diverged
    unresolved    fewer than three learning rates have a finite loss
    unbracketed   the lowest loss or the fitted optimum is at, or close to, the lowest or highest
                  learning rate (`border_sides`)
    unresolved    no model could be fitted
    unresolved    the half-width of the optimum's 90 % interval is more than 0.5 octave (a factor of
                  2^0.5)
    resolved      no other case applies

The optimum is estimated by the *pooled* model, a statistical model that is fitted to runs of all
widths of the sweep together. The sweep takes the form of a *ladder*: each width is a *level*, and
each swept hyperparameter is an *axis*, in octaves (factors of 2). An axis is *fitted* if the pooled
model estimates an optimum along it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from telescope.studies.telescoping.answer.levels import (
    edges_at,
    level_estimates,
    report_without_edges,
)
from telescope.studies.telescoping.answer.verdict import LR_HALF_WIDTH
from telescope.studies.telescoping.answer.wording import edges_words, words
from telescope.studies.telescoping.evidence import LevelReport, Verdict, digits
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, argmin, outcomes
from telescope.studies.telescoping.ladder.pooled import Fit
from telescope.studies.telescoping.reasons import Advice, Code, Reason, Remark
from telescope.studies.telescoping.schedules.edges import side_of

FEWEST_LRS = 3  # a resolved verdict needs at least this many learning rates with a finite loss
# `border_sides` considers the point of lowest loss only on axes with at least this many values
FEWEST_VALUES = 3
APART = 0.5  # an added learning rate is more than this number of octaves from every rate tried


@dataclass(frozen=True, kw_only=True)
class JudgedLevel(LevelReport):
    """A width of the sweep, with a verdict on its own optimum."""

    verdict: Verdict
    reason: str
    because: Reason | None = None  # `reason` as a code with values


def judged_level(
    ladder: Ladder, done: tuple[Done, ...], fit: Fit | None, level: int
) -> JudgedLevel:
    """The report on a width, with the verdict on the width's own optimum."""
    sides = border_sides(ladder, done, fit, level)
    edges = edges_at(ladder, sides.items())
    estimates = level_estimates(ladder, fit, level) if fit else {}
    verdict, because = level_verdict(ladder, done, fit, level, sides)
    report = replace(
        report_without_edges(ladder, done, fit, level, estimates),
        edge=edges_words(edges) or None,
        edges=edges,
    )
    report_fields = {field.name: getattr(report, field.name) for field in fields(report)}
    return JudgedLevel(**report_fields, verdict=verdict, reason=words(because), because=because)


def level_verdict(
    ladder: Ladder, done: Sequence[Done], fit: Fit | None, level: int, sides: dict[int, int]
) -> tuple[Verdict, Reason]:
    """The verdict on a width's own optimum, and the reason for the verdict with any advice. `sides`
    are the `border_sides` of the width.
    """
    results = outcomes(done, level)
    tried, finite_rates = (
        sorted({o.point.x[0] for o in results}),
        {o.point.x[0] for o in results if o.finite},
    )
    if not finite_rates:
        return "unbracketed", Reason.of(Code.ALL_DIVERGED, lr=2.0 ** tried[0])
    if len(finite_rates) < FEWEST_LRS:
        missing = missing_lrs(fit, level, tried, argmin(results)[0])
        return "unresolved", Reason.of(
            Code.TOO_FEW_RATES,
            finite=len(finite_rates),
            fitted=fit is not None,
            advice=add_rates(missing),
        )
    if side := sides.get(0, 0):
        border, step = (
            (tried[0], tried[1] - tried[0]) if side < 0 else (tried[-1], tried[-1] - tried[-2])
        )
        beyond = add_rates([border + side * step, border + 2 * side * step])
        return "unbracketed", Reason.of(
            Code.AT_END_OF_RATES, side=ladder.axes[0].side(side), advice=beyond
        )
    if fit is None:
        return "unresolved", Reason.of(Code.BASE_DIVERGED)
    half_width = level_estimates(ladder, fit, level)[0].half_width
    if half_width > LR_HALF_WIDTH:
        return "unresolved", Reason.of(
            Code.KNOWN_LOOSELY, half_width=digits(half_width), advice=Remark.of(Advice.ADD_SEEDS)
        )
    return "resolved", Reason.of(Code.KNOWN, half_width=digits(half_width))


def border_sides(
    ladder: Ladder, done: Sequence[Done], fit: Fit | None, level: int
) -> dict[int, int]:
    """The fitted axes on which a width's optimum lies at a border, by index, each with a side. A
    border is the lowest (side -1) or the highest (side +1) value of the axis at this width.

    The optimum is at a border if the fitted optimum or the point of lowest mean loss lies beyond
    the border, or inside it by at most a quarter of the outermost grid step. On an axis with only
    two values, the point of lowest mean loss is necessarily at a border. On such an axis only the
    fitted optimum counts, and it must lie at or beyond a border. An axis with a single value is
    left out. If every run diverged, the optimum is assumed to lie below the learning rates tried.
    """
    results = outcomes(done, level)
    if not any(o.finite for o in results):
        return {0: -1}
    lowest, sides = argmin(results), dict[int, int]()
    for i, axis in enumerate(ladder.axes):
        values = sorted({o.point.x[i] for o in results})
        places = [float(fit.optima[level, ladder.fitted.index(i)])] if fit and axis.fitted else []
        margins = (0.0, 0.0)
        if len(values) >= FEWEST_VALUES:
            places.append(lowest[i])
            margins = ((values[1] - values[0]) / 4, (values[-1] - values[-2]) / 4)
        if (
            axis.fitted
            and len(values) > 1
            and places
            and (side := side_of(values[0] + margins[0], values[-1] - margins[1], places))
        ):
            sides[i] = side
    return sides


def add_rates(octaves: Sequence[float]) -> Remark:
    """The advice to run more learning rates, given in octaves."""
    return Remark.of(Advice.ADD_RATES, rates=tuple(2.0**x for x in octaves))


def missing_lrs(fit: Fit | None, level: int, tried: Sequence[float], best: float) -> list[float]:
    """The learning rates to add near a width's optimum, ascending: two if only one rate was tried,
    otherwise one. All rates here are in octaves. Without a fit, the optimum is assumed
    to be `best`, the best rate tried.

    An added rate lies at most two octaves from the optimum, and more than APART octaves from every
    rate tried. If there is no such candidate, the rate one octave below all rates tried is added.
    """
    centre = float(fit.optima[level, 0]) if fit else best
    candidates = [centre - 1, centre + 1, centre, centre - 2, centre + 2, min(tried) - 1]
    new = [x for x in candidates if all(abs(x - rate) > APART for rate in tried)]
    return sorted(new[: max(1, FEWEST_LRS - len(tried))])
