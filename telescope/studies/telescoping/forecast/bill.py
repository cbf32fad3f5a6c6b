"""The runs of a ladder, counted beforehand.

Under `paper` every run is known, unless an edge rule may add runs or a flat optimum may end the
ladder early. Under `robust` the grid and rounds 2 to 4 are known and give the least; the cap, which
is enforced, gives the most; the expected number in between is the mean of a few rehearsals
(`rehearsal`). The coordinate check before and the runs at the target afterwards are outside the cap
on base runs, the check also outside the cap on trials. Runs are assumed to train to their end;
those that diverge cost less.

Parts: `BillItem` · `Bill` · `bill_of` · `known_runs` · `rehearsed` · `rounds`, `target_lines`,
`coordinate_lines`.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from telescope.studies.coordinates.check import FEWEST_WIDTHS
from telescope.studies.forecast.span import Span, total
from telescope.studies.telescoping.fold.ladders import coordinate_design
from telescope.studies.telescoping.forecast.rehearsal import Rehearsal, rehearse
from telescope.studies.telescoping.ladder.ladder import Ladder
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.schedules import paper, robust, validation, windows
from telescope.studies.telescoping.schedules.edges import EDGE_ROUNDS
from telescope.train.flops import trial_flops

REHEARSALS = 4  # of a variant, divided among its ladders
LARGEST_REHEARSED = 1000  # runs at one level
KNOWN = {"robust": "rounds 1 to 4", "paper": "grids"}
EDGE, REST = "edge rule", {"robust": "top-up", "paper": "further levels"}


@dataclass(frozen=True)
class BillItem:
    """A part of a bill."""

    name: str
    trials: Span
    tokens: Span
    flops: Span


@dataclass(frozen=True)
class Bill:
    """The cost of a ladder; the most of its lines need not add up to its most, since the cap is on
    all rounds together.
    """

    known: tuple[int, ...]  # runs per level that are certain
    lines: tuple[BillItem, ...]
    rounds: Span  # FLOPs of the ladder's own rounds
    trials: Span  # of everything
    tokens: Span
    flops: Span


def bill_of(question: Question, ladder: Ladder, rehearsals: Sequence[Rehearsal]) -> Bill:
    """The bill of a ladder."""
    known, (max_runs, max_flops) = known_runs(question, ladder), job_limits(question)
    own = rounds(question, ladder, known, rehearsals)
    most_runs, most_flops = caps(question, ladder)
    flops = total(line.flops for line in own).within(most_flops)
    before, after = coordinate_lines(question, ladder), target_lines(question, ladder)
    runs = total(
        [total(line.trials for line in own).within(most_runs), *(line.trials for line in after)]
    ).within(max_runs)
    return Bill(
        known=known,
        lines=(*before, *own, *after),
        rounds=flops,
        trials=total([runs, *(line.trials for line in before)]),
        tokens=total([runs.times(question.horizon.tokens), *(line.tokens for line in before)]),
        flops=total([flops, *(line.flops for line in (*before, *after))]).within(max_flops),
    )


def job_limits(question: Question) -> tuple[float, float]:
    """The most trials and FLOPs of a ladder, its checks included: an equal share of the job's
    limits.
    """
    share = len(question.optimizers)
    flops = math.inf if question.limits.max_flops is None else question.limits.max_flops / share
    return question.limits.max_trials // share, flops


def caps(question: Question, ladder: Ladder) -> tuple[float, float]:
    """The most trials and FLOPs of a ladder's own rounds."""
    max_runs, max_flops = job_limits(question)
    if question.schedule == "robust":
        return min(max_runs, math.floor(ladder.max_base_runs)), min(
            max_flops, ladder.max_base_runs * ladder.base_flops
        )
    every = {
        level: paper.most_runs(ladder, level, question.paper) for level in range(ladder.levels)
    }
    return min(max_runs, sum(every.values())), min(max_flops, flops_per_level(ladder, every))


def is_exact(question: Question) -> bool:
    """Whether every run is known beforehand."""
    return (
        question.schedule == "paper"
        and question.paper.edge == "ignore"
        and question.paper.nc == "fixed"
    )


def known_runs(question: Question, ladder: Ladder) -> tuple[int, ...]:
    """The certain runs per level: those of the rounds or levels that fit into the limits."""
    max_runs, max_flops = job_limits(question)

    def fits(counts: Sequence[int]) -> bool:
        cost = sum(map(operator.mul, counts, ladder.costs))
        return (
            sum(counts) <= max_runs
            and cost * ladder.base_flops <= max_flops
            and cost <= ladder.max_base_runs
        )

    if question.schedule == "robust":
        none = [0] * ladder.levels
        grid = [robust.base_runs(ladder), *none[1:]]
        return tuple(
            next(counts for counts in (robust.forecast(ladder), grid, none) if fits(counts))
        )
    certain = (
        1
        if question.paper.edge == "fail"
        else 2
        if question.paper.nc == "stop_when_flat"
        else ladder.levels
    )
    counts: list[int] = []
    for level in range(min(certain, ladder.levels)):
        longer = [*counts, windows.runs(ladder, level, question.paper)]
        if not fits(longer):
            break
        counts = longer
    return (*counts, *[0] * (ladder.levels - len(counts)))


