"""The place of an optimum relative to the values tried.

`edges.base_places` finds the flags AT_BORDER and AT_WALL at the base width. `blocks.top_places`
finds the flags OUTSIDE_BLOCK and BEYOND_WALL at the widest width with runs. A *block* is a set of
runs with one seed around the expected optimum. A *wall* is a limit beyond which no value may be
tried.
"""

from collections.abc import Mapping
from enum import Flag, auto


class OptimumPlace(Flag):
    """The place of an optimum on an axis (a swept hyperparameter), as flags. Several flags may be
    set. No flag is set if the optimum lies inside the values tried.
    """

    # the optimum lies close to the lowest or highest value tried, or beyond this value
    AT_BORDER = auto()
    # set only together with AT_BORDER: the next grid value beyond may not be tried
    AT_WALL = auto()
    OUTSIDE_BLOCK = auto()  # the optimum lies outside the values of the last block
    BEYOND_WALL = auto()  # the optimum lies at a value that may not be tried


def axes_at(places: Mapping[int, OptimumPlace], place: OptimumPlace) -> tuple[int, ...]:
    """The axes on which the place of the optimum has the flag `place`."""
    return tuple(axis for axis, flags in places.items() if place in flags)
