"""Trials of one shape as one program.

With a narrow model a machine spends more time starting kernels than computing. So several such
models are trained together, as a *pack*: the batch of the common model holds the windows of all
members, one after the other, and its weights are the members' weights, stacked. Where a weight is
applied to the batch, each member's weight is applied to that member's part of the batch
(`Together`); everything else, attention included, has no weights and is the same for all. Gradients
flow back through the stacking into each member's own parameters.

Nothing lasts longer than a step: members are whole models with their own optimizers and
checkpoints, so any of them may leave, and a new pack may be formed from those that remain. Values
that one member computes, infinite or not, never enter another member's numbers. On the CPUs where
it was tried, a member's numbers are the same as alone to the last bit: each product, sum and loss
is computed in the same order.

telescope.train.program measures how many trials are fastest together.

Parts: `shape` and `packable`, which trials may share a pack · `losses` and `Together`, the program.
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
from telescope.models.family import Model
from telescope.shapes import Float, Int
from telescope.trials.model import AnyModel
from telescope.trials.spec import TrialSpec

Losses = Callable[[Sequence[Model], Tensor], Tensor]
"""The signature of a program: `losses`, or a function that computes the same."""


@lru_cache(maxsize=65_536)
def shape(spec: TrialSpec) -> str:
    """A digest; trials with equal digests may share a pack."""
    return nameless(spec).digest


def nameless(spec: TrialSpec) -> TrialSpec:
    """The spec without its seed and all values that enter the computation only as numbers."""
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
    return replace(spec, optimizer=optimizer, horizon=horizon, seed=0, branch=None, kept_steps=())


def packable(model: AnyModel) -> bool:
    """True if trials of this model may share a program, or be compiled. Not a user's model:
    telescope does not know how it applies its weights."""
    return family_of(model).packable


def losses(models: Sequence[Model], windows: Int[Tensor, "P B T_1"]) -> Float[Tensor, "P"]:
    """Mean cross-entropy, in nats per token, of each model on its own windows of T + 1 tokens; in
    bf16 if the hardware has it."""
    with torch.autocast("cuda", torch.bfloat16) if windows.is_cuda else nullcontext():
        if (own := models[0].own_loss(windows[0])) is not None:
            return own[None]
        logits = forward(models, windows[:, :, :-1])  # (P B, T, V)
    each = functional.cross_entropy(
        logits.float().flatten(0, 1), windows[:, :, 1:].flatten(), reduction="none"
    )
    result: Tensor = each.view(len(models), -1).mean(dim=1)
    return result


def forward(models: Sequence[Model], tokens: Int[Tensor, "P B T"]) -> Float[Tensor, "P*B T V"]:
    """Logits of each model for its own windows."""
    if len(models) == 1:
        return models[0](tokens[0])
    assert packable(models[0].spec), "packs cannot hold a user's model"
    stacked = {
        name: torch.stack([model.get_parameter(name) for model in models])
        for name, _ in models[0].named_parameters()
    }
    with Together(len(models)):
        return functional_call(cast(nn.Module, models[0]), stacked, tokens.flatten(0, 1))  # type: ignore[no-any-return]


class Together(TorchFunctionMode):
    """While active, a weight with one extra dimension is a stack of P weights, and weight p is
    applied to part p of the batch.

    It covers the four ways in which a Transformer applies weights to activations.
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
        """x (P B, ..., in), weight (P, out, in): one batched product."""
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
        """tokens (P B, T), weight (P, V, D): one table, in which each member's token ids are
        shifted to its own rows."""
        assert (padding_idx, max_norm, scale_grad_by_freq, sparse) == (None, None, False, False), (
            "a pack cannot hold such embeddings"
        )
        first_row = weight.shape[1] * torch.arange(self.members, device=tokens.device)  # (P)
        rows = tokens.reshape(self.members, -1) + first_row[:, None]
        return functional.embedding(rows.view(tokens.shape), weight.flatten(0, 1))

    def rms_norm(
        self, x: Tensor, normalized_shape: Sequence[int], weight: Tensor, eps: float
    ) -> Tensor:
        """x (P B, ..., D), weight (P, D): the same norm for all, then each member's gains."""
        return self.gained(functional.rms_norm(x, normalized_shape, eps=eps), weight)

    def layer_norm(
        self, x: Tensor, normalized_shape: Sequence[int], weight: Tensor, bias: None, eps: float
    ) -> Tensor:
        """The same with LayerNorm."""
        assert bias is None, "a pack cannot hold biases"
        return self.gained(functional.layer_norm(x, normalized_shape, eps=eps), weight)

    def gained(self, normed: Tensor, gains: Tensor) -> Tensor:
        """Normed activations (P B, ..., D) times each member's gains (P, D)."""
        apart = normed.view(self.members, -1, *normed.shape[1:])  # (P, B, ..., D)
        return (apart * gains.view(self.members, *[1] * (normed.ndim - 1), -1)).view(normed.shape)
