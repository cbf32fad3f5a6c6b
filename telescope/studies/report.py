"""What does the answer of a telescoping study consist of?

The types of its report, from `Report` down. Numbers with their units, no pictures; hyperparameters are base values, which hold at every
width, and `parameter_groups` are what they amount to at the target.
"""

import math
from dataclasses import dataclass
from typing import Literal

from telescope.optimizer import Group
from telescope.spec import OptimizerName
from telescope.statistics import ScalingFit
from telescope.studies.ladder import AxisName

Verdict = Literal["resolved", "unresolved", "unbracketed", "refused"]
Status = Literal["resolved", "unresolved", "unbracketed", "flat", "swept", "fixed"]


@dataclass(frozen=True)
class Interval:
    """From the 5 % to the 95 % point, or simply from one end to the other."""

    low: float
    high: float


@dataclass(frozen=True)
class Hyperparameter:
    """One base hyperparameter at the target; widths in octaves."""

    value: float
    low: float
    high: float
    resolved: bool
    status: Status
    half_width: float
    tolerance: float | None


@dataclass(frozen=True)
class LevelReport:
    """One width: what was run there and where its optimum lies."""

    level: int
    width: int
    window: dict[AxisName, Interval]
    grid: dict[AxisName, tuple[float, ...]]
    stages: tuple[str, ...]
    trials: int
    diverged: int
    optimum: dict[AxisName, float]
    interval: dict[AxisName, Interval]
    best_loss: float | None  # lowest mean over the seeds of a point
    fitted_loss: float | None  # at the fitted optimum, seeds averaged: what levels and ladders are compared by
    seed_noise: float | None  # sd of one run between seeds at the same point, % of the loss; None without repeats
    edge: str | None  # the borders its optimum lies at

    @property
    def loss(self) -> float:
        """The level's loss for comparisons: fitted where it can be, the lowest one seen elsewhere; infinite where all diverged."""
        known = self.best_loss if self.fitted_loss is None else self.fitted_loss
        return math.inf if known is None else known


@dataclass(frozen=True)
class Drift:
    """How the learning rate's optimum moves with width, over the levels run."""

    octaves_per_doubling: float
    low: float
    high: float


@dataclass(frozen=True)
class LevelCost:
    """What one width cost; runs that diverged count as far as they came."""

    width: int
    trials: int
    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class Cost:
    """The bill; `share` is the final run's part of it and tuning together, `saving` that against the full grid at the target."""

    levels: tuple[LevelCost, ...]
    trials: int
    tokens: int
    flops: float
    seconds: float
    reused: int
    final_run_flops: float
    share: float
    saving: float


@dataclass(frozen=True)
class LadderReport:
    """One optimizer's answer."""

    optimizer: OptimizerName
    verdict: Verdict
    reason: str
    hyperparameters: dict[AxisName, Hyperparameter]
    parameter_groups: tuple[Group, ...]
    levels: tuple[LevelReport, ...]
    drift: Drift | None
    scaling_fit: ScalingFit | None
    cost: Cost


@dataclass(frozen=True)
class Report:
    """The study's answer: that of its best ladder, and all of them."""

    final: bool
    verdict: Verdict
    reason: str
    best: OptimizerName | None
    ladders: tuple[LadderReport, ...]


def digits(x: float) -> float:
    """Six of them: what is estimated has no more, and equal reports print equally everywhere."""
    return float(f"{x:.6g}")


def from_estimate(octaves: float) -> float:
    """A hyperparameter from its estimate in octaves; where data say next to nothing, intervals leave the range of floats."""
    return digits(2.0 ** min(max(octaves, -1000.0), 1000.0))
