"""Alternatives to a ladder, with their cost and their expected error.

A *ladder* is telescope's own search at increasing widths, for a final run at the *target* width.
There are four alternatives:

- Run one grid at the base width, and copy its best point to the target.
- Do the same with three seeds per point.
- Look up a published law.
- Run a grid at the target itself.

The *regret* of a choice is the loss in excess of the lowest possible loss. The error and the regret
of a grid are those of its best point. They are computed on *bowls*, simulated losses with a known
optimum. The ladder is simulated on the same bowls (`rehearsal`), so that no choice has an easier
task than another. The error of the published law is unknown. The regret of the law is the one that
the authors report. It is stated only within the ranges to which the law was fitted.
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
from telescope.studies.telescoping.forecast.bill import REHEARSALS, LadderForecast
from telescope.studies.telescoping.forecast.rehearsal import Bowl, Rehearsal
from telescope.studies.telescoping.ladder.ladder import Ladder, Point
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.schedules import robust
from telescope.studies.telescoping.schedules.blocks import block_cost
from telescope.trials.optimizer import OptimizerSpec

MOST_POINTS = 1000  # most points of a grid that is evaluated on bowls
SEEDS = 3  # seeds per point of `copy_with_seeds`
# the ranges of parameters and tokens to which the published law was fitted
STEP_LAW_PARAMETERS, STEP_LAW_TOKENS = (6e7, 1e9), (2e9, 1e11)


@dataclass(frozen=True)
class Figures:
    """The expected error and regret of a choice. `None` if unknown."""

    # root mean square of the learning rate's error, in octaves (factors of 2)
    error: float | None = None
    regret: float | None = None  # mean regret at the target, in % of the loss


UNKNOWN = Figures()


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A way to choose the learning rate at the target."""

    name: str
    trials: int
    flops: float
    error: float | None  # as in `Figures`
    regret: float | None  # as in `Figures`; for the published law, as reported by its authors
    lr: float | None  # None if only training can tell, or if the law does not cover the optimizer
    note: str  # how the choice is made, and the basis of its error and regret


def choices(
    question: Question, ladder: Ladder, bill: LadderForecast, rehearsals: Sequence[Rehearsal]
) -> tuple[Choice, ...]:
    """The ways to choose the learning rate: the ladder first, then the alternatives."""
    grid, narrow, target = robust.base_runs(ladder), ladder.widths[0], ladder.target_width
    grid_flops, final_flops = grid * ladder.base_flops, final_run_flops(question, ladder)
    bowls = len(rehearsals) or REHEARSALS
    copy_figures, seeds_figures, sweep_figures = argmin_figures(ladder, bowls)
    ladder_figures, basis = UNKNOWN, "not simulated: too slow, or no grid fits into the limits"
    if rehearsals:
        errors, regrets = zip(*((run.error, run.regret) for run in rehearsals), strict=True)
        ladder_figures = figures(errors, regrets)
        basis = (
            f"error and regret are from {bowls} simulations, as for all choices that train models"
        )
    note = f"searches at width {narrow} and wider; {basis}"
    copy_note = (
        f"runs one grid at width {narrow} and copies its best point to width {target}; "
        "the shift of the optimum between these widths stays unknown"
    )
    seeds_note = f"{copy_note}; {SEEDS} seeds per point"
    target_note = f"runs one grid at width {target} itself; its best run is the final run"
    return (
        trained(
            "telescoping", round(bill.trials.expected), bill.flops.expected, ladder_figures, note
        ),
        trained("copy", grid, grid_flops, copy_figures, copy_note),
        trained("copy_with_seeds", SEEDS * grid, SEEDS * grid_flops, seeds_figures, seeds_note),
        step_law(question, ladder),
        trained("sweep_target", grid, grid * final_flops, sweep_figures, target_note),
    )


def trained(name: str, trials: int, flops: float, figures: Figures, note: str) -> Choice:
    """A choice that trains models, so that its learning rate is not known beforehand."""
    return Choice(
        name=name,
        trials=trials,
        flops=digits(flops),
        error=figures.error,
        regret=figures.regret,
        lr=None,
        note=note,
    )


def argmin_figures(ladder: Ladder, bowls: int) -> tuple[Figures, Figures, Figures]:
    """The figures of the best point of the base grid, for three ways to run the grid: at the base
    width with one seed, at the base width with SEEDS seeds, and at the target with one seed. If the
    grid has more than MOST_POINTS points, all figures are UNKNOWN.
    """
    if robust.base_runs(ladder) > MOST_POINTS:
        return UNKNOWN, UNKNOWN, UNKNOWN
    grid = robust.base_grid(ladder)
    results = tuple(list[tuple[float, float]]() for _ in range(3))  # (error, regret) per bowl
    for number in range(bowls):
        bowl, doublings = Bowl.drawn(ladder, number), ladder.doublings

        def grid_losses(level: int, seed: int, bowl: Bowl = bowl) -> Array:
            return np.array([bowl.loss(ladder, Point(level, point.x, seed)) for point in grid])

        by_seed = [grid_losses(0, seed) for seed in range(SEEDS)]
        tried = (by_seed[0], sum(by_seed), grid_losses(ladder.levels, 0))
        for pairs, losses in zip(results, tried, strict=True):
            best = np.array(grid[int(np.argmin(losses))].x)
            error = float(best[0] - bowl.optimum(doublings)[0])
            pairs.append((error, float(bowl.excess(doublings, best))))
    copy, copy_with_seeds, sweep = (figures(*zip(*pairs, strict=True)) for pairs in results)
    return copy, copy_with_seeds, sweep


