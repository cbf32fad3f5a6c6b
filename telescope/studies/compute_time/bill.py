"""The expected cost of a compute-time study.

A *search* tunes the hyperparameters of an optimizer at a batch size. A *course* consists of the
runs with one optimizer, batch size and seed that together give one curve of loss against tokens.
The actual cost depends on losses that are not known yet, so the forecast has two values:

- `least` assumes that every search finds its optimum inside the first grid of learning rates, and
  that every course reaches the lowest target loss without a doubling of its length.
- `most` assumes that every grid is extended, and every course is doubled, as often as the study
  allows.

Both values count all steps of each run. If a run ends early, because it diverges or because its
loss is low enough, the actual cost is lower. If a search and a course share a run, it is trained
once, but both values count it twice.

Parts: `most_trials` and `trials_upper_bound`, upper bounds on the number of trials · `all_searches`
and `all_runs`, the trials · `preview`, the forecast.
"""

import math
from dataclasses import dataclass

from telescope.studies.compute_time.fold import candidates, setting_of, timed_spec
from telescope.studies.compute_time.question import Question
from telescope.studies.compute_time.runs import stage_parts
from telescope.studies.compute_time.tuning import (
    BEYOND,
    BatchHyperparameters,
    most_search_runs,
    search_spec,
    weight_decays_to_compare,
)
from telescope.studies.forecast.pace import Machine, Pace, assumed, pace
from telescope.studies.forecast.span import Span
from telescope.studies.ranges import grid_octaves
from telescope.train.flops import trial_flops
from telescope.trials.spec import TrialSpec
from telescope.trials.types import OptimizerName


@dataclass(frozen=True)
class RunsCost:
    """The cost of a set of runs."""

    trials: int
    tokens: int
    flops: float
    seconds: float  # seconds of one worker

    def __add__(self, other: "RunsCost") -> "RunsCost":
        return RunsCost(
            self.trials + other.trials,
            self.tokens + other.tokens,
            self.flops + other.flops,
            self.seconds + other.seconds,
        )


NOTHING = RunsCost(0, 0, 0.0, 0.0)


@dataclass(frozen=True)
class BatchPreview:
    """The expected cost of an optimizer at a batch."""

    optimizer: OptimizerName
    batch_tokens: int
    tuning: RunsCost  # least cost of the search; zero if nothing is tuned at this batch
    least: RunsCost  # least cost, the search included
    most: RunsCost  # greatest cost, the search included
    pace: Pace  # expected speed of the runs


@dataclass(frozen=True)
class BatchForecast:
    """The expected cost of a study. In each span, `expected` equals `least`."""

    trials: Span
    tokens: Span
    flops: Span
    seconds: Span  # with `parallel` trials at once
    parallel: int
    estimated: bool  # true if the seconds are computed from an assumed speed
    assumes: str  # the assumptions of `least` and `most`, as text
    batches: tuple[BatchPreview, ...]


def most_trials(question: Question) -> int:
    """The number of trials if grids are extended and courses are doubled as often as the study
    allows. A run that a search and a course share is counted twice."""
    searches, runs = all_searches(question, most=True), all_runs(question, most=True)
    return sum(len(specs) for specs in (*searches, *runs))


def trials_upper_bound(question: Question) -> int:
    """An upper bound on `most_trials`, computed without a list of all trials."""
    runs, tuning = question.runs, question.tuning
    stages = 1 + (runs.doublings if question.lowest is not None else 0)
    per_course = stages if runs.reading == "constant" else stages + runs.lengths + 2 * (stages - 1)
    per_batch = question.seeds * per_course + 1
    searches = len(question.tuned_batches) * most_search_runs(tuning) if tuning else 0
    return len(question.optimizers) * (len(question.batches) * per_batch + searches)


def all_searches(question: Question, most: bool) -> list[tuple[TrialSpec, ...]]:
    """The runs of the searches, one tuple per optimizer and tuned batch. If `most` is true, all
    extensions of the grids are included, as if every grid were extended at its upper end only."""
    if question.tuning is None:
        return []
    tuning, octaves = question.tuning, list(grid_octaves(question.tuning.lr))
    if most and tuning.lr.extend:
        gap = octaves[-1] - octaves[-2]
        octaves += [octaves[-1] + gap * i for i in range(1, BEYOND * tuning.extensions + 1)]
    return [
        tuple(
            search_spec(tuning, question.runs, base.at(x, decay), batch, seed)
            for x in octaves
            for decay in weight_decays_to_compare(tuning)
            for seed in range(tuning.seeds)
        )
        for base in (candidates(question, optimizer) for optimizer in question.optimizers)
        for batch in question.tuned_batches
    ]


