"""What will a telescoping study cost, before it runs?

Exact under `paper`. Under `robust` rounds 1 to 4 are known beforehand and are the least; the cap is the most, and is enforced; expected
lies between them by the shares that noisy closed-form surfaces took on average: most of the top-up's cost is in few, wide runs. Runs are
taken to train to their end; those that diverge cost less.
"""

import math
import operator
from dataclasses import dataclass

from telescope.spec import OptimizerName
from telescope.studies import paper, robust
from telescope.studies.ladder import Ladder
from telescope.studies.levels import final_run_flops
from telescope.studies.report import digits
from telescope.studies.telescoping import Telescope

COST_SHARE, TRIAL_SHARE = 0.35, 0.05


@dataclass(frozen=True)
class Span:
    """A forecast: at least, probably, and at most."""

    least: float
    expected: float
    most: float


@dataclass(frozen=True)
class LevelPreview:
    """The runs at one width that are known beforehand."""

    width: int
    trials: int
    tokens: int
    flops: float


@dataclass(frozen=True)
class LadderPreview:
    """One optimizer's bill."""

    optimizer: OptimizerName
    levels: tuple[LevelPreview, ...]
    trials: Span
    tokens: Span
    flops: Span
    final_run_flops: float
    share: float  # the final run's part of it and the expected tuning


@dataclass(frozen=True)
class Preview:
    """The bill beforehand, of all ladders together and of each."""

    trials: Span
    tokens: Span
    flops: Span
    final_run_flops: float
    share: float
    ladders: tuple[LadderPreview, ...]


def preview(study: Telescope) -> Preview:
    """The forecast; the study's data should be resolved, since the vocabulary costs too."""
    ladders = tuple(ladder_preview(study, ladder) for ladder in study.ladders())
    flops, final = total([one.flops for one in ladders]), max(one.final_run_flops for one in ladders)
    return Preview(
        trials=total([one.trials for one in ladders]),
        tokens=total([one.tokens for one in ladders]),
        flops=flops,
        final_run_flops=final,
        share=digits(final / (final + flops.expected)),
        ladders=ladders,
    )


def total(spans: list[Span]) -> Span:
    """Sum of forecasts."""
    return Span(*(math.fsum(getattr(span, name) for span in spans) for name in ("least", "expected", "most")))


def ladder_preview(study: Telescope, ladder: Ladder) -> LadderPreview:
    """The forecast of one ladder."""
    share = len(study.optimizers)
    cap = ladder.max_base_runs
    if study.limits.max_flops is not None:
        cap = min(cap, study.limits.max_flops / share / ladder.base_flops)
    max_trials = study.limits.max_trials // share
    counts = known_runs(study, ladder, cap, max_trials)
    costs = [ladder.costs[level] * runs for level, runs in enumerate(counts)]
    exact = study.schedule == "paper"
    base_runs = span(math.fsum(costs), math.fsum(costs) if exact else cap, COST_SHARE)
    most = sum(counts) if exact else min(max_trials, math.floor(cap))
    trials = span(sum(counts), most, TRIAL_SHARE)
    flops = Span(*(ladder.base_flops * x for x in (base_runs.least, base_runs.expected, base_runs.most)))
    final = final_run_flops(study, ladder)
    tokens = study.horizon.tokens
    return LadderPreview(
        optimizer=ladder.optimizer,
        levels=tuple(
            LevelPreview(width, count, count * tokens, ladder.base_flops * spent)
            for width, count, spent in zip(ladder.widths, counts, costs, strict=True)
        ),
        trials=trials,
        tokens=Span(trials.least * tokens, trials.expected * tokens, trials.most * tokens),
        flops=flops,
        final_run_flops=final,
        share=digits(final / (final + flops.expected)),
    )


def span(least: float, most: float, share: float) -> Span:
    """A forecast between what is known and the cap."""
    return Span(least, least + share * (most - least), most)


def known_runs(study: Telescope, ladder: Ladder, cap: float, max_trials: int) -> tuple[int, ...]:
    """Runs per level that are known beforehand: of the rounds or levels that fit into the limits."""
    if study.schedule == "robust":
        counts = robust.forecast(ladder)
        fits = sum(counts) <= max_trials and sum(map(operator.mul, counts, ladder.costs)) <= cap
        return counts if fits else (robust.base_runs(ladder), *[0] * (ladder.levels - 1))
    kept: list[int] = []
    for level in range(ladder.levels):
        more = [*kept, paper.runs(ladder, level, study.paper.points)]
        if sum(more) > max_trials or sum(map(operator.mul, more, ladder.costs)) > cap:
            break
        kept = more
    return (*kept, *[0] * (ladder.levels - len(kept)))
