"""Trains several trials with models and batches of equal shapes together, as one program.

With a narrow model, a machine spends more time on launching kernels than on computing. So several
such models are trained together, as a *pack*; each of the models is a *member*. The pack runs one
common model. The batch of this model holds the windows of all members, one member after the other.
Each weight of this model is a stack of the members' weights. An operation with weights applies each
member's weight to that member's part of the batch (`Together`). All other operations, including
attention, treat the windows of all members alike. Gradients flow back through the stacks into the
members' own parameters.

Stacks are made anew in every forward pass, and each member is a complete model with its own
optimizer and checkpoint. So any member may leave after a step, and the other members go on
together. Values of one member never enter the numbers of another member, even if they are infinite.
On all CPUs tried so far, a member's numbers are exactly those of a trial that runs alone, since
each product, sum and loss is computed in the same order.

telescope.train.program measures how many trials are fastest together.

Letters in the shapes of tensors: P members, B windows of a member, T context, T_1 context + 1, V
vocabulary, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from telescope.models.build import family_of
from telescope.models.dropout import share_generators
from telescope.models.family import Model
from telescope.models.losses import LOSSES
from telescope.shapes import Float, Int
from telescope.trials.model import AnyModel
from telescope.trials.spec import TrialSpec
from telescope.trials.types import SoftmaxName

Losses = Callable[[Sequence[Model], Tensor], Tensor]
"""A function that computes the mean loss of each model on its own windows, such as `losses`. Such a
function is called a program."""


@lru_cache(maxsize=65_536)
def shape(spec: TrialSpec) -> str:
    """A digest of all fields that must be equal for the members of a pack."""
    return _common_spec(spec).digest


def _common_spec(spec: TrialSpec) -> TrialSpec:
    """The spec, with fixed values in all fields in which the members of a pack may differ. These
    fields are the seed, the split of a table, the branch (the stored state of another trial, from
    which the trial continues), the kept steps (at which the trial stores its own state),
    `stop_below_loss`, the learning-rate schedule, and the hyperparameters that change neither
    shapes nor operations."""
    optimizer = replace(
        spec.optimizer,
        lr=1.0,
        weight_decay=0.0,
        adamw_lr_ratio=1.0,
        momentum=0.0,
        beta1=0.0,
        beta2=0.0,
        eps=1.0,
        init_scale=1.0,
    )
    horizon = replace(
        spec.horizon,
        warmup_fraction=0.0,
        decay="constant",
        decay_fraction=0.0,
        final_lr_fraction=0.0,
        stop_below_loss=None,
    )
    return replace(
        spec,
        optimizer=optimizer,
        data=spec.data.without_split_seed(),
        horizon=horizon,
        seed=0,
        branch=None,
        kept_steps=(),
    )


def packable(model: AnyModel) -> bool:
    """True if trials of this model may share a pack, and may be compiled. False for a user's model,
    since telescope does not know how such a model applies its weights."""
    return family_of(model).packable


def losses(models: Sequence[Model], windows: Int[Tensor, "P B T_1"]) -> Float[Tensor, "P"]:
    """The mean cross-entropy of each model on its own windows of T + 1 tokens, in nats per token.
    On a GPU, the models compute in bf16.

    A user's model may compute its own loss; then the result is this loss. Such a model must be the
    only one.
    """
    with torch.autocast("cuda", torch.bfloat16) if windows.is_cuda else nullcontext():
        if (own := models[0].own_loss(windows[0])) is not None:
            return own[None]
        logits = forward(models, windows[:, :, :-1])  # (P B, T, V)
    targets = windows[:, :, 1:].flatten()
    token_losses = functional.cross_entropy(
        logits.float().flatten(0, 1), targets, reduction="none"
    )  # (P B T)
    result: Tensor = token_losses.view(len(models), -1).mean(dim=1)
    return result


def answer_losses(softmax: SoftmaxName) -> Losses:
    """The program for trials on a table. Its windows are rows of the table, (P, B, T + 1): in each
    row, a question of T tokens and then the answer. The program returns each model's mean loss on
    the answers, under a variant of softmax."""

    def losses(models: Sequence[Model], rows: Tensor) -> Tensor:
        row_losses = LOSSES[softmax](answer_logits(models, rows), rows[:, :, -1].flatten())
        return row_losses.view(len(models), -1).mean(dim=1)

    return losses


def answer_logits(models: Sequence[Model], rows: Int[Tensor, "P B T_1"]) -> Float[Tensor, "P*B V"]:
    """The logits of each model at the last position of its own questions, in float32."""
    with torch.autocast("cuda", torch.bfloat16) if rows.is_cuda else nullcontext():
        return forward(models, rows[:, :, :-1])[:, -1].float()


def program_of(spec: TrialSpec, losses: Losses) -> Losses:
    """The program that trains trials of this shape: `losses` on text, `answer_losses` on tables."""
    return answer_losses(spec.softmax) if spec.data.has_answers else losses


def losses_of_members(
    losses: Losses, models: Sequence[Model], windows: Sequence[Tensor]
) -> Float[Tensor, "P"]:
    """The losses of all members, computed in one call if all members have the same number of
    windows. Members that resumed from checkpoints may be at different steps. Then the numbers may
    differ, since the last batch of an epoch over a table may be smaller than the others."""
    if len({len(own) for own in windows}) == 1:
        return losses(models, torch.stack(list(windows)))
    pairs = zip(models, windows, strict=True)
    return torch.cat([losses((model,), own[None]) for model, own in pairs])


def forward(models: Sequence[Model], tokens: Int[Tensor, "P B T"]) -> Float[Tensor, "P*B T V"]:
    """The logits of each model for its own tokens."""
    if len(models) == 1:
        return models[0](tokens[0])
    assert packable(models[0].spec), "packs cannot hold a user's model"
    stacked_weights = {
        name: torch.stack([model.get_parameter(name) for model in models])
        for name, _ in models[0].named_parameters()
    }
    share_generators([cast(nn.Module, model) for model in models])
    with Together(len(models)):
        return functional_call(cast(nn.Module, models[0]), stacked_weights, tokens.flatten(0, 1))  # type: ignore[no-any-return]


class Together(TorchFunctionMode):
    """While this mode is active, each weight is a stack of P weights, along an extra first
    dimension. Weight p of the stack is applied to part p of the batch.

    The mode changes four functions: those by which telescope's Transformer applies weights to
    activations.
    """

    def __init__(self, members: int) -> None:
        super().__init__()
        self.members = members

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function is functional.linear:
            return self.linear(*args, **kwargs)
        if function is functional.embedding:
            return self.embedding(*args, **kwargs)
        if function is functional.rms_norm:
            return self.rms_norm(*args, **kwargs)
        if function is functional.layer_norm:
            return self.layer_norm(*args, **kwargs)
        return function(*args, **kwargs)

    def linear(self, x: Tensor, weight: Tensor, bias: None = None) -> Tensor:
        """The product of `x` (P B, ..., in) and `weight` (P, out, in), as one batched product."""
        assert bias is None, "a pack cannot hold biases"
        product = torch.bmm(x.reshape(self.members, -1, x.shape[-1]), weight.mT)  # (P, B ..., out)
        return product.view(*x.shape[:-1], -1)

    def embedding(
        self,
        tokens: Tensor,
        weight: Tensor,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Tensor:
        """A lookup of `tokens` (P B, T) in `weight` (P, V, D). The P tables become one table of P V
        rows, and the token ids of each member are shifted to the member's own rows."""
        assert (padding_idx, max_norm, scale_grad_by_freq, sparse) == (None, None, False, False), (
            "a pack cannot hold embeddings with these options"
        )
        first_row = weight.shape[1] * torch.arange(self.members, device=tokens.device)  # (P)
        rows = tokens.reshape(self.members, -1) + first_row[:, None]
        return functional.embedding(rows.view(tokens.shape), weight.flatten(0, 1))

    def rms_norm(
        self, x: Tensor, normalized_shape: Sequence[int], weight: Tensor, eps: float
    ) -> Tensor:
        """RMSNorm of `x` (P B, ..., D), then a product with each member's gains in `weight` (P,
        D)."""
        return self.apply_gains(functional.rms_norm(x, normalized_shape, eps=eps), weight)

    def layer_norm(
        self, x: Tensor, normalized_shape: Sequence[int], weight: Tensor, bias: None, eps: float
    ) -> Tensor:
        """LayerNorm of `x` (P B, ..., D), then a product with each member's gains in `weight` (P,
        D)."""
        assert bias is None, "a pack cannot hold biases"
        return self.apply_gains(functional.layer_norm(x, normalized_shape, eps=eps), weight)

    def apply_gains(self, normed: Tensor, gains: Tensor) -> Tensor:
        """Multiply the activations (P B, ..., D) by each member's gains (P, D)."""
        by_member = normed.view(self.members, -1, *normed.shape[1:])  # (P, B, ..., D)
        gains = gains.view(self.members, *[1] * (normed.ndim - 1), -1)
        return (by_member * gains).view(normed.shape)
