"""The search beyond a border at which the optimum lies, under `schedule: robust`.

An *axis* is a swept hyperparameter in octaves (factors of 2). An axis is *fitted* if it has three
values or more: the pooled model of all runs then estimates an optimum along it. A *border* is the
lowest or highest value on an axis, among the values tried and the user's range. A *wall* is a limit
beyond which no value may be tried.

If the optimum at the base width lies beyond a border, or within a quarter of a grid step of it, the
*edge rule* adds values beyond that border: up to two values of the learning rate, or one value of
another fitted axis. It runs each added value at several points (`star`). The rule is applied again
after the new runs, but adds points at most EDGE_ROUNDS times.
"""

from collections.abc import Sequence
from functools import partial

from telescope.studies.telescoping.axes import Axis
from telescope.studies.telescoping.ladder.ladder import (
    Done,
    Ladder,
    Outcome,
    Point,
    argmin,
    outcomes,
    pooled_fit,
)
from telescope.studies.telescoping.schedules.places import OptimumPlace
from telescope.trials.lattice import snap

# largest number of times that the edge rule adds points; under `schedule: paper`, at each width
EDGE_ROUNDS = 4


def borders(ladder: Ladder, results: Sequence[Outcome]) -> list[tuple[float, float]]:
    """The low and the high border of each axis: the lowest and highest octaves among the values
    tried and the user's range.
    """
    columns = zip(*[o.point.x for o in results], strict=True)
    return [
        (min(axis.low, *xs), max(axis.high, *xs))
        for axis, xs in zip(ladder.axes, columns, strict=True)
    ]


def base_window_edges(ladder: Ladder, done: Sequence[Done]) -> tuple[tuple[int, int], ...]:
    """Pairs (axis, side), one for each fitted axis on which the optimum of the base width lies at a
    border. The side is -1 for the low border and +1 for the high border.

    Two points are compared with each border: the fitted optimum, and the point of lowest loss among
    the runs of the grid and of the edge rule. The optimum lies at a border if at least one of the
    two points lies beyond the border, or within a quarter of a grid step of it. If there is no
    pooled fit, for example because every run diverged, the optimum is assumed to lie below the
    learning rates tried.
    """
    results = outcomes(done, level=0)
    pooled = pooled_fit(ladder, done)
    if pooled is None:
        return ((0, -1),)
    lowest = min(
        (o for o in results if o.finite and o.point.seed == 0), key=lambda o: (o.loss, o.point)
    ).point.x
    optimum = dict(zip(ladder.fitted, pooled.optima[0], strict=True))
    edges = []
    for i, (low, high) in enumerate(borders(ladder, results)):
        margin = ladder.axes[i].step / 4
        if i in optimum and (side := side_of(low + margin, high - margin, (optimum[i], lowest[i]))):
            edges.append((i, side))
    return tuple(edges)


def side_of(low: float, high: float, places: Sequence[float]) -> int:
    """The side on which at least one of the places lies outside the open range from `low` to
    `high`. The result is -1 if a place is at or below `low`, otherwise +1 if a place is at or above
    `high`, otherwise 0.
    """
    if min(places) <= low:
        return -1
    return int(max(places) >= high)


def beyond_the_edge(ladder: Ladder, done: Sequence[Done]) -> tuple[Point, ...]:
    """New points beyond the borders at which the optimum lies. Empty if the rule has already added
    points EDGE_ROUNDS times, if the optimum lies at no border, or if the walls allow no new point.
    """
    if sum(stage.name == "edge" for stage in done) == EDGE_ROUNDS:
        return ()
    results = outcomes(done, level=0)
    ends = borders(ladder, results)
    pooled = pooled_fit(ladder, done)
    best = argmin(results)
    centre = list(best)
    if pooled is not None:
        for i, x in zip(ladder.fitted, pooled.optima[0], strict=True):
            centre[i] = min(max(float(x), ends[i][0]), ends[i][1])
    points: dict[Point, None] = {}
    for i, side in base_window_edges(ladder, done):
        axis = ladder.axes[i]
        border = ends[i][0] if side < 0 else ends[i][1]
        for steps in range(1, 3 if i == 0 else 2):
            value = snap(border + side * steps * axis.step)
            if axis.allows(value):
                xs = star(ladder, ends, centre, i, value)
                points |= dict.fromkeys(Point(0, x, 0) for x in xs)
    points_run = {o.point for o in results}
    return tuple(point for point in points if point not in points_run)


def base_places(ladder: Ladder, done: Sequence[Done]) -> dict[int, OptimumPlace]:
    """The place of the optimum of the base width, for each axis on which it lies at a border. The
    flag AT_WALL tells that a wall allows no grid value beyond this border.
    """
    ends = borders(ladder, outcomes(done, level=0))
    places = {}
    for i, side in base_window_edges(ladder, done):
        beyond = snap(ends[i][side > 0] + side * ladder.axes[i].step)
        places[i] = (
            OptimumPlace.AT_BORDER
            if ladder.axes[i].allows(beyond)
            else OptimumPlace.AT_BORDER | OptimumPlace.AT_WALL
        )
    return places


def star(
    ladder: Ladder,
    ends: Sequence[tuple[float, float]],
    centre: Sequence[float],
    fixed: int,
    value: float,
) -> list[tuple[float, ...]]:
    """Points with `value` on the axis `fixed`, in the shape of a star. `ends` holds the borders of
    each axis.

    On every other axis, the first point has the grid value that is nearest to `centre`. Each
    further point differs from the first on one of the other fitted axes, where it has the second or
    third nearest grid value.
    """
    nearest = [
        sorted(extended_values(axis, low, high), key=partial(_distance, at))[
            : 3 if axis.fitted else 1
        ]
        for axis, (low, high), at in zip(ladder.axes, ends, centre, strict=True)
    ]
    centre_values = [values[0] for values in nearest]
    centre_values[fixed] = value
    arms = [(i, v) for i, values in enumerate(nearest) if i != fixed for v in values[1:]]
    return [
        tuple(centre_values),
        *(tuple(v if j == i else x for j, x in enumerate(centre_values)) for i, v in arms),
    ]


def extended_values(axis: Axis, low: float, high: float) -> list[float]:
    """The grid values of an axis, continued in grid steps to the borders `low` and `high`."""
    if axis.step == 0:
        return list(axis.values)
    below, above = (
        max(0, round(distance / axis.step)) for distance in (axis.low - low, high - axis.high)
    )
    lower = [snap(axis.low - i * axis.step) for i in range(below, 0, -1)]
    return [*lower, *axis.values, *(snap(axis.high + i * axis.step) for i in range(1, above + 1))]


def _distance(centre: float, value: float) -> tuple[float, float]:
    """A sort key that puts the value nearest to the centre first. The lower of two equally near
    values comes first.
    """
    return abs(value - centre), value
