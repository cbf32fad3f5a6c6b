"""`Range`, the values of a hyperparameter that a study searches, in a document.

An *octave* is a factor of 2. Positions in a range are measured in octaves (log2).

Parts: `Range` · `grid_octaves`, the first grid of a range · `ends_problem` and `spacing_problem`,
checks that several kinds of study share.
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
WIDEST = (1e-9, 1e9)  # lowest and highest value that a range may have
# least distance of neighbouring points, in octaves. Planned values are rounded to multiples of
# 1 / OCTAVE_PARTS octave, and points must stay distinct.
LEAST_SPACING = 2 / OCTAVE_PARTS


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Range:
    """A range of a hyperparameter to search: the ends and the size of the first grid."""

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
    """The values of the first grid in octaves, rounded to multiples of 1 / OCTAVE_PARTS."""
    ends = math.log2(swept.low), math.log2(swept.high)
    return tuple(snap(x) for x in np.linspace(*ends, swept.points))


def ends_problem(
    swept: Range, name: str, alternative: str = "", limits: tuple[float, float] = WIDEST
) -> Problem | None:
    """The problem of a range whose ends are not ascending or lie outside `limits`; None if there is
    no such problem. The field of the problem is `low` or `high`.

    `name` is the name of the hyperparameter. If the ends are not ascending, `alternative` is added
    to the remedy."""
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
    """The problem of a range whose neighbouring points are less than `least` octaves apart; None if
    there is no such problem. The field of the problem is `points`.

    `octaves` is the length of the range, and `fewest` is the smallest number of points allowed."""
    if octaves >= max(swept.points - 1, 1) * least:
        return None
    points = f"{swept.points} points between {swept.low:g} and {swept.high:g}"
    room = octaves >= max(fewest - 1, 1) * least and swept.points > fewest
    remedy = "widen the range, or use fewer points" if room else "widen the range"
    return Problem("points", f"{points} are too close together; {remedy}", swept.points)
