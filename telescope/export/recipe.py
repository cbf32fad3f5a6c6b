"""Training with torch alone, as code for an exported file.

`telescope.export.torch_code` writes the constants below with an answer's numbers, and copies the
functions unchanged. So they must not import telescope, and their docstrings must make sense to a
reader who does not know it.

Parts: `Group`, the constants · `parameter_groups`, `build_optimizers`, `build_schedulers` ·
`lr_factor` · `initialise` · `configure`, for a model that applies no multipliers itself ·
`train_step`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Group:
    """Parameters with the same settings; `lr` is the peak of the schedule, and each step multiplies
    a weight by 1 - lr x weight_decay."""

    role: str
    optimizer: str  # muon or adamw
    lr: float
    weight_decay: float
    eps: float  # for AdamW; Muon has none
    init_std: float
    names: tuple[str, ...]


STEPS = 1
WARMUP_STEPS = 0
STABLE_STEPS = 1
FINAL_LR_FRACTION = 0.0
MUON: dict[str, Any] = {}
BETAS = (0.9, 0.95)
GROUPS: tuple[Group, ...] = ()
# path of a module, its input or its output, factor
MULTIPLIERS: tuple[tuple[str, str, float], ...] = ()


def parameter_groups(model: nn.Module) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The groups of torch.optim.Muon and of torch.optim.AdamW; together they hold each parameter
    once. Raises ValueError, naming the parameters, if the model does not match."""
    parameters = dict(model.named_parameters())
    named = [name for group in GROUPS for name in group.names]
    missing, besides = (
        [name for name in named if name not in parameters],
        [name for name in parameters if name not in named],
    )
    twice = {name for name in named if named.count(name) > 1}
    if missing or besides or twice:
        mismatches = {
            "it lacks": missing,
            "it has besides": besides,
            "these are in two groups": sorted(twice),
        }
        listed = "; ".join(
            f"{words} {', '.join(names)}" for words, names in mismatches.items() if names
        )
        raise ValueError(
            f"this is not the model that the groups are for: {listed}. Pass it before torch.compile or DDP wrap it"
        )
    muon, adamw = [], []
    for group in GROUPS:
        members = {
            "params": [parameters[name] for name in group.names],
            "lr": group.lr,
            "weight_decay": group.weight_decay,
        }
        if group.optimizer == "muon":
            muon.append(members)
        else:
            adamw.append({**members, "eps": group.eps})
    return muon, adamw


def build_optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon, if it trains any parameters, and AdamW."""
    muon, adamw = parameter_groups(model)
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Muon(muon, **MUON)] if muon else []
    return [*optimizers, torch.optim.AdamW(adamw, betas=BETAS, fused=True)]


def build_schedulers(
    optimizers: Sequence[torch.optim.Optimizer],
) -> list[torch.optim.lr_scheduler.LambdaLR]:
    """A scheduler for each optimizer; both follow `lr_factor`."""
    return [torch.optim.lr_scheduler.LambdaLR(optimizer, lr_factor) for optimizer in optimizers]


def decayed(step: int) -> float:
    """Progress of the decay at a step after warm-up, from 0 to 1."""
    return (step - WARMUP_STEPS) / (STEPS - WARMUP_STEPS)


def lr_factor(step: int) -> float:
    """Share of the peak learning rate at a step, counted from 0; it stays constant after the last
    step."""
    step = min(step, STEPS - 1)
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    return 1 - (1 - FINAL_LR_FRACTION) * decayed(step)


@torch.no_grad()
def initialise(model: nn.Module, seed: int) -> None:
    """Draw every parameter anew, in the model's order from one generator on the CPU; the same seed
    gives the same values on any device."""
    generator = torch.Generator().manual_seed(seed)
    groups = {name: group for group in GROUPS for name in group.names}
    for name, parameter in model.named_parameters():
        group = groups[name]
        if group.role == "vector":
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
        elif group.init_std == 0.0:
            parameter.zero_()
        else:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * group.init_std)


@dataclass(frozen=True)
class Multiplied:
    """A hook that multiplies a module's input or its output; it is saved, copied and compiled with
    the module."""

    factor: float

    def __call__(self, module: nn.Module, given: tuple[Tensor, ...], *result: Tensor) -> Any:
        """The result as a forward hook, the input as a forward pre-hook."""
        return result[0] * self.factor if result else (given[0] * self.factor, *given[1:])


def configure(model: nn.Module) -> None:
    """Apply the forward multipliers, once, to a model that does not apply them: to the output of
    embeddings, and to the input of the head."""
    for path, side, factor in MULTIPLIERS:
        module = model.get_submodule(path)
        if side == "input":
            module.register_forward_pre_hook(Multiplied(factor))
        else:
            module.register_forward_hook(Multiplied(factor))


@torch.no_grad()
def rescale(model: nn.Module) -> None:
    """Scale each parameter to its initial size; parameters that start at zero, gains and biases
    stay unchanged."""
    groups = {name: group for group in GROUPS for name in group.names}
    for name, parameter in model.named_parameters():
        size = float(parameter.float().square().mean().sqrt())
        if groups[name].role != "vector" and size > 0:
            parameter.mul_(groups[name].init_std / size)


def loss_of(model: nn.Module, windows: Tensor) -> Tensor:
    """Mean cross-entropy over windows of tokens, (windows, context + 1), of a model that returns
    logits, either directly or in a field."""
    output = model(windows[:, :-1])
    logits = (
        output if isinstance(output, Tensor) else output.logits
    )  # (windows, context, vocabulary)
    return functional.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten())


def own_loss_of(model: nn.Module, windows: Tensor) -> Tensor:
    """The model's own mean loss over windows of tokens, (windows, context + 1)."""
    loss: Tensor = model(windows[:, :-1], windows[:, 1:])
    return loss


def train_step(
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    schedulers: Sequence[torch.optim.lr_scheduler.LambdaLR],
    micro_batches: Sequence[Tensor],
) -> Tensor:
    """Make one step over windows of tokens, (windows, context + 1) each, passed as parts that each
    fit into memory; returns their mean loss."""
    total = torch.zeros((), device=micro_batches[0].device)
    for windows in micro_batches:
        loss = loss_of(model, windows) / len(micro_batches)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    return total
