"""Trials of one shape as one program.

With a narrow model, a machine spends more time on launching kernels than on computing. So several
such models are trained together, as a *pack*: a common model whose batch holds the windows of all
members, one after the other, and whose weights are the members' weights, stacked. An operation with
weights applies each member's weight to that member's part of the batch (`Together`). All other
operations, including attention, are the same for all members. Gradients flow back through the
stacking into each member's own parameters.

A pack lasts for one step: members are complete models with their own optimizers and checkpoints, so
any of them may leave, and the rest form a new pack. Values that one member computes, infinite or
not, never enter another member's numbers. On all CPUs tried so far, a member's numbers are the same
as alone to the last bit, since each product, sum and loss is computed in the same order.

telescope.train.program measures how many trials are fastest together.

Parts: `shape` and `packable`, which decide which trials may share a pack · `losses` and `Together`,
the program.

Letters in shapes: P members, B windows of a member, T context, V vocabulary, D width.
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
    """A digest of everything that members of a pack must have in common."""
    return _common_spec(spec).digest


def _common_spec(spec: TrialSpec) -> TrialSpec:
    """The spec with fixed values in all fields in which members may differ: the seed, the branch,
    the kept steps, the target loss, the learning-rate schedule, and those hyperparameters that
    change neither shapes nor operations."""
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
    """True if trials of this model may share a pack, or be compiled. False for a user's model,
    since telescope does not know how such a model applies its weights."""
    return family_of(model).packable


def losses(models: Sequence[Model], windows: Int[Tensor, "P B T_1"]) -> Float[Tensor, "P"]:
    """Mean cross-entropy, in nats per token, of each model on its own windows of T + 1 tokens; on a
    GPU computed in bf16. A model that computes its own loss must be the only one."""
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


def forward(models: Sequence[Model], tokens: Int[Tensor, "P B T"]) -> Float[Tensor, "P*B T V"]:
    """Logits of each model for its own windows."""
    if len(models) == 1:
        return models[0](tokens[0])
    assert packable(models[0].spec), "packs cannot hold a user's model"
    stacked_weights = {
        name: torch.stack([model.get_parameter(name) for model in models])
        for name, _ in models[0].named_parameters()
    }
    with Together(len(models)):
        return functional_call(cast(nn.Module, models[0]), stacked_weights, tokens.flatten(0, 1))  # type: ignore[no-any-return]


class Together(TorchFunctionMode):
    """While this mode is active, a weight with one extra dimension is a stack of P weights, and
    weight p is applied to part p of the batch.

    The mode covers the four functions with which a Transformer applies weights to activations.
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
        """One batched product of x (P B, ..., in) and weight (P, out, in)."""
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
        """A lookup of tokens (P B, T) in weight (P, V, D) as one table: each member's token ids are
        shifted to the rows of that member."""
        assert (padding_idx, max_norm, scale_grad_by_freq, sparse) == (None, None, False, False), (
            "a pack cannot hold such embeddings"
        )
        first_row = weight.shape[1] * torch.arange(self.members, device=tokens.device)  # (P)
        rows = tokens.reshape(self.members, -1) + first_row[:, None]
        return functional.embedding(rows.view(tokens.shape), weight.flatten(0, 1))

    def rms_norm(
        self, x: Tensor, normalized_shape: Sequence[int], weight: Tensor, eps: float
    ) -> Tensor:
        """The same norm of x (P B, ..., D) for all members, then each member's gains (P, D)."""
        return self.apply_gains(functional.rms_norm(x, normalized_shape, eps=eps), weight)

    def layer_norm(
        self, x: Tensor, normalized_shape: Sequence[int], weight: Tensor, bias: None, eps: float
    ) -> Tensor:
        """The same norm of x (P B, ..., D) for all members, then each member's gains (P, D)."""
        assert bias is None, "a pack cannot hold biases"
        return self.apply_gains(functional.layer_norm(x, normalized_shape, eps=eps), weight)

    def apply_gains(self, normed: Tensor, gains: Tensor) -> Tensor:
        """Multiply normed activations (P B, ..., D) by each member's gains (P, D)."""
        by_member = normed.view(self.members, -1, *normed.shape[1:])  # (P, B, ..., D)
        gains = gains.view(self.members, *[1] * (normed.ndim - 1), -1)
        return (by_member * gains).view(normed.shape)
