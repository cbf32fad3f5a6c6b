"""The learning-rate schedule of `telescope.optim.schedule.lr_factor` as a Python expression.

A JSON document contains the expression with numbers. In an exported Python file, a function
computes the same schedule from named constants.
"""

import re
from collections.abc import Mapping

from telescope.optim.schedule import warmup_steps
from telescope.trials.horizon import HorizonSpec

DECAYED: Mapping[str, str] = {
    "constant": "0.0",
    "linear": "(step - WARMUP_STEPS) / (STEPS - WARMUP_STEPS)",
    "cosine": "(1 - math.cos(math.pi * ((step - WARMUP_STEPS) / (STEPS - WARMUP_STEPS)))) / 2",
    "wsd": "max(0.0, (step - STABLE_STEPS) / (STEPS - STABLE_STEPS))",
}
"""For each kind of decay, a Python expression for the progress of the decay at a `step` after
warm-up. The progress grows from 0 towards 1; under the decay `constant`, it is always 0."""


def schedule_constants(horizon: HorizonSpec) -> dict[str, float]:
    """The values of the constants in the expression for the schedule, by name."""
    constants = {
        "STEPS": horizon.steps,
        "WARMUP_STEPS": warmup_steps(horizon),
        "FINAL_LR_FRACTION": horizon.final_lr_fraction,
    }
    if horizon.decay == "wsd":
        constants["STABLE_STEPS"] = horizon.steps - decay_steps(horizon)
    return constants


def decay_steps(horizon: HorizonSpec) -> int:
    """Number of steps over which the learning rate falls."""
    if horizon.decay == "wsd":
        return max(1, round(horizon.decay_fraction * horizon.steps))
    return 0 if horizon.decay == "constant" else horizon.steps - warmup_steps(horizon)


def formula(horizon: HorizonSpec) -> str:
    """A Python expression for the learning rate at a step, as a share of the peak. It uses the
    variable `step`, which counts from 0. Under cosine decay, it also uses the module `math`."""
    decayed = f"1 - (1 - FINAL_LR_FRACTION) * ({DECAYED[horizon.decay]})"
    expression = f"(step + 1) / WARMUP_STEPS if step < WARMUP_STEPS else {decayed}"
    values = schedule_constants(horizon)
    return re.sub(rf"\b({'|'.join(values)})\b", lambda name: repr(values[name[0]]), expression)
