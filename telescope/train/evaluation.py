"""The held-out loss of a model."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from telescope.data import batches
from telescope.models.family import Model
from telescope.train import pack
from telescope.trials.spec import TrialSpec

# Tokens per call of the model. On a CPU, calls with twice as many tokens take 17 to 40 % longer per
# token, since they exceed the processor's cache.
EVALUATED_TOKENS = 4096


@dataclass(frozen=True)
class HeldOut:
    """The validation windows of a trial."""

    windows: tuple[Tensor, ...]  # one tensor (n, context + 1) per part of the data
    shares: tuple[float, ...]  # share of each part; the sum is 1

    @classmethod
    def of(cls, spec: TrialSpec, tokens: batches.Tokens) -> "HeldOut":
        """The windows that a spec asks for, from its tokens."""
        windows = batches.validation_windows(
            tokens.validation, spec.horizon.evaluation_tokens, spec.data.context
        )
        return cls(windows, tokens.validation.shares)

    @property
    def count(self) -> int:
        """Number of windows, over all parts."""
        return sum(map(len, self.windows))

    @torch.no_grad()
    def loss(self, model: Model, device: torch.device) -> float:
        """Mean loss, in nats per token, of the windows of each part, weighted by the part's share;
        inf if this mean is not finite."""
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
