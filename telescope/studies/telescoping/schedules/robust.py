"""The default schedule, for noisy losses and an unknown drift law.

A *ladder* searches the hyperparameters of one optimizer at increasing widths, its *levels*. The
*drift law* is the way in which the optimum moves with width. An *axis* is a swept hyperparameter.
An axis is *fitted* if it has three values or more: the pooled model of all runs then estimates an
optimum along it. Otherwise it is *merely swept*. A *block* is a group of runs of one level and seed
around the expected optimum (`blocks`). The schedule plans runs in rounds of one or more stages.
Each stage depends only on the outcomes of earlier stages:

1. `grid`      the user's grid at the base width. For k fitted axes with k >= 3, 2^(k+2) scrambled
               Sobol points replace the grid. Each of these points is run at every combination of
               the values of the merely swept axes.
   `edge`      points beyond the lowest or highest value of the grid, if the optimum lies near or
               beyond that value (`edges`)
2. `shape`     four blocks at the base width, to learn the shape of the loss and the noise
3. `climb`     two blocks at the second width
4. `climb`     one block at the third width
5. `top-up`    blocks at the levels where they reduce the uncertainty at the target most for their
               cost. The stage is repeated until `top_up` ends the search.

After round 2, and after each later stage, the stage `recentre` adds a block at the highest level
that has runs, if the last block there missed the optimum (`missed`). There are at most RECENTRINGS
such stages in a row.

The unit of the budget is one run at the base width. The ladder must reach its third level, so that
the drift law can be tested. If the ladder has fewer levels, or the budget does not allow the third
level, it must reach the highest level that is possible. A level that the ladder must still reach is
*owed*. The budget reserves one block for each owed level.
"""

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from telescope.studies.telescoping.ladder.ladder import (
    Done,
    Ladder,
    Point,
    Stage,
    grid,
    merged_x,
    pooled_fit,
)
from telescope.studies.telescoping.ladder.pooled import Fit
from telescope.studies.telescoping.schedules.blocks import (
    block,
    block_cost,
    blocks_run,
    enough,
    greedy,
    needed,
    signs,
    top_level,
    top_places,
)
from telescope.studies.telescoping.schedules.edges import base_places, beyond_the_edge
from telescope.studies.telescoping.schedules.places import OptimumPlace, axes_at
from telescope.trials.lattice import snap

BLOCK_STAGES = ("shape", "climb", "recentre", "top-up")  # stages that consist of blocks
RECENTRINGS = 4  # largest number of `recentre` stages in a row
SHAPE_BLOCKS = 4  # number of blocks in round 2
CLIMB_BLOCKS = (2, 1)  # number of first blocks at the second and at the third width
TOP_UP_BLOCKS = 4  # largest number of blocks in a `top-up` stage
# bounds of the default budget, as multiples of the cost of rounds 1 to 4
LEAST_BUDGET, MOST_BUDGET = 1.5, 3.0
# number of blocks at a new level after which a `top-up` stage ends, so that the next stage can use
# their losses
OPENING_BLOCKS = 2


def next_stage(ladder: Ladder, done: Sequence[Done]) -> Stage | None:
    """The next stage of the schedule. `None` if there is no pooled fit, for example because every
    run diverged, if the budget allows no further block, or if `top_up` ends the search.
    """
    if not done:
        return Stage("grid", base_grid(ladder))
    if done[-1].name in ("grid", "edge"):
        beyond = beyond_the_edge(ladder, done)
        if (
            beyond
            and spent(ladder, done) + len(beyond) + reserve(ladder, 0) <= ladder.max_base_runs
        ):
            return Stage("edge", beyond)
    pooled = pooled_fit(ladder, done)
    if pooled is None:
        return None
    rounds = [stage.name for stage in done]
    top = top_level(done)
    if top == 0 and "shape" not in rounds:
        return blocks_stage(
            ladder, done, pooled, RequestedBlocks("shape", 0, SHAPE_BLOCKS)
        ) or first_blocks(ladder, done, pooled)
    if rounds[-RECENTRINGS:] != ["recentre"] * RECENTRINGS and missed(ladder, done, pooled):
        stage = blocks_stage(ladder, done, pooled, RequestedBlocks("recentre", top, 1))
        if stage:
            return stage
    if top < last_owed(ladder):
        return first_blocks(ladder, done, pooled)
    return top_up(ladder, done, pooled)


def base_runs(ladder: Ladder) -> int:
    """The number of runs in the stage `grid`."""
    if len(ladder.fitted) < 3:
        return math.prod(axis.points for axis in ladder.axes)
    sobol = int(2 ** (len(ladder.fitted) + 2))
    return sobol * math.prod(axis.points for axis in ladder.axes if not axis.fitted)


def base_grid(ladder: Ladder) -> tuple[Point, ...]:
    """The points of the base grid, or the Sobol points that replace it."""
    if len(ladder.fitted) < 3:
        return grid(0, [axis.values for axis in ladder.axes], seeds=1)
    from scipy.stats import qmc  # this import takes a second, and few studies need it

    fitted = [ladder.axes[i] for i in ladder.fitted]
    seed = int(hashlib.sha256(repr(ladder.axes).encode()).hexdigest()[:8], 16)
    cube = qmc.Sobol(len(fitted), scramble=True, rng=seed).random(2 ** (len(fitted) + 2))
    spread = [
        tuple(snap(a.low + u * (a.high - a.low)) for a, u in zip(fitted, row, strict=True))
        for row in cube
    ]
    swept = [axis.values for axis in ladder.axes if not axis.fitted]
    return tuple(
        Point(0, merged_x(ladder, x, rest), 0) for x in spread for rest in itertools.product(*swept)
    )


