"""The expected cost of a compute-time study.

The lower bound assumes that searches find their optimum inside the first grid and that courses
reach the lowest target in their first stage; the upper bound, every extension of a grid and every
doubling of a course. The actual cost depends on losses that are not known yet, so there is no
figure in between. A course's run that a search has made already is run once, but counted twice.

Parts: `most_trials` · `preview` -> `Bill`.
"""

import math
from dataclasses import dataclass

from telescope.studies.compute_time.fold import candidates, setting_of, timed_spec
from telescope.studies.compute_time.question import Question
from telescope.studies.compute_time.runs import stage_parts
from telescope.studies.compute_time.tuning import (
    BEYOND,
    Known,
    first_rates,
    most_points,
    search_spec,
    weight_decays_to_compare,
)
from telescope.studies.forecast.pace import Machine, Pace, assumed, pace
from telescope.studies.forecast.span import Span
from telescope.train.flops import trial_flops
from telescope.trials.spec import TrialSpec
from telescope.trials.types import OptimizerName


@dataclass(frozen=True)
class RunsCost:
    """The cost of some runs."""

    trials: int
    tokens: int
    flops: float
    seconds: float  # of one worker

    def __add__(self, other: "RunsCost") -> "RunsCost":
        """The sum of two costs."""
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
    tuning: RunsCost  # zero where it is not tuned at this batch
    least: RunsCost  # with the tuning
    most: RunsCost
    pace: Pace


@dataclass(frozen=True)
class Bill:
    """The expected cost; `expected` equals the least, the cost if nothing has to be extended."""

    trials: Span
    tokens: Span
    flops: Span
    seconds: Span  # with `parallel` trials at once
    parallel: int
    estimated: bool  # whether the seconds rest on an assumed speed
    assumes: str
    batches: tuple[BatchPreview, ...]


def most_trials(question: Question) -> int:
    """The largest possible number of trials."""
    return sum(
        len(specs) for specs in (*all_searches(question, most=True), *all_runs(question, most=True))
    )


def trials_upper_bound(question: Question) -> int:
    """An upper bound on `most_trials`, without counting trials one by one."""
    runs, tuning = question.runs, question.tuning
    stages = 1 + (runs.doublings if question.lowest is not None else 0)
    each = stages if runs.reading == "constant" else stages + runs.lengths + 2 * (stages - 1)
    searches = len(question.tuned_batches) * most_points(tuning) if tuning else 0
    return len(question.optimizers) * (
        len(question.batches) * (question.seeds * each + 1) + searches
    )


def all_searches(question: Question, most: bool) -> list[tuple[TrialSpec, ...]]:
    """Runs of the searches, per optimizer and batch; at most, the grid is extended at its upper
    end.
    """
    if question.tuning is None:
        return []
    tuning, octaves = question.tuning, list(first_rates(question.tuning))
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
    """Runs of the courses and the timed run, per optimizer and batch."""
    stages = range(1 + (question.runs.doublings if most and question.lowest is not None else 0))
    found = []
    for optimizer in question.optimizers:
        for batch in question.batches:
            setting = setting_of(question, optimizer, Known(batch, 1.0, 0.0, "tuned"))
            courses = [
                spec
                for seed in range(question.seeds)
                for stage in stages
                for part in stage_parts(question.runs, setting, seed, question.lowest, stage)
                for spec in part
            ]
            found.append((*courses, timed_spec(question, setting)))
    return found


def preview(question: Question, machine: Machine | None = None) -> Bill:
    """The forecast; the study's data should be resolved, since the vocabulary affects the cost."""
    machine = machine or Machine()
    parallel = min(
        [limit for limit in (question.limits.max_parallel, machine.slots) if limit is not None],
        default=1,
    )
    rows = []
    least, most = all_runs(question, most=False), all_runs(question, most=True)
    tuned = {key_of(specs): specs for specs in all_searches(question, most=False)}
    widened = {key_of(specs): specs for specs in all_searches(question, most=True)}
    for few, many in zip(least, most, strict=True):
        speed = pace_of(question, few[0], machine)
        tuning = cost_of_runs(tuned.get(key_of(few), ()), speed)
        rows.append(
            BatchPreview(
                optimizer=few[0].optimizer.name,
                batch_tokens=few[0].horizon.batch_tokens,
                tuning=tuning,
                least=tuning + cost_of_runs(few, speed),
                most=cost_of_runs(widened.get(key_of(few), ()), speed) + cost_of_runs(many, speed),
                pace=speed,
            )
        )
    least_of, most_of = (
        sum((row.least for row in rows), NOTHING),
        sum((row.most for row in rows), NOTHING),
    )
    return Bill(
        trials=Span(least_of.trials, least_of.trials, most_of.trials),
        tokens=Span(least_of.tokens, least_of.tokens, most_of.tokens),
        flops=Span(least_of.flops, least_of.flops, most_of.flops),
        seconds=Span(least_of.seconds, least_of.seconds, most_of.seconds).times(1 / parallel),
        parallel=parallel,
        estimated=any(row.pace.estimated for row in rows),
        assumes=(
            "least: every optimum inside its grid, every run short; most: all extensions and doublings"
        ),
        batches=tuple(rows),
    )


def key_of(specs: tuple[TrialSpec, ...]) -> tuple[str, int]:
    """The optimizer and the batch of some runs."""
    return specs[0].optimizer.name, specs[0].horizon.batch_tokens


def pace_of(question: Question, spec: TrialSpec, machine: Machine) -> Pace:
    """The speed of runs at one batch."""
    if machine.rates:
        return pace(machine.rates, spec.optimizer.name, spec.model.width, spec.horizon.batch_tokens)
    return assumed(trial_flops(spec) / spec.own_steps, question.model.depth)


def cost_of_runs(specs: tuple[TrialSpec, ...], speed: Pace) -> RunsCost:
    """The cost of runs, one after the other."""
    flops = math.fsum(map(trial_flops, specs))
    steps = [spec.own_steps * spec.horizon.batch_tokens for spec in specs]
    return RunsCost(len(specs), sum(steps), flops, flops / speed.flops_per_second)
