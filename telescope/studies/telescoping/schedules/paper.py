"""The published rule for telescoping, Algorithm 1 of arXiv 2505.02222.

It runs a full grid at the base width, and at each doubling of the width fewer points, closer
together, around the argmin of the level before (seed means; a diverged run is worse than any
other), without interpolation, edge rule or noise model. `PaperOptions` hold the choices that the
text leaves open; their defaults are its literal reading, and the result records those chosen.
`windows` defines how windows shrink and how samplers fill them.

Parts: `next_stage`, the fold · `opening` of a level, `sampler_batch` of a sampler ·
`edge_rule_points`, `grid_borders`, `reported_edges` · `ended`, `flat` · `paper_method`.
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
    """The next stage of the rule; None where it has ended."""
    if not done:
        return opening(ladder, done, 0, options)
    level = top_level(done)
    more = (
        edge_rule_points(ladder, done, level, options)
        if windows.is_grid(ladder, options)
        else sampler_batch(ladder, done, level, options)
    )
    if more:
        return more
    return (
        None if ended(ladder, done, level, options) else opening(ladder, done, level + 1, options)
    )


def opening(ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions) -> Stage:
    """The first stage of a level."""
    if windows.is_grid(ladder, options):
        return Stage(
            "grid", grid(level, windows.grid_values(ladder, done, level, options), ladder.seeds)
        )
    stage = sampler_batch(ladder, done, level, options)
    assert stage is not None, "every level has at least one batch"
    return stage


def sampler_batch(
    ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions
) -> Stage | None:
    """The next points of a sampler at a level; None after all its batches."""
    sampler = windows.sampler_of(ladder, options)
    sizes, at = (
        samplers.stage_sizes(sampler, windows.points(ladder, level, options)),
        len(stages_at(done, level)),
    )
    if at == len(sizes):
        return None
    seen = list(seed_means(outcomes(done, level)).items())
    key = (ladder.optimizer, ladder.axes, level, at)
    found = samplers.propose(
        sampler, windows.box(ladder, done, level, options), seen, sizes[at], key
    )
    return Stage(
        sampler, tuple(Point(level, x, seed) for x in found for seed in range(ladder.seeds))
    )


# Edges


def edge_rule_points(
    ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions
) -> Stage | None:
    """The points that the edge rule adds to a level's grid; None where its optimum lies inside, or
    no more points may be tried.
    """
    here = stages_at(done, level)
    if options.edge not in ("extend", "recentre") or len(here) > EDGE_ROUNDS:
        return None
    below, window = list(done[: len(done) - len(here)]), grid_of(here[0])
    for rounds in range(1, len(here) + 1):
        window = beyond(ladder, [*below, *here[:rounds]], level, window, options)
    run = {o.point for o in outcomes(done, level)}
    fresh = tuple(point for point in grid(level, window, ladder.seeds) if point not in run)
    return Stage("edge", fresh) if fresh else None


def grid_of(stage: Done) -> list[X]:
    """The values of each axis in a stage that was a complete grid."""
    return [
        tuple(sorted(set(column)))
        for column in zip(*[o.point.x for o in stage.outcomes], strict=True)
    ]


def beyond(
    ladder: Ladder, done: Sequence[Done], level: int, window: Sequence[X], options: PaperOptions
) -> list[X]:
    """The window with more columns where the optimum lies at its border: one more (extend), or half
    of them, dropping as many at the other end.
    """
    result = list(window)
    for i, side in grid_borders(done, level, options):
        axis, values = ladder.axes[i], window[i]
        step = windows.step_at(ladder, done, axis, level, options)
        end, columns = (
            values[0] if side < 0 else values[-1],
            1 if options.edge == "extend" else max(1, len(values) // 2),
        )
        more = [snap(end + side * column * step) for column in range(1, columns + 1)]
        wider = tuple(sorted({*values, *(x for x in more if axis.allows(x))}))
        kept = len(wider) if options.edge == "extend" else len(values)
        result[i] = wider[:kept] if side < 0 else wider[-kept:]
    return result


def grid_borders(
    done: Sequence[Done], level: int, options: PaperOptions
) -> tuple[tuple[int, int], ...]:
    """Pairs (axis, side) where a level's lowest mean lies on the first or last value of its grid,
    and no value inside is as low.

    With fewer than four values it often does by design, with fewer than three always; where all
    runs diverged, the optimum is taken to lie below the learning rates tried.
    """
    means, least = seed_means(outcomes(done, level)), 4 if options.edge == "ignore" else 3
    if not any(map(math.isfinite, means.values())):
        return ((0, -1),)
    at = []
    for i in range(len(next(iter(means)))):
        values = sorted({x[i] for x in means})
        lowest = {
            value: min(loss for x, loss in means.items() if x[i] == value) for value in values
        }
        for side, end in ((-1, values[0]), (1, values[-1])):
            if len(values) >= least and all(
                lowest[end] < loss for value, loss in lowest.items() if value != end
            ):
                at.append((i, side))
    return tuple(at)


def reported_edges(
    ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions, fit: Fit | None
) -> tuple[tuple[int, int], ...]:
    """The `grid_borders` as a report shows them.

    Among scattered points the lowest is often an outer one. There the fitted optimum decides: it
    lies outside the range tried, and at wider levels, whose windows are narrow, so does its whole
    interval.
    """
    means = seed_means(outcomes(done, level))
    if windows.is_grid(ladder, options) or not any(map(math.isfinite, means.values())):
        return grid_borders(done, level, options)
    tried = [(min(x[i] for x in means), max(x[i] for x in means)) for i in range(len(ladder.axes))]
    if fit is None:
        return ()
    at = []
    for j, i in enumerate(ladder.fitted):
        x, half = (
            float(fit.optima[level, j]),
            fit.quantile * fit.sd_of(fit.optima_gradient[level, j]) if level else 0.0,
        )
        if x + half < tried[i][0] or x - half > tried[i][1]:
            at.append((i, -1 if x < tried[i][0] else 1))
    return tuple(at)


# The end


def ended(ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions) -> bool:
    """Whether this level is the last."""
    if level + 1 == ladder.levels or (
        options.edge == "fail" and grid_borders(done, level, options)
    ):
        return True
    return options.nc == "stop_when_flat" and level > 0 and flat(ladder, done, level, options)


def flat(ladder: Ladder, done: Sequence[Done], level: int, options: PaperOptions) -> bool:
    """Whether the optimum lies within a step of its position one level below, on grids that could
    have shown a larger move.
    """
    tried = outcomes(done, level)
    if grid_borders(done, level, options) or any(
        len({o.point.x[i] for o in tried}) < 3
        for i, axis in enumerate(ladder.axes)
        if axis.points > 1
    ):
        return False
    here, below = (windows.optimum(ladder, done, at, options) for at in (level, level - 1))
    steps = windows.resolution(ladder, done, level, options)
    return all(abs(a - b) <= step + 1e-9 for a, b, step in zip(here, below, steps, strict=True))


def most_runs(ladder: Ladder, level: int, options: PaperOptions) -> int:
    """The number of runs at a level after all rounds of an edge rule."""
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
    """The names of a ladder's options, and whether they are the literal reading; the first step is
    range / (points - 1).
    """
    chosen = {
        f.name: str(getattr(options, f.name))
        for f in fields(options)
        if getattr(options, f.name) is not None
    }
    chosen |= {"sampler": windows.sampler_of(ladder, options), "mesh": "range"}
    if options.points != "odd_floor":
        del chosen["floor"]
    return chosen, all(
        name in ("sampler", "mesh") or chosen[name] == str(getattr(PUBLISHED, name))
        for name in chosen
    ) and (windows.is_grid(ladder, options))
