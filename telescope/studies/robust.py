"""How does one telescope when losses are noisy and the drift law is unknown?

Rounds, each a function of the outcomes of the rounds before it:

1. `grid`      the user's grid at the base width (for three or more fitted axes 2^(k+2) scrambled Sobol points instead), and `edge`: while
               the optimum lies at a border, two more columns beyond it (one more row for axes other than the learning rate)
2. `shape`     four blocks at the base width, to learn the bowl and the noise
3. `climb`     two blocks at the next width; 4. one at the one after; `recentre`: another block at the top level, where its optimum turned
               out to lie outside the corners of its last block
5. `top-up`    blocks where they remove most doubt at the target per cost, until the intervals are narrow enough or the budget is spent

A *block* is one seed run at the corners x +- h around the optimum that the pooled model (`telescope.statistics`) expects at that level.
Costs are in runs at the base width; one block of every level still owed is kept in reserve.
"""

import hashlib
import itertools
import math
from collections.abc import Sequence

import numpy as np

from telescope.spec import snap
from telescope.statistics import Array, Fit, fit
from telescope.studies.ladder import Axis, Done, Ladder, Outcome, Point, Stage, argmin, as_runs, grid, outcomes

EDGE_ROUNDS = 4
RECENTRINGS = 4  # in a row
SHAPE_BLOCKS = 4
CLIMB_BLOCKS = (2, 1)  # at the first two doublings
TOP_UP_BLOCKS = 4  # at most, per round
LR_TOLERANCE = 0.4  # octaves of half-width at which no more is bought


def next_stage(ladder: Ladder, done: Sequence[Done]) -> Stage | None:
    """The next round; None when the answer is good enough or nothing more can be bought."""
    if not done:
        return Stage("grid", base_grid(ladder))
    if done[-1].name in ("grid", "edge") and (beyond := beyond_the_edge(ladder, done)):
        return Stage("edge", beyond)
    pooled = pool(ladder, done)
    if pooled is None:
        return None
    rounds = [stage.name for stage in done]
    top = top_level(done)
    if "shape" not in rounds:
        return blocks_stage(ladder, done, pooled, "shape", 0, SHAPE_BLOCKS) or climb(ladder, done, pooled)
    if rounds[-RECENTRINGS:] != ["recentre"] * RECENTRINGS and off_centre(ladder, done, pooled):
        stage = blocks_stage(ladder, done, pooled, "recentre", top, 1)
        if stage:
            return stage
    if top < last_owed(ladder):
        return climb(ladder, done, pooled)
    return top_up(ladder, done, pooled)


def base_grid(ladder: Ladder) -> tuple[Point, ...]:
    """The first round."""
    if len(ladder.fitted) < 3:
        return grid(0, [axis.values for axis in ladder.axes], seeds=1)
    from scipy.stats import qmc  # takes a second to import, and few studies need it

    fitted = [ladder.axes[i] for i in ladder.fitted]
    seed = int(hashlib.sha256(repr(ladder.axes).encode()).hexdigest()[:8], 16)
    cube = qmc.Sobol(len(fitted), scramble=True, rng=seed).random(2 ** (len(fitted) + 2))
    spread = [tuple(snap(a.low + u * (a.high - a.low)) for a, u in zip(fitted, row, strict=True)) for row in cube]
    swept = [axis.values for axis in ladder.axes if not axis.fitted]
    return tuple(Point(0, merge(ladder, x, rest), 0) for x in spread for rest in itertools.product(*swept))


def merge(ladder: Ladder, fitted: Sequence[float], swept: Sequence[float]) -> tuple[float, ...]:
    """One x from its fitted and its merely swept parts."""
    ours, theirs = iter(fitted), iter(swept)
    return tuple(next(ours) if axis.fitted else next(theirs) for axis in ladder.axes)


def swept_best(ladder: Ladder, done: Sequence[Done]) -> tuple[float, ...]:
    """The values of the merely swept axes that did best at the base; they stay from then on."""
    best = argmin(outcomes(done, level=0))
    return tuple(x for x, axis in zip(best, ladder.axes, strict=True) if not axis.fitted)


def pool(ladder: Ladder, done: Sequence[Done]) -> Fit | None:
    """The pooled model of all outcomes so far; None where nothing at the base is finite."""
    return fit(as_runs(ladder, outcomes(done)), ladder.levels, ladder.doublings)


def top_level(done: Sequence[Done]) -> int:
    """The widest level run so far."""
    return max(o.point.level for stage in done for o in stage.outcomes)


def last_owed(ladder: Ladder) -> int:
    """Three widths, where there are three, so that the drift law is tested."""
    return min(len(CLIMB_BLOCKS), ladder.levels - 1)


# The edge rule


