"""The test that decides whether a run has diverged.

A run has diverged if its loss is not finite. It has also diverged if its loss stays above the loss
of the first step for too many steps in a row: more than 20 steps, and more than a quarter of the
run.

The length of the longest such stretch of steps is counted on the device. The count is read only
when a point of the curve is recorded. The count never falls, so the interval between points affects
when divergence is noticed, but not whether it is noticed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class LossHistory:
    """The losses of a run's steps, reduced to the three scalars that the test needs. The scalars
    stay on the device."""

    first_loss: Tensor  # loss of the first step; nan before the first step
    steps_above: Tensor  # length of the current stretch of steps with a loss above the first
    most_steps_above: Tensor  # length of the longest such stretch so far

    @classmethod
    def empty(cls, device: torch.device) -> "LossHistory":
        """The history of a run that has taken no steps."""
        nan = torch.full((), math.nan, device=device)
        return cls(nan, torch.zeros((), device=device), torch.zeros((), device=device))

    @classmethod
    def restored(cls, state: Mapping[str, Any], device: torch.device) -> "LossHistory":
        """The history from a checkpoint. The argument `state` contains the values that the method
        `state` returned."""
        first_loss, above, longest = (
            state[name].to(device) for name in ("first_loss", "above", "longest")
        )
        return cls(first_loss, above, longest)

    def state(self) -> dict[str, Tensor]:
        """The values that a checkpoint stores."""
        return {
            "first_loss": self.first_loss,
            "above": self.steps_above,
            "longest": self.most_steps_above,
        }

    def add(self, loss: Tensor, is_first: bool) -> None:
        """Add the loss of one step. `is_first` is True for the first step of the run."""
        if is_first:
            self.first_loss = loss.clone()
        self.steps_above = torch.where(loss > self.first_loss, self.steps_above + 1, 0.0)
        self.most_steps_above = torch.maximum(self.most_steps_above, self.steps_above)

    def diverged(self, mean_loss: float, steps: int) -> bool:
        """True if the run has diverged. `mean_loss` is the mean of the losses since the last point
        of the curve. `steps` is the number of steps of the complete run."""
        return not math.isfinite(mean_loss) or float(self.most_steps_above) > max(20, steps // 4)
