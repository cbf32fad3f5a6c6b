"""The learning-rate schedule, which multiplies the learning rates of all parameter groups by the
same factor at each step."""

import math

from telescope.trials.horizon import HorizonSpec


def lr_factor(horizon: HorizonSpec, step: int) -> float:
    """The factor on the learning rates at `step`, which counts from 0.

    During warm-up, the factor rises linearly to 1. After warm-up, it stays at 1 or falls, as
    `horizon.decay` says. A falling factor would reach `final_lr_fraction` only one step after the
    last step, so that it is above zero at every step even if `final_lr_fraction` is 0.
    """
    warmup = warmup_steps(horizon)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / (horizon.steps - warmup)
    if horizon.decay == "wsd":
        stable = horizon.steps - max(1, round(horizon.decay_fraction * horizon.steps))
        progress = max(0.0, (step - stable) / (horizon.steps - stable))
    decayed = {
        "constant": 0.0,
        "linear": progress,
        "wsd": progress,
        "cosine": (1 - math.cos(math.pi * progress)) / 2,
    }[horizon.decay]
    return 1 - (1 - horizon.final_lr_fraction) * decayed


def warmup_steps(horizon: HorizonSpec) -> int:
    """Number of warm-up steps, rounded up."""
    return math.ceil(horizon.warmup_fraction * horizon.steps)
