"""The place of an optimum relative to the values tried.

`edges.base_places` compares the optimum with the values tried at the base width.
`blocks.top_places` compares it with the walls (the limits of what may be tried) and with the last
*block* (runs of one seed around the expected optimum) at the widest level (width) run so far.
"""

from collections.abc import Mapping
from enum import Flag, auto


class OptimumPlace(Flag):
    """The place of an optimum on an axis, as flags. Several flags may be set. No flag is set if the
    optimum lies inside the values tried.
    """

    # the optimum is close to the lowest or highest value of the base width, or beyond this value
    AT_BORDER = auto()
    AT_WALL = auto()  # AT_BORDER, and the next grid value beyond that border may not be tried
    OUTSIDE_BLOCK = auto()  # the optimum is outside the values of the last block
    BEYOND_WALL = auto()  # the optimum is at a value that may not be tried


def axes_at(places: Mapping[int, OptimumPlace], place: OptimumPlace) -> tuple[int, ...]:
    """The axes on which the place of the optimum has the flag `place`."""
    return tuple(axis for axis, flags in places.items() if place in flags)
