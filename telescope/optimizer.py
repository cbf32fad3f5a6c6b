"""Which optimizer trains which parameter, with which effective hyperparameters?

Roles decide: in a Muon run Muon trains the HIDDEN matrices and AdamW the rest, with base lr `adamw_lr_ratio` times Muon's; in an AdamW
run AdamW trains all. The groups are total and disjoint, asserted. Effective values are the base values times the factors of
`telescope.mup`.

Parts: `groups` (the partition) · `Block`, `Muon` (a torch optimizer over `telescope.muon`) · `Optimizer` and `build` (both together, with
the schedule's factor as an argument) · `step_together` (one model's step, or that of several of one shape) · `lr_factor` and `warmup_steps`
(schedules) · `describe` (the groups as a report shows them).
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from telescope import mup
from telescope.build import Model
from telescope.build import build as build_model
from telescope.matrices import MATRIX, Layout
from telescope.muon import mixed_momentum, orthogonalize
from telescope.roles import Role
from telescope.spec import AnyModel, HorizonSpec, OptimizerName, OptimizerSpec

NEWTON_SCHULZ_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
ELEMENTS_AT_ONCE = {"cpu": 2**19, "cuda": 2**28}
"""What is orthogonalised together: on a CPU what its cache holds, on a GPU all but the largest models."""


@dataclass(frozen=True)
class Group:
    """Parameters that share every effective hyperparameter at one width and depth."""

    role: Role
    optimizer: OptimizerName
    scaled_lr: float
    weight_decay: float  # scaled; each step multiplies by 1 - scaled_lr * weight_decay
    eps: float | None  # of AdamW's denominator; Muon has none
    init_std: float
    multiplier: float  # on the layer's output in the forward pass
    names: tuple[str, ...]
    parameters: int

    @property
    def uses_muon(self) -> bool:
        """Trained by Muon."""
        return self.optimizer == "muon"


def groups(model: Model, spec: OptimizerSpec) -> tuple[Group, ...]:
    """The partition of the model's parameters, in the model's order."""
    members: defaultdict[tuple[Role, float, mup.Factors], list[str]] = defaultdict(list)
    for name, role in model.parameter_roles().items():
        factors = mup.factors(model.spec, spec, role, trained_by(spec, role), model.in_branch(name))
        members[role, model.init_std(name, role, spec), factors].append(name)
    result = tuple(_group(model, spec, role, std, factors, tuple(names)) for (role, std, factors), names in members.items())
    named = [name for group in result for name in group.names]
    assert sorted(named) == sorted(name for name, _ in model.named_parameters()), "groups must partition the parameters"
    return result


def trained_by(spec: OptimizerSpec, role: Role) -> OptimizerName:
    """The optimizer of a role."""
    return "muon" if spec.name == "muon" and role is Role.HIDDEN else "adamw"


def _group(model: Model, spec: OptimizerSpec, role: Role, std: float, factors: mup.Factors, names: tuple[str, ...]) -> Group:
    optimizer = trained_by(spec, role)
    ratio = spec.adamw_lr_ratio if spec.name == "muon" and optimizer == "adamw" else 1.0
    multiplier = {Role.EMBEDDING: model.embedding_multiplier, Role.READOUT: model.head_multiplier}.get(role, 1.0)
    return Group(
        role=role,
        optimizer=optimizer,
        scaled_lr=spec.lr * ratio * factors.lr,
        weight_decay=0.0 if role in mup.UNDECAYED else spec.weight_decay * factors.weight_decay,
        eps=spec.eps * factors.eps if optimizer == "adamw" else None,
        init_std=std,
        multiplier=multiplier,
        names=names,
        parameters=sum(model.get_parameter(name).numel() for name in names),
    )


class Block:
    """A matrix that is orthogonalised by itself: a parameter, or a part of one."""

    def __init__(self, parameter: nn.Parameter, layout: Layout, index: int) -> None:
        self.parameter, self._layout, self._index = parameter, layout, index
        self.matrix = self._part(parameter.detach())

    def _part(self, x: Tensor) -> Tensor:
        return x if self._layout is MATRIX else self._layout.blocks(x)[self._index]

    @property
    def gradient(self) -> Tensor:
        """Its part of the gradient."""
        assert self.parameter.grad is not None, "a step needs gradients"
        return self._part(self.parameter.grad)


def blocks_of(parameter: nn.Parameter, layout: Layout) -> list[Block]:
    """All blocks of a parameter."""
    count = 1 if layout is MATRIX else len(layout.blocks(parameter.detach()))
    return [Block(parameter, layout, index) for index in range(count)]


class Muon(torch.optim.Optimizer):
    """Muon over matrices; those of one shape, lying or standing, are orthogonalised together. State: stacked momenta, lying."""

    def __init__(
        self, params: Sequence[nn.Parameter], spec: OptimizerSpec, scaled_lr: float, weight_decay: float, layouts: Sequence[Layout] = ()
    ) -> None:
        super().__init__(params, {"lr": scaled_lr, "weight_decay": weight_decay})
        self.spec = spec
        shapes: defaultdict[tuple[int, ...], list[Block]] = defaultdict(list)
        for parameter, layout in zip(params, layouts or [MATRIX] * len(params), strict=True):
            for block in blocks_of(parameter, layout):
                shapes[tuple(sorted(block.matrix.shape))].append(block)
        self.stacks = tuple(shapes.values())

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step from the gradients."""
        muon_steps([self])

    def momentum(self, stack: list[Block]) -> Tensor:  # (K, small, large)
        """The buffer of a stack."""
        state, name = self.state[stack[0].parameter], "momentum_buffer {}x{}".format(*sorted(stack[0].matrix.shape))
        if name not in state:
            state[name] = torch.stack([torch.zeros_like(lying(block.matrix)) for block in stack])
        buffer: Tensor = state[name]
        return buffer

    def mixed(self, stack: list[Block], part: Sequence[int]) -> Tensor:  # (k, small, large)
        """Take the gradients of a part of a stack into its momentum; returns what is to be orthogonalised."""
        gradients = torch.stack([lying(stack[i].gradient) for i in part])
        momenta = self.momentum(stack)
        if part[-1] - part[0] + 1 == len(part):
            return mixed_momentum(gradients, momenta[part[0] : part[-1] + 1], self.spec.momentum, self.spec.nesterov)
        buffer = momenta[list(part)]  # a copy
        mixed = mixed_momentum(gradients, buffer, self.spec.momentum, self.spec.nesterov)
        momenta[list(part)] = buffer
        return mixed

    def descend(self, matrices: list[Tensor], update: Tensor) -> None:
        """Decay with the scaled lr, then subtract lr x update scale x update."""
        lr, weight_decay = self.param_groups[0]["lr"], self.param_groups[0]["weight_decay"]
        torch._foreach_mul_(matrices, 1 - lr * weight_decay)
        for matrix, lain in zip(matrices, update.to(matrices[0].dtype), strict=True):
            matrix.add_(lain if lying(matrix) is matrix else lain.mT, alpha=-lr * mup.update_scale(self.spec, *matrix.shape))


