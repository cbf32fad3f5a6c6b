"""A ladder of a telescoping study, with its points, stages and outcomes.

A *ladder* trains models with one optimizer at increasing widths. Its *axes* are the swept
hyperparameters, in octaves (factors of 2), and its *levels* are the widths, usually each twice the
width before. A *point* is a planned run, and a *stage* is a set of points that are planned
together. The ladder's schedule plans one stage at a time. Once all runs of a stage are complete,
each `Point` becomes an `Outcome`, and the `Stage` becomes a `Done`. In this module, x is the
position of a point on the axes. An axis with three values or more in the base grid (the first runs
at the base width) is *fitted*: the *pooled model*, a fit to the losses of all levels, estimates an
optimum along this axis. An axis with fewer values is *merely swept*: its values are only compared.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from telescope.studies.telescoping.axes import Axis
from telescope.studies.telescoping.ladder.bowl import ParameterSlots
from telescope.studies.telescoping.ladder.pooled import Fit, fit
from telescope.studies.telescoping.ladder.sample import FittedRun
from telescope.trials.types import OptimizerName

X = tuple[float, ...]  # position of a point on each axis, in octaves


@dataclass(frozen=True, order=True)
class Point:
    """A planned run of a ladder."""

    level: int
    x: X
    seed: int


@dataclass(frozen=True, order=True)
class Outcome:
    """A point and the loss of its run. The loss is infinite if the run diverged."""

    point: Point
    loss: float

    @property
    def finite(self) -> bool:
        """Whether the loss is finite, so the run did not diverge."""
        return math.isfinite(self.loss)


@dataclass(frozen=True)
class Stage:
    """Points that are planned together, on the basis of the outcomes of earlier stages."""

    name: str  # name of the rule that plans the stage, such as grid, edge or climb
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Done:
    """A stage whose runs are all complete: trained to their end, or diverged."""

    name: str
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class Ladder:
    """A ladder, as the input of a schedule. The unit of costs is one run at the base width."""

    optimizer: OptimizerName
    widths: tuple[int, ...]
    target_width: int
    axes: tuple[Axis, ...]
    costs: tuple[float, ...]  # cost of a run, by level
    base_flops: float = 0.0  # FLOPs of a run at the base width
    seeds: int = 1  # number of seeds for each x under `schedule: paper`
    max_base_runs: float = math.inf  # budget under `schedule: robust`
    target_cost: float = math.inf  # cost of a run at the target

    def cost(self, level: int) -> float:
        """The cost of a run at a level. The level after the last one is the target."""
        return self.costs[level] if level < self.levels else self.target_cost

    @property
    def has_budget(self) -> bool:
        """Whether a budget limits the schedule. `schedule: paper` has no budget."""
        return math.isfinite(self.max_base_runs)

    @property
    def levels(self) -> int:
        """Number of levels, without the target."""
        return len(self.widths)

    @property
    def doublings(self) -> float:
        """Doublings from the base width to the target width, as a real number."""
        return math.log2(self.target_width / self.widths[0])

    @cached_property
    def level_doublings(self) -> tuple[float, ...]:
        """Doublings from the base width to each level's width, as real numbers."""
        return tuple(math.log2(width / self.widths[0]) for width in self.widths)

    @cached_property
    def layout(self) -> ParameterSlots:
        """The places of the pooled model's parameters in its parameter vector, and their priors."""
        saturating = tuple(j for j, i in enumerate(self.fitted) if self.axes[i].scale.saturates)
        return ParameterSlots(len(self.fitted), self.level_doublings, self.doublings, saturating)

    @cached_property
    def fitted(self) -> tuple[int, ...]:
        """Indices of the fitted axes."""
        return tuple(i for i, axis in enumerate(self.axes) if axis.fitted)


def grid(level: int, values: Sequence[Sequence[float]], seeds: int) -> tuple[Point, ...]:
    """The points of a grid at a level: all combinations of `values`, which holds the values of each
    axis. The runs of a combination have the seeds 0 to `seeds` - 1.
    """
    return tuple(Point(level, x, seed) for x in itertools.product(*values) for seed in range(seeds))


def outcomes(done: Sequence[Done], level: int | None = None) -> tuple[Outcome, ...]:
    """The outcomes in these stages at one level, or at all levels if `level` is `None`. They are
    sorted and have no duplicates.
    """
    distinct = {
        o for stage in done for o in stage.outcomes if level is None or o.point.level == level
    }
    return tuple(sorted(distinct))


def seed_means(results: Sequence[Outcome]) -> dict[X, float]:
    """Mean loss over seeds, by x. The mean is infinite if at least one run at x diverged."""
    losses: dict[X, list[float]] = {}
    for outcome in results:
        losses.setdefault(outcome.point.x, []).append(outcome.loss)
    return {x: sum(values) / len(values) for x, values in losses.items()}


