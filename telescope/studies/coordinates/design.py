"""The design of a coordinate check: its widths, seeds and steps, within a budget.

The check (`telescope.studies.coordinates.check`) trains models of several widths for a few steps,
and compares the changes of layers' outputs across widths. A check belongs to a *ladder*: the runs
of a job with one optimizer, model and data set.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

from telescope.models.build import family_of
from telescope.studies.coordinates.reasons import Reduced
from telescope.train.flops import trial_flops
from telescope.trials.horizon import HorizonSpec
from telescope.trials.model import AnyModel
from telescope.trials.spec import TrialSpec
from telescope.trials.types import Parametrisation

FEWEST_WIDTHS = 4  # fewest widths for a verdict
# number of seeds before the first verdict: in a check of full size, and in the smallest check
SEEDS, FEWEST_SEEDS = 3, 2
MORE_SEEDS = 5  # largest number of seeds in all, if the first verdict is unresolved
STEPS, FEWEST_STEPS = 8, 4  # number of steps: in a check of full size, and in the smallest check
# largest number of sequences in the batch that all steps train on; a sequence fills the context
WINDOWS = 8
# The check's budget is a share of the ladder's expected FLOPs, SHARE_OF_LADDER. It is at least the
# FLOPs of SECONDS seconds at FLOPS_PER_SECOND, but at most SHARE_OF_LIMIT of the ladder's part of
# limits.max_flops.
SHARE_OF_LADDER, SECONDS, SHARE_OF_LIMIT = 0.02, 30.0, 0.1
FLOPS_PER_SECOND = 5e10  # nominal speed of a CPU core; plans may not depend on measured speeds


@dataclass(frozen=True)
class Design:
    """The runs of a check: every width with every seed."""

    base: TrialSpec  # a trial of the ladder at the base width
    widths: tuple[int, ...]
    seeds: int  # number of seeds for the first verdict; 0 if the budget allows no check
    most_seeds: int  # number of seeds in all, if the first verdict is unresolved
    steps: int

    @property
    def reduced(self) -> Reduced | None:
        """The size of a check that is smaller than a check of full size; None for full size."""
        if (self.seeds, self.steps) == (SEEDS, STEPS):
            return None
        return Reduced(seeds=self.seeds, steps=self.steps)

    @property
    def ends(self) -> tuple[TrialSpec, TrialSpec]:
        """A run at the narrowest and a run at the widest width."""
        return self.runs[0], self.runs[len(self.widths) - 1]

    @cached_property
    def runs(self) -> tuple[TrialSpec, ...]:
        """The runs with `most_seeds` seeds, sorted by seed, then by width."""
        return tuple(
            check_run(self.base, width, seed, self.steps)
            for seed in range(self.most_seeds)
            for width in self.widths
        )


def check_run(spec: TrialSpec, width: int, seed: int, steps: int) -> TrialSpec:
    """A run of a check: a few steps at a constant learning rate on one batch, without weight
    decay."""
    horizon, context = spec.horizon, spec.data.context
    batch_tokens = min(
        WINDOWS * context, horizon.batch_tokens, horizon.micro_batch_tokens or horizon.batch_tokens
    )
    return replace(
        spec,
        model=replace(spec.model, width=width),
        optimizer=replace(spec.optimizer, weight_decay=0.0),
        horizon=HorizonSpec(
            steps=steps,
            batch_tokens=batch_tokens,
            warmup_fraction=0.0,
            decay="constant",
            evaluation_tokens=batch_tokens,
            record_every=1,
        ),
        seed=seed,
        measure="coordinates",
    )


def widths_of(
    model: AnyModel, base_width: int, target_width: int, parametrisation: Parametrisation = "mup"
) -> tuple[int, ...]:
    """The widths of a check, ascending: the base width and up to three doublings of it, up to the
    target width. If these are fewer than four, one or two halvings of the base width are added,
    provided that the model can be built at the halved width."""
    doubled = [base_width * 2**i for i in range(4) if i == 0 or base_width * 2**i <= target_width]
    halved = [
        base_width // 2**i
        for i in (1, 2)
        if base_width % 2**i == 0 and can_be_built(model, base_width // 2**i, parametrisation)
    ]
    return tuple(sorted(doubled + halved[: max(0, FEWEST_WIDTHS - len(doubled))]))


def can_be_built(model: AnyModel, width: int, parametrisation: Parametrisation) -> bool:
    return family_of(model).width_problem(model, width, parametrisation) is None


def design(
    base: TrialSpec, target_width: int, ladder_flops: float = math.inf, max_flops: float = math.inf
) -> Design:
    """The design of a ladder's check, from a trial at the base width.

    `ladder_flops` is the expected cost of the ladder, and `max_flops` is the ladder's part of the
    job's limit. Both determine the budget. If the budget does not suffice for FEWEST_SEEDS seeds of
    STEPS steps, the check has FEWEST_STEPS steps. If it does not suffice for FEWEST_SEEDS seeds of
    FEWEST_STEPS steps, the design has no seeds, and the check is skipped.
    """
    widths = widths_of(
        base.model, base.model.base_width, target_width, base.optimizer.parametrisation
    )
    share = max(SHARE_OF_LADDER * ladder_flops, SECONDS * FLOPS_PER_SECOND)
    budget_flops = min(share, SHARE_OF_LIMIT * max_flops)
    for steps in (STEPS, FEWEST_STEPS):
        seed_flops = math.fsum(trial_flops(check_run(base, width, 0, steps)) for width in widths)
        seeds = math.floor(min(MORE_SEEDS, budget_flops / seed_flops))
        if seeds >= FEWEST_SEEDS:
            return Design(base, widths, min(SEEDS, seeds), seeds, steps)
    return Design(base, widths, 0, 0, FEWEST_STEPS)
