"""The place of an optimum relative to the values tried.

`edges.base_places` gives it for the base window, `blocks.top_places` for the top level's last
block.
"""

from collections.abc import Mapping
from enum import Flag, auto


class OptimumPlace(Flag):
    """The place of an optimum on an axis: several flags may hold at once, none if it is inside."""

    AT_BORDER = auto()  # of the base window
    AT_WALL = auto()  # at a border beyond which no value may be tried
    OUTSIDE_BLOCK = auto()  # outside the corners of the last block of its level
    BEYOND_WALL = auto()  # where no value may be tried


def axes_at(places: Mapping[int, OptimumPlace], place: OptimumPlace) -> tuple[int, ...]:
    """The axes whose optimum has this flag."""
    return tuple(axis for axis, found in places.items() if place in found)
