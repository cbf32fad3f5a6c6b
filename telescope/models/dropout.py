"""Dropout with its own random generators instead of torch's global generator.

On one type of device, the random numbers of a trial thus depend on its seed and step alone. In
a pack (a group of trials that are trained together), each trial's part of the batch draws from that
trial's generator.

Parts: `Dropout` · `seed_dropout`, which each trial calls before each step · `share_generators`,
which a pack calls after all its trials have called `seed_dropout`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Sets each entry to zero with probability `share`, and scales up the others. In evaluation
    mode, returns its input."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.generators: tuple[torch.Generator, ...] = ()  # one per trial of the pack

    def forward(self, x: Tensor) -> Tensor:  # (trials of the pack x sequences per trial, ...)
        if not self.training:
            return x
        kept = 1 - self.share
        parts = x.chunk(len(self.generators))
        masks = [
            torch.empty_like(part).bernoulli_(kept, generator=generator)
            for part, generator in zip(parts, self.generators, strict=True)
        ]
        return x * torch.cat(masks) / kept


def dropouts(model: nn.Module) -> list[Dropout]:
    """The dropout modules of a model."""
    return [module for module in model.modules() if isinstance(module, Dropout)]


def seed_dropout(model: nn.Module, seed: int, device: torch.device) -> None:
    """Let all dropout modules of a model draw from one new generator."""
    generator = torch.Generator(device).manual_seed(seed)
    for module in dropouts(model):
        module.generators = (generator,)


def share_generators(models: Sequence[nn.Module]) -> None:
    """Let the dropout modules of the first model, which runs for a whole pack, draw from the
    generators of all models."""
    for modules in zip(*map(dropouts, models), strict=True):
        modules[0].generators = tuple(module.generators[0] for module in modules)
