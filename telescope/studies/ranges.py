"""The range of a hyperparameter that a study searches."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from telescope.trials.types import STRICT, Count, Positive

Width = Annotated[int, Field(ge=1, le=2**20)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Range:
    """The values of a hyperparameter to search, evenly spaced on a log scale."""

    low: Positive
    """Lowest value of the base grid; at least 1e-9, and below `high`."""
    high: Positive
    """Highest value of the base grid; at most 1e9."""
    points: Count
    """Points of the base grid; 1 or 2 points are compared but not fitted. `search.lr` needs at
    least 4 under the schedule `robust`, `tuning.lr` at least 3."""
    extend: bool = True
    """Whether the search may leave the range if the optimum lies at a border of the range; false
    makes both borders walls.
    """
