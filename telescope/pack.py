"""How do trials of one shape run as one program?

A narrow model keeps a machine busy with starting kernels rather than with arithmetic. So several of them are trained together, as a *pack*:
the batch that their common model sees holds the windows of all members, one after the other, and its weights are the members' weights,
stacked. Where a weight meets the batch, each member's part of the batch meets that member's weight (`Together`); everything else, attention
included, has no weights and is the same for all. Gradients flow back through the stacking into each member's own parameters.

Nothing lasts longer than a step: members are whole models with optimizers and checkpoints of their own, so any of them may leave, and a
pack may be formed anew from whichever are left. What one member computes, infinite or not, never enters another's numbers.

Parts: `shape`, which says who may share a pack · `losses` · `Together`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from telescope.model import Transformer
from telescope.spec import TrialSpec


def shape(spec: TrialSpec) -> str:
    """Trials may share a pack where this is equal: it is the digest of the trial, its seed and all that is only a number to it left out."""
    optimizer = replace(
        spec.optimizer, lr=1.0, weight_decay=0.0, adamw_lr_ratio=1.0, momentum=0.0, beta1=0.0, beta2=0.0, eps=1.0, init_scale=1.0
    )
    horizon = replace(spec.horizon, warmup_fraction=0.0, decay="constant", decay_fraction=0.0, final_lr_fraction=0.0)
    return replace(spec, optimizer=optimizer, horizon=horizon, seed=0).digest


def losses(models: Sequence[Transformer], windows: Int[Tensor, "P B T+1"]) -> Float[Tensor, "P"]:
    """Mean cross-entropy, in nats per token, of each model on its own windows."""
    inputs, targets = windows[:, :, :-1], windows[:, :, 1:]
    if len(models) == 1:
        return functional.cross_entropy(models[0](inputs[0]).float().flatten(0, 1), targets.flatten())[None]
    stacked = {name: torch.stack([model.get_parameter(name) for model in models]) for name, _ in models[0].named_parameters()}
    with Together(len(models)):
        logits = functional_call(models[0], stacked, inputs.flatten(0, 1))  # (P B, T, V)
    per_token = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return per_token.view(len(models), -1).mean(dim=1)


class Together(TorchFunctionMode):
    """While it is active, a weight with one dimension more than usual is a stack of P, and part p of the batch meets weight p.

    It covers the three ways in which weights and activations meet in a Transformer.
    """

    def __init__(self, members: int) -> None:
        super().__init__()
        self.members = members

    def __torch_function__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if function is functional.linear:
            return self.linear(*args, **kwargs)
        if function is functional.embedding:
            return self.embedding(*args[:2])
        if function is functional.rms_norm:
            return self.rms_norm(*args, **kwargs)
        return function(*args, **kwargs)

    def linear(self, x: Tensor, weight: Tensor, bias: None = None) -> Tensor:
        """x (P B, ..., in), weight (P, out, in): one batched product."""
        product = torch.bmm(x.reshape(self.members, -1, x.shape[-1]), weight.mT)  # (P, B ..., out)
        return product.view(*x.shape[:-1], -1)

    def embedding(self, tokens: Tensor, weight: Tensor) -> Tensor:
        """tokens (P B, T), weight (P, V, D): one table, in which each member's tokens begin where its rows do."""
        first_row = weight.shape[1] * torch.arange(self.members, device=tokens.device)  # (P)
        rows = tokens.reshape(self.members, -1) + first_row[:, None]
        return functional.embedding(rows.view(tokens.shape), weight.flatten(0, 1))

    def rms_norm(self, x: Tensor, normalized_shape: Sequence[int], weight: Tensor, eps: float) -> Tensor:
        """x (P B, ..., D), weight (P, D): the same norm for all, then each member's gains."""
        normed = functional.rms_norm(x, normalized_shape, eps=eps)
        return (normed.reshape(self.members, -1, x.shape[-1]) * weight[:, None]).view(x.shape)
