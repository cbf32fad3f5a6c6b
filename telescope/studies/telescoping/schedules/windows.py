"""The windows and the numbers of runs of the published rule (`schedule: paper`) at each level.

A *ladder* searches the hyperparameters of one optimizer at increasing widths, its *levels*. An
*axis* is one of these hyperparameters, in octaves (factors of 2). The *window* of a level is the
range of each axis that is searched there. At the base width, it is the user's range. At wider
levels, it is centred on the optimum of the level below. Let k be the number of axes with more than
one point. From each level to the next, the number of points on each of these axes is multiplied by
4^(-1/k), and the spacing of the points is halved. `PaperOptions` offers other readings of the rule.
A *wall* is a limit beyond which no value may be tried. A window that would cross a wall is moved
inside, so it keeps its number of points.

Instead of a complete grid, a *sampler* may choose scattered points in the window. The window and
the number of points then shrink by the same factors as those of a grid, but the number of points
per axis is not rounded. Each level has at least LEAST_SAMPLED points, unless the option `trials`
asks for fewer.
"""

import math
from collections.abc import Sequence

from telescope.studies.telescoping.axes import Axis, along
from telescope.studies.telescoping.ladder import per_level
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, X, selected, stages_at
from telescope.studies.telescoping.question.parts import PaperOptions, Sampler
from telescope.studies.telescoping.schedules import samplers
from telescope.trials.lattice import OCTAVE_PARTS, snap

LARGEST_GRID = 2  # largest number of axes for which `sampler: auto` uses a grid
LEAST_SAMPLED = 4  # fewest points of a sampler at a level, unless the option `trials` is smaller


def swept(ladder: Ladder) -> int:
    """The number k of axes with more than one point, but at least 1."""
    return max(1, sum(axis.points > 1 for axis in ladder.axes))


def sampler_of(ladder: Ladder, options: PaperOptions) -> Sampler:
    """The sampler that fills the windows. `grid` stands for complete grids."""
    if options.sampler != "auto":
        return options.sampler
    return "grid" if swept(ladder) <= LARGEST_GRID else "tpe"


def is_grid(ladder: Ladder, options: PaperOptions) -> bool:
    """Whether windows are complete grids."""
    return sampler_of(ladder, options) == "grid"


def points_at(level: int, points: int, axes: int, options: PaperOptions) -> int:
    """The number of grid points on an axis at a level: points x 4^(-level / k), rounded according
    to the options. `points` is the number at the base width, and k is given as `axes`. A single
    point stays a single point.
    """
    if level == 0 or points == 1:
        return points
    exact = round(float(points * 4.0 ** (-level / axes)), 9)
    rounding = options.rounding or ("nearest" if options.points == "strict" else "odd_up")
    rounded = {
        "nearest": math.floor(exact + 0.5),
        "ceil": math.ceil(exact),
        "odd_up": 2 * math.ceil((exact - 1) / 2) + 1,
    }[rounding]
    return max(options.floor if options.points == "odd_floor" else 1, rounded)


def points(ladder: Ladder, level: int, options: PaperOptions) -> int:
    """The number of distinct points at a level, without points that the option `edge` adds."""
    if is_grid(ladder, options):
        return math.prod(
            points_at(level, axis.points, swept(ladder), options) for axis in ladder.axes
        )
    trials = options.trials or int(2 ** (swept(ladder) + 3))
    return max(trials >> (2 * level), min(LEAST_SAMPLED, trials))


def runs(ladder: Ladder, level: int, options: PaperOptions) -> int:
    """The number of runs at a level, without runs that the option `edge` adds."""
    return ladder.seeds * points(ladder, level, options)


def step_factor(axes: int, options: PaperOptions) -> float:
    """The factor on the step of a grid (the spacing of its points) from one level to the next.
    `axes` is the number k of axes with more than one point.
    """
    factors: dict[str, float] = {"halve": 0.5, "root4": 4.0 ** (-1 / axes), "extent": 1.0}
    return factors[options.narrow]


def step_at(
    ladder: Ladder, done: Sequence[Done], axis: Axis, level: int, options: PaperOptions
) -> float:
    """Octaves between neighbouring grid points of an axis at a level. The step at the base width is
    multiplied by `step_factor` once for each level from the second to the given one. Under `edge:
    recentre`, one multiplication is left out for each narrower level for which `far_from_window`
    holds.
    """
    undone = 0
    if options.edge == "recentre":
        undone = sum(far_from_window(ladder, done, below, options) for below in range(level))
    return axis.step * step_factor(swept(ladder), options) ** (level - undone)


