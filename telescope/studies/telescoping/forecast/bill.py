"""The bill of a ladder: its runs and their cost, counted before any run has started.

A *ladder* searches the hyperparameters of one optimizer at increasing widths, its *levels*. Under
`schedule: paper`, every run is known beforehand, unless an option lets runs depend on losses: the
option `edge` may add runs beyond the values of a grid (the *edge rule*) or end the ladder, and the
option `nc` may end the ladder once the optimum has stopped moving. Under `schedule: robust`, the
runs of rounds 1 to 4 (`robust`) are known, and the budget limits all runs. The expected number of
runs that depend on losses is the mean over a few *rehearsals*, simulations of the schedule
(`rehearsal`).

The coordinate check (short runs at several widths) counts neither towards `limits.max_base_runs`
nor towards `limits.max_trials`. The runs at the target do not count towards `limits.max_base_runs`.
Runs are assumed not to diverge. A diverged run costs less, and if all runs diverge, the search ends
early.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from telescope.studies.coordinates.design import FEWEST_WIDTHS
from telescope.studies.forecast.span import Span, total
from telescope.studies.telescoping.fold.ladders import coordinate_design
from telescope.studies.telescoping.forecast.rehearsal import Rehearsal, rehearse
from telescope.studies.telescoping.ladder.ladder import Ladder
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.schedules import paper, robust, validation, windows
from telescope.studies.telescoping.schedules.edges import EDGE_ROUNDS
from telescope.train.flops import trial_flops

# number of rehearsals per variant (an architecture or corpus to compare), divided among the
# variant's ladders
REHEARSALS = 4
LARGEST_REHEARSED = 1000  # a ladder is not rehearsed if a level has more certain runs than this
# the names of a bill's lines: certain runs, by schedule; runs of the edge rule; other runs that
# depend on losses, by schedule
KNOWN = {"robust": "rounds 1 to 4", "paper": "grids"}
EDGE, REST = "edge rule", {"robust": "top-up", "paper": "further levels"}


@dataclass(frozen=True)
class BillItem:
    """A line of a bill."""

    name: str
    trials: Span
    tokens: Span
    flops: Span


@dataclass(frozen=True)
class LadderForecast:
    """The bill of a ladder. The upper bounds of the lines may add up to more than the upper bound
    of the bill, since a limit holds for all lines together.
    """

    known: tuple[int, ...]  # number of certain runs per level
    lines: tuple[BillItem, ...]
    # FLOPs of the schedule, without the coordinate check and the runs at the target
    schedule_flops: Span
    # sums over all lines, within the limits
    trials: Span
    tokens: Span
    flops: Span


def bill_of(question: Question, ladder: Ladder, rehearsals: Sequence[Rehearsal]) -> LadderForecast:
    """The bill of a ladder. The expected number of runs of the schedule is the mean over the
    rehearsals. Without rehearsals, it counts only the certain runs.
    """
    counts, (max_runs, max_flops) = known_runs(question, ladder), job_limits(question)
    schedule_lines = lines_of_schedule(question, ladder, counts, rehearsals)
    most_runs, most_flops = caps(question, ladder)
    flops = total(line.flops for line in schedule_lines).within(most_flops)
    check_lines = coordinate_lines(question, ladder)
    validation_lines = target_lines(question, ladder)
    schedule_runs = total(line.trials for line in schedule_lines).within(most_runs)
    runs = total([schedule_runs, *(line.trials for line in validation_lines)]).within(max_runs)
    return LadderForecast(
        known=counts,
        lines=(*check_lines, *schedule_lines, *validation_lines),
        schedule_flops=flops,
        trials=total([runs, *(line.trials for line in check_lines)]),
        tokens=total([runs.times(question.horizon.tokens), *(line.tokens for line in check_lines)]),
        flops=total([flops, *(line.flops for line in (*check_lines, *validation_lines))]).within(
            max_flops
        ),
    )


def job_limits(question: Question) -> tuple[float, float]:
    """A ladder's equal share of the limits on trials and on FLOPs. The coordinate check counts
    towards the limit on FLOPs, but not towards the limit on trials.
    """
    ladders = len(question.optimizers)
    flops = math.inf if question.limits.max_flops is None else question.limits.max_flops / ladders
    return question.limits.max_trials // ladders, flops


def caps(question: Question, ladder: Ladder) -> tuple[float, float]:
    """The largest number of trials and of FLOPs that a ladder's schedule may use."""
    max_runs, max_flops = job_limits(question)
    if question.schedule == "robust":
        runs, flops = math.floor(ladder.max_base_runs), ladder.max_base_runs * ladder.base_flops
    else:
        levels = range(ladder.levels)
        counts = {level: paper.most_runs(ladder, level, question.paper) for level in levels}
        runs, flops = sum(counts.values()), total_flops(ladder, counts)
    return min(max_runs, runs), min(max_flops, flops)


