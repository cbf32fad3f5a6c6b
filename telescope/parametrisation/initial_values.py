"""Standard deviations of the initial values of telescope's own Transformer at its base size.

`telescope.parametrisation.mup.factors` gives the factors on these values at other widths.

Parts: `base_init_std` · `SHARED_KEY_INIT`, `shared_key_factor`: a further factor for mla's shared
rotary key.
"""

import math
from collections.abc import Mapping

from telescope.parametrisation.roles import Role
from telescope.trials.model import ModelSpec
from telescope.trials.types import Parametrisation


def base_init_std(model: ModelSpec, role: Role, fan_in: int, feeds_residual: bool) -> float:
    """Standard deviation of a parameter's initial values at the base width and base depth.

    Embeddings: 0.5. Hidden matrices: 1/sqrt(base fan_in), divided by sqrt(2 base depth) if they
    feed the residual stream, as in GPT-2. Untied readout matrices and vectors: 0. `fan_in` is
    taken at the model's width; the base fan_in is `fan_in` / m.
    """
    if role is Role.HIDDEN:
        std = math.sqrt(model.multiplier / fan_in)
        base_depth = model.base_depth or model.depth
        return std / (math.sqrt(2 * base_depth) if feeds_residual else 1.0)
    return {Role.EMBEDDING: 0.5, Role.READOUT: 0.0, Role.VECTOR: 0.0}[role]


SHARED_KEY_INIT: Mapping[Parametrisation, float] = {"mup": -0.5, "mup-paper": 0.0, "standard": 0.0}
"""Exponent of m in the initial values of mla's shared rotary key, relative to other hidden
matrices. A random matrix with a fixed fan-out and entries of size 1/sqrt(fan_in) has a spectral
norm of order one, whereas the spectral condition asks for a norm of order sqrt(fan_out / fan_in),
which falls as m^-1/2."""


def shared_key_factor(model: ModelSpec, parametrisation: Parametrisation) -> float:
    """Factor on the initial values of mla's shared rotary key."""
    return float(model.multiplier ** SHARED_KEY_INIT[parametrisation])
