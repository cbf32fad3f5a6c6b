"""Algorithm 1 of arXiv 2505.02222: how does the published rule telescope?

A full grid at the base width; at each doubling of the width, the points per hyperparameter times 4^(-1/k), the spacing halved, centred
on the argmin of the level before (seed means; a diverged run is worse than any other). No interpolation, no edge rule, no noise model.

Roundings that the text leaves open: `strict` rounds half up, to at least one (8, 4, 2, 1); `paper` rounds up to odd numbers, so that the
old argmin stays on the grid (8, 5, 3, 1 as in the published experiment). Each axis may have its own number of points.
"""

import math
from collections.abc import Sequence
from typing import Literal

from telescope.studies.ladder import Done, Ladder, Stage, along, argmin, grid

Rounding = Literal["strict", "paper"]


def points_at(level: int, points: int, axes: int, rounding: Rounding) -> int:
    """Points of one hyperparameter at a level: points x 4^(-level/axes), rounded."""
    if level == 0:
        return points
    exact: float = points * 4.0 ** (-level / axes)
    if rounding == "strict":
        return max(1, math.floor(exact + 0.5))
    return max(1, 2 * math.ceil((exact - 1) / 2) + 1)


def swept(ladder: Ladder) -> int:
    """k: the hyperparameters with more than one point."""
    return max(1, sum(axis.points > 1 for axis in ladder.axes))


def runs(ladder: Ladder, level: int, rounding: Rounding) -> int:
    """Size of a level's grid, where no wall cuts it."""
    return ladder.seeds * math.prod(points_at(level, axis.points, swept(ladder), rounding) for axis in ladder.axes)


def windows(ladder: Ladder, level: int, centre: Sequence[float], rounding: Rounding) -> list[tuple[float, ...]]:
    """The values of each axis at a level, around a centre."""
    return [
        tuple(v for v in along(c, axis.step / 2**level, points_at(level, axis.points, swept(ladder), rounding)) if axis.allows(v))
        for c, axis in zip(centre, ladder.axes, strict=True)
    ]


def next_stage(ladder: Ladder, done: Sequence[Done], rounding: Rounding = "strict") -> Stage | None:
    """The grid of the next level."""
    level = len(done)
    if level == ladder.levels:
        return None
    centre = argmin(done[-1].outcomes) if done else [(axis.low + axis.high) / 2 for axis in ladder.axes]
    return Stage("grid", grid(level, windows(ladder, level, centre, rounding), ladder.seeds))
