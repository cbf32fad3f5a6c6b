"""Alternatives to a ladder, with their cost and their expected error.

The alternatives are to copy the optimum of the smallest width, to do so with three seeds, to look
up a published law, or to sweep the target itself. The errors of those that train are of their
argmin on the same bowls on which the ladder is rehearsed (`rehearsal`), noise included, so that
rows differ by the choice rather than by the draw; the error of the law is what its authors report.

Parts: `Choice` · `choices` · `step_law` (arXiv 2503.04715) · `recommendation`, in words, where
telescoping is not worth its cost.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telescope.optim.groups import describe_groups
from telescope.parametrisation.roles import Role
from telescope.statistics.estimates import Array
from telescope.studies.telescoping.answer.levels import final_run_flops
from telescope.studies.telescoping.evidence import amount, digits
from telescope.studies.telescoping.forecast.bill import REHEARSALS, Bill
from telescope.studies.telescoping.forecast.rehearsal import Bowl, Rehearsal
from telescope.studies.telescoping.ladder.ladder import Ladder, Point
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.schedules import robust
from telescope.studies.telescoping.schedules.blocks import block_cost
from telescope.trials.optimizer import OptimizerSpec

LARGEST_TRIED = 1000  # points of the grid
SEEDS = 3
STEP_LAW_PARAMETERS, STEP_LAW_TOKENS = (6e7, 1e9), (2e9, 1e11)  # ranges of its fit


@dataclass(frozen=True)
class Figures:
    """The error and the regret of a choice; None where unknown."""

    error: float | None = None
    regret: float | None = None


UNKNOWN = Figures()


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A way to an answer; errors are root mean squares of the learning rate at the target, in
    octaves, and regrets are means in % of the loss.
    """

    name: str
    trials: int
    flops: float
    error: float | None
    regret: float | None
    lr: float | None  # where it is known beforehand
    note: str


def choices(
    question: Question, ladder: Ladder, bill: Bill, rehearsals: Sequence[Rehearsal]
) -> tuple[Choice, ...]:
    """The ladder itself, then the alternatives."""
    grid, base, final = (
        robust.base_runs(ladder),
        ladder.base_flops,
        final_run_flops(question, ladder),
    )
    bowls = len(rehearsals) or REHEARSALS
    (copied, averaged, swept), narrow, target = (
        tried(ladder, bowls),
        ladder.widths[0],
        ladder.target_width,
    )
    own = UNKNOWN
    how = "not rehearsed, since that would take too long"
    if rehearsals:
        own = figures(
            [rehearsal.error for rehearsal in rehearsals],
            [rehearsal.regret for rehearsal in rehearsals],
        )
        how = f"mean of {bowls} rehearsals, as for all choices that train"
    here = f"the best of one grid at width {narrow}, used at {target}: the drift stays unknown"
    return (
        trained(
            "telescoping",
            round(bill.trials.expected),
            bill.flops.expected,
            own,
            f"widths {narrow} up; {how}",
        ),
        trained("copy", grid, grid * base, copied, here),
        trained(
            "copy_with_seeds",
            SEEDS * grid,
            SEEDS * grid * base,
            averaged,
            f"{here}; {SEEDS} seeds per point",
        ),
        step_law(question, ladder),
        trained(
            "sweep_target",
            grid,
            grid * final,
            swept,
            f"one grid at width {target} itself; its best run is the final run",
        ),
    )


def trained(name: str, trials: int, flops: float, figures: Figures, note: str) -> Choice:
    """A choice that trains, whose learning rate is not known beforehand."""
    return Choice(
        name=name,
        trials=trials,
        flops=digits(flops),
        error=figures.error,
        regret=figures.regret,
        lr=None,
        note=note,
    )


def tried(ladder: Ladder, bowls: int) -> tuple[Figures, Figures, Figures]:
    """The figures of the base grid's argmin at the base width, with one seed and with several, and
    at the target; unknown for huge grids.
    """
    if robust.base_runs(ladder) > LARGEST_TRIED:
        return UNKNOWN, UNKNOWN, UNKNOWN
    grid, ends = robust.base_grid(ladder), tuple(list[tuple[float, float]]() for _ in range(3))
    for number in range(bowls):
        bowl, t = Bowl.drawn(ladder, number), ladder.doublings

        def loss(level: int, seed: int, bowl: Bowl = bowl) -> Array:
            """The losses of the whole grid."""
            return np.array([bowl.loss(ladder, Point(level, point.x, seed)) for point in grid])

        seeds = [loss(0, seed) for seed in range(SEEDS)]
        for end, losses in zip(ends, (seeds[0], sum(seeds), loss(ladder.levels, 0)), strict=True):
            best = np.array(grid[int(np.argmin(losses))].x)
            end.append((float(best[0] - bowl.optimum(t)[0]), float(bowl.excess(t, best))))
    copied, averaged, swept = (figures(*zip(*end, strict=True)) for end in ends)
    return copied, averaged, swept


