"""The held-out loss of a model: its loss on text that training does not use."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from telescope.data import batches
from telescope.models.family import Model
from telescope.train import pack
from telescope.trials.spec import TrialSpec

# Largest number of tokens in a forward pass of an evaluation, unless a single window or row has
# more. On a CPU, twice as many tokens take 17 to 40 % longer per token, since they exceed the
# processor's cache.
EVALUATED_TOKENS = 4096


@dataclass(frozen=True)
class HeldOut:
    """The held-out windows of a trial. A window is a sequence of `context` + 1 tokens. The data has
    several parts if it is a mixture of corpora."""

    windows: tuple[Tensor, ...]  # one tensor (n, context + 1) per part of the data
    shares: tuple[float, ...]  # share of each part in the data; the sum is 1

    @classmethod
    def of(cls, spec: TrialSpec, tokens: batches.Tokens) -> "HeldOut":
        """The windows of `tokens` on which `spec` measures the held-out loss."""
        windows = batches.validation_windows(
            tokens.validation, spec.horizon.evaluation_tokens, spec.data.context
        )
        return cls(windows, tokens.validation.shares)

    @property
    def count(self) -> int:
        """The number of windows in all parts together."""
        return sum(map(len, self.windows))

    @torch.no_grad()
    def loss(self, model: Model, device: torch.device) -> float:
        """The held-out loss in nats per token: the mean loss on each part times the part's share,
        summed over the parts. The result is inf if the sum is not finite."""
        mean = sum(
            share * _mean_loss(model, windows.to(device))
            for share, windows in zip(self.shares, self.windows, strict=True)
        )
        return mean if math.isfinite(mean) else math.inf


def _mean_loss(model: Model, windows: Tensor) -> float:  # (n, context + 1)
    """The mean loss over `windows`, which are evaluated in chunks. A chunk has as many windows as
    EVALUATED_TOKENS allows, but at least one."""
    context = windows.shape[1] - 1
    chunks = torch.split(windows, max(1, EVALUATED_TOKENS // context))
    with model.evaluating():
        total = sum(pack.losses((model,), chunk[None])[0] * len(chunk) for chunk in chunks)
        return float(total / len(windows))
