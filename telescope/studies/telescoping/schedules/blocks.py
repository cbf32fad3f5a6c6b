"""The next blocks of runs, and their cost.

A *block* is a set of runs with one seed, at the corners x +- h around the optimum x that the pooled
model expects at a level; every run informs every axis. Blocks are added where they reduce the
uncertainty at the target most per cost. Costs are in runs at the base width.

Parts: `half_spans`, `signs`, `place`, `block`, the points of a block · `top_places`, the place of
the top level's optimum · `tolerances`, `needed`, `enough`, the precision to reach · `greedy`, the
levels of the next blocks.
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

# Learning rates that diverged limit h on their axis: to this share of the distance from the optimum
# to the nearest such rate, but to no fewer than this number of octaves.
CLIFF_SHARE, NARROWEST = 0.6, 0.5
# number of axes -> for each of the last axes, the leading axes whose signs multiply to its sign
FOLLOWERS = {3: ((0, 1),), 4: ((0, 1, 2),), 5: ((0, 1, 2), (0, 1))}
MOST_BLOCKS = 30  # most blocks that advice asks for
LR_TOLERANCE = 0.4  # half-width in octaves that is narrow enough for the learning rate


def half_spans(done: Sequence[Done], pooled: Fit) -> Array:
    """The distance h [axis] of a block's corners from its centre, in octaves. On the axis of the
    learning rate, rates that diverged limit h, as CLIFF_SHARE and NARROWEST state.
    """
    lr_span = min(max(math.sqrt(3.3 * pooled.sigma / pooled.curvature), 0.75), 1.5)
    other_spans = [min(max(lr_span / math.sqrt(ratio), 1.0), 3.0) for ratio in pooled.ratios[1:]]
    above = [o.point.x[0] - pooled.optima[o.point.level, 0] for o in outcomes(done) if not o.finite]
    cliff = min((distance for distance in above if distance > 0), default=math.inf)
    return np.array([min(lr_span, max(CLIFF_SHARE * cliff, NARROWEST)), *other_spans])


def signs(axes: int, number: int) -> Array:
    """The corners [run, axis] of a level's block `number`, in units of h.

    Two axes or fewer have a full factorial design. More axes have a fraction of it, in which the
    sign of a last axis is a product of leading signs. Blocks with odd numbers reverse this product,
    so that two blocks together separate effects that a single block confounds.
    """
    followers = FOLLOWERS.get(axes, ())
    corners: Array = np.array(list(itertools.product((-1.0, 1.0), repeat=axes - len(followers))))
    sign = 1.0 if number % 2 == 0 else -1.0
    return np.column_stack(
        [corners, *(sign * corners[:, list(leaders)].prod(axis=1) for leaders in followers)]
    )


def tolerances(pooled: Fit) -> Array:
    """The half-widths [axis] at the target, in octaves, that are narrow enough. An error of this
    size costs the same loss on every axis, within bounds.
    """
    other_tolerances = [
        min(max(LR_TOLERANCE / math.sqrt(ratio), LR_TOLERANCE), 1.2) for ratio in pooled.ratios[1:]
    ]
    return np.array([LR_TOLERANCE, *other_tolerances])


def block_centre(done: Sequence[Done], pooled: Fit, level: int) -> Array:
    """The centre [axis] of a level's next block: the expected optimum, but with a lower learning
    rate if all runs of the last block diverged.
    """
    centre: Array = pooled.optima[level].copy()
    last = last_block(done, level)
    if last and not any(o.finite for o in last):
        centre[0] = min(centre[0], min(o.point.x[0] for o in last) - half_spans(done, pooled)[0])
    return centre


def place(ladder: Ladder, done: Sequence[Done], pooled: Fit, level: int) -> tuple[Array, Array]:
    """Centre and half-spans [axis] of a level's next block, such that all corners lie inside the
    walls.
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
    """The points of a level's block `number`, which is also the seed of its runs."""
    fitted = [ladder.axes[i] for i in ladder.fitted]
    centre, spans = place(ladder, done, pooled, level)
    corners = centre + spans * signs(len(fitted), number)
    swept = swept_values(ladder, done, 0)
    clipped = (
        [axis.clip(float(x)) for axis, x in zip(fitted, corner, strict=True)] for corner in corners
    )
    return tuple(Point(level, merged_x(ladder, corner, swept), number) for corner in clipped)


def blocks_run(done: Sequence[Done], level: int) -> int:
    """The number of seeds run at a level so far; the base grid has seed 0."""
    return len({o.point.seed for stage in done for o in stage.outcomes if o.point.level == level})


def last_block(done: Sequence[Done], level: int) -> tuple[Outcome, ...]:
    """The outcomes of the last seed run at a level."""
    results = outcomes(done, level)
    newest = max((o.point.seed for o in results), default=0)
    return tuple(o for o in results if o.point.seed == newest)


def top_level(done: Sequence[Done]) -> int:
    """The widest level run so far."""
    return max(o.point.level for stage in done for o in stage.outcomes)


def top_places(ladder: Ladder, done: Sequence[Done], pooled: Fit) -> dict[int, OptimumPlace]:
    """The place of the top level's optimum on each fitted axis.

    If all runs of the last block diverged, the optimum is assumed to lie below the learning rates
    of that block; if these include the lowest rate allowed, only the learning rate has an entry.
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
    """The `tolerances` [axis], infinite on an axis whose optimum lies beyond a wall, since no
    further run could bracket that optimum.
    """
    beyond = axes_at(top_places(ladder, done, pooled), OptimumPlace.BEYOND_WALL)
    return np.where([i in beyond for i in ladder.fitted], math.inf, tolerances(pooled))


def enough(pooled: Fit, covariance: Array, tolerance: Array | None = None) -> bool:
    """Whether, under this covariance of the parameters, every half-width at the target is at most
    `tolerance`, by default `tolerances(pooled)`.
    """
    limits = tolerances(pooled) if tolerance is None else tolerance
    return bool(np.all(pooled.target_half_widths(covariance) <= limits))


def greedy(
    ladder: Ladder, done: Sequence[Done], pooled: Fit, left: float
) -> Iterator[tuple[int, Array]]:
    """The levels of the next blocks, each with the covariance of the parameters expected after that
    block, as long as the blocks together cost at most `left`.

    Each block is chosen to reduce the sum over axes of variance / tolerance^2 most per cost.
    Candidates are the levels run so far and the next one above them.
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
