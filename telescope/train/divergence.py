"""The test for divergence.

A run diverges if its loss is not finite, or if its loss stays above the loss of the first step for
more than a quarter of the run and more than 20 steps. The longest such stretch of steps is counted
on the device, and the count is read only when a point of the curve is recorded. Since the count
never falls, the recording interval decides when divergence is noticed, but not whether.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class LossHistory:
    """The losses of a run's steps, reduced to the scalars that the test needs, on the device."""

    first_loss: Tensor  # nan before the first step
    steps_above: Tensor  # length of the current stretch of steps with a loss above the first
    most_steps_above: Tensor  # length of the longest such stretch so far

    @classmethod
    def empty(cls, device: torch.device) -> "LossHistory":
        """The history of a run without steps."""
        nan = torch.full((), math.nan, device=device)
        return cls(nan, torch.zeros((), device=device), torch.zeros((), device=device))

    @classmethod
    def restored(cls, state: Mapping[str, Any], device: torch.device) -> "LossHistory":
        """The history in a checkpoint, which contains the values that `state` returned."""
        first_loss, above, longest = (
            state[name].to(device) for name in ("first_loss", "above", "longest")
        )
        return cls(first_loss, above, longest)

    def state(self) -> dict[str, Tensor]:
        """The history as values for a checkpoint."""
        return {
            "first_loss": self.first_loss,
            "above": self.steps_above,
            "longest": self.most_steps_above,
        }

    def add(self, loss: Tensor, is_first: bool) -> None:
        """Add the loss of one step."""
        if is_first:
            self.first_loss = loss.clone()
        self.steps_above = torch.where(loss > self.first_loss, self.steps_above + 1, 0.0)
        self.most_steps_above = torch.maximum(self.most_steps_above, self.steps_above)

    def diverged(self, mean_loss: float, steps: int) -> bool:
        """True if a run of `steps` steps in all has diverged; `mean_loss` is the mean of its losses
        since the last point of the curve."""
        return not math.isfinite(mean_loss) or float(self.most_steps_above) > max(20, steps // 4)