def is_exact(question: Question) -> bool:
    """Whether every run of the schedule is known beforehand."""
    return (
        question.schedule == "paper"
        and question.paper.edge == "ignore"
        and question.paper.nc == "fixed"
    )


def known_runs(question: Question, ladder: Ladder) -> tuple[int, ...]:
    """The number of certain runs per level.

    Under `schedule: robust`, the runs of rounds 1 to 4 are certain. If these do not fit into the
    limits, only the runs of the base grid are certain. If the base grid does not fit either, no
    runs are certain. Under `schedule: paper`, the runs of the first levels are certain: those that
    are run whatever the losses are, as far as they fit into the limits.
    """
    max_runs, max_flops = job_limits(question)

    def fits(counts: Sequence[int]) -> bool:
        cost = sum(map(operator.mul, counts, ladder.costs))
        return (
            sum(counts) <= max_runs
            and cost * ladder.base_flops <= max_flops
            and cost <= ladder.max_base_runs
        )

    if question.schedule == "robust":
        no_runs = [0] * ladder.levels
        grid = [robust.base_runs(ladder), *no_runs[1:]]
        return tuple(
            next(counts for counts in (robust.forecast(ladder), grid, no_runs) if fits(counts))
        )
    certain_levels = ladder.levels
    if question.paper.edge == "fail":
        certain_levels = 1
    elif question.paper.nc == "stop_when_flat":
        certain_levels = 2
    counts: list[int] = []
    for level in range(min(certain_levels, ladder.levels)):
        extended = [*counts, windows.runs(ladder, level, question.paper)]
        if not fits(extended):
            break
        counts = extended
    return (*counts, *[0] * (ladder.levels - len(counts)))