def forecast(ladder: Ladder) -> tuple[int, ...]:
    """The number of runs per level in rounds 1 to 4. The runs of the stages `edge`, `recentre` and
    `top-up` depend on losses and are not counted.
    """
    corners = len(signs(len(ladder.fitted), 0))
    blocks = [
        SHAPE_BLOCKS,
        *CLIMB_BLOCKS[: ladder.levels - 1],
        *[0] * (ladder.levels - 1 - len(CLIMB_BLOCKS)),
    ]
    return tuple(
        corners * count + (base_runs(ladder) if level == 0 else 0)
        for level, count in enumerate(blocks)
    )


def budget(ladder: Ladder) -> float:
    """The default budget, in runs at the base width.

    It is the cost of the published rule, but at least LEAST_BUDGET and at most MOST_BUDGET times
    the cost of rounds 1 to 4. The cost of the published rule is estimated as points^k for each
    level, where `points` is the number of grid points of the learning rate and k is the number of
    fitted axes.
    """
    published = float(ladder.axes[0].points ** len(ladder.fitted) * ladder.levels)
    certain = math.fsum(
        cost * runs for cost, runs in zip(ladder.costs, forecast(ladder), strict=True)
    )
    return min(max(published, LEAST_BUDGET * certain), MOST_BUDGET * certain)


def last_owed(ladder: Ladder) -> int:
    """The highest level that the ladder must reach. This is the third level, or a lower level if
    the ladder has fewer levels or the budget does not allow the third.
    """
    cost, level = float(base_runs(ladder)), 0
    while (
        level < min(len(CLIMB_BLOCKS), ladder.levels - 1)
        and cost + block_cost(ladder, level + 1) <= ladder.max_base_runs
    ):
        level += 1
        cost += block_cost(ladder, level)
    return level


def spent(ladder: Ladder, done: Sequence[Done]) -> float:
    """The cost of all runs so far, in runs at the base width."""
    return sum(ladder.costs[o.point.level] for stage in done for o in stage.outcomes)


def reserve(ladder: Ladder, top: int) -> float:
    """The cost of one block at each owed level above the level `top`."""
    return sum(block_cost(ladder, level) for level in range(top + 1, last_owed(ladder) + 1))


@dataclass(frozen=True)
class RequestedBlocks:
    """A request for a stage of blocks at one level."""

    stage: str  # name of the stage
    level: int
    blocks: int  # number of blocks


def blocks_stage(
    ladder: Ladder, done: Sequence[Done], pooled: Fit, request: RequestedBlocks
) -> Stage | None:
    """A stage with the requested blocks, or with fewer blocks if the budget allows no more. `None`
    if the budget allows no block.
    """
    level = request.level
    left = ladder.max_base_runs - spent(ladder, done) - reserve(ladder, max(level, top_level(done)))
    count = min(request.blocks, math.floor(left / block_cost(ladder, level) + 1e-9))
    first = blocks_run(done, level)
    points = [
        point
        for number in range(first, first + count)
        for point in block(ladder, done, pooled, level, number)
    ]
    return Stage(request.stage, tuple(points)) if points else None


def missed(ladder: Ladder, done: Sequence[Done], pooled: Fit) -> bool:
    """Whether, at the highest level that has runs, the optimum lies outside the last block, and
    another block could find the optimum. False if the optimum of the learning rate lies beyond a
    *wall*, a limit beyond which no value may be tried.
    """
    places = top_places(ladder, done, pooled)
    return (
        OptimumPlace.BEYOND_WALL not in places[0] and OptimumPlace.OUTSIDE_BLOCK in places.values()
    )


def walled_off(ladder: Ladder, done: Sequence[Done], pooled: Fit) -> bool:
    """Whether a wall keeps the optimum of the learning rate from being bracketed."""
    return OptimumPlace.BEYOND_WALL in top_places(ladder, done, pooled)[0] or 0 in axes_at(
        base_places(ladder, done), OptimumPlace.AT_WALL
    )


def first_blocks(ladder: Ladder, done: Sequence[Done], pooled: Fit) -> Stage | None:
    """The stage with the first blocks at the next level, if this level is owed; otherwise the stage
    of `top_up`. `None` if the budget allows no block, or if `top_up` ends the search.
    """
    level = top_level(done) + 1
    if level > last_owed(ladder):
        return top_up(ladder, done, pooled)
    return blocks_stage(
        ladder, done, pooled, RequestedBlocks("climb", level, CLIMB_BLOCKS[level - 1])
    )


def top_up(ladder: Ladder, done: Sequence[Done], pooled: Fit) -> Stage | None:
    """A stage of blocks at the levels where they reduce the uncertainty at the target most for
    their cost.

    `None` ends the search. The search ends if the intervals are narrow enough and the last block
    found the optimum (`missed` is false), if the budget allows no block, or if a wall (a limit
    beyond which no value may be tried) keeps the optimum of the learning rate from being bracketed.
    """
    tolerance = needed(ladder, done, pooled)
    if walled_off(ladder, done, pooled):
        return None
    if enough(pooled, pooled.covariance, tolerance) and not missed(ladder, done, pooled):
        return None
    top, points = top_level(done), list[Point]()
    chosen: Counter[int] = Counter()
    left = ladder.max_base_runs - spent(ladder, done)
    next_blocks = itertools.islice(greedy(ladder, done, pooled, left), TOP_UP_BLOCKS)
    for level, covariance in next_blocks:
        points += block(ladder, done, pooled, level, blocks_run(done, level) + chosen[level])
        chosen[level] += 1
        if enough(pooled, covariance, tolerance) or chosen[top + 1] == OPENING_BLOCKS:
            break
    return Stage("top-up", tuple(points)) if points else None
