"""The held-out loss of a model."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from telescope.data import batches
from telescope.models.family import Model
from telescope.train import pack
from telescope.trials.spec import TrialSpec

# Tokens per call. Calls with twice as many take a sixth to two fifths longer per token on a CPU,
# since they exceed its cache.
EVALUATED_TOKENS = 4096


@dataclass(frozen=True)
class HeldOut:
    """The validation windows of a trial: for each part of its data, (n, context + 1)."""

    windows: tuple[Tensor, ...]
    shares: tuple[float, ...]  # of the parts; their sum is 1

    @classmethod
    def of(cls, spec: TrialSpec, tokens: batches.Tokens) -> "HeldOut":
        """The windows that a spec asks for, from its tokens."""
        windows = batches.validation_windows(
            tokens.validation, spec.horizon.evaluation_tokens, spec.data.context
        )
        return cls(windows, tokens.validation.shares)

    @property
    def count(self) -> int:
        """Number of windows of all parts."""
        return sum(map(len, self.windows))

    @torch.no_grad()
    def loss(self, model: Model, device: torch.device) -> float:
        """Mean loss over the windows of each part, weighted by its share, in nats per token; inf if
        it is not finite."""
        mean = sum(
            share * _mean_loss(model, windows.to(device))
            for share, windows in zip(self.shares, self.windows, strict=True)
        )
        return mean if math.isfinite(mean) else math.inf


def _mean_loss(model: Model, windows: Tensor) -> float:  # (n, context + 1)
    """Mean loss over windows, in chunks that a processor's cache holds."""
    context = windows.shape[1] - 1
    chunks = torch.split(windows, max(1, EVALUATED_TOKENS // context))
    with model.evaluating():
        total = sum(pack.losses((model,), chunk[None])[0] * len(chunk) for chunk in chunks)
        return float(total / len(windows))