def rehearsed(question: Question, ladder: Ladder) -> tuple[Rehearsal, ...]:
    """The rehearsals of a ladder. Empty if no grid fits into the limits, or if the rehearsals would
    take too long.
    """
    sampler = windows.sampler_of(ladder, question.paper)
    slow = question.schedule == "paper" and sampler in ("gp", "tpe")
    if slow or not 0 < max(known_runs(question, ladder)) <= LARGEST_REHEARSED:
        return ()
    return tuple(
        rehearse(question, ladder, number)
        for number in range(max(1, REHEARSALS // len(question.optimizers)))
    )


def lines_of_schedule(
    question: Question, ladder: Ladder, counts: Sequence[int], rehearsals: Sequence[Rehearsal]
) -> tuple[BillItem, ...]:
    """The lines of a ladder's schedule. If every run is known beforehand, there is a single line.
    Otherwise there are three: the certain runs, the runs of the edge rule, and the other runs that
    depend on losses.
    """
    certain = dict(enumerate(counts))
    tokens, flops = question.horizon.tokens, total_flops(ladder, certain)
    runs = sum(counts)
    exact = (Span(x, x, x) for x in (runs, runs * tokens, flops))
    certain_line = BillItem(KNOWN[question.schedule], *exact)
    if is_exact(question):
        return (certain_line,)
    edge_runs = mean([rehearsal.runs("edge") for rehearsal in rehearsals])
    all_runs = mean([rehearsal.runs() for rehearsal in rehearsals])
    later_runs = {
        level: max(0.0, count - certain.get(level, 0) - edge_runs.get(level, 0.0))
        for level, count in all_runs.items()
    }
    most_runs, most_flops = caps(question, ladder)
    left = most_runs - certain_line.trials.least, most_flops - certain_line.flops.least
    most_edge = left
    if question.schedule == "robust":  # the edge rule adds runs at the base width only
        most_added = EDGE_ROUNDS * edge_points(ladder)
        most_edge = min(most_added, left[0]), min(most_added * ladder.base_flops, left[1])
    return (
        certain_line,
        optional_line(ladder, tokens, EDGE, edge_runs, most_edge),
        optional_line(ladder, tokens, REST[question.schedule], later_runs, left),
    )


def optional_line(
    ladder: Ladder, tokens: int, name: str, runs: Mapping[int, float], most: tuple[float, float]
) -> BillItem:
    """A line of runs that may not be needed. The lower bound is zero. `runs` is the expected number
    of runs per level. `most` is the upper bound: a number of trials and a number of FLOPs.
    """
    most_runs, most_flops = most
    trials = Span(0.0, math.fsum(runs.values()), most_runs).within(most_runs)
    flops = Span(0.0, total_flops(ladder, runs), most_flops).within(most_flops)
    return BillItem(name, trials, trials.times(tokens), flops)


def edge_points(ladder: Ladder) -> int:
    """The largest number of points that the edge rule of `schedule: robust` adds per round. The
    rule adds two values of the learning rate and one value of every other fitted axis (a
    hyperparameter with three values or more). Each added value is run at the best point of the
    other axes, and with two further values of each other fitted axis.
    """
    axes = len(ladder.fitted)
    return (axes + 1) * (1 + 2 * max(0, axes - 1))


def mean(counts: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """The mean of several counts of runs per level. Empty if there are no counts."""
    levels = sorted({level for by_level in counts for level in by_level})
    return {
        level: math.fsum(by_level.get(level, 0) for by_level in counts) / len(counts)
        for level in levels
    }


def total_flops(ladder: Ladder, runs: Mapping[int, float]) -> float:
    """The FLOPs of `runs`, a number of runs per level."""
    return ladder.base_flops * math.fsum(
        ladder.cost(level) * count for level, count in runs.items()
    )


def coordinate_lines(question: Question, ladder: Ladder) -> tuple[BillItem, ...]:
    """The line of the coordinate check, as a tuple of one item. Empty if the check is skipped, or
    if it has too few widths or no seeds. The upper bound includes the additional seeds that an
    unclear verdict needs.
    """
    design = coordinate_design(question, ladder)
    widths = len(design.widths)
    if question.coordinates == "skip" or not design.seeds or widths < FEWEST_WIDTHS:
        return ()
    first_runs, all_runs = (
        design.runs[: seeds * widths] for seeds in (design.seeds, design.most_seeds)
    )
    sums = [
        (len(runs), sum(spec.horizon.tokens for spec in runs), math.fsum(map(trial_flops, runs)))
        for runs in (first_runs, first_runs, all_runs)
    ]
    trials, tokens, flops = (Span(*quantity) for quantity in zip(*sums, strict=True))
    return (BillItem("coordinate check", trials, tokens, flops),)


def target_lines(question: Question, ladder: Ladder) -> tuple[BillItem, ...]:
    """The line of the runs at the target, as a tuple of one item. Empty if the study asks for no
    validation at the target.
    """
    if not question.validate_at_target:
        return ()
    first = validation.FIRST_RUNS
    # if the search may not leave the range, and the reported learning rate is at an end of the
    # range, two of the first learning rates coincide
    least = first if ladder.axes[0].extend else first - len(validation.SEEDS)
    runs = Span(least, first, validation.MOST_RUNS)
    tokens = runs.times(question.horizon.tokens)
    flops = runs.times(total_flops(ladder, {ladder.levels: 1}))
    return (BillItem("runs at the target", runs, tokens, flops),)
