"""The family of users' modules: counts from a factory's models, built and run.

Torch's counter counts operations at two narrow widths over one window, attention included.

Parts: `counted`, the matrices · `forward_flops_per_token` · `MODULE`.
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
class Counted:
    """The hidden matrices of a model at a width."""

    hidden: int  # entries
    blocks: tuple[tuple[int, int], ...]  # (fan_out, fan_in) of each matrix that Muon orthogonalises


@lru_cache(maxsize=256)
def counted(model: ModuleSpec) -> Counted:
    """Number of entries and shapes, without memory for the values."""
    with torch.device("meta"), torch.random.fork_rng(devices=()):
        built = UserModel(model, "standard")
    hidden = {
        name: layout
        for name, reading in built.readings.items()
        if reading.role is Role.HIDDEN and (layout := reading.layout)
    }
    blocks = [
        block
        for name, layout in hidden.items()
        for block in layout.blocks(built.get_parameter(name).detach())
    ]
    return Counted(
        sum(built.get_parameter(name).numel() for name in hidden),
        tuple((block.shape[0], block.shape[1]) for block in blocks),
    )


def forward_flops_per_token(model: ModuleSpec, vocab_size: int, context: int) -> float:
    """a w^2 + b w, fitted to the counts at the base width and at twice the base width. The
    vocabulary does not matter: the head belongs to the factory.

    Matrices whose sides both grow make the first term, heads and attention the second.
    """
    w = model.base_width
    narrow, wide = (_counted_forward(replace(model, width=width), context) for width in (w, 2 * w))
    a, b = (wide - 2 * narrow) / (2 * w**2), (4 * narrow - wide) / (2 * w)
    return a * model.width**2 + b * model.width


@lru_cache(maxsize=256)
def _counted_forward(model: ModuleSpec, context: int) -> float:
    built, tokens = UserModel(model, "standard"), torch.zeros(1, context, dtype=torch.int64)
    try:
        with (
            built.evaluating(),
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            built(tokens)
    except Exception as error:  # a user's code can raise anything
        message = (
            f"its model cannot be run on a window of {context} tokens: "
            f"{type(error).__name__}: {error}; let it take data.context of them"
        )
        raise InvalidInput.of(FACTORY_FIELD, message, model.factory) from error
    return float(counter.get_total_flops()) / context


MODULE: Family[ModuleSpec] = Family(
    build=lambda model, vocab_size, context, parametrisation: UserModel(model, parametrisation),
    width_problem=lambda model, width, parametrisation: user_model.width_problem(
        replace(model, width=width), parametrisation
    ),
    hidden_parameters=lambda model: counted(model).hidden,
    orthogonalised=lambda model, split: counted(model).blocks,
    forward_flops_per_token=forward_flops_per_token,
)
