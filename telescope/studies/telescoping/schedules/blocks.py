"""The next blocks of runs, and their cost.

A *ladder* searches the hyperparameters of one optimizer at increasing widths, its *levels*. An
*axis* is one of these hyperparameters, in octaves (factors of 2). An axis is *fitted* if it has
three values or more in the first grid. The *pooled model* is fitted to the runs of all levels. It
estimates the optimum of each level, and of the target width, on the fitted axes. In this module,
the `axis` dimension of an array holds only fitted axes.

A *block* is a set of runs of one level with one seed. On each fitted axis, a point of the block
lies h octaves above or below the centre of the block, where h is the *half-span* of the axis. The
centre is usually the optimum. `greedy` chooses the levels at which further blocks reduce the
uncertainty at the target most for their cost. The unit of costs is one run at the base width. A
*wall* is a limit beyond which no value of an axis may be tried.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from telescope.statistics.estimates import Array
from telescope.studies.telescoping.ladder.ladder import (
    Done,
    Ladder,
    Outcome,
    Point,
    merged_x,
    outcomes,
    swept_values,
)
from telescope.studies.telescoping.ladder.pooled import Fit
from telescope.studies.telescoping.schedules.places import OptimumPlace, axes_at

# If a learning rate above the optimum diverged, the half-span of the learning rate is at most
# CLIFF_SHARE of the distance from the optimum to the nearest such rate, or NARROWEST octaves if
# that is more.
CLIFF_SHARE, NARROWEST = 0.6, 0.5
# By number of axes. On each of the last axes, the sign of a corner (`signs`) is the product of its
# signs on earlier axes. There is one tuple for each of the last axes, which lists these earlier
# axes.
FOLLOWERS = {3: ((0, 1),), 4: ((0, 1, 2),), 5: ((0, 1, 2), (0, 1))}
# largest number of blocks that advice or a remedy asks for, besides the blocks of rounds 2 to 4 of
# the schedule that the budget did not allow
MOST_BLOCKS = 30
# largest half-width, in octaves, at which the learning rate's interval is narrow enough
LR_TOLERANCE = 0.4


def half_spans(done: Sequence[Done], pooled: Fit) -> Array:
    """The half-spans [axis] of a block, in octaves. If a learning rate above the optimum diverged,
    CLIFF_SHARE and NARROWEST limit the half-span of the learning rate.
    """
    lr_span = min(max(math.sqrt(3.3 * pooled.sigma / pooled.curvature), 0.75), 1.5)
    other_spans = [min(max(lr_span / math.sqrt(ratio), 1.0), 3.0) for ratio in pooled.ratios[1:]]
    above = [o.point.x[0] - pooled.optima[o.point.level, 0] for o in outcomes(done) if not o.finite]
    cliff = min((distance for distance in above if distance > 0), default=math.inf)
    return np.array([min(lr_span, max(CLIFF_SHARE * cliff, NARROWEST)), *other_spans])


def signs(axes: int, number: int) -> Array:
    """The points [run, axis] of the block with this `number`, as corners. A corner is 1 or -1 on
    each axis: the point lies one half-span above or below the centre.

    With one or two axes, the corners are all combinations of signs. With more axes, they are a
    fraction of the combinations: the signs on the last axes are products of the signs on earlier
    axes (FOLLOWERS). In blocks with odd numbers, the products have the opposite sign. An even block
    and an odd block together thus separate effects that a single block cannot tell apart.
    """
    followers = FOLLOWERS.get(axes, ())
    corners: Array = np.array(list(itertools.product((-1.0, 1.0), repeat=axes - len(followers))))
    sign = 1.0 if number % 2 == 0 else -1.0
    return np.column_stack(
        [corners, *(sign * corners[:, list(leaders)].prod(axis=1) for leaders in followers)]
    )


def tolerances(pooled: Fit) -> Array:
    """The largest half-widths [axis], in octaves, at which the intervals at the target are narrow
    enough. Errors of these sizes cost about the same loss on every axis, unless a bound applies: no
    tolerance is below LR_TOLERANCE or above 1.2 octaves.
    """
    other_tolerances = [
        min(max(LR_TOLERANCE / math.sqrt(ratio), LR_TOLERANCE), 1.2) for ratio in pooled.ratios[1:]
    ]
    return np.array([LR_TOLERANCE, *other_tolerances])


def block_centre(done: Sequence[Done], pooled: Fit, level: int) -> Array:
    """The centre [axis] of a level's next block: the expected optimum. If all runs of the level's
    last block diverged, the centre's learning rate is at least one half-span below the lowest
    learning rate of that block.
    """
    centre: Array = pooled.optima[level].copy()
    last = last_block(done, level)
    if last and not any(o.finite for o in last):
        centre[0] = min(centre[0], min(o.point.x[0] for o in last) - half_spans(done, pooled)[0])
    return centre


def place(ladder: Ladder, done: Sequence[Done], pooled: Fit, level: int) -> tuple[Array, Array]:
    """The centre [axis] and the half-spans [axis] of a level's next block, such that all corners
    lie between the walls.
    """
    fitted = [ladder.axes[i] for i in ladder.fitted]
    spans = np.minimum(
        half_spans(done, pooled),
        [(high - low) / 2 for low, high in (axis.walls for axis in fitted)],
    )
    centre = [
        axis.inside(float(x), float(h))
        for axis, x, h in zip(fitted, block_centre(done, pooled, level), spans, strict=True)
    ]
    return np.array(centre), spans


def block(
    ladder: Ladder, done: Sequence[Done], pooled: Fit, level: int, number: int
) -> tuple[Point, ...]:
    """The points of the block with this `number` at a level. The number is the seed of the runs."""
    fitted = [ladder.axes[i] for i in ladder.fitted]
    centre, spans = place(ladder, done, pooled, level)
    corners = centre + spans * signs(len(fitted), number)
    swept = swept_values(ladder, done, 0)
    clipped = (
        [axis.clip(float(x)) for axis, x in zip(fitted, corner, strict=True)] for corner in corners
    )
    return tuple(Point(level, merged_x(ladder, corner, swept), number) for corner in clipped)


def blocks_run(done: Sequence[Done], level: int) -> int:
    """The number of different seeds among the runs at a level. Seed 0, that of the base grid, is
    counted.
    """
    return len({o.point.seed for stage in done for o in stage.outcomes if o.point.level == level})


def last_block(done: Sequence[Done], level: int) -> tuple[Outcome, ...]:
    """The outcomes of the runs with the highest seed at a level."""
    results = outcomes(done, level)
    newest = max((o.point.seed for o in results), default=0)
    return tuple(o for o in results if o.point.seed == newest)


def top_level(done: Sequence[Done]) -> int:
    """The highest level that has runs."""
    return max(o.point.level for stage in done for o in stage.outcomes)


def top_places(ladder: Ladder, done: Sequence[Done], pooled: Fit) -> dict[int, OptimumPlace]:
    """The place of the optimum on each fitted axis at the highest level that has runs.

    If all runs of that level's last block diverged, the optimum is assumed to lie below the block's
    learning rates. If one of them is the lowest learning rate that may be tried, the result has an
    entry for the learning rate only.
    """
    top = top_level(done)
    last = last_block(done, top)
    all_diverged = not any(o.finite for o in last)
    if all_diverged and min(o.point.x[0] for o in last) <= ladder.axes[0].walls[0]:
        return {0: OptimumPlace.OUTSIDE_BLOCK | OptimumPlace.BEYOND_WALL}
    places = {}
    for i, x in zip(ladder.fitted, pooled.optima[top], strict=True):
        values = [o.point.x[i] for o in last]
        outside = i == 0 if all_diverged else not min(values) <= x <= max(values)
        places[i] = OptimumPlace.OUTSIDE_BLOCK if outside else OptimumPlace(0)
        if not ladder.axes[i].allows(x):
            places[i] |= OptimumPlace.BEYOND_WALL
    return places


def block_cost(ladder: Ladder, level: int) -> float:
    """The cost of a block at a level, in runs at the base width."""
    return len(signs(len(ladder.fitted), 0)) * ladder.costs[level]


def needed(ladder: Ladder, done: Sequence[Done], pooled: Fit) -> Array:
    """The tolerances [axis] that further runs have to meet. They are infinite on an axis whose
    optimum lies beyond a wall, since no further run could bracket that optimum. On other axes, they
    are those of `tolerances`.
    """
    beyond = axes_at(top_places(ladder, done, pooled), OptimumPlace.BEYOND_WALL)
    return np.where([i in beyond for i in ladder.fitted], math.inf, tolerances(pooled))


def enough(pooled: Fit, covariance: Array, tolerance: Array | None = None) -> bool:
    """Whether the intervals at the target are narrow enough: no half-width exceeds its `tolerance`
    [axis], by default `tolerances(pooled)`. The half-widths follow from `covariance`, the
    covariance of the pooled model's parameters.
    """
    limits = tolerances(pooled) if tolerance is None else tolerance
    return bool(np.all(pooled.target_half_widths(covariance) <= limits))


def greedy(
    ladder: Ladder, done: Sequence[Done], pooled: Fit, left: float
) -> Iterator[tuple[int, Array]]:
    """Yield, for each next block, its level and the covariance of the pooled model's parameters
    that is expected after the block. All yielded blocks together cost at most `left`.

    For each axis, the variance of the optimum at the target is divided by the squared tolerance. A
    block goes to the level where it reduces the sum of these quotients most for its cost.
    Candidates are the levels that have runs, and the next level.
    """
    axes, tolerance = len(ladder.fitted), needed(ladder, done, pooled)
    used = {
        level: blocks_run(done, level) for level in range(min(top_level(done) + 2, ladder.levels))
    }
    places = {level: place(ladder, done, pooled, level) for level in used}
    covariance = pooled.covariance
    while True:
        precision, choices = np.linalg.inv(covariance), []
        for level, (centre, spans) in places.items():
            cost = block_cost(ladder, level)
            if cost <= left + 1e-9:
                corners = centre + spans * signs(axes, used[level])
                expected = np.linalg.inv(precision + pooled.information(level, corners))
                gain = np.diag(covariance - expected)[:axes] / tolerance**2
                choices.append((float(gain.sum()) / cost, -level, expected))
        if not choices:
            return
        _, negative_level, expected = max(choices, key=lambda choice: choice[:2])
        level, covariance = -negative_level, expected.astype(np.float64)
        used[level] += 1
        left -= block_cost(ladder, level)
        yield level, covariance