def borders(ladder: Ladder, found: Sequence[Outcome]) -> list[tuple[float, float]]:
    """Lowest and highest value run on each axis, or asked for by the user."""
    return [
        (min(axis.low, *xs), max(axis.high, *xs))
        for axis, xs in zip(ladder.axes, zip(*[o.point.x for o in found], strict=True), strict=True)
    ]


def edges(ladder: Ladder, done: Sequence[Done]) -> tuple[tuple[int, int], ...]:
    """(axis, side) for every border of the base window that its optimum lies at; side -1 is the low one, +1 the high one.

    The optimum is at a border when the fitted one or the lowest point is within a quarter step of it. Where everything diverged it
    is taken to lie below the learning rates tried.
    """
    found = outcomes(done, level=0)
    pooled = pool(ladder, done)
    if pooled is None:
        return ((0, -1),)
    lowest = min((o for o in found if o.finite), key=lambda o: (o.loss, o.point)).point.x
    optimum = dict(zip(ladder.fitted, pooled.optima[0], strict=True))
    at = []
    for i, (low, high) in enumerate(borders(ladder, found)):
        margin = ladder.axes[i].step / 4
        if i in optimum and min(optimum[i], lowest[i]) <= low + margin:
            at.append((i, -1))
        elif i in optimum and max(optimum[i], lowest[i]) >= high - margin:
            at.append((i, +1))
    return tuple(at)


def beyond_the_edge(ladder: Ladder, done: Sequence[Done]) -> tuple[Point, ...]:
    """New points beyond the borders that the optimum lies at; none where it is inside, at the user's wall, or unaffordable."""
    if sum(stage.name == "edge" for stage in done) == EDGE_ROUNDS:
        return ()
    found = outcomes(done, level=0)
    limits = borders(ladder, found)
    pooled = pool(ladder, done)
    best = argmin(found)
    centre = list(best)
    if pooled is not None:
        for i, x in zip(ladder.fitted, pooled.optima[0], strict=True):
            centre[i] = min(max(float(x), limits[i][0]), limits[i][1])
    points: dict[Point, None] = {}
    for i, side in edges(ladder, done):
        axis = ladder.axes[i]
        border = limits[i][0] if side < 0 else limits[i][1]
        for column in range(1, 3 if i == 0 else 2):
            value = snap(border + side * column * axis.step)
            if axis.clip(value) == value:
                points |= dict.fromkeys(Point(0, x, 0) for x in star(ladder, found, centre, i, value))
    new = tuple(p for p in points if p not in {o.point for o in found})
    return new if spent(ladder, done) + len(new) + reserve(ladder, 0) <= ladder.max_base_runs else ()


def star(ladder: Ladder, found: Sequence[Outcome], centre: Sequence[float], fixed: int, value: float) -> list[tuple[float, ...]]:
    """Points with `value` on one axis: the values nearest to the centre on the others, and the two next ones of each."""
    nearest = [
        sorted(set(axis.values), key=lambda v, c=c: (abs(v - c), v))[: 3 if axis.fitted else 1]  # type: ignore[misc]
        for axis, c in zip(ladder.axes, centre, strict=True)
    ]
    middle = [values[0] for values in nearest]
    middle[fixed] = value
    arms = [(i, v) for i, values in enumerate(nearest) if i != fixed for v in values[1:]]
    return [tuple(middle), *(tuple(v if j == i else m for j, m in enumerate(middle)) for i, v in arms)]


# Blocks


def half_spans(pooled: Fit) -> Array:
    """h: how far the corners of a block lie from its centre, in octaves per fitted axis."""
    first = np.clip(math.sqrt(3.3 * pooled.sigma / pooled.curvature), 0.75, 1.5)
    others = np.clip(first / np.sqrt(pooled.ratios[1:]), 1.0, 3.0)
    return np.concatenate([[first], others])


def signs(axes: int, block: int) -> Array:
    """Corners of a block in units of h: all of them up to two axes, a half fraction beyond, mirrored in every second block."""
    corners = np.array(list(itertools.product((-1.0, 1.0), repeat=axes)))
    if axes < 3:
        return corners
    return corners[corners.prod(axis=1) == (1.0 if block % 2 == 0 else -1.0)]


def tolerances(pooled: Fit) -> Array:
    """Half-widths of equal loss cost at which no more is bought, in octaves per fitted axis."""
    others = np.clip(LR_TOLERANCE / np.sqrt(pooled.ratios[1:]), LR_TOLERANCE, 1.2)
    return np.concatenate([[LR_TOLERANCE], others])


def centre_of(ladder: Ladder, done: Sequence[Done], pooled: Fit, level: int) -> Array:
    """Where the next block of a level goes: the expected optimum, or lower learning rates where its last block diverged whole."""
    centre = pooled.optima[level].copy()
    last = last_block(done, level)
    if last and not any(o.finite for o in last):
        centre[0] = min(centre[0], min(o.point.x[0] for o in last) - half_spans(pooled)[0])
    return centre


