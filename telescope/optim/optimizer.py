"""The optimizer of a whole model, which trains its parameter groups with Muon and AdamW.

In a Muon run, Muon trains the HIDDEN matrices, whose two dimensions both grow with the model's
width. AdamW trains all other parameters. AdamW's base learning rate (before the scaling to the
model's width) is `adamw_lr_ratio` times Muon's base learning rate. In an AdamW run, AdamW trains
all parameters.
"""

from collections.abc import Sequence
from typing import Any, assert_never

import torch

from telescope.models.family import Model
from telescope.optim.groups import ParameterGroup, groups
from telescope.optim.muon import Muon, muon_steps
from telescope.trials.optimizer import OptimizerSpec


class Optimizer:
    """The optimizers that train the parameters of one model: AdamW, and in a Muon run also Muon.

    The scaled lr of a group is its learning rate at the model's width and depth, before the
    learning-rate schedule multiplies it by a factor.
    """

    def __init__(self, model: Model, spec: OptimizerSpec) -> None:
        self.parts: list[torch.optim.Optimizer] = []
        adamw: list[dict[str, Any]] = []
        muon: list[ParameterGroup] = []
        for group in groups(model, spec):
            match group.optimizer:
                case "muon":
                    muon.append(group)
                case "adamw":
                    adamw.append(
                        {
                            "params": [model.get_parameter(name) for name in group.names],
                            "lr": group.scaled_lr,
                            "weight_decay": group.weight_decay,
                            "eps": group.eps,
                        }
                    )
                case _:
                    assert_never(group.optimizer)
        if muon:
            names = [name for group in muon for name in group.names]
            parameters = [model.get_parameter(name) for name in names]
            layouts = [model.layout(name, spec) for name in names]
            lr, weight_decay = muon[0].scaled_lr, muon[0].weight_decay
            self.parts.append(Muon(parameters, spec, lr, weight_decay, layouts))
        self.parts.append(torch.optim.AdamW(adamw, betas=(spec.beta1, spec.beta2), fused=True))
        self.scaled_lrs = [[group["lr"] for group in part.param_groups] for part in self.parts]

    def schedule(self, factor: float) -> None:
        """Set the learning rate of every group to `factor` times the group's scaled lr."""
        for part, scaled_lrs in zip(self.parts, self.scaled_lrs, strict=True):
            for group, scaled_lr in zip(part.param_groups, scaled_lrs, strict=True):
                group["lr"] = scaled_lr * factor

    def step(self, factor: float) -> None:
        """Update the parameters of this model with `factor` times the scaled lrs, then clear the
        gradients."""
        step_together([self], [factor])

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def build_optimizer(model: Model, spec: OptimizerSpec) -> Optimizer:
    return Optimizer(model, spec)


def step_together(optimizers: Sequence[Optimizer], factors: Sequence[float]) -> None:
    """Update the parameters of several models of the same shape, then clear their gradients.
    `factors` holds one number per model: the factor on all scaled lrs of the model."""
    for optimizer, factor in zip(optimizers, factors, strict=True):
        optimizer.schedule(factor)
    for parts in zip(*(optimizer.parts for optimizer in optimizers), strict=True):
        if isinstance(parts[0], Muon):
            muon_steps(parts)
        else:
            for part in parts:
                part.step()
        for part in parts:
            part.zero_grad(set_to_none=True)
