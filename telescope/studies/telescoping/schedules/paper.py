"""The published rule for telescoping, Algorithm 1 of arXiv 2505.02222.

A *ladder* searches the hyperparameters of one optimizer at increasing widths, its *levels*. An
*axis* is one of these hyperparameters, in octaves (factors of 2). The rule runs a full grid at the
base width. At each doubling of the width, it runs fewer points that lie closer together, around the
point with the lowest mean loss at the level below. The mean is taken over the runs of a point with
different seeds, and is infinite if one of these runs diverged. Taken literally, the rule has no
interpolation, no noise model and no *edge rule* (points added when the optimum lies at the first or
last value of a grid).

The *window* of a level is the range of values that is searched there. `windows` defines how the
window shrinks from level to level, and `samplers` fills it with scattered points instead of a grid.
`PaperOptions` holds the choices that the paper leaves open, and the report records them. The
default choices are the literal rule, as long as every window is a complete grid.
"""

import math
from collections.abc import Sequence
from dataclasses import fields

from telescope.studies.telescoping.ladder.ladder import (
    Done,
    Ladder,
    Point,
    Stage,
    X,
    grid,
    outcomes,
    seed_means,
    stages_at,
)
from telescope.studies.telescoping.ladder.pooled import Fit
from telescope.studies.telescoping.question.parts import PaperOptions
from telescope.studies.telescoping.schedules import samplers, windows
from telescope.studies.telescoping.schedules.blocks import top_level
from telescope.studies.telescoping.schedules.edges import EDGE_ROUNDS
from telescope.trials.lattice import snap

PUBLISHED = PaperOptions()


def next_stage(
    ladder: Ladder, done: Sequence[Done], options: PaperOptions = PUBLISHED
) -> Stage | None:
    """The next stage of runs under the rule. `None` if the rule has ended."""
    if not done:
        return opening(ladder, done, 0, options)
    level = top_level(done)
    addition = (
        edge_rule_points(ladder, done, level, options)
        if windows.is_grid(ladder, options)
        else sampler_batch(ladder, done, level, options)
    )
    if addition or ended(ladder, done, level, options):
        return addition
    return opening(ladder, done, level + 1, options)


def opening(ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions) -> Stage:
    """The first stage of runs at a level."""
    if windows.is_grid(ladder, options):
        values = windows.grid_values(ladder, done, level, options)
        return Stage("grid", grid(level, values, ladder.seeds))
    stage = sampler_batch(ladder, done, level, options)
    assert stage is not None, "every level has at least one batch"
    return stage


def sampler_batch(
    ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions
) -> Stage | None:
    """The next points of a sampler at a level. `None` after the last batch of the level."""
    sampler = windows.sampler_of(ladder, options)
    sizes = samplers.stage_sizes(sampler, windows.points(ladder, level, options))
    batch = len(stages_at(done, level))
    if batch == len(sizes):
        return None
    tried = list(seed_means(outcomes(done, level)).items())
    key = (ladder.optimizer, ladder.axes, level, batch)
    window = windows.box(ladder, done, level, options)
    proposed = samplers.propose(sampler, window, tried, sizes[batch], key)
    points = tuple(Point(level, x, seed) for x in proposed for seed in range(ladder.seeds))
    return Stage(sampler, points)


# Optima at the borders of a grid


def edge_rule_points(
    ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions
) -> Stage | None:
    """The points that the edge rule adds to a level's grid. `None` if the option `edge` asks for no
    such points, if the rule has added points EDGE_ROUNDS times, or if it finds no new point.
    """
    stages = stages_at(done, level)
    if options.edge not in ("extend", "recentre") or len(stages) > EDGE_ROUNDS:
        return None
    earlier, window = list(done[: len(done) - len(stages)]), grid_of(stages[0])
    for rounds in range(1, len(stages) + 1):
        window = beyond(ladder, [*earlier, *stages[:rounds]], level, window, options)
    points_run = {o.point for o in outcomes(done, level)}
    new_points = tuple(
        point for point in grid(level, window, ladder.seeds) if point not in points_run
    )
    return Stage("edge", new_points) if new_points else None


def grid_of(stage: Done) -> list[X]:
    """The values of each axis in a stage. The stage must have run a complete grid."""
    return [
        tuple(sorted(set(column)))
        for column in zip(*[o.point.x for o in stage.outcomes], strict=True)
    ]


