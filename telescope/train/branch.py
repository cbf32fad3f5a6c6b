"""Runs that share their first steps.

A *trunk* is a run that stores its state at some of its steps (`TrialSpec.kept_steps`). A *branch*
is a run that continues from such a state. After warm-up, the trunk's learning rate is constant in
all steps that it shares with its branches.

`cooldown` makes a branch whose learning rate decays from a step of the trunk on. One trunk with
several short branches of this kind gives the final losses of runs of several lengths. `extension`
makes a branch that continues the trunk beyond the trunk's end. Such a branch may be the trunk of
further branches.

The specification of a branch describes a complete run, with all steps from the first on. In the
shared steps, branch and trunk have equal learning rates; an assertion checks this. So a branch can
also be trained without its trunk. The losses on its curve are the same either way, up to rounding
(telescope.train.loop).

A branch does not inherit `evaluate_every`, `stop_below_loss` or `kept_steps` from its trunk.
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
    """A branch that consists of the trunk's first `step` steps and `cooldown_steps` further steps.
    The trunk must store its state at `step`, and its warm-up must have ended by then.

    In the further steps, the learning rate decays linearly. One step after the last, the learning
    rate would reach `final_lr_fraction` times its highest value. The branch has the same
    `final_lr_fraction` as the trunk.
    """
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
    """A branch that continues after the trunk's last step at the same constant learning rate. The
    trunk must store its state at its last step. `steps` is the number of steps in all, including
    the trunk's."""
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
    has. Half a step is subtracted, since a number of warm-up steps is rounded up."""
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
    """True if the schedules of trunk and branch multiply the learning rate by the same factor, up
    to rounding, at each of the first `steps` steps."""
    return all(
        math.isclose(lr_factor(trunk, step), lr_factor(branch, step), rel_tol=1e-12)
        for step in range(steps)
    )
