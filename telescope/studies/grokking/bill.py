"""The expected cost of a grokking study.

A *cell* is a task with a variant of softmax. Under `protocol: tuned`, each optimizer has its own
search for hyperparameters in each cell. The lower bound of the cost assumes that no search is
extended beyond its first grid. The upper bound assumes that all searches are extended as often as
they may be. Both bounds count all epochs of each run, although a run may end earlier.

Parts: `ArmPreview`, `GrokkingForecast` · `preview` · `most_trials`.
"""

import math
from dataclasses import dataclass

from telescope.studies.forecast.pace import Machine, Pace, assumed, pace
from telescope.studies.forecast.span import Span
from telescope.studies.grokking.fold import shared_values
from telescope.studies.grokking.question import Question
from telescope.studies.grokking.runs import Cell, Hyperparameters, cells_of, run_spec
from telescope.studies.grokking.search import first_axes, most_tuning_trials, points_of
from telescope.train.flops import trial_flops
from telescope.trials.spec import TrialSpec
from telescope.trials.types import OptimizerName, SoftmaxName


@dataclass(frozen=True)
class ArmPreview:
    """The expected cost of an optimizer in a cell."""

    task: str
    softmax: SoftmaxName
    optimizer: OptimizerName
    steps_per_epoch: int
    steps: int  # steps of a run over all epochs
    runs: int  # runs of the comparison
    tuning_least: int  # runs of the search without an extension; 0 if nothing is tuned
    tuning_most: int  # runs of the search with all extensions; 0 if nothing is tuned
    run_flops: float  # FLOPs of one run over all epochs
    run_seconds: float
    pace: Pace


@dataclass(frozen=True)
class GrokkingForecast:
    """The expected cost of a study. In all spans, `expected` equals `least`: the cost if no search
    is extended and every run trains for all epochs."""

    trials: Span
    tokens: Span
    flops: Span
    seconds: Span  # with `parallel` trials at once
    parallel: int
    estimated: bool  # true if the seconds rest on an assumed speed
    assumes: str  # the assumptions of both bounds, as text
    arms: tuple[ArmPreview, ...]


def preview(question: Question, machine: Machine | None = None) -> GrokkingForecast:
    """The forecast of a study. The hashes and sizes of its tables must be filled in."""
    machine = machine or Machine()
    limits = [question.limits.max_parallel, machine.slots]
    parallel = min([limit for limit in limits if limit is not None], default=1)
    arms, specs = [], []
    for cell in cells_of(question):
        for optimizer in question.optimizers:
            spec = example_spec(question, cell, optimizer)
            arms.append(arm_preview(question, cell, spec, machine))
            specs.append(spec)

    def span(per_run: list[float]) -> Span:
        least = math.fsum(
            (arm.runs + arm.tuning_least) * cost for arm, cost in zip(arms, per_run, strict=True)
        )
        most = math.fsum(
            (arm.runs + arm.tuning_most) * cost for arm, cost in zip(arms, per_run, strict=True)
        )
        return Span(least, least, most)

    tokens = [float(spec.tokens_until(spec.horizon.steps)) for spec in specs]
    return GrokkingForecast(
        trials=span([1.0] * len(arms)),
        tokens=span(tokens),
        flops=span([arm.run_flops for arm in arms]),
        seconds=span([arm.run_seconds for arm in arms]).times(1 / parallel),
        parallel=parallel,
        estimated=any(arm.pace.estimated for arm in arms),
        assumes=(
            "least: no search is extended; most: all are extended; "
            "in both, every run trains for all epochs"
        ),
        arms=tuple(arms),
    )


def example_spec(question: Question, cell: Cell, optimizer: OptimizerName) -> TrialSpec:
    """A run of this optimizer in this cell, which stands for all of them: hyperparameters do not
    affect the cost."""
    values = shared_values(question, optimizer)
    if question.protocol == "tuned":
        values = Hyperparameters(1.0, 0.0, 1.0 if optimizer == "muon" else None)
    return run_spec(question, cell, optimizer, values, 0)


def arm_preview(question: Question, cell: Cell, spec: TrialSpec, machine: Machine) -> ArmPreview:
    """The expected cost of an optimizer in a cell, if each of its runs costs as much as `spec`."""
    speed, flops = pace_of(spec, machine), trial_flops(spec)
    optimizer, tuning = spec.optimizer.name, question.tuning
    least = len(points_of(first_axes(tuning, optimizer))) * tuning.seeds if tuning else 0
    return ArmPreview(
        task=cell.table.title,
        softmax=cell.softmax,
        optimizer=optimizer,
        steps_per_epoch=cell.table.steps_per_epoch(spec.horizon.batch_tokens),
        steps=spec.horizon.steps,
        runs=question.seeds,
        tuning_least=least,
        tuning_most=most_tuning_trials(tuning, optimizer) if tuning else 0,
        run_flops=flops,
        run_seconds=flops / speed.flops_per_second,
        pace=speed,
    )


def pace_of(spec: TrialSpec, machine: Machine) -> Pace:
    """The speed of runs like `spec`: measured, or assumed if the machine has no measured rates."""
    if machine.rates:
        return pace(machine.rates, spec.optimizer.name, spec.model.width, spec.horizon.batch_tokens)
    return assumed(trial_flops(spec) / spec.horizon.steps, spec.model.known_depth())


def most_trials(question: Question) -> int:
    """The largest number of trials that a study can need."""
    tuning = question.tuning if question.protocol == "tuned" else None
    per_cell = sum(
        question.seeds + (most_tuning_trials(tuning, optimizer) if tuning else 0)
        for optimizer in question.optimizers
    )
    return len(cells_of(question)) * per_cell
