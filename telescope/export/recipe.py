"""Code that trains with torch alone. It is copied to an exported file.

`telescope.export.torch_code` replaces the constants below with the numbers of a job's result. It
copies the functions that this result needs. It replaces the body of `decayed`, renames
`own_loss_of` to `loss_of`, and leaves out comments for linters and type checkers. All else stays
unchanged. So the functions must not import telescope, and their docstrings must make sense to a
reader who does not know telescope.
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
    """Parameters with the same settings. `lr` is the peak learning rate. Each step multiplies the
    parameters by 1 - (learning rate x weight_decay)."""

    role: str  # embedding, hidden, readout or vector
    optimizer: str  # muon or adamw
    lr: float
    weight_decay: float
    eps: float  # AdamW's eps; 0 for Muon, which has none
    init_std: float  # root mean square of the initial values; not used if the role is vector
    names: tuple[str, ...]


STEPS = 1
WARMUP_STEPS = 0
STABLE_STEPS = 1
FINAL_LR_FRACTION = 0.0
MUON: dict[str, Any] = {}
BETAS = (0.9, 0.95)
GROUPS: tuple[Group, ...] = ()
# for each multiplied module: (path of the module, "input" or "output", factor)
MULTIPLIERS: tuple[tuple[str, str, float], ...] = ()


def parameter_groups(model: nn.Module) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The parameter groups for torch.optim.Muon, and those for torch.optim.AdamW. Together, they
    hold each parameter of the model once. Raises ValueError if the model and GROUPS have different
    parameters, or if a parameter is in two groups. The error names these parameters."""
    parameters = dict(model.named_parameters())
    grouped = [name for group in GROUPS for name in group.names]
    mismatches = {
        "it lacks": [name for name in grouped if name not in parameters],
        "it also has": [name for name in parameters if name not in grouped],
        "these are in two groups": sorted({name for name in grouped if grouped.count(name) > 1}),
    }
    listed = "; ".join(f"{what} {', '.join(names)}" for what, names in mismatches.items() if names)
    if listed:
        raise ValueError(
            f"the model does not match GROUPS: {listed}. "
            "Pass the model that was tuned, before torch.compile or DDP wraps it, "
            "and do not edit GROUPS"
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
    """The optimizers for all parameters: Muon, if a group uses Muon, and AdamW."""
    muon, adamw = parameter_groups(model)
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Muon(muon, **MUON)] if muon else []
    return [*optimizers, torch.optim.AdamW(adamw, betas=BETAS, fused=True)]


def build_schedulers(
    optimizers: Sequence[torch.optim.Optimizer],
) -> list[torch.optim.lr_scheduler.LambdaLR]:
    """One scheduler for each optimizer. All schedulers use `lr_factor`."""
    return [torch.optim.lr_scheduler.LambdaLR(optimizer, lr_factor) for optimizer in optimizers]


def decayed(step: int) -> float:
    """Progress of the decay, from 0 towards 1, at a step after warm-up."""
    return (step - WARMUP_STEPS) / (STEPS - WARMUP_STEPS)


def lr_factor(step: int) -> float:
    """The learning rate at `step`, which counts from 0, as a share of the peak. After the last
    step, the learning rate stays constant."""
    step = min(step, STEPS - 1)
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    return 1 - (1 - FINAL_LR_FRACTION) * decayed(step)


@torch.no_grad()
def initialise(model: nn.Module, seed: int) -> None:
    """Set gains to 1 and biases to 0. Draw all other parameters from normal distributions with the
    standard deviation init_std of their group; a standard deviation of 0 gives zeros. The values
    are drawn in the order of named_parameters, from one generator on the CPU. So a seed gives the
    same values on any device."""
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
    """A hook that multiplies a module's output. If it is registered as a pre-hook, it multiplies
    the module's first input instead. Unlike a lambda, it can be saved, copied and compiled with the
    module."""

    factor: float

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], *output: Tensor) -> Any:
        return output[0] * self.factor if output else (inputs[0] * self.factor, *inputs[1:])


def configure(model: nn.Module) -> None:
    """Add hooks that multiply inputs and outputs of the model's modules by the factors in
    MULTIPLIERS. Call this once, and only for a model that does not apply the factors itself."""
    for path, side, factor in MULTIPLIERS:
        module = model.get_submodule(path)
        if side == "input":
            module.register_forward_pre_hook(Multiplied(factor))
        else:
            module.register_forward_hook(Multiplied(factor))


@torch.no_grad()
def rescale(model: nn.Module) -> None:
    """Scale each parameter so that its root mean square is the init_std of its group. Gains, biases
    and parameters that are zero stay unchanged."""
    groups = {name: group for group in GROUPS for name in group.names}
    for name, parameter in model.named_parameters():
        size = float(parameter.float().square().mean().sqrt())
        if groups[name].role != "vector" and size > 0:
            parameter.mul_(groups[name].init_std / size)


def loss_of(model: nn.Module, windows: Tensor) -> Tensor:
    """Mean cross-entropy over windows of tokens, (windows, context + 1). The model returns logits,
    (windows, context, vocabulary), either directly or in an object with the attribute `logits`."""
    output = model(windows[:, :-1])
    logits = output if isinstance(output, Tensor) else output.logits
    return functional.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten())


def own_loss_of(model: nn.Module, windows: Tensor) -> Tensor:
    """The mean loss that the model itself returns for windows of tokens, (windows, context + 1)."""
    loss: Tensor = model(windows[:, :-1], windows[:, 1:])
    return loss


def train_step(
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    schedulers: Sequence[torch.optim.lr_scheduler.LambdaLR],
    micro_batches: Sequence[Tensor],
) -> Tensor:
    """Take one optimizer step. Return the mean loss of the batch, computed before the step. The
    batch is split into micro-batches that fit into memory. All micro-batches have the same shape,
    (windows, context + 1)."""
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
