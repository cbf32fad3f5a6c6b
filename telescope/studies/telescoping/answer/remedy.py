"""The remedy for an unresolved ladder: the blocks of runs that should resolve it, and their cost.

The forecast of the greedy rule gives the blocks of rounds 2 to 4 that a small budget left out, then
more until every interval at the target is narrow enough. Where the intervals are narrow enough
already under each drift law, or the optimum still drifts, more runs at the same widths do not help:
a block at the next width does.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from telescope.statistics.estimates import Array
from telescope.studies.telescoping.evidence import Cost, Remedy, digits
from telescope.studies.telescoping.fold.progress import LadderProgress
from telescope.studies.telescoping.ladder.pooled import Fit
from telescope.studies.telescoping.reasons import Advice, Remark
from telescope.studies.telescoping.schedules import blocks, robust


def missing_blocks(found: LadderProgress, fit: Fit, drifting: bool = False) -> tuple[int, ...]:
    """The levels of the blocks that should suffice; empty where no blocks within this ladder do."""
    ladder, top = found.ladder, blocks.top_level(found.done)
    if (ladder.levels == 1 and ladder.doublings) or not ladder.has_budget:
        return ()
    owed, tolerance = owed_blocks(found), blocks.needed(ladder, found.done, fit)
    if drifting or (blocks.enough(fit, fit.covariance, tolerance) and not owed):
        return (top + 1,) if top + 1 < ladder.levels else ()
    levels, covariance = list(owed), after(found, fit, owed)
    later = blocks.greedy(ladder, found.done, replace(fit, covariance=covariance), math.inf)
    while len(levels) < blocks.MOST_BLOCKS + len(owed):
        if blocks.enough(fit, covariance, tolerance):
            return tuple(levels)
        level, covariance = next(later)
        levels.append(level)
    return ()


def owed_blocks(found: LadderProgress) -> tuple[int, ...]:
    """The levels of the blocks of rounds 2 to 4 that the budget did not allow; a larger budget is
    spent on them first.
    """
    wanted = (robust.SHAPE_BLOCKS, *robust.CLIMB_BLOCKS)[: found.ladder.levels]
    lacking = [
        count + (level == 0) - blocks.blocks_run(found.done, level)
        for level, count in enumerate(wanted)
    ]
    return tuple(level for level, count in enumerate(lacking) for _ in range(count))


def after(found: LadderProgress, fit: Fit, levels: Sequence[int]) -> Array:
    """The expected covariance after one more block at each of these levels."""
    corners, precision = blocks.signs(len(found.ladder.fitted), 0), np.linalg.inv(fit.covariance)
    for level in levels:
        centre, spans = blocks.place(found.ladder, found.done, fit, level)
        precision = precision + fit.information(level, centre + spans * corners)
    expected: Array = np.linalg.inv(precision)
    return expected


def remedy(found: LadderProgress, fit: Fit, bill: Cost, drifting: bool = False) -> Remedy | None:
    """The missing blocks and their cost; seconds at the pace of the ladder's own runs, if known."""
    ladder, levels = found.ladder, missing_blocks(found, fit, drifting)
    if not levels:
        return None
    costs = [blocks.block_cost(ladder, level) for level in levels]
    runs = math.fsum(costs)
    paces = [one.flops / one.seconds for one in bill.levels if one.seconds]
    seconds = math.fsum(
        cost * ladder.base_flops / paces[min(level, len(paces) - 1)]
        for level, cost in zip(levels, costs, strict=True)
        if paces
    )
    return Remedy(
        blocks=len(levels),
        widths=tuple(dict.fromkeys(ladder.widths[level] for level in levels)),
        base_runs=digits(runs),
        flops=digits(runs * ladder.base_flops),
        seconds=digits(seconds) if paces else None,
        max_base_runs=math.ceil(robust.spent(ladder, found.done) + runs),
    )


def advice(found: LadderProgress, fit: Fit, drifting: bool = False) -> Remark:
    """The remedy as advice; its cost is in the `Remedy`."""
    ladder, levels = found.ladder, missing_blocks(found, fit, drifting)
    if ladder.levels == 1 and ladder.doublings:
        return Remark.of(Advice.RAISE_CALIBRATION_WIDTH)
    if not ladder.has_budget:
        return Remark.of(Advice.GRID_EXHAUSTED)
    if not levels:
        return Remark.of(Advice.CALIBRATE_WIDER if drifting else Advice.TRAIN_LONGER)
    limit = math.ceil(
        robust.spent(ladder, found.done)
        + math.fsum(blocks.block_cost(ladder, level) for level in levels)
    )
    if levels == (blocks.top_level(found.done) + 1,):
        return Remark.of(Advice.BLOCK_AT_WIDTH, width=ladder.widths[levels[0]], max_base_runs=limit)
    return Remark.of(Advice.MORE_BLOCKS, blocks=len(levels), max_base_runs=limit)
