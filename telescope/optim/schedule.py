"""The learning-rate schedule: warm-up, plateau and decay as a factor on the scaled lr."""

import math

from telescope.trials.horizon import HorizonSpec


def lr_factor(horizon: HorizonSpec, step: int) -> float:
    """The factor on the scaled lr at `step`, which counts from 0. Warm-up rises linearly to 1. A
    decay would reach `final_lr_fraction` at step `horizon.steps`, one after the last step, so no
    step has a factor of zero."""
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