def lying(matrix: Tensor) -> Tensor:
    """The matrix, or its transpose, so that it has at least as many columns as rows."""
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix


@torch.no_grad()
def muon_steps(muons: Sequence[Muon]) -> None:
    """One step of each, over models of one shape: their matrices of one shape are orthogonalised together, whosever they are."""
    spec = muons[0].spec
    for stacks in zip(*(muon.stacks for muon in muons), strict=True):
        first = stacks[0]
        matrix = first[0].matrix
        at_once = max(1, ELEMENTS_AT_ONCE[matrix.device.type] // (len(muons) * matrix.numel()))
        moving = [i for i, block in enumerate(first) if block.parameter.grad is not None]  # an expert that saw no token rests
        for part in (moving[start : start + at_once] for start in range(0, len(moving), at_once)):
            mixed = torch.cat([muon.mixed(stack, part) for muon, stack in zip(muons, stacks, strict=True)])  # (P k, small, large)
            updates = orthogonalize(mixed, spec.newton_schulz_steps, dtype=NEWTON_SCHULZ_DTYPES[spec.newton_schulz_dtype])
            for muon, stack, update in zip(muons, stacks, updates.chunk(len(muons)), strict=True):
                muon.descend([stack[i].matrix for i in part], update)


class Optimizer:
    """Muon and AdamW over one model."""

    def __init__(self, model: Model, spec: OptimizerSpec) -> None:
        self.parts: list[torch.optim.Optimizer] = []
        adamw: list[dict[str, Any]] = []
        muon: list[Group] = []
        for group in groups(model, spec):
            if group.uses_muon:
                muon.append(group)
            else:
                members = [model.get_parameter(name) for name in group.names]
                adamw.append({"params": members, "lr": group.scaled_lr, "weight_decay": group.weight_decay, "eps": group.eps})
        if muon:
            names = [name for group in muon for name in group.names]
            matrices, layouts = [model.get_parameter(name) for name in names], [model.layout(name, spec) for name in names]
            self.parts.append(Muon(matrices, spec, muon[0].scaled_lr, muon[0].weight_decay, layouts))
        self.parts.append(torch.optim.AdamW(adamw, betas=(spec.beta1, spec.beta2), fused=True))
        self.scaled_lrs = [[group["lr"] for group in part.param_groups] for part in self.parts]

    def schedule(self, factor: float) -> None:
        """Put every group at `factor` times its scaled lr."""
        for part, scaled_lrs in zip(self.parts, self.scaled_lrs, strict=True):
            for group, scaled_lr in zip(part.param_groups, scaled_lrs, strict=True):
                group["lr"] = scaled_lr * factor

    def step(self, factor: float) -> None:
        """One update, by itself."""
        step_together([self], [factor])

    def state_dict(self) -> list[dict[str, Any]]:
        """State of the parts, for a checkpoint."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restore what `state_dict` gave."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def build(model: Model, spec: OptimizerSpec) -> Optimizer:
    """The optimizer of a model under a spec."""
    return Optimizer(model, spec)


def step_together(optimizers: Sequence[Optimizer], factors: Sequence[float]) -> None:
    """One update of all parameters of models of one shape from their gradients, each at its factor; then forget the gradients."""
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


def lr_factor(horizon: HorizonSpec, step: int) -> float:
    """The schedule: share of the peak lr at `step` (from 0). Warm-up is a line to 1; the last step of a decay is not yet zero."""
    warmup = warmup_steps(horizon)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / (horizon.steps - warmup)
    if horizon.decay == "wsd":
        stable = horizon.steps - max(1, round(horizon.decay_fraction * horizon.steps))
        progress = max(0.0, (step - stable) / (horizon.steps - stable))
    decayed = {
        "constant": 0.0,
        "linear": progress,
        "wsd": progress,
        "cosine": (1 - math.cos(math.pi * progress)) / 2,
    }[horizon.decay]
    return 1 - (1 - horizon.final_lr_fraction) * decayed


def warmup_steps(horizon: HorizonSpec) -> int:
    """Steps of warm-up."""
    return math.ceil(horizon.warmup_fraction * horizon.steps)


def describe(model: AnyModel, vocab_size: int, spec: OptimizerSpec, context: int = 2) -> tuple[Group, ...]:
    """The groups that this optimizer would use at a width, without building the model in memory; `context` counts for learned positions."""
    with torch.device("meta"):
        return groups(build_model(model, vocab_size, context, spec.parametrisation), spec)
