"""The family of models that users write: sizes and floating-point operations of a user's model.

Sizes are counted on a model that the user's factory builds at the width in question. Operations are
counted by torch's FLOP counter, in a forward pass on one window at the base width and at twice the
base width. A polynomial in width gives the operations at all other widths.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from telescope.errors import InvalidInput
from telescope.models import user_model
from telescope.models.family import Family
from telescope.models.reading import FACTORY_FIELD
from telescope.models.user_model import UserModel
from telescope.parametrisation.roles import Role
from telescope.trials.model import ModuleSpec


@dataclass(frozen=True)
class HiddenMatrices:
    """Sizes of the hidden matrices of a model at one width. A hidden matrix is one whose two sides
    both grow with width."""

    entries: int  # number of entries of all hidden matrices together
    # (fan_out, fan_in) of each piece that Muon orthogonalises: a hidden matrix, or a part of one
    shapes: tuple[tuple[int, int], ...]


@lru_cache(maxsize=256)
def hidden_matrices(model: ModuleSpec) -> HiddenMatrices:
    """Sizes of the hidden matrices. The model is built on torch's meta device, which needs no
    memory for the parameters. If the factory does not work there, the model is built on the CPU."""
    with torch.device("meta"), torch.random.fork_rng(devices=()):
        instance = UserModel(model, "standard")
    layouts = {
        name: layout
        for name, reading in instance.readings.items()
        if reading.role is Role.HIDDEN and (layout := reading.layout)
    }
    pieces = [
        piece
        for name, layout in layouts.items()
        for piece in layout.blocks(instance.get_parameter(name).detach())
    ]
    return HiddenMatrices(
        sum(instance.get_parameter(name).numel() for name in layouts),
        tuple((piece.shape[0], piece.shape[1]) for piece in pieces),
    )


def forward_flops_per_token(model: ModuleSpec, vocab_size: int, context: int) -> float:
    """Floating-point operations per token in a forward pass: `a * width**2 + b * width`.

    The coefficients a and b are such that this formula equals the count of torch's FLOP counter at
    the base width and at twice the base width. The first term stands for the hidden matrices, and
    the second term for the output head and attention. `vocab_size` is not used, since the factory
    sets the size of the head.
    """
    base = model.base_width
    narrow, wide = (
        _measured_forward_flops_per_token(replace(model, width=width), context)
        for width in (base, 2 * base)
    )
    a, b = (wide - 2 * narrow) / (2 * base**2), (4 * narrow - wide) / (2 * base)
    return a * model.width**2 + b * model.width


@lru_cache(maxsize=256)
def _measured_forward_flops_per_token(model: ModuleSpec, context: int) -> float:
    instance, tokens = UserModel(model, "standard"), torch.zeros(1, context, dtype=torch.int64)
    try:
        with (
            instance.evaluating(),
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            instance(tokens)
    except Exception as error:  # a user's code can raise anything
        message = (
            f"its model cannot be run on a window of {context} tokens: "
            f"{type(error).__name__}: {error}; let it take windows of data.context tokens"
        )
        raise InvalidInput.of(FACTORY_FIELD, message, model.factory) from error
    return float(counter.get_total_flops()) / context


MODULE: Family[ModuleSpec] = Family(
    build=lambda model, vocab_size, context, parametrisation: UserModel(model, parametrisation),
    width_problem=lambda model, width, parametrisation: user_model.width_problem(
        replace(model, width=width), parametrisation
    ),
    hidden_parameters=lambda model: hidden_matrices(model).entries,
    orthogonalised=lambda model, split: hidden_matrices(model).shapes,
    forward_flops_per_token=forward_flops_per_token,
)
