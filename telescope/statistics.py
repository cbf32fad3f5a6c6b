"""Estimates that are asked for in more than one place: intervals of a mixture of beliefs, and scaling laws.

Parts: `Estimate`, a number with its 90 % interval · `mixture`, of Student t distributions · `scaling_fit`, loss against size.
The model of a whole ladder is in `telescope.studies.pooled`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

Array = NDArray[np.float64]

QUANTILE = 0.95  # intervals run from 1 - QUANTILE to QUANTILE


@dataclass(frozen=True)
class Estimate:
    """A number with the 5 and 95 % points of what is believed about it."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2


def mixture(means: Array, sds: Array, weights: Array, dof: float, lowered: float = 0.0) -> Estimate:
    """Mean and 5-95 % interval of a mixture of Student t distributions; the mean lowered by `lowered` Var / 2."""
    mean = float(weights @ means)
    variance = float(weights @ (sds**2 + (means - mean) ** 2))

    def point(probability: float) -> float:
        low, high = float((means - 60 * sds).min()), float((means + 60 * sds).max())
        for _ in range(60):
            middle = (low + high) / 2
            below = float(weights @ stdtr(dof, (middle - means) / sds)) < probability
            low, high = (middle, high) if below else (low, middle)
        return (low + high) / 2

    return Estimate(mean - lowered * variance / 2, point(1 - QUANTILE), point(QUANTILE))


@dataclass(frozen=True)
class ScalingFit:
    """loss = A / parameters^exponent + E."""

    A: float
    exponent: float
    E: float


def scaling_fit(parameters: Sequence[float], losses: Sequence[float]) -> ScalingFit | None:
    """Least squares over three or more sizes, with A and E not negative; None for fewer, or where loss does not fall with size."""
    if len(losses) < 3 or losses[-1] >= losses[0]:
        return None
    sizes, y = np.array(parameters, dtype=np.float64), np.array(losses)
    relative = sizes / sizes[0]

    def line(exponent: float) -> tuple[float, float, float]:
        """Squared error, A (relative to the smallest size) and E of the best line in relative^-exponent."""
        t = relative**-exponent
        slope = float((t - t.mean()) @ (y - y.mean()) / ((t - t.mean()) @ (t - t.mean())))
        floor = float(y.mean() - slope * t.mean())
        if floor < 0:
            slope, floor = float(t @ y / (t @ t)), 0.0
        return float(np.sum((slope * t + floor - y) ** 2)), slope, floor

    grid = np.geomspace(0.01, 3.0, 200)
    for _ in range(6):
        best = int(np.argmin([line(e)[0] for e in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        grid, exponent = np.linspace(low, high, 21), float(grid[best])
    _, slope, floor = line(exponent)
    return ScalingFit(float(slope * sizes[0] ** exponent), exponent, floor) if slope > 0 else None
