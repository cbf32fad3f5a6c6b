"""The place of an optimum relative to the values tried.

`edges.base_places` compares the optimum with the values tried at the base width.
`blocks.top_places` compares it with the last *block* (runs of one seed around the expected optimum)
at the widest level (width) run so far.
"""

from collections.abc import Mapping
from enum import Flag, auto


class OptimumPlace(Flag):
    """The place of an optimum on an axis, as flags. Several flags may be set. No flag is set if the
    optimum lies inside the values tried.
    """

    AT_BORDER = auto()  # the optimum is at the lowest or highest value of the base width
    AT_WALL = auto()  # the optimum is at such a value, and no value beyond it may be tried
    OUTSIDE_BLOCK = auto()  # the optimum is outside the values of the last block
    BEYOND_WALL = auto()  # the optimum is at a value that may not be tried


def axes_at(places: Mapping[int, OptimumPlace], place: OptimumPlace) -> tuple[int, ...]:
    """The axes on which the place of the optimum has the flag `place`."""
    return tuple(axis for axis, flags in places.items() if place in flags)