def all_runs(question: Question, most: bool) -> list[tuple[TrialSpec, ...]]:
    """The runs of the courses and the run that times a step, one tuple per optimizer and batch. If
    `most` is true, all doublings are included. Learning rate and weight decay are placeholders,
    since they do not affect the cost."""
    stages = range(1 + (question.runs.doublings if most and question.lowest is not None else 0))
    all_specs = []
    for optimizer in question.optimizers:
        for batch in question.batches:
            placeholder = BatchHyperparameters(batch, 1.0, 0.0, "tuned")
            setting = setting_of(question, optimizer, placeholder)
            courses = [
                spec
                for seed in range(question.seeds)
                for stage in stages
                for part in stage_parts(question.runs, setting, seed, question.lowest, stage)
                for spec in part
            ]
            all_specs.append((*courses, timed_spec(question, setting)))
    return all_specs


def preview(question: Question, machine: Machine | None = None) -> BatchForecast:
    """The forecast of a study. The cost depends on `question.data.vocab_size`, which should
    therefore be set. Without a machine, speeds are assumed. The number of trials at once is the
    lower of `limits.max_parallel` and `machine.slots`, or 1 if neither is known."""
    machine = machine or Machine()
    limits = [question.limits.max_parallel, machine.slots]
    parallel = min([limit for limit in limits if limit is not None], default=1)
    rows = batch_previews(question, machine)
    least = sum((row.least for row in rows), NOTHING)
    most = sum((row.most for row in rows), NOTHING)
    return BatchForecast(
        trials=Span(least.trials, least.trials, most.trials),
        tokens=Span(least.tokens, least.tokens, most.tokens),
        flops=Span(least.flops, least.flops, most.flops),
        seconds=Span(least.seconds, least.seconds, most.seconds).times(1 / parallel),
        parallel=parallel,
        estimated=any(row.pace.estimated for row in rows),
        assumes=(
            "least: every optimum lies inside its first grid, and no run is doubled; "
            "most: all grids are extended and all runs doubled as often as the study allows"
        ),
        batches=tuple(rows),
    )


def batch_previews(question: Question, machine: Machine) -> list[BatchPreview]:
    """The expected cost of each optimizer at each batch."""
    rows = []
    least_runs, most_runs = all_runs(question, most=False), all_runs(question, most=True)
    least_tuning = {key_of(specs): specs for specs in all_searches(question, most=False)}
    most_tuning = {key_of(specs): specs for specs in all_searches(question, most=True)}
    for least_specs, most_specs in zip(least_runs, most_runs, strict=True):
        speed, key = pace_of(question, least_specs[0], machine), key_of(least_specs)
        tuning = cost_of_runs(least_tuning.get(key, ()), speed)
        full_tuning = cost_of_runs(most_tuning.get(key, ()), speed)
        rows.append(
            BatchPreview(
                optimizer=least_specs[0].optimizer.name,
                batch_tokens=least_specs[0].horizon.batch_tokens,
                tuning=tuning,
                least=tuning + cost_of_runs(least_specs, speed),
                most=full_tuning + cost_of_runs(most_specs, speed),
                pace=speed,
            )
        )
    return rows


def key_of(specs: tuple[TrialSpec, ...]) -> tuple[str, int]:
    """The optimizer and the batch size of these runs, which must be the same for all of them."""
    return specs[0].optimizer.name, specs[0].horizon.batch_tokens


def pace_of(question: Question, spec: TrialSpec, machine: Machine) -> Pace:
    """The expected speed of a run. If the machine has no rates of earlier runs, it is an assumed
    speed."""
    if machine.rates:
        return pace(machine.rates, spec.optimizer.name, spec.model.width, spec.horizon.batch_tokens)
    return assumed(trial_flops(spec) / spec.own_steps, question.model.depth)


def cost_of_runs(specs: tuple[TrialSpec, ...], speed: Pace) -> RunsCost:
    """The cost of runs that one worker trains one after the other."""
    flops = math.fsum(map(trial_flops, specs))
    tokens = sum(spec.own_steps * spec.horizon.batch_tokens for spec in specs)
    return RunsCost(len(specs), tokens, flops, flops / speed.flops_per_second)
