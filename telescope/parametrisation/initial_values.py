"""The initial values of telescope's own Transformer at its base width and base depth.

At other widths, the standard deviation of a parameter's initial values is multiplied by a factor
of `telescope.parametrisation.mup.factors`. For mla's shared rotary key, it is also multiplied by
`shared_key_factor`. For hidden matrices, it is multiplied by the option `init_scale`, at every
width. `torch_default` gives torch's own initial values instead, which no factor multiplies. In this
module, m = width / base width.
"""

import math
from collections.abc import Mapping

import torch

from telescope.parametrisation.roles import Role
from telescope.trials.model import ModelSpec
from telescope.trials.types import Parametrisation


def base_init_std(model: ModelSpec, role: Role, fan_in: int, feeds_residual: bool) -> float:
    """Standard deviation of a parameter's initial values at the base width and base depth.

    Embeddings have a standard deviation of 0.5. Hidden matrices have 1 / sqrt(base fan_in). If a
    hidden matrix feeds the residual stream, this value is divided by sqrt(2 x base depth), as in
    GPT-2. Readout matrices (the matrices of untied output heads) and vectors have 0: the entries of
    readout matrices are all 0, and the entries of vectors are all 1. `fan_in` is the number of
    inputs at the model's width, and the base fan_in is `fan_in` / m. The base depth is the model's
    depth, unless the specification sets another.
    """
    if role is Role.HIDDEN:
        std = math.sqrt(model.multiplier / fan_in)
        base_depth = model.base_depth or model.depth
        return std / (math.sqrt(2 * base_depth) if feeds_residual else 1.0)
    return {Role.EMBEDDING: 0.5, Role.READOUT: 0.0, Role.VECTOR: 0.0}[role]


SHARED_KEY_INIT: Mapping[Parametrisation, float] = {"mup": -0.5, "mup-paper": 0.0, "standard": 0.0}
"""For each parametrisation, the exponent of m in a further factor on the initial values of mla's
shared rotary key.

In mla (multi-head latent attention), all heads share one key that is rotated by position. The
number of outputs (fan_out) of its matrix does not grow with width. With random entries of size
1 / sqrt(fan_in), the spectral norm of this matrix would be of order one at every width. But the
spectral condition of muP asks for a norm of order sqrt(fan_out / fan_in), which falls as m^-1/2."""


def shared_key_factor(model: ModelSpec, parametrisation: Parametrisation) -> float:
    """The further factor on the initial values of mla's shared rotary key."""
    return float(model.multiplier ** SHARED_KEY_INIT[parametrisation])


def torch_default(role: Role, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Values as torch draws them by default: standard normal in torch.nn.Embedding, uniform between
    -1/sqrt(fan_in) and 1/sqrt(fan_in) in torch.nn.Linear."""
    if role is Role.EMBEDDING:
        return torch.randn(shape, generator=generator)
    return (2 * torch.rand(shape, generator=generator) - 1) / math.sqrt(shape[-1])