def rehearsed(question: Question, ladder: Ladder) -> tuple[Rehearsal, ...]:
    """Rehearsals on a few bowls; empty where no grid fits into the limits, or where they would take
    too long for a preview.
    """
    slow = question.schedule == "paper" and windows.sampler_of(ladder, question.paper) in (
        "gp",
        "tpe",
    )
    if slow or not 0 < max(known_runs(question, ladder)) <= LARGEST_REHEARSED:
        return ()
    return tuple(
        rehearse(question, ladder, number)
        for number in range(max(1, REHEARSALS // len(question.optimizers)))
    )


def rounds(
    question: Question, ladder: Ladder, counts: Sequence[int], rehearsals: Sequence[Rehearsal]
) -> tuple[BillItem, ...]:
    """The lines of a ladder's rounds: the known runs, those of the edge rule, and those that depend
    on losses.
    """
    known = dict(enumerate(counts))
    tokens = question.horizon.tokens
    first = BillItem(
        KNOWN[question.schedule],
        *(
            Span(x, x, x)
            for x in (sum(counts), sum(counts) * tokens, flops_per_level(ladder, known))
        ),
    )
    if is_exact(question):
        return (first,)
    edge, every = (
        mean([rehearsal.runs("edge") for rehearsal in rehearsals]),
        mean([rehearsal.runs() for rehearsal in rehearsals]),
    )
    rest = {
        level: max(0.0, runs - known.get(level, 0) - edge.get(level, 0.0))
        for level, runs in every.items()
    }
    most_runs, most_flops = caps(question, ladder)
    left_runs, left_flops = most_runs - first.trials.least, most_flops - first.flops.least
    added = EDGE_ROUNDS * edge_points(ladder) if question.schedule == "robust" else left_runs
    return (
        first,
        upto(
            ladder,
            tokens,
            EDGE,
            edge,
            (min(added, left_runs), min(added * ladder.base_flops, left_flops)),
        ),
        upto(ladder, tokens, REST[question.schedule], rest, (left_runs, left_flops)),
    )


def upto(
    ladder: Ladder, tokens: int, name: str, runs: Mapping[int, float], most: tuple[float, float]
) -> BillItem:
    """A line from zero up to the trials and FLOPs that are left."""
    trials = Span(0.0, math.fsum(runs.values()), most[0]).within(most[0])
    return BillItem(
        name,
        trials,
        trials.times(tokens),
        Span(0.0, flops_per_level(ladder, runs), most[1]).within(most[1]),
    )


def edge_points(ladder: Ladder) -> int:
    """The most points that robust's edge rule adds per round: two columns of the learning rate, a
    row of every other axis, three values across.
    """
    axes = len(ladder.fitted)
    return (axes + 1) * (1 + 2 * max(0, axes - 1))


def mean(counts: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """The mean of runs per level."""
    levels = sorted({level for by_level in counts for level in by_level})
    return {
        level: math.fsum(by_level.get(level, 0) for by_level in counts) / len(counts)
        for level in levels
    }


def flops_per_level(ladder: Ladder, runs: Mapping[int, float]) -> float:
    """FLOPs of runs per level."""
    return ladder.base_flops * math.fsum(
        ladder.cost(level) * count for level, count in runs.items()
    )


def coordinate_lines(question: Question, ladder: Ladder) -> tuple[BillItem, ...]:
    """The line of the coordinate check, with more seeds at most, for an unclear verdict."""
    plan = coordinate_design(question, ladder)
    if question.coordinates == "skip" or not plan.seeds or len(plan.widths) < FEWEST_WIDTHS:
        return ()
    few, many = (plan.runs[: seeds * len(plan.widths)] for seeds in (plan.seeds, plan.most_seeds))
    sums = [
        (len(runs), sum(spec.horizon.tokens for spec in runs), math.fsum(map(trial_flops, runs)))
        for runs in (few, few, many)
    ]
    return (
        BillItem(
            "coordinate check", *(Span(*sum_triple) for sum_triple in zip(*sums, strict=True))
        ),
    )


def target_lines(question: Question, ladder: Ladder) -> tuple[BillItem, ...]:
    """The line of the runs at the target, which come last."""
    if not question.validate_at_target:
        return ()
    runs = Span(validation.LEAST_RUNS, validation.LEAST_RUNS, validation.MOST_RUNS)
    return (
        BillItem(
            "runs at the target",
            runs,
            runs.times(question.horizon.tokens),
            runs.times(flops_per_level(ladder, {ladder.levels: 1})),
        ),
    )
