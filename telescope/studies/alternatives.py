"""What else could one do, what would that cost, and how far off would it end?

Beside a ladder's bill: copy the optimum of the smallest width, do so with three seeds, look a published law up, or sweep the target
itself. Errors of those that train are of their argmin on the closed-form bowls of `telescope.studies.rehearsal`, whose assumptions they
share; the law's is what its authors report.

Parts: `Choice` · `choices` · `step_law` (arXiv 2503.04715) · `advice`, in words, where telescoping is not worth it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telescope.flops import parameters
from telescope.studies import robust
from telescope.studies.bill import Bill
from telescope.studies.blocks import block_cost
from telescope.studies.ladder import Ladder
from telescope.studies.levels import final_run_flops
from telescope.studies.rehearsal import NOISE, PAIRING, Bowl, Rehearsal
from telescope.studies.report import digits
from telescope.studies.telescoping import Telescope

BOWLS = 100  # that the choices are tried on
LARGEST_TRIED = 4000  # points of the grid
SEEDS = 3
STEP_LAW_PARAMETERS, STEP_LAW_TOKENS = (6e7, 1e9), (2e9, 1e11)  # between which it was fitted


Figures = tuple[float | None, float | None]  # error and regret


@dataclass(frozen=True)
class Choice:
    """One way to an answer; errors are root mean squares of the learning rate at the target, in octaves, regrets means in % of the loss."""

    name: str
    trials: int
    flops: float
    error: float | None
    regret: float | None
    lr: float | None  # where it can be said beforehand
    note: str


def choices(study: Telescope, ladder: Ladder, bill: Bill, rehearsals: Sequence[Rehearsal]) -> tuple[Choice, ...]:
    """The ladder itself, then what else there is."""
    grid, base, final = robust.base_runs(ladder), ladder.base_flops, final_run_flops(study, ladder)
    (copied, averaged, swept), narrow, target = tried(ladder), ladder.widths[0], ladder.target_width
    own: Figures = (None, None)
    how = "not rehearsed: that would take too long"
    if rehearsals:
        own = figures([one.error for one in rehearsals], [one.regret for one in rehearsals])
        how = f"mean of {len(rehearsals)} rehearsals"
    here = f"the best of one grid at width {narrow}, used at {target}: its drift stays unknown"
    return (
        Choice("telescoping", round(bill.trials.expected), digits(bill.flops.expected), *own, None, f"widths {narrow} up; {how}"),
        Choice("copy", grid, digits(grid * base), *copied, None, here),
        Choice("copy_with_seeds", SEEDS * grid, digits(SEEDS * grid * base), *averaged, None, f"{here}; {SEEDS} seeds per point"),
        step_law(study, ladder),
        Choice(
            "sweep_target", grid, digits(grid * final), *swept, None, f"one grid at width {target} itself; its best run is the final one"
        ),
    )


def tried(ladder: Ladder) -> tuple[Figures, Figures, Figures]:
    """Of the argmin of the base grid at the base width, with one seed and with several, and at the target; nothing for huge grids."""
    if robust.base_runs(ladder) > LARGEST_TRIED:
        return (None, None), (None, None), (None, None)
    x = np.array([point.x for point in robust.base_grid(ladder)])
    ends: tuple[list[tuple[float, float]], ...] = ([], [], [])
    for number in range(BOWLS):
        bowl, t = Bowl.drawn(ladder, number), ladder.doublings
        noise = NOISE * math.sqrt(1 - PAIRING) * np.random.default_rng(number).standard_normal(len(x))  # what a seed shares moves no argmin
        for found, height, seeds in zip(ends, (0.0, 0.0, t), (1, SEEDS, 1), strict=True):
            best = x[int(np.argmin(bowl.excess(height, x) + noise / math.sqrt(seeds)))]
            found.append((float(best[0] - bowl.optimum(t)[0]), float(bowl.excess(t, best))))
    copied, averaged, swept = (figures(*zip(*found, strict=True)) for found in ends)
    return copied, averaged, swept


def figures(errors: Sequence[float], regrets: Sequence[float]) -> tuple[float, float]:
    """Root mean square of errors, mean of regrets."""
    return digits(math.sqrt(math.fsum(x * x for x in errors) / len(errors))), digits(math.fsum(regrets) / len(regrets))


def step_law(study: Telescope, ladder: Ladder) -> Choice:
    """lr = 1.79 N^-0.713 D^0.307 and batch = 0.58 D^0.571, N without the vocabulary's parameters, D in tokens: AdamW's, unparametrised."""
    model, tokens, letters = study.model.target, study.horizon.tokens, max(1, study.data.vocab_size)
    size = parameters(model, letters) - letters * model.width * (1 if model.tied_embeddings else 2)
    lr, batch = 1.79 * size**-0.713 * tokens**0.307, 0.58 * tokens**0.571
    if ladder.optimizer == "muon":
        return Choice("step_law", 0, 0.0, None, None, None, "arXiv 2503.04715 is about AdamW: it says nothing about Muon")
    (low_n, high_n), (low_d, high_d) = STEP_LAW_PARAMETERS, STEP_LAW_TOKENS
    law = f"arXiv 2503.04715, an effective lr under the standard parametrisation, batches of {batch:.3g} tokens"
    if low_n <= size <= high_n and low_d <= tokens <= high_d:
        return Choice("step_law", 0, 0.0, None, 0.094, digits(lr), f"{law}; the regret is what its authors report")
    fitted = f"fitted between {low_n:.0e} and {high_n:.0e} parameters and {low_d:.0e} and {high_d:.0e} tokens"
    return Choice("step_law", 0, 0.0, None, None, digits(lr), f"{law}; {fitted}, and not to be trusted at {size:.2g} and {tokens:.2g}")


def least_budget(ladder: Ladder) -> float:
    """Base runs that three widths and a bowl to judge them by need: the grid, two blocks there, one at each of two doublings."""
    climbed = sum(block_cost(ladder, level) for level in range(1, min(ladder.levels, 3)))
    return robust.base_runs(ladder) + 2 * block_cost(ladder, 0) + climbed


def advice(study: Telescope, ladder: Ladder, bill: Bill) -> tuple[str, ...]:
    """Where another way is better, in words."""
    grid, final, tuning = robust.base_runs(ladder), final_run_flops(study, ladder), bill.rounds.expected
    target, times, found = ladder.target_width, ladder.target_width / ladder.widths[0], list[str]()
    if grid * final <= tuning:
        found.append(f"sweep width {target} itself: its grid takes {grid * final:.3g} FLOP, this ladder about {tuning:.3g}")
    elif times <= 2:
        found.append(f"width {target} is at most twice the base width: a ladder has little to gain there; consider sweeping it directly")
    if grid > times**2:
        found.append(f"the grid has {grid} points, more than (target / base width)^2 = {times**2:.0f}: tuning outweighs the final run")
    elif final < tuning:
        found.append(f"the final run takes {final:.3g} FLOP, tuning about {tuning:.3g}: it pays where the answer is used more than once")
    least, cap = math.ceil(least_budget(ladder)), ladder.max_base_runs
    if study.schedule == "robust" and cap < least:
        found.append(f"limits.max_base_runs {cap:.0f} is below {least}, the least for three widths: expect unresolved")
    if ladder.levels < 3 and ladder.doublings:
        found.append("fewer than three widths cannot test the drift law: raise model.calibration_width")
    return tuple(f"{ladder.optimizer}: {said}" for said in found)
