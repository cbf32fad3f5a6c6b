"""Ranges in a document: the values of a hyperparameter that a study searches.

Parts: `Range` · its first grid, `grid_octaves` · checks that all kinds of study share,
`ends_problem` and `spacing_problem`.
"""

import math
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from telescope.errors import Problem
from telescope.trials.lattice import OCTAVE_PARTS, snap
from telescope.trials.types import STRICT, Count, Positive

Width = Annotated[int, Field(ge=1, le=2**20)]
WIDEST = (1e-9, 1e9)  # least and greatest value of a searched hyperparameter
# in octaves; planned values are rounded to multiples of 1 / OCTAVE_PARTS octave, and neighbouring
# points must stay distinct
LEAST_SPACING = 2 / OCTAVE_PARTS


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Range:
    """The values of a hyperparameter to search, evenly spaced on a log scale."""

    low: Positive
    """Lowest value of the first grid; at least 1e-9, and below `high`."""
    high: Positive
    """Highest value of the first grid; at most 1e9."""
    points: Count
    """Number of points of the first grid. In telescope jobs, the search fits a curve if there are
    at least 3 points, and otherwise only compares the points. Under the schedule `robust`,
    `search.lr` needs at least 4 points. With 3 hyperparameters or more, a telescope job may replace
    the grid by fewer, scattered points. `tuning.lr` needs at least 3 points in compute-time jobs,
    and 2 in grokking jobs."""
    extend: bool = True
    """Whether the search may leave the range if the optimum lies at an end of the range. If false,
    the search stays within the range."""


def grid_octaves(swept: Range) -> tuple[float, ...]:
    """The values of the first grid in octaves (log2), each rounded to the lattice."""
    ends = math.log2(swept.low), math.log2(swept.high)
    return tuple(snap(x) for x in np.linspace(*ends, swept.points))


def ends_problem(
    swept: Range, name: str, alternative: str = "", limits: tuple[float, float] = WIDEST
) -> Problem | None:
    """The problem of a range whose ends are not ascending or exceed `limits`. It names the field
    `low` or `high`. `name` is that of the hyperparameter; `alternative` continues the remedy for
    ends that are not ascending."""
    if swept.low >= swept.high:
        remedy = "swap them" if swept.low > swept.high else "lower low or raise high"
        message = f"low {swept.low:g} is not below high {swept.high:g}; {remedy}{alternative}"
        return Problem("low", message, swept.low)
    lowest, highest = limits
    if swept.low < lowest or swept.high > highest:
        end, value = ("low", swept.low) if swept.low < lowest else ("high", swept.high)
        within = f"{lowest:.6g} to {highest:.6g}"
        message = f"the {name} must lie within {within}; choose a range within these limits"
        return Problem(end, message, value)
    return None


def octaves_of(swept: Range) -> float:
    """The length of a range in octaves."""
    return math.log2(swept.high / swept.low)


def spacing_problem(
    swept: Range, octaves: float, fewest: int, least: float = LEAST_SPACING
) -> Problem | None:
    """The problem of a range whose neighbouring points are less than `least` octaves apart.
    `octaves` is the length of the range, and `fewest` the least number of points allowed. The
    problem names the field `points`."""
    if octaves >= max(swept.points - 1, 1) * least:
        return None
    points = f"{swept.points} points between {swept.low:g} and {swept.high:g}"
    room = octaves >= max(fewest - 1, 1) * least and swept.points > fewest
    remedy = "widen the range, or use fewer points" if room else "widen the range"
    return Problem("points", f"{points} are too close together; {remedy}", swept.points)
