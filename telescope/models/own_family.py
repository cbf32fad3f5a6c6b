"""The family of telescope's own Transformer: its model, and counts that follow from a
specification.

The functions count the entries of the hidden matrices (all matrices of attention and feed-forward
layers), the floating-point operations of a forward pass, and the stored activations.
telescope.train.flops describes the conventions for counting operations.
"""

from functools import lru_cache

import torch

from telescope.models.family import Family
from telescope.models.transformer import Transformer
from telescope.parametrisation.roles import Role
from telescope.trials.architecture import width_problem
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.types import MuonSplit


def hidden_shapes(model: ModelSpec) -> list[tuple[int, int]]:
    """The shape (fan_out, fan_in) of each hidden matrix in one Transformer block."""
    width, hidden, rank = model.width, model.hidden, model.kv_rank
    query_output = [(width, width)] * 2
    if model.attention == "heads":
        key_value = [(model.kv_heads * model.head_dim, width)] * 2
    else:
        rotated = model.rotated_dim
        key_value = [
            (rank, width),  # the latent vector
            (width, rank),  # keys
            (width, rank),  # values
            (model.heads * rotated, width),  # rotary queries
            (rotated, width),  # the shared rotary key
        ]
    up_and_gate = [(hidden, width)] * (2 if model.gated else 1)
    return query_output + key_value + up_and_gate + [(width, hidden)]


def hidden_parameters(model: ModelSpec) -> int:
    """The number of entries of all hidden matrices together."""
    return model.depth * sum(rows * columns for rows, columns in hidden_shapes(model))


@lru_cache(maxsize=1024)
def orthogonalised(model: ModelSpec, split: MuonSplit) -> tuple[tuple[int, int], ...]:
    """The shape (fan_out, fan_in) of each matrix that Muon orthogonalises, in all blocks. With the
    split `heads`, each query, key and value matrix counts as one matrix per head. Every other
    matrix, such as the rotary matrices of latent attention, counts as one."""
    if split == "whole":
        return tuple(hidden_shapes(model) * model.depth)
    optimizer = OptimizerSpec(name="muon", lr=1.0, weight_decay=0.0, muon_split=split)
    with torch.device("meta"):
        transformer = Transformer(model, 1, 2, optimizer.parametrisation)
        hidden_names = [
            name for name, role in transformer.parameter_roles().items() if role is Role.HIDDEN
        ]
        pieces = [
            piece
            for name in hidden_names
            for piece in transformer.layout(name, optimizer).blocks(
                transformer.get_parameter(name).detach()
            )
        ]
        return tuple((piece.shape[0], piece.shape[1]) for piece in pieces)


def forward_flops_per_token(model: ModelSpec, vocab_size: int, context: int) -> float:
    """Floating-point operations per token in a forward pass: the products with all matrices,
    including the readout, and attention."""
    attention = logit_flops_per_token(model, context) + 2 * model.depth * model.width * context
    return float(2 * (hidden_parameters(model) + vocab_size * model.width) + attention)


def logit_flops_per_token(model: ModelSpec, context: int) -> int:
    """Floating-point operations per token for the attention logits of all layers in a forward
    pass."""
    return 2 * model.depth * model.heads * model.score_dim * context


def activations_per_token(model: ModelSpec, context: int) -> int:
    """Approximate number of values per token that are stored for the backward pass. The logits of
    the next token are not counted."""
    return model.depth * (12 * model.width + 4 * model.hidden + 2 * model.heads * context)


TRANSFORMER: Family[ModelSpec] = Family(
    build=Transformer,
    width_problem=lambda model, width, parametrisation: width_problem(model, width),
    hidden_parameters=hidden_parameters,
    orthogonalised=orthogonalised,
    forward_flops_per_token=forward_flops_per_token,
    logit_flops_per_token=logit_flops_per_token,
    activations_per_token=activations_per_token,
)