def seed_noise(results: Sequence[Outcome]) -> float | None:
    """Standard deviation of the loss between seeds of the same x, in % of the mean loss at that x,
    pooled over all x. Diverged runs are left out. `None` if no x has two other runs.
    """
    losses: dict[X, list[float]] = {}
    for outcome in results:
        if outcome.finite:
            losses.setdefault(outcome.point.x, []).append(outcome.loss)
    repeated = [np.array(values) for values in losses.values() if len(values) > 1]
    if not repeated:
        return None
    squares = sum(float(np.sum((v / v.mean() - 1) ** 2)) for v in repeated)
    return 100 * math.sqrt(squares / sum(len(v) - 1 for v in repeated))


def argmin(results: Sequence[Outcome]) -> X:
    """The x with the lowest mean loss over its seeds. Of several x with the same mean loss, the x
    with the lowest learning rate is chosen.

    If every x has a diverged run, the means are taken over the other runs only. If all runs
    diverged, the x with the lowest learning rate is chosen.
    """
    means = seed_means(results)
    if math.isinf(min(means.values())):
        means = seed_means([outcome for outcome in results if outcome.finite]) or means
    return min(means, key=lambda x: (means[x], x))


def stages_at(done: Sequence[Done], level: int) -> list[Done]:
    """The stages with at least one run at this level."""
    return [stage for stage in done if any(o.point.level == level for o in stage.outcomes)]


def selected(done: Sequence[Done], level: int, near: Mapping[int, float]) -> X:
    """The optimum of a level, as one of the x that ran there.

    `near` is a fitted optimum, in octaves by axis, and may be empty. If `near` is empty, or if
    every x has a diverged run, the result is the x of lowest mean loss (`argmin`). Otherwise the
    result is the x nearest to the fitted optimum among those without a diverged run. On an axis
    that `near` does not contain, distances are measured from the x of lowest mean loss. The unit of
    distance on an axis is the range tried there.
    """
    results = outcomes(done, level)
    best, columns = argmin(results), list(zip(*[o.point.x for o in results], strict=True))
    spans = [max(column) - min(column) or 1.0 for column in columns]
    at = [near.get(i, x) for i, x in enumerate(best)]
    finite = {x: loss for x, loss in seed_means(results).items() if math.isfinite(loss)}

    def distance(x: X) -> tuple[float, float, X]:
        return (
            sum(((a - b) / span) ** 2 for a, b, span in zip(x, at, spans, strict=True)),
            finite[x],
            x,
        )

    return min(finite, key=distance) if near and finite else best


def swept_values(ladder: Ladder, done: Sequence[Done], level: int) -> tuple[float, ...]:
    """The values of the merely swept axes at the best x of a level's first stage. The pooled model
    uses only the level's runs at these values.
    """
    first = next(
        stage.outcomes for stage in done if any(o.point.level == level for o in stage.outcomes)
    )
    best = argmin([o for o in first if o.point.level == level])
    return tuple(x for x, axis in zip(best, ladder.axes, strict=True) if not axis.fitted)


def pool(ladder: Ladder, done: Sequence[Done]) -> tuple[FittedRun, ...]:
    """The runs that the pooled model is fitted to, with their positions on the fitted axes, in
    octaves. These are the runs that did not diverge and have the `swept_values` of their level.
    """
    results = outcomes(done)
    levels = {o.point.level for o in results}
    best_swept = {level: swept_values(ladder, done, level) for level in levels}
    return tuple(
        FittedRun(o.point.level, tuple(o.point.x[i] for i in ladder.fitted), o.point.seed, o.loss)
        for o in results
        if o.finite
        and best_swept[o.point.level]
        == tuple(x for x, axis in zip(o.point.x, ladder.axes, strict=True) if not axis.fitted)
    )


def pooled_fit(ladder: Ladder, done: Sequence[Done]) -> Fit | None:
    """The pooled model, fitted to the outcomes in these stages. `None` if there is no stage, if the
    learning rate is not fitted, or if the `pool` holds no run at the base width.
    """
    return fit(pool(ladder, done), ladder.layout) if done and 0 in ladder.fitted else None


def merged_x(ladder: Ladder, fitted: Sequence[float], swept: Sequence[float]) -> X:
    """The x with the values `fitted` on the fitted axes and `swept` on the merely swept axes."""
    fitted_values, compared_values = iter(fitted), iter(swept)
    return tuple(
        next(fitted_values) if axis.fitted else next(compared_values) for axis in ladder.axes
    )
