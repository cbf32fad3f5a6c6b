"""Where an optimum lies, as far as it is not inside of what was tried.

`edges.base_places` tells it of the base window, `blocks.top_places` of the top level's last block.
"""

from collections.abc import Mapping
from enum import Flag, auto


class Place(Flag):
    """Where an optimum lies on one axis; several may hold at once, and none where it lies inside."""

    AT_BORDER = auto()  # of the base window
    AT_WALL = auto()  # at such a border, and nothing may be tried beyond it
    OUTSIDE_BLOCK = auto()  # outside the corners of the last block of its level
    BEYOND_WALL = auto()  # where nothing may be tried


def axes_at(places: Mapping[int, Place], place: Place) -> tuple[int, ...]:
    """The axes on which an optimum lies there, whatever else holds."""
    return tuple(axis for axis, found in places.items() if place in found)
