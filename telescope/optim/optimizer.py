"""The optimizer of a model: Muon and AdamW over its parameter groups.

In a Muon run, Muon trains the HIDDEN matrices, and AdamW trains all other parameters, with
`adamw_lr_ratio` times Muon's base lr (`telescope.optim.groups`). In an AdamW run, AdamW trains all
parameters.

Parts: `Optimizer` and `build_optimizer` · `step_together`, one step of several models of one shape.
"""

from collections.abc import Sequence
from typing import Any, assert_never

import torch

from telescope.models.family import Model
from telescope.optim.groups import ParameterGroup, groups
from telescope.optim.muon import Muon, muon_steps
from telescope.trials.optimizer import OptimizerSpec


class Optimizer:
    """Muon and AdamW over the parameters of one model."""

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
        """Set every group's lr to `factor` times its scaled lr."""
        for part, scaled_lrs in zip(self.parts, self.scaled_lrs, strict=True):
            for group, scaled_lr in zip(part.param_groups, scaled_lrs, strict=True):
                group["lr"] = scaled_lr * factor

    def step(self, factor: float) -> None:
        """Update this model alone, at `factor` times the scaled lrs."""
        step_together([self], [factor])

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def build_optimizer(model: Model, spec: OptimizerSpec) -> Optimizer:
    return Optimizer(model, spec)


def step_together(optimizers: Sequence[Optimizer], factors: Sequence[float]) -> None:
    """Update all parameters of several models of one shape from their gradients, each model with
    its own factor on the scaled lrs; then clear the gradients."""
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
