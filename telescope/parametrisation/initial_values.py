"""The initial values of telescope's own Transformer at its base width and base depth.

`base_init_std` gives the standard deviation of a parameter's initial values. The model multiplies
it by `init_std` of `telescope.parametrisation.mup.factors`. Hidden matrices have another factor,
the option `init_scale`. The matrix of mla's shared rotary key has a third factor,
`shared_key_factor`. Under `initial_values: torch`, `torch_default` gives the values of matrices
instead, without any factor. In this module, m = width / base width.
"""

import math
from collections.abc import Mapping

import torch

from telescope.parametrisation.roles import Role
from telescope.trials.model import ModelSpec
from telescope.trials.types import Parametrisation


def base_init_std(model: ModelSpec, role: Role, fan_in: int, feeds_residual: bool) -> float:
    """Standard deviation of a parameter's initial values at the base width and base depth.

    - Embeddings: 0.5.
    - Hidden matrices: 1 / sqrt(base fan_in). `fan_in` is the number of inputs at the model's width,
      and the base fan_in is `fan_in` / m. If the matrix feeds the residual stream, the value is
      divided by sqrt(2 x base depth), as in GPT-2. The base depth is the model's depth, unless the
      specification sets another.
    - Readout matrices, which are the matrices of untied output heads: 0. All their entries are 0.
    - Vectors: 0. All their entries are 1.
    """
    if role is Role.HIDDEN:
        std = math.sqrt(model.multiplier / fan_in)
        base_depth = model.base_depth or model.depth
        return std / (math.sqrt(2 * base_depth) if feeds_residual else 1.0)
    return {Role.EMBEDDING: 0.5, Role.READOUT: 0.0, Role.VECTOR: 0.0}[role]


SHARED_KEY_INIT: Mapping[Parametrisation, float] = {"mup": -0.5, "mup-paper": 0.0, "standard": 0.0}
"""For each parametrisation, the exponent of m in `shared_key_factor`.

In mla (multi-head latent attention), all heads share one key that is rotated by position. One
matrix computes this key. The number of outputs (fan_out) of the matrix does not grow with width. If
its entries were random numbers of size 1 / sqrt(fan_in), its spectral norm would be of order one at
every width. But muP asks for a norm of order sqrt(fan_out / fan_in), which falls as m^-1/2."""


def shared_key_factor(model: ModelSpec, parametrisation: Parametrisation) -> float:
    """The factor on the initial values of the matrix that computes mla's shared rotary key."""
    return float(model.multiplier ** SHARED_KEY_INIT[parametrisation])


def torch_default(role: Role, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Random values with torch's default distributions: standard normal for an embedding, as in
    torch.nn.Embedding; otherwise uniform between -1/sqrt(fan_in) and 1/sqrt(fan_in), as in
    torch.nn.Linear."""
    if role is Role.EMBEDDING:
        return torch.randn(shape, generator=generator)
    return (2 * torch.rand(shape, generator=generator) - 1) / math.sqrt(shape[-1])
