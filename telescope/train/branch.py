"""Runs that share their first steps.

A *trunk* trains at a constant learning rate after warm-up and stores its state at some steps
(`TrialSpec.kept_steps`); a *branch* continues from such a state. `cooldown` gives a branch that
decays the learning rate from a step of its trunk on: one trunk and several short branches give the
final losses of runs of several lengths. `extension` gives a branch that continues a trunk beyond
its end; such a branch may be the trunk of further branches.

To all other code a branch is a complete run: its horizon contains all steps from the first on, and
an assertion checks that in the shared steps the learning rates of branch and trunk are equal. So a
branch can be trained without its trunk, and gives the same points after the shared steps
(telescope.train.loop).

A branch does not inherit `evaluate_every`, `stop_below_loss` and `kept_steps` from its trunk.
"""

import math
from dataclasses import replace
from functools import lru_cache

from telescope.optim.schedule import lr_factor, warmup_steps
from telescope.trials.horizon import Branch, HorizonSpec
from telescope.trials.spec import TrialSpec


def cooldown(
    trunk: TrialSpec,
    step: int,
    cooldown_steps: int,
    *,
    evaluate_every: int | None = None,
    stop_below_loss: float | None = None,
) -> TrialSpec:
    """A branch that consists of the trunk's first `step` steps, then `cooldown_steps` steps of
    linear decay to the trunk's `final_lr_fraction`."""
    assert step >= warmup_steps(trunk.horizon), f"step {step} is within the trunk's warm-up"
    steps = step + cooldown_steps
    horizon = replace(
        trunk.horizon,
        steps=steps,
        decay="wsd",
        decay_fraction=cooldown_steps / steps,
        warmup_fraction=warmup_fraction(trunk.horizon, steps),
        evaluate_every=evaluate_every,
        stop_below_loss=stop_below_loss,
    )
    return _branch(trunk, step, horizon)


def extension(
    trunk: TrialSpec,
    steps: int,
    *,
    kept_steps: tuple[int, ...] = (),
    evaluate_every: int | None = None,
    stop_below_loss: float | None = None,
) -> TrialSpec:
    """A branch that continues the whole trunk at the same constant learning rate, to `steps` steps
    in all."""
    horizon = replace(
        trunk.horizon,
        steps=steps,
        decay="constant",
        warmup_fraction=warmup_fraction(trunk.horizon, steps),
        evaluate_every=evaluate_every,
        stop_below_loss=stop_below_loss,
    )
    return _branch(trunk, trunk.horizon.steps, horizon, kept_steps)


def warmup_fraction(horizon: HorizonSpec, steps: int) -> float:
    """The warm-up fraction that gives a run of `steps` steps as many warm-up steps as `horizon`
    has. The fraction aims at half a step less, so that rounding cannot add a step."""
    return max(0.0, warmup_steps(horizon) - 0.5) / steps


def _branch(
    trunk: TrialSpec, step: int, horizon: HorizonSpec, kept_steps: tuple[int, ...] = ()
) -> TrialSpec:
    assert step in trunk.kept_steps, f"the trunk keeps no state at step {step}"
    assert schedules_agree(trunk.horizon, horizon, step), (
        f"trunk and branch have different learning rates up to step {step}"
    )
    branch = Branch(trunk=trunk.digest, step=step)
    return replace(trunk, horizon=horizon, branch=branch, kept_steps=kept_steps)


@lru_cache(maxsize=1024)
def schedules_agree(trunk: HorizonSpec, branch: HorizonSpec, steps: int) -> bool:
    """True if the factors on the learning rate are equal in the first `steps` steps of two
    horizons."""
    return all(
        math.isclose(lr_factor(trunk, step), lr_factor(branch, step), rel_tol=1e-12)
        for step in range(steps)
    )