def block(ladder: Ladder, done: Sequence[Done], pooled: Fit, level: int, number: int) -> tuple[Point, ...]:
    """The corners of a level's block; its number is its seed."""
    fitted = [ladder.axes[i] for i in ladder.fitted]
    corners = centre_of(ladder, done, pooled, level) + half_spans(pooled) * signs(len(fitted), number)
    swept = swept_best(ladder, done)
    return tuple(
        Point(level, merge(ladder, [axis.clip(float(x)) for axis, x in zip(fitted, row, strict=True)], swept), number)
        for row in corners
    )


def blocks_run(done: Sequence[Done], level: int) -> int:
    """Seeds used at a level so far; the base grid is seed 0."""
    return len({o.point.seed for stage in done for o in stage.outcomes if o.point.level == level})


def last_block(done: Sequence[Done], level: int) -> tuple[Outcome, ...]:
    """The outcomes of a level's newest seed."""
    found = outcomes(done, level)
    newest = max((o.point.seed for o in found), default=0)
    return tuple(o for o in found if o.point.seed == newest)


def off_centre(ladder: Ladder, done: Sequence[Done], pooled: Fit) -> tuple[int, ...]:
    """The axes on which the top level's optimum lies outside the corners of its last block."""
    top = top_level(done)
    last = last_block(done, top)
    if not any(o.finite for o in last):
        return (0,)
    outside = []
    for i, x in zip(ladder.fitted, pooled.optima[top], strict=True):
        values = [o.point.x[i] for o in last]
        if not min(values) <= x <= max(values):
            outside.append(i)
    return tuple(outside)


# The budget


def spent(ladder: Ladder, done: Sequence[Done]) -> float:
    """Cost so far."""
    return sum(ladder.costs[o.point.level] for stage in done for o in stage.outcomes)


def block_cost(ladder: Ladder, level: int) -> float:
    """Cost of one block."""
    return len(signs(len(ladder.fitted), 0)) * ladder.costs[level]


def reserve(ladder: Ladder, top: int) -> float:
    """One block of every level that is still owed above `top`."""
    return sum(block_cost(ladder, level) for level in range(top + 1, last_owed(ladder) + 1))


def blocks_stage(ladder: Ladder, done: Sequence[Done], pooled: Fit, name: str, level: int, wanted: int) -> Stage | None:
    """As many blocks at one level as are wanted and affordable."""
    left = ladder.max_base_runs - spent(ladder, done) - reserve(ladder, max(level, top_level(done)))
    count = min(wanted, math.floor(left / block_cost(ladder, level) + 1e-9))
    first = blocks_run(done, level)
    points = [p for number in range(first, first + count) for p in block(ladder, done, pooled, level, number)]
    return Stage(name, tuple(dict.fromkeys(points))) if points else None


def climb(ladder: Ladder, done: Sequence[Done], pooled: Fit) -> Stage | None:
    """The first blocks at the next width."""
    level = top_level(done) + 1
    if level > last_owed(ladder):
        return top_up(ladder, done, pooled)
    return blocks_stage(ladder, done, pooled, "climb", level, CLIMB_BLOCKS[level - 1])


def settled(ladder: Ladder, done: Sequence[Done], pooled: Fit) -> bool:
    """Narrow enough on every axis, with the top level bracketed."""
    return bool(np.all(pooled.target_half_widths() <= tolerances(pooled))) and not off_centre(ladder, done, pooled)


def top_up(ladder: Ladder, done: Sequence[Done], pooled: Fit) -> Stage | None:
    """Up to four blocks, each chosen by what it would remove of sum variance/tolerance^2 per cost, until that would be enough."""
    if settled(ladder, done, pooled):
        return None
    top, axes = top_level(done), len(ladder.fitted)
    left = ladder.max_base_runs - spent(ladder, done)
    used = {level: blocks_run(done, level) for level in range(ladder.levels)}
    covariance, tolerance = pooled.covariance, tolerances(pooled)
    points: list[Point] = []
    opened = 0
    for _ in range(TOP_UP_BLOCKS):
        choices = []
        for level in range(min(top + 2, ladder.levels)):
            cost = block_cost(ladder, level)
            if cost <= left + 1e-9:
                corners = centre_of(ladder, done, pooled, level) + half_spans(pooled) * signs(axes, used[level])
                after = np.linalg.inv(np.linalg.inv(covariance) + pooled.information(level, corners))
                gain = float(np.sum(np.diag(covariance - after)[:axes] / tolerance**2))
                choices.append((gain / cost, -level, after))
        if not choices:
            break
        _, negative, covariance = max(choices, key=lambda choice: choice[:2])
        level = -negative
        points += block(ladder, done, pooled, level, used[level])
        left, used[level], opened = left - block_cost(ladder, level), used[level] + 1, opened + (level > top)
        if opened == 2 or np.all(pooled.target_half_widths(covariance) <= tolerance):
            break
    return Stage("top-up", tuple(points)) if points else None
