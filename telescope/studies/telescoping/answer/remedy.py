"""The remedy for an unresolved ladder: the blocks of runs that should resolve it, and their cost.

A *ladder* is the search of one optimizer over growing widths, its *levels*. A *block* is a set of
runs with one seed, placed around the expected optimum of a level. The schedule `robust`
(`schedules.robust`) runs a grid in round 1. In rounds 2 to 4 it adds a fixed number of blocks at
each of the three narrowest widths. Later it adds blocks where they reduce the uncertainty most for
their cost.

The remedy consists of the blocks that `robust` would add with a larger budget. First come the
missing blocks of rounds 2 to 4. Then come further blocks, until the intervals at the target are
expected to be narrow enough. There is no remedy if that takes more than `blocks.MOST_BLOCKS`
further blocks.

The *pooled fit* is the statistical model of all runs. More runs at the same widths do not help in
two cases:

- The optimum still drifts with width.
- Rounds 2 to 4 are complete, and the intervals of the pooled fit are already narrow enough.

In these cases the remedy is one block at the next width, if there is a next width.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from telescope.statistics.estimates import Array
from telescope.studies.telescoping.evidence import Cost, Remedy, digits
from telescope.studies.telescoping.fold.progress import LadderProgress
from telescope.studies.telescoping.ladder.pooled import Fit
from telescope.studies.telescoping.reasons import Advice, Remark
from telescope.studies.telescoping.schedules import blocks, robust


def missing_blocks(progress: LadderProgress, fit: Fit, drifting: bool = False) -> tuple[int, ...]:
    """The level of each block that should be run to resolve the ladder. `drifting` states whether
    the optimum still drifts with width.

    Empty if the schedule has no budget, if too many blocks would be needed, or if a wider level
    would be needed and there is none. Empty also if the ladder has a single level, narrower than
    the target, since such a ladder cannot show any drift.
    """
    ladder, top = progress.ladder, blocks.top_level(progress.done)
    if (ladder.levels == 1 and ladder.doublings) or not ladder.has_budget:
        return ()
    owed, tolerance = owed_blocks(progress), blocks.needed(ladder, progress.done, fit)
    if drifting or (blocks.enough(fit, fit.covariance, tolerance) and not owed):
        return (top + 1,) if top + 1 < ladder.levels else ()
    levels, covariance = list(owed), after(progress, fit, owed)
    later = blocks.greedy(ladder, progress.done, replace(fit, covariance=covariance), math.inf)
    while len(levels) <= blocks.MOST_BLOCKS + len(owed):
        if blocks.enough(fit, covariance, tolerance):
            return tuple(levels)
        level, covariance = next(later)
        levels.append(level)
    return ()


def owed_blocks(progress: LadderProgress) -> tuple[int, ...]:
    """The level of each block of rounds 2 to 4 that has not been run. A level may occur more than
    once.
    """
    block_counts = (robust.SHAPE_BLOCKS, *robust.CLIMB_BLOCKS)[: progress.ladder.levels]
    missing = [
        count + (level == 0) - blocks.blocks_run(progress.done, level)
        for level, count in enumerate(block_counts)
    ]
    return tuple(level for level, count in enumerate(missing) for _ in range(count))


def after(progress: LadderProgress, fit: Fit, levels: Sequence[int]) -> Array:
    """The expected covariance of the fit's parameters after one more block at each of `levels`. A
    level may occur more than once.
    """
    corners, precision = blocks.signs(len(progress.ladder.fitted), 0), np.linalg.inv(fit.covariance)
    for level in levels:
        centre, spans = blocks.place(progress.ladder, progress.done, fit, level)
        precision = precision + fit.information(level, centre + spans * corners)
    expected: Array = np.linalg.inv(precision)
    return expected


def remedy(progress: LadderProgress, fit: Fit, bill: Cost, drifting: bool = False) -> Remedy | None:
    """The missing blocks and their cost. None if there are no missing blocks.

    The seconds are predicted from the speed of the runs that the ladder has trained itself. They
    are None if all runs at the ladder's widths were reused from other jobs.
    """
    ladder, levels = progress.ladder, missing_blocks(progress, fit, drifting)
    if not levels:
        return None
    costs = [blocks.block_cost(ladder, level) for level in levels]
    runs = math.fsum(costs)
    speeds = {level.width: level.flops / level.seconds for level in bill.levels if level.seconds}
    seconds = math.fsum(
        cost * ladder.base_flops / nearest_speed(speeds, ladder.widths[level])
        for level, cost in zip(levels, costs, strict=True)
        if speeds
    )
    return Remedy(
        blocks=len(levels),
        widths=tuple(dict.fromkeys(ladder.widths[level] for level in levels)),
        base_runs=digits(runs),
        flops=digits(runs * ladder.base_flops),
        seconds=digits(seconds) if speeds else None,
        max_base_runs=math.ceil(robust.spent(ladder, progress.done) + runs),
    )


def nearest_speed(speeds: Mapping[int, float], width: int) -> float:
    """The speed at the width that is nearest in octaves. `speeds` are in FLOP/s, by width."""
    return speeds[min(speeds, key=lambda other: abs(math.log2(other / width)))]


def advice(progress: LadderProgress, fit: Fit, drifting: bool = False) -> Remark:
    """The advice on how to resolve the ladder: the missing blocks, with the budget that they need,
    or another measure if there are no missing blocks.
    """
    ladder, levels = progress.ladder, missing_blocks(progress, fit, drifting)
    if ladder.levels == 1 and ladder.doublings:
        return Remark.of(Advice.RAISE_CALIBRATION_WIDTH)
    if not ladder.has_budget:
        return Remark.of(Advice.CALIBRATE_WIDER if drifting else Advice.GRID_EXHAUSTED)
    if not levels:
        return Remark.of(Advice.CALIBRATE_WIDER if drifting else Advice.TRAIN_LONGER)
    limit = math.ceil(
        robust.spent(ladder, progress.done)
        + math.fsum(blocks.block_cost(ladder, level) for level in levels)
    )
    if levels == (blocks.top_level(progress.done) + 1,):
        return Remark.of(Advice.BLOCK_AT_WIDTH, width=ladder.widths[levels[0]], max_base_runs=limit)
    return Remark.of(Advice.MORE_BLOCKS, blocks=len(levels), max_base_runs=limit)
