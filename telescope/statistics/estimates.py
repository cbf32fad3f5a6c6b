"""Statistics that several studies share: numbers with intervals, and scaling laws of the loss.

Parts: `Estimate`, a number with its 90 % interval · `difference` of two estimates · `mixture`, an
estimate from Student t distributions · `scaling_fit`, loss against model size · `loss_at`, the
expected loss at another size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

Array = NDArray[np.float64]

QUANTILE = 0.95  # intervals run from the (1 - QUANTILE) quantile to the QUANTILE quantile


@dataclass(frozen=True)
class Estimate:
    """A number with its 90 % interval."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2


def difference(a: Estimate, b: Estimate) -> Estimate:
    """The difference a - b of two independent estimates. Its error downwards is the root of the sum
    of two squares: of a's error downwards and of b's error upwards. Its error upwards combines the
    two other errors in the same way."""
    value = a.value - b.value
    return Estimate(
        value,
        value - math.hypot(a.value - a.low, b.high - b.value),
        value + math.hypot(a.high - a.value, b.value - b.low),
    )


def mixture(means: Array, sds: Array, weights: Array, dof: float, lowered: float = 0.0) -> Estimate:
    """An estimate of a quantity that is distributed as a weighted mixture of Student t
    distributions.

    `means` and `sds` are the means and the scales of these distributions, which all have `dof`
    degrees of freedom. The weights must sum to 1. The value of the estimate is the mean of the
    mixture, minus half of `lowered` times its variance, but at least the lower end of the interval.
    For the variance, the scales count as standard deviations."""
    mean = float(weights @ means)
    variance = float(weights @ (sds**2 + (means - mean) ** 2))

    def quantile(probability: float) -> float:
        low, high = float((means - 60 * sds).min()), float((means + 60 * sds).max())
        for _ in range(60):
            middle = (low + high) / 2
            below = float(weights @ stdtr(dof, (middle - means) / sds)) < probability
            low, high = (middle, high) if below else (low, middle)
        return (low + high) / 2

    low = quantile(1 - QUANTILE)
    return Estimate(max(mean - lowered * variance / 2, low), low, quantile(QUANTILE))


@dataclass(frozen=True)
class ScalingFit:
    """The fit of loss = A / parameters^exponent + E. Here, `parameters` is any measure of the size
    of a model: its number of parameters or, in the judgement of a sweep, its width."""

    A: float
    exponent: float
    E: float
    r_squared: float  # share of the variance of the losses that the fit explains
    residual: float  # root mean square of the residuals, in % of the mean loss


def scaling_fit(parameters: Sequence[float], losses: Sequence[float]) -> ScalingFit | None:
    """Least-squares fit of loss = A / parameters^exponent + E, with A above 0, E at least 0 and the
    exponent between 0.01 and 3.

    `parameters` are the sizes of the models, in ascending order. None with fewer than three models,
    or if the loss does not fall with size."""
    if len(losses) < 3 or losses[-1] >= losses[0]:
        return None
    sizes, y = np.array(parameters, dtype=np.float64), np.array(losses)
    relative = sizes / sizes[0]

    def line(exponent: float) -> tuple[float, float, float]:
        """The squared error, the slope and the floor of the best fit with this exponent:
        `slope * relative**-exponent + floor`. The floor is E, which is at least 0."""
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
    squared, slope, floor = line(exponent)
    if slope <= 0:
        return None
    explained = 1 - squared / float(np.sum((y - y.mean()) ** 2))
    residual = 100 * float(np.sqrt(squared / len(y)) / y.mean())
    return ScalingFit(float(slope * sizes[0] ** exponent), exponent, floor, explained, residual)


EXPONENTS = np.geomspace(0.03, 1.5, 60)  # the exponents that `loss_at` averages over
# log-normal prior of the exponent: the median, and the standard deviation of the natural logarithm;
# published exponents are 0.08 to 0.5
LIKELY_EXPONENT, EXPONENT_SPREAD = 0.3, 0.8


def loss_at(
    size: float, parameters: Sequence[float], losses: Sequence[float], sds: Sequence[float]
) -> Estimate | None:
    """The loss that the law A / size^exponent + E predicts at `size`.

    The law is fitted to the losses of models of other sizes (`parameters`). `sds` are the standard
    deviations of these losses. For a given exponent, A and E follow from a weighted linear fit.
    Predictions are averaged over EXPONENTS, weighted by the posterior probability of the exponent.
    An exponent is left out if its A is not above 0 or its E is below 0. None with fewer than three
    other sizes, or if all exponents are left out.
    """
    if len(losses) < 3:
        return None
    sizes, y, w = np.array(parameters, dtype=np.float64), np.array(losses), 1 / np.array(sds) ** 2
    means, spreads, log_weights = list[float](), list[float](), list[float]()
    for exponent in EXPONENTS:
        design = np.stack([(sizes / sizes[0]) ** -exponent, np.ones_like(sizes)], axis=1)
        covariance = np.linalg.inv((design.T * w) @ design)
        slope, floor = covariance @ (design.T @ (w * y))
        if slope <= 0 or floor < 0:
            continue
        regressors = np.array([(size / sizes[0]) ** -exponent, 1.0])
        misfit = float(w @ (y - design @ [slope, floor]) ** 2)
        prior = (np.log(exponent / LIKELY_EXPONENT) / EXPONENT_SPREAD) ** 2
        means.append(float(regressors @ [slope, floor]))
        spreads.append(float(np.sqrt(regressors @ covariance @ regressors)))
        log_weights.append(-(misfit + prior) / 2 + float(np.linalg.slogdet(covariance)[1]) / 2)
    if not means:
        return None
    weights = np.exp(np.array(log_weights) - max(log_weights))
    return mixture(np.array(means), np.array(spreads), weights / weights.sum(), dof=30.0)
