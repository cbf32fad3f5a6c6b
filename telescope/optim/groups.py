"""The parameter groups of a model.

All parameters of a group have the same role, the same optimizer, and the same hyperparameters,
which are scaled to the model's width and depth. The role of a parameter states which of its
dimensions grow with the model's width. `groups` finds the groups of a model. `describe_groups`
finds the groups from a model's specification.
"""

from collections import defaultdict
from dataclasses import dataclass

import torch

from telescope.models.build import build_model
from telescope.models.family import Model
from telescope.parametrisation import mup
from telescope.parametrisation.roles import Role, trained_by
from telescope.trials.model import AnyModel
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.types import OptimizerName


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters of one model that share their role, optimizer and scaled hyperparameters."""

    role: Role
    optimizer: OptimizerName
    scaled_lr: float  # learning rate at the model's width and depth, before the schedule's factor
    # weight decay at the model's width; each step multiplies the weights by
    # 1 - (learning rate of the step x weight_decay)
    weight_decay: float
    eps: float | None  # term in AdamW's denominator; None for Muon
    # standard deviation of the initial values; in a user's model, their root mean square
    init_std: float
    # factor on an embedding's output or a readout's input in the forward pass; 1 for other roles
    multiplier: float
    names: tuple[str, ...]  # qualified names of the parameters
    parameters: int  # number of entries of all these parameters together

    @property
    def uses_muon(self) -> bool:
        return self.optimizer == "muon"


@dataclass(frozen=True)
class GroupKey:
    """The properties of a parameter that decide its group. Parameters with equal properties form a
    group."""

    role: Role
    init_std: float
    factors: mup.Factors


def groups(model: Model, spec: OptimizerSpec) -> tuple[ParameterGroup, ...]:
    """The parameter groups of a model, in the order of their first parameters. Each parameter is in
    exactly one group."""
    names_by_key: defaultdict[GroupKey, list[str]] = defaultdict(list)
    for name, role in model.parameter_roles().items():
        optimizer, depth = trained_by(spec.name, role), model.depth_factors(name)
        factors = mup.factors(model.spec, spec, role, optimizer, depth)
        names_by_key[GroupKey(role, model.init_std(name, role, spec), factors)].append(name)
    result = tuple(_group(model, spec, key, tuple(names)) for key, names in names_by_key.items())
    grouped = sorted(name for group in result for name in group.names)
    parameters = sorted(name for name, _ in model.named_parameters())
    assert grouped == parameters, "groups must partition the parameters"
    return result


def _group(
    model: Model, spec: OptimizerSpec, key: GroupKey, names: tuple[str, ...]
) -> ParameterGroup:
    role, factors = key.role, key.factors
    optimizer = trained_by(spec.name, role)
    ratio = spec.adamw_lr_ratio if spec.name == "muon" and optimizer == "adamw" else 1.0
    multiplier = {
        Role.EMBEDDING: model.embedding_multiplier,
        Role.READOUT: model.head_multiplier,
    }.get(role, 1.0)
    return ParameterGroup(
        role=role,
        optimizer=optimizer,
        scaled_lr=spec.lr * ratio * factors.lr,
        weight_decay=0.0 if role in mup.UNDECAYED else spec.weight_decay * factors.weight_decay,
        eps=spec.eps * factors.eps if optimizer == "adamw" else None,
        init_std=key.init_std,
        multiplier=multiplier,
        names=names,
        parameters=sum(model.get_parameter(name).numel() for name in names),
    )


def describe_groups(
    model: AnyModel, vocab_size: int, spec: OptimizerSpec, context: int = 2
) -> tuple[ParameterGroup, ...]:
    """The parameter groups of a model with these specifications. The model is built on torch's meta
    device, which needs no memory for parameters. A user's model is built on the CPU instead if its
    factory does not work on the meta device. `context` is the number of position embeddings, if the
    model learns such embeddings."""
    with torch.device("meta"):
        return groups(build_model(model, vocab_size, context, spec.parametrisation), spec)
