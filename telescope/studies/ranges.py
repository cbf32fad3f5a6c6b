"""The type of a range in a document: the values of a hyperparameter that a study searches."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from telescope.trials.types import STRICT, Count, Positive

Width = Annotated[int, Field(ge=1, le=2**20)]


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