def figures(errors: Sequence[float], regrets: Sequence[float]) -> Figures:
    """The figures of a choice: the root mean square of its errors, and the mean of its regrets."""
    return Figures(
        digits(math.sqrt(math.fsum(x * x for x in errors) / len(errors))),
        digits(math.fsum(regrets) / len(regrets)),
    )


def step_law(question: Question, ladder: Ladder) -> Choice:
    """The choice by the Step Law (arXiv 2503.04715), for AdamW under the standard parametrisation.
    The law is lr = 1.79 N^-0.713 D^0.307 and batch = 0.58 D^0.571. Here N is the number of
    parameters outside embedding and readout, D the number of tokens, and the batch size is in
    tokens. For Muon, the choice has no learning rate.
    """
    model, tokens = question.model.target, question.horizon.tokens
    vocab_size = max(1, question.data.vocab_size)
    vocabulary = (Role.EMBEDDING, Role.READOUT)
    any_optimizer = OptimizerSpec(name="adamw", lr=1.0, weight_decay=0.0)
    size = sum(
        group.parameters
        for group in describe_groups(model, vocab_size, any_optimizer)
        if group.role not in vocabulary
    )
    lr, batch = 1.79 * size**-0.713 * tokens**0.307, 0.58 * tokens**0.571
    if ladder.optimizer == "muon":
        return published_law("arXiv 2503.04715 covers AdamW only, not Muon")
    (low_n, high_n), (low_d, high_d) = STEP_LAW_PARAMETERS, STEP_LAW_TOKENS
    law = (
        "arXiv 2503.04715: an effective lr under the standard parametrisation, "
        f"for batches of {batch:.3g} tokens"
    )
    if low_n <= size <= high_n and low_d <= tokens <= high_d:
        return published_law(f"{law}; its authors report this regret", digits(lr), regret=0.094)
    parameters = f"{low_n:.0e} to {high_n:.0e} parameters"
    fitted = f"it was fitted to {parameters} and {low_d:.0e} to {high_d:.0e} tokens"
    here = f"{size:.2g} parameters and {tokens:.2g} tokens"
    return published_law(f"{law}; {fitted}, so it is unreliable at {here}", digits(lr))


def published_law(note: str, lr: float | None = None, regret: float | None = None) -> Choice:
    """The choice by the Step Law. This choice trains nothing."""
    return Choice(name="step_law", trials=0, flops=0.0, error=None, regret=regret, lr=lr, note=note)


def cheaper_choices(choices: Sequence[Choice]) -> list[str]:
    """A text for each choice that costs less than the ladder and whose regret is not larger. The
    ladder is the first of the `choices`. Choices that train nothing are left out, as are choices of
    unknown regret.
    """
    ladder_choice, *alternatives = choices
    texts = []
    for choice in alternatives:
        if not choice.trials or choice.regret is None or ladder_choice.regret is None:
            continue
        if choice.flops < ladder_choice.flops and choice.regret <= ladder_choice.regret:
            name = choice.name.replace("_", " ")
            loses = f"loses {choice.regret:.2g} %; this ladder loses {ladder_choice.regret:.2g} %"
            texts.append(f"{name} takes {amount(choice.flops)}FLOP and {loses}")
    return texts


def least_budget(ladder: Ladder) -> float:
    """The smallest useful budget, in runs at the base width. It covers the base grid, two *blocks*
    (groups of runs around the optimum) at the base width, and one block at each of the next two
    widths, if the ladder has them.
    """
    climb = sum(block_cost(ladder, level) for level in range(1, min(ladder.levels, 3)))
    return robust.base_runs(ladder) + 2 * block_cost(ladder, 0) + climb


def recommendation(
    question: Question, ladder: Ladder, bill: LadderForecast, choices: Sequence[Choice]
) -> tuple[str, ...]:
    """Advice on whether the ladder is worth its cost. There is advice if an alternative may be
    better, if tuning costs more than the final run, or if the budget or the number of widths is too
    small for a reliable answer.
    """
    grid, final_flops = robust.base_runs(ladder), final_run_flops(question, ladder)
    tuning_flops, target = bill.flops.expected, ladder.target_width
    width_ratio = target / ladder.widths[0]
    advice: list[str] = []
    if grid * final_flops <= tuning_flops:
        grid_cost = f"its grid takes {amount(grid * final_flops)}FLOP"
        costs = f"{grid_cost}, and this ladder takes about {amount(tuning_flops)}FLOP"
        advice.append(f"sweep width {target} itself: {costs}")
    elif width_ratio <= 2:
        gain = "a ladder gains little; consider sweeping the target itself"
        advice.append(f"width {target} is at most twice the base width: {gain}")
    if final_flops < tuning_flops and grid > width_ratio**2:
        ratio = f"(target / base width)^2 = {width_ratio**2:.0f}"
        advice.append(
            f"the grid has {grid} points, more than {ratio}: tuning costs more than the final run"
        )
    elif final_flops < tuning_flops:
        costs = f"{amount(final_flops)}FLOP, and tuning about {amount(tuning_flops)}FLOP"
        advice.append(
            f"the final run takes {costs}: tuning pays off if the answer is used more than once"
        )
    advice += cheaper_choices(choices)
    least, budget = math.ceil(least_budget(ladder)), ladder.max_base_runs
    if question.schedule == "robust" and budget < least:
        cause = f"limits.max_base_runs {budget:.0f} is below {least}, the smallest useful budget"
        advice.append(f"{cause}: expect the verdict unresolved")
    if ladder.levels < 3 and ladder.doublings:
        remedy = "raise model.calibration_width" if width_ratio >= 4 else "lower model.base_width"
        advice.append(
            f"fewer than three widths cannot show how the optimum moves with width: {remedy}"
        )
    return tuple(f"{ladder.optimizer}: {text}" for text in advice)
