"""The place of an optimum relative to the values tried.

`edges.base_places` gives the place for the base window, `blocks.top_places` for the last block of
the top level.
"""

from collections.abc import Mapping
from enum import Flag, auto


class OptimumPlace(Flag):
    """The place of an optimum on an axis. Several flags may hold at once; none does where the
    optimum lies inside.
    """

    AT_BORDER = auto()  # at a border of the base window
    AT_WALL = auto()  # at a border beyond which no value may be tried
    OUTSIDE_BLOCK = auto()  # outside the corners of the last block of the level
    BEYOND_WALL = auto()  # at a value that may not be tried


def axes_at(places: Mapping[int, OptimumPlace], place: OptimumPlace) -> tuple[int, ...]:
    """The axes whose optimum has this flag."""
    return tuple(axis for axis, flags in places.items() if place in flags)
