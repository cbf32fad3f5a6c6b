"""The specification of the training run at a planned point of a ladder.

A *ladder* is the search of one optimizer over several widths. A *point* is a planned run: a width,
values of the swept hyperparameters, and a seed. A *question* is the user's document in checked
form.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from telescope.studies.ranges import Range
from telescope.studies.telescoping.axes import SCALES, AxisName, field_of
from telescope.studies.telescoping.ladder.ladder import Ladder, Point
from telescope.studies.telescoping.question.question import Question
from telescope.trials.optimizer import OptimizerOptions, OptimizerSpec
from telescope.trials.spec import TrialSpec
from telescope.trials.types import OptimizerName


def trial_spec(
    question: Question,
    optimizer: OptimizerName,
    width: int,
    values: Mapping[AxisName, float],
    seed: int = 0,
) -> TrialSpec:
    """The specification of a run at a width. `values` are the values of the swept hyperparameters.
    The question determines the other fields, and must have no `sweep_over`.
    """
    assert question.sweep_over is None, "a question with variants must be split first"
    return cached_trial_spec(question, optimizer, width, tuple(sorted(values.items())), seed)


def target_spec(
    question: Question, optimizer: OptimizerName, values: Mapping[AxisName, float], seed: int = 0
) -> TrialSpec:
    """The specification of a run at the target width and depth."""
    return replace(
        trial_spec(question, optimizer, question.model.target_width, values, seed),
        model=question.model.target,
    )


@lru_cache(maxsize=65_536)
def cached_trial_spec(
    question: Question,
    optimizer: OptimizerName,
    width: int,
    values: tuple[tuple[AxisName, float], ...],
    seed: int,
) -> TrialSpec:
    """The result of `trial_spec`, cached. Whenever the next runs are planned, all earlier stages of
    the search are planned anew, so the same specifications are needed many times.
    """
    options: dict[str, Any] = {
        name: getattr(question.optimizer_options, name)
        for name in OptimizerOptions.__dataclass_fields__
    }
    if not isinstance(question.search.weight_decay, Range):
        options["weight_decay"] = question.search.weight_decay
    if optimizer == "muon":
        options["adamw_lr_ratio"] = question.adamw_lr_ratio
    else:
        options["muon_split"] = "whole"
    parts: dict[str, dict[str, Any]] = {"optimizer": options, "horizon": {}}
    for name, value in values:
        parts[SCALES[name].part][field_of(name, optimizer)] = value
    return TrialSpec(
        model=question.model.at(width),
        optimizer=OptimizerSpec(
            name=optimizer, parametrisation=question.parametrisation, **options
        ),
        data=question.data,
        horizon=replace(question.horizon, **parts["horizon"]),
        seed=seed,
    )


def spec_of(question: Question, ladder: Ladder, point: Point) -> TrialSpec:
    """The specification of the run at a planned point. The level after the ladder's last level
    stands for the target.
    """
    values = {axis.name: axis.value(x) for axis, x in zip(ladder.axes, point.x, strict=True)}
    if point.level == ladder.levels:
        return target_spec(question, ladder.optimizer, values, point.seed)
    return trial_spec(question, ladder.optimizer, ladder.widths[point.level], values, point.seed)
