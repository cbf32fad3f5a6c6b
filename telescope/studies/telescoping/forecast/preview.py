"""The expected cost of a telescoping study, and its alternatives.

A *ladder* searches the hyperparameters of one optimizer at increasing widths, its *levels*. A
`Preview` holds trials, tokens, FLOPs and seconds, both for each ladder and for all ladders
together. It also holds the disk space of all ladders, and alternatives to each ladder. A *variant*
is one of the architectures or corpora that a study may compare.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from telescope.studies.forecast.disk import Disk, checkpoint_bytes, curve_bytes
from telescope.studies.forecast.pace import Machine, Pace, assumed, pace
from telescope.studies.forecast.span import Span, total
from telescope.studies.telescoping.answer.levels import final_run_flops
from telescope.studies.telescoping.evidence import digits
from telescope.studies.telescoping.fold.ladders import each_ladder
from telescope.studies.telescoping.fold.specs import trial_spec
from telescope.studies.telescoping.forecast.alternatives import Choice, choices, recommendation
from telescope.studies.telescoping.forecast.bill import (
    BillItem,
    LadderForecast,
    bill_of,
    rehearsed,
    target_lines,
    total_flops,
)
from telescope.studies.telescoping.forecast.clock import LadderDurations
from telescope.studies.telescoping.forecast.rehearsal import ASSUMES, Rehearsal
from telescope.studies.telescoping.ladder.ladder import Ladder
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.question.variants import Variant
from telescope.trials.types import OptimizerName

# follows ASSUMES in the field `assumes` of a preview, if finished trials may be reused
REUSED = "; finished trials of other jobs are reused at no cost, but the saving is not counted here"


@dataclass(frozen=True)
class LevelPreview:
    """The certain runs at a width: those that are needed whatever the losses are, unless all runs
    diverge.
    """

    width: int
    trials: int
    tokens: int
    flops: float


@dataclass(frozen=True)
class LadderPreview:
    """The expected cost of a ladder. `variant` is empty if the study compares no variants."""

    optimizer: OptimizerName
    variant: str
    levels: tuple[LevelPreview, ...]
    validation: LevelPreview | None  # fewest runs at the target; None without validation
    lines: tuple[BillItem, ...]
    trials: Span
    tokens: Span
    flops: Span
    seconds: Span
    pace: Pace  # speed at the widest level
    final_run_flops: float
    final_run_seconds: float
    share: float  # FLOPs of the final run, divided by the FLOPs of tuning and final run
    choices: tuple[Choice, ...]  # ways to choose the learning rate; the ladder itself comes first
    advice: tuple[str, ...]


@dataclass(frozen=True)
class Preview:
    """The expected cost of all ladders together, and of each ladder."""

    trials: Span
    tokens: Span
    flops: Span
    seconds: Span  # wall-clock time of training, with `parallel` trials at once
    parallel: int
    estimated: bool  # whether the seconds follow from an assumed speed
    disk: Disk
    final_run_flops: float  # FLOPs of the most expensive final run among the ladders
    share: float  # FLOPs of this final run, divided by the FLOPs of all tuning and this run
    assumes: str  # the assumptions behind the expected figures
    advice: tuple[str, ...]
    ladders: tuple[LadderPreview, ...]


def preview(question: Question, machine: Machine | None = None) -> Preview:
    """The forecast of a study. The vocabulary size in the question affects the cost and should be
    known.
    """
    machine = machine or Machine()
    parallel = min(
        [limit for limit in (question.limits.max_parallel, machine.slots) if limit is not None],
        default=1,
    )
    ladders = tuple(
        ladder_preview(variant, ladder, machine, parallel)
        for variant, ladder in each_ladder(question)
    )
    flops, final = (
        total(ladder.flops for ladder in ladders),
        max(ladder.final_run_flops for ladder in ladders),
    )
    return Preview(
        trials=total(ladder.trials for ladder in ladders),
        tokens=total(ladder.tokens for ladder in ladders),
        flops=flops,
        seconds=total(ladder.seconds for ladder in ladders),
        parallel=parallel,
        estimated=any(ladder.pace.estimated for ladder in ladders),
        disk=disk(question, ladders, machine, parallel),
        final_run_flops=final,
        share=digits(final / (final + flops.expected)),
        assumes=ASSUMES + (REUSED if question.reuse else ""),
        advice=tuple(all_advice(ladders)),
        ladders=ladders,
    )


def disk(
    question: Question, ladders: Sequence[LadderPreview], machine: Machine, parallel: int
) -> Disk:
    """The disk space of all ladders. Every run is assumed to take as much as a run at its ladder's
    widest level.
    """
    widest = [
        trial_spec(
            variant.question,
            ladder.optimizer,
            ladder.widths[-1],
            {axis.name: axis.value(axis.low) for axis in ladder.axes},
        )
        for variant, ladder in each_ladder(question)
    ]
    curves = math.fsum(
        curve_bytes(spec, machine.encode) * ladder_forecast.trials.expected
        for spec, ladder_forecast in zip(widest, ladders, strict=True)
    )
    return Disk(round(curves), parallel * max(map(checkpoint_bytes, widest)))


def all_advice(ladders: Sequence[LadderPreview]) -> Iterator[str]:
    """All advice, each text once. A text that does not concern all variants begins with the names
    of those that it concerns.
    """
    variants = dict.fromkeys(ladder.variant for ladder in ladders)
    for text in dict.fromkeys(text for ladder in ladders for text in ladder.advice):
        owners = dict.fromkeys(ladder.variant for ladder in ladders if text in ladder.advice)
        yield text if len(owners) == len(variants) else f"{', '.join(owners)}: {text}"


def ladder_preview(
    variant: Variant, ladder: Ladder, machine: Machine, parallel: int
) -> LadderPreview:
    """The forecast of a ladder."""
    question = variant.question
    rehearsals = rehearsed(question, ladder)
    bill, final = bill_of(question, ladder, rehearsals), final_run_flops(question, ladder)
    tokens, paces = question.horizon.tokens, paces_of(question, ladder, machine)
    alternatives = choices(question, ladder, bill, rehearsals)
    clock = LadderDurations(ladder, parallel, tuple(pace.flops_per_second for pace in paces))
    return LadderPreview(
        optimizer=ladder.optimizer,
        variant=variant.name,
        levels=tuple(
            LevelPreview(width, count, count * tokens, total_flops(ladder, {level: count}))
            for level, (width, count) in enumerate(zip(ladder.widths, bill.known, strict=True))
        ),
        validation=first_validation_runs(question, ladder),
        lines=bill.lines,
        trials=bill.trials,
        tokens=bill.tokens,
        flops=bill.flops,
        seconds=seconds_of(clock, bill, rehearsals),
        pace=paces[-2],
        final_run_flops=final,
        final_run_seconds=digits(final / paces[-1].flops_per_second),
        share=digits(final / (final + bill.flops.expected)),
        choices=alternatives,
        advice=recommendation(question, ladder, bill, alternatives),
    )


def paces_of(question: Question, ladder: Ladder, machine: Machine) -> list[Pace]:
    """The speed of a run at every level, then at the target."""
    if machine.rates:
        widths = (*ladder.widths, ladder.target_width)
        return [
            pace(machine.rates, ladder.optimizer, width, question.horizon.batch_tokens)
            for width in widths
        ]
    runs = [ladder.base_flops * cost for cost in ladder.costs] + [final_run_flops(question, ladder)]
    depths = [question.model.known_depth()] * ladder.levels + [question.model.target.known_depth()]
    return [
        assumed(flops / question.horizon.steps, depth)
        for flops, depth in zip(runs, depths, strict=True)
    ]


def first_validation_runs(question: Question, ladder: Ladder) -> LevelPreview | None:
    """The runs that validation at the target needs at least. `None` if the study asks for no
    validation.
    """
    for line in target_lines(question, ladder):
        runs = round(line.trials.least)
        return LevelPreview(
            ladder.target_width, runs, runs * question.horizon.tokens, line.flops.least
        )
    return None


def seconds_of(
    clock: LadderDurations, bill: LadderForecast, rehearsals: Sequence[Rehearsal]
) -> Span:
    """The seconds until the last run of a ladder ends. All figures include the coordinate check and
    the runs at the target.

    The least figure is for the certain runs, which are needed whatever the losses are. The expected
    figure is the mean over the rehearsals (searches on simulated losses), but not below the least
    figure. Without rehearsals, it equals the least figure. The greatest figure is for all runs that
    the limits allow.
    """
    counts = dict(enumerate(bill.known))
    certain_seconds = math.fsum(
        clock.stage_seconds({level: count}) for level, count in counts.items()
    )
    certain_flops = total_flops(clock.ladder, counts)
    least, most = (
        certain_seconds + clock.rest_seconds(flops - certain_flops)
        for flops in (bill.flops.least, bill.flops.most)
    )
    rehearsed_seconds = [
        math.fsum(clock.stage_seconds(dict(levels)) for _, levels in rehearsal.stages)
        for rehearsal in rehearsals
    ]
    other_seconds = clock.rest_seconds(bill.flops.expected - bill.schedule_flops.expected)
    expected = least
    if rehearsed_seconds:
        expected = math.fsum(rehearsed_seconds) / len(rehearsed_seconds) + other_seconds
    return Span(digits(least), digits(max(least, expected)), digits(max(least, expected, most)))