def far_from_window(
    ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions
) -> bool:
    """Whether a level's optimum lies far from the window of the level's first stage: on some axis,
    its distance from the middle of this window exceeds the length of the window.
    """
    best, first = optimum(ladder, done, level, options), stages_at(done, level)[0].outcomes
    spans = [
        (min(o.point.x[i] for o in first), max(o.point.x[i] for o in first))
        for i in range(len(best))
    ]
    return any(
        high > low and abs(x - (low + high) / 2) > high - low
        for x, (low, high) in zip(best, spans, strict=True)
    )


def optimum(ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions) -> X:
    """The optimum of a level: one of the points run there, chosen by the option `select`."""
    vertex = per_level.vertex(ladder, done, level) if options.select == "seed_mean_fit" else None
    return selected(done, level, vertex.x if vertex else {})


def window_centre(ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions) -> X:
    """The centre of a level's window. At the base width, this is the middle of the user's range. At
    wider levels, it is the optimum of the level below. The option `centre` may replace this optimum
    by the fitted optimum of the level below, or by an extrapolation from the fitted optima of the
    two levels below. Axes without a fitted optimum are not affected.
    """
    if level == 0:
        return tuple((axis.low + axis.high) / 2 for axis in ladder.axes)
    centre = list(optimum(ladder, done, level - 1, options))
    if options.centre == "argmin":
        return tuple(centre)
    vertices = per_level.vertices(ladder, done)
    last = vertices[level - 1].x if level - 1 in vertices else {}
    before = vertices[level - 2].x if level - 2 in vertices else {}
    for i, x in last.items():
        centre[i] = x
        if options.centre == "richardson" and i in before:
            # 1/width at this level and the two below, narrowest first, in units of 1/base width
            narrow, wide, wider = (2.0 ** -ladder.level_doublings[level + j] for j in (-2, -1, 0))
            centre[i] += (x - before[i]) * (wide - wider) / (narrow - wide)
    return tuple(centre)


def grid_values(ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions) -> list[X]:
    """The grid's values on each axis at a level, in octaves."""
    centre = window_centre(ladder, done, level, options)
    counts = [points_at(level, axis.points, swept(ladder), options) for axis in ladder.axes]
    steps = [step_at(ladder, done, axis, level, options) for axis in ladder.axes]
    return [
        along(axis.inside(x, (count - 1) * step / 2), step, count)
        for axis, x, count, step in zip(ladder.axes, centre, counts, steps, strict=True)
    ]


def half_windows(ladder: Ladder, level: int, options: PaperOptions) -> list[float]:
    """Half the length of a sampler's window on each axis, in octaves."""
    shrunk = (4.0 ** (-1 / swept(ladder)) * step_factor(swept(ladder), options)) ** level
    return [shrunk * (axis.high - axis.low) / 2 if axis.points > 1 else 0.0 for axis in ladder.axes]


def box(ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions) -> samplers.Box:
    """The window of a sampler at a level."""
    halves = half_windows(ladder, level, options)
    middle = window_centre(ladder, done, level, options)
    centre = [
        axis.inside(x, half) for axis, x, half in zip(ladder.axes, middle, halves, strict=True)
    ]
    low = [snap(x - half) for x, half in zip(centre, halves, strict=True)]
    high = [snap(x + half) for x, half in zip(centre, halves, strict=True)]
    return samplers.Box(tuple(low), tuple(high))


def crowded(ladder: Ladder, options: PaperOptions) -> int:
    """The number of points at the first level whose window is crowded. A window is crowded if the
    planning lattice (multiples of 1/64 octave) has fewer than two points in it for each point of
    the sampler. The result is 0 if no window is crowded, or if the windows are grids.
    """
    for level in range(0 if is_grid(ladder, options) else ladder.levels):
        room = math.prod(
            1 + math.floor(2 * half * OCTAVE_PARTS) for half in half_windows(ladder, level, options)
        )
        if 2 * points(ladder, level, options) > room:
            return points(ladder, level, options)
    return 0


def resolution(
    ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions
) -> list[float]:
    """Octaves between neighbouring points of a level, by axis. For the scattered points of a
    sampler, this is an average.
    """
    if is_grid(ladder, options):
        return [step_at(ladder, done, axis, level, options) for axis in ladder.axes]
    window = box(ladder, done, level, options)
    share = points(ladder, level, options) ** (-1 / swept(ladder))
    return [(high - low) * share for low, high in zip(window.low, window.high, strict=True)]
