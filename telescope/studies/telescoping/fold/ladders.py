"""The ladders of a study, with the cost of a run at each level, and their coordinate checks.

A *ladder* searches hyperparameters of one optimizer at increasing widths, its *levels*. A *variant*
is one of the architectures or corpora that a job compares. A *coordinate check* is a set of short
runs at several widths that tests whether updates keep their size as width grows.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from telescope.studies.coordinates.design import Design, design
from telescope.studies.telescoping.axes import Axis
from telescope.studies.telescoping.fold.specs import target_spec, trial_spec
from telescope.studies.telescoping.ladder.ladder import Ladder
from telescope.studies.telescoping.question.question import Question, ranges
from telescope.studies.telescoping.question.variants import Variant, variants
from telescope.studies.telescoping.schedules import robust, windows
from telescope.train.flops import trial_flops
from telescope.trials.types import OptimizerName


def each_ladder(question: Question) -> Iterator[tuple[Variant, Ladder]]:
    """All ladders of a study, each ladder with its variant."""
    return (
        (variant, ladder) for variant in variants(question) for ladder in ladders(variant.question)
    )


def all_ladders(question: Question) -> tuple[Ladder, ...]:
    """All ladders of a study: one ladder for each pair of an optimizer and a variant."""
    return tuple(ladder for _, ladder in each_ladder(question))


@lru_cache(maxsize=256)
def ladders(question: Question) -> tuple[Ladder, ...]:
    """The ladders of a study without variants, or of a single variant: one for each optimizer."""
    return tuple(_ladder(question, optimizer) for optimizer in question.optimizers)


def _ladder(question: Question, optimizer: OptimizerName) -> Ladder:
    swept = ranges(question, optimizer)
    lowest = {name: bounds.low for name, bounds in swept.items()}  # costs do not depend on values
    flops = [
        trial_flops(trial_spec(question, optimizer, width, lowest))
        for width in question.model.widths
    ]
    ladder = Ladder(
        optimizer=optimizer,
        widths=question.model.widths,
        target_width=question.model.target_width,
        axes=tuple(
            Axis.between(name, bounds.low, bounds.high, bounds.points, bounds.extend)
            for name, bounds in swept.items()
        ),
        costs=tuple(cost / flops[0] for cost in flops),
        base_flops=flops[0],
        target_cost=trial_flops(target_spec(question, optimizer, lowest)) / flops[0],
        seeds=question.seeds,
    )
    if question.schedule == "paper":
        return ladder
    return replace(ladder, max_base_runs=question.limits.max_base_runs or robust.budget(ladder))


@lru_cache(maxsize=256)
def coordinate_design(question: Question, ladder: Ladder) -> Design:
    """The design of a ladder's coordinate check. Each swept hyperparameter has the value in the
    middle of its range, in octaves.

    The check's budget is a share of the FLOPs that the ladder is expected to use, but at least a
    fixed number of FLOPs. Runs that depend on losses, such as those beyond an edge of the grid, are
    not counted in the expected FLOPs. If the question has a limit `max_flops`, the budget is at
    most a share of the ladder's part of this limit. All optimizers have equal parts of the limit.
    """
    middle = {axis.name: axis.value((axis.low + axis.high) / 2) for axis in ladder.axes}
    runs_by_level = (
        robust.forecast(ladder)
        if question.schedule == "robust"
        else [windows.runs(ladder, i, question.paper) for i in range(ladder.levels)]
    )
    flops = ladder.base_flops * sum(
        ladder.costs[level] * count for level, count in enumerate(runs_by_level)
    )
    max_flops = question.limits.max_flops
    limit = math.inf if max_flops is None else max_flops / len(question.optimizers)
    return design(
        trial_spec(question, ladder.optimizer, ladder.widths[0], middle),
        ladder.target_width,
        flops,
        limit,
    )
