"""The place of an optimum relative to the values tried.

`edges.base_places` compares the optimum with the base window, `blocks.top_places` with the last
block of the top level.
"""

from collections.abc import Mapping
from enum import Flag, auto


class OptimumPlace(Flag):
    """The place of an optimum on an axis, as flags. Several flags may be set; no flag is set if the
    optimum lies inside.
    """

    AT_BORDER = auto()  # the optimum is at a border of the base window
    AT_WALL = auto()  # the optimum is at a border beyond which no value may be tried
    OUTSIDE_BLOCK = auto()  # the optimum is outside the corners of the level's last block
    BEYOND_WALL = auto()  # the optimum is at a value that may not be tried


def axes_at(places: Mapping[int, OptimumPlace], place: OptimumPlace) -> tuple[int, ...]:
    """The axes on which the place of the optimum has this flag."""
    return tuple(axis for axis, flags in places.items() if place in flags)