def figures(errors: Sequence[float], regrets: Sequence[float]) -> Figures:
    """Root mean square of errors, mean of regrets."""
    return Figures(
        digits(math.sqrt(math.fsum(x * x for x in errors) / len(errors))),
        digits(math.fsum(regrets) / len(regrets)),
    )


def step_law(question: Question, ladder: Ladder) -> Choice:
    """The choice by the Step Law: lr = 1.79 N^-0.713 D^0.307 and batch = 0.58 D^0.571, with N
    parameters without embeddings and D tokens, for AdamW under the standard parametrisation.
    """
    model, tokens, letters = (
        question.model.target,
        question.horizon.tokens,
        max(1, question.data.vocab_size),
    )
    vocabulary = (Role.EMBEDDING, Role.READOUT)
    any_optimizer = OptimizerSpec(name="adamw", lr=1.0, weight_decay=0.0)
    size = sum(
        group.parameters
        for group in describe_groups(model, letters, any_optimizer)
        if group.role not in vocabulary
    )
    lr, batch = 1.79 * size**-0.713 * tokens**0.307, 0.58 * tokens**0.571
    if ladder.optimizer == "muon":
        return published_law("arXiv 2503.04715 covers AdamW only, not Muon")
    (low_n, high_n), (low_d, high_d) = STEP_LAW_PARAMETERS, STEP_LAW_TOKENS
    law = f"arXiv 2503.04715, an effective lr under the standard parametrisation, batches of {batch:.3g} tokens"
    if low_n <= size <= high_n and low_d <= tokens <= high_d:
        return published_law(
            f"{law}; the regret is the one that its authors report", digits(lr), regret=0.094
        )
    parameters = f"{low_n:.0e} to {high_n:.0e} parameters"
    fitted = f"fitted for {parameters} and {low_d:.0e} to {high_d:.0e} tokens"
    return published_law(f"{law}; {fitted}, unreliable at {size:.2g} and {tokens:.2g}", digits(lr))


def published_law(note: str, lr: float | None = None, regret: float | None = None) -> Choice:
    """The choice by the published law, which trains nothing."""
    return Choice(name="step_law", trials=0, flops=0.0, error=None, regret=regret, lr=lr, note=note)


def as_good(choices: Sequence[Choice]) -> list[str]:
    """The choices that cost less than the ladder (the first) and lose no more on its rehearsals'
    bowls.
    """
    own, *alternatives = choices
    return [
        (
            f"{choice.name.replace('_', ' ')} takes {amount(choice.flops)}FLOP and loses {choice.regret:.2g} %, this ladder {own.regret:.2g} %"
        )
        for choice in alternatives
        if choice.trials
        and choice.regret is not None
        and own.regret is not None
        and choice.flops < own.flops
        and choice.regret <= own.regret
    ]


def least_budget(ladder: Ladder) -> float:
    """The base runs that three widths and a bowl need: the grid, two blocks at the base width, and
    one at each of two doublings.
    """
    climbed = sum(block_cost(ladder, level) for level in range(1, min(ladder.levels, 3)))
    return robust.base_runs(ladder) + 2 * block_cost(ladder, 0) + climbed


def recommendation(
    question: Question, ladder: Ladder, bill: Bill, alternatives: Sequence[Choice]
) -> tuple[str, ...]:
    """Advice in words where an alternative is better."""
    grid, final, tuning = (
        robust.base_runs(ladder),
        final_run_flops(question, ladder),
        bill.flops.expected,
    )
    target, times, advice = ladder.target_width, ladder.target_width / ladder.widths[0], list[str]()
    if grid * final <= tuning:
        costs = f"its grid takes {amount(grid * final)}FLOP, this ladder about {amount(tuning)}FLOP"
        advice.append(f"sweep width {target} itself: {costs}")
    elif times <= 2:
        gain = "a ladder gains little; consider sweeping it directly"
        advice.append(f"width {target} is at most twice the base width: {gain}")
    if grid > times**2:
        ratio = f"(target / base width)^2 = {times**2:.0f}"
        advice.append(
            f"the grid has {grid} points, more than {ratio}: tuning costs more than the final run"
        )
    elif final < tuning:
        advice.append(
            f"the final run takes {amount(final)}FLOP, tuning about {amount(tuning)}FLOP: "
            "tuning pays off if the answer is used more than once"
        )
    advice += as_good(alternatives)
    least, cap = math.ceil(least_budget(ladder)), ladder.max_base_runs
    if question.schedule == "robust" and cap < least:
        cause = f"limits.max_base_runs {cap:.0f} is below {least}, the least for three widths"
        advice.append(f"{cause}: expect the verdict unresolved")
    if ladder.levels < 3 and ladder.doublings:
        advice.append(
            "fewer than three widths cannot test the drift law: raise model.calibration_width"
        )
    return tuple(f"{ladder.optimizer}: {text}" for text in advice)