def beyond(
    ladder: Ladder, done: Sequence[Done], level: int, window: Sequence[X], options: PaperOptions
) -> list[X]:
    """The values of each axis, with new values beyond each border at which the optimum lies.

    `edge: extend` adds one value. `edge: recentre` adds about half as many values as the axis has,
    and drops as many at the other end. Values that may not be tried are not added.
    """
    result = list(window)
    for i, side in grid_borders(done, level, options):
        axis, values = ladder.axes[i], window[i]
        step = windows.step_at(ladder, done, axis, level, options)
        end = values[0] if side < 0 else values[-1]
        most_added = 1 if options.edge == "extend" else max(1, len(values) // 2)
        added = [snap(end + side * number * step) for number in range(1, most_added + 1)]
        wider = tuple(sorted({*values, *(x for x in added if axis.allows(x))}))
        count = len(wider) if options.edge == "extend" else len(values)
        result[i] = wider[:count] if side < 0 else wider[-count:]
    return result


def grid_borders(
    done: Sequence[Done], level: int, options: PaperOptions
) -> tuple[tuple[int, int], ...]:
    """Pairs (axis, side), one for each axis on which a level's lowest mean loss is at the first
    value (side -1) or at the last value (side +1). If another value of the axis has an equally low
    mean loss, the axis is left out.

    An axis with one or two values is left out, since its best value is always at an end. Under
    `edge: ignore`, an axis with three values is left out too. If every point has a diverged run,
    the optimum is assumed to lie below the learning rates tried, and the result is ((0, -1),).
    """
    means, least = seed_means(outcomes(done, level)), 4 if options.edge == "ignore" else 3
    if not any(map(math.isfinite, means.values())):
        return ((0, -1),)
    borders = []
    for i in range(len(next(iter(means)))):
        values = sorted({x[i] for x in means})
        lowest = {
            value: min(loss for x, loss in means.items() if x[i] == value) for value in values
        }
        for side, end in ((-1, values[0]), (1, values[-1])):
            if len(values) >= least and all(
                lowest[end] < loss for value, loss in lowest.items() if value != end
            ):
                borders.append((i, side))
    return tuple(borders)


def reported_edges(
    ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions, fit: Fit | None
) -> tuple[tuple[int, int], ...]:
    """The pairs (axis, side) that a report shows for the optimum of a level. For a grid, or if
    every point has a diverged run, these are the `grid_borders`.

    Among the scattered points of a sampler, the point of lowest loss is often an outer one, so the
    fitted optimum decides instead. At the base width, an axis is reported if its fitted optimum
    lies outside the range tried. At wider levels the windows are narrow, so an axis is reported
    only if the whole interval of its optimum lies outside. Without a fit, no axis is reported.
    """
    means = seed_means(outcomes(done, level))
    if windows.is_grid(ladder, options) or not any(map(math.isfinite, means.values())):
        return grid_borders(done, level, options)
    tried = [(min(x[i] for x in means), max(x[i] for x in means)) for i in range(len(ladder.axes))]
    if fit is None:
        return ()
    edges = []
    for j, i in enumerate(ladder.fitted):
        x = float(fit.optima[level, j])
        half = fit.quantile * fit.sd_of(fit.optima_gradient[level, j]) if level else 0.0
        if x + half < tried[i][0] or x - half > tried[i][1]:
            edges.append((i, -1 if x < tried[i][0] else 1))
    return tuple(edges)


# The end of the rule


def ended(ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions) -> bool:
    """Whether the rule ends after this level."""
    if level + 1 == ladder.levels or (
        options.edge == "fail" and grid_borders(done, level, options)
    ):
        return True
    return options.nc == "stop_when_flat" and level > 0 and flat(ladder, done, level, options)


def flat(ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions) -> bool:
    """Whether, on each axis, the optimum moved by at most one grid step from the level below. False
    if the optimum lies at a border of the grid. False also if an axis with more than one value at
    the base width has fewer than three at this level, since two could not show a larger move.
    """
    tried = outcomes(done, level)
    if grid_borders(done, level, options) or any(
        len({o.point.x[i] for o in tried}) < 3
        for i, axis in enumerate(ladder.axes)
        if axis.points > 1
    ):
        return False
    optimum = windows.optimum(ladder, done, level, options)
    below = windows.optimum(ladder, done, level - 1, options)
    steps = windows.resolution(ladder, done, level, options)
    return all(abs(a - b) <= step + 1e-9 for a, b, step in zip(optimum, below, steps, strict=True))


def most_runs(ladder: Ladder, level: int, options: PaperOptions) -> int:
    """An upper bound of the number of runs at a level, including runs of the edge rule."""
    if options.edge == "extend":
        axes = windows.swept(ladder)
        return ladder.seeds * math.prod(
            windows.points_at(level, axis.points, axes, options) + EDGE_ROUNDS
            for axis in ladder.axes
        )
    return windows.runs(ladder, level, options) * (
        1 + EDGE_ROUNDS if options.edge == "recentre" else 1
    )


def paper_method(ladder: Ladder, options: PaperOptions) -> tuple[dict[str, str], bool]:
    """The options of a ladder, by name, and whether the ladder follows the literal rule."""
    chosen = {
        f.name: str(getattr(options, f.name))
        for f in fields(options)
        if getattr(options, f.name) is not None
    }
    # `mesh: range` states that the step of the grid at the base width is range / (points - 1)
    chosen |= {"sampler": windows.sampler_of(ladder, options), "mesh": "range"}
    if options.points != "odd_floor":
        del chosen["floor"]
    literal = all(
        value == str(getattr(PUBLISHED, name))
        for name, value in chosen.items()
        if name not in ("sampler", "mesh")
    )
    return chosen, literal and windows.is_grid(ladder, options)
