"""How do runs share the steps that they have in common?

A *trunk* trains at a constant learning rate and keeps its state at some steps
(`TrialSpec.kept_steps`); a *branch* goes on from there. `cooldown` ends a trunk early, with a decay
of its own: one trunk and a short branch per budget give the losses of a run of each length.
`extension` carries a trunk on beyond its end, and may be extended and cooled down in turn.

A branch is a whole run to anyone else: its horizon says all of its steps, and by its schedule,
which is asserted, its first ones are the trunk's. So it can be trained without its trunk, and gives
the same points after the branch (telescope.train).

What is measured on the way (`evaluate_every`, `stop_below_loss`) is each run's own, and not taken
over.
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
    """The trunk's first `step` steps, then a line down to its `final_lr_fraction` over
    `cooldown_steps`."""
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
    """The trunk carried on at its constant rate from its last step to `steps` in all."""
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
    """What gives a run of so many steps the warm-up of this horizon; half a step less, so that
    rounding cannot add one."""
    return max(0.0, warmup_steps(horizon) - 0.5) / steps


def _branch(
    trunk: TrialSpec, step: int, horizon: HorizonSpec, kept_steps: tuple[int, ...] = ()
) -> TrialSpec:
    assert step in trunk.kept_steps, f"the trunk keeps no state at step {step}"
    assert agree(trunk.horizon, horizon, step), (
        f"the trunk's learning rates up to step {step} are not its branch's"
    )
    return replace(
        trunk, horizon=horizon, branch=Branch(trunk=trunk.digest, step=step), kept_steps=kept_steps
    )


@lru_cache(maxsize=1024)
def agree(one: HorizonSpec, other: HorizonSpec, steps: int) -> bool:
    """Whether two schedules are the same in their first steps."""
    return all(
        math.isclose(lr_factor(one, step), lr_factor(other, step), rel_tol=1e-12)
        for step in range(steps)
    )
