"""The hours to a target loss against the number of devices, and the comparison of two optimizers.

A point (devices, hours) states that an optimizer reaches the target loss in these hours on this
number of devices. One point *dominates* another if it has at most as many devices and at most as
many hours, and the points differ. A point is *Pareto-optimal* if no point of the same optimizer
dominates it. An optimizer's *iso-loss curve* connects its Pareto-optimal points by straight lines
in log devices and log hours. The curve is undefined below its first and above its last point.

Sections 2.3 and 4 of arXiv 2505.02222 compare the curves of Muon and AdamW by eye. Here, two curves
are compared over the device counts n at which both are defined. An optimizer is *ahead* if it needs
fewer hours.

    at n devices     ratio(n) = hours of the first optimizer / hours of the second optimizer
    over a range     area = integral of |log2 ratio(n)| over log2 n

There are two areas: over the device counts at which the first optimizer is ahead, and over those at
which the second optimizer is ahead.

Parts: `non_dominated`, the Pareto-optimal points · `Frontier`, an iso-loss curve · `Dominance`, the
comparison of two curves, which `compare` computes.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from telescope.statistics.estimates import Array


def non_dominated(devices: ArrayLike, hours: ArrayLike) -> NDArray[np.bool_]:
    """True for each point that no other point dominates. Takes O(n log n) time for n points."""
    x, y = np.asarray(devices, dtype=np.float64), np.asarray(hours, dtype=np.float64)
    if len(x) == 0:
        return np.zeros(0, dtype=bool)
    order = np.lexsort((y, x))
    x, y = x[order], y[order]
    # points with the same number of devices form a group, fastest point first
    first = np.concatenate([[True], x[1:] > x[:-1]])
    starts = np.flatnonzero(first)
    least_with_fewer = np.concatenate([[np.inf], np.minimum.accumulate(y[starts])[:-1]])
    group = np.cumsum(first) - 1
    optimal = np.empty(len(x), dtype=bool)
    optimal[order] = (y == y[starts][group]) & (y < least_with_fewer[group])
    return optimal


@dataclass(frozen=True, eq=False)
class Frontier:
    """The iso-loss curve of one optimizer, given by its Pareto-optimal points. Along the points,
    devices rise and hours fall."""

    devices: Array
    hours: Array

    @classmethod
    def of(cls, devices: ArrayLike, hours: ArrayLike) -> "Frontier":
        """The curve through the Pareto-optimal ones of these points. Equal points count once."""
        optimal = non_dominated(devices, hours)
        counts, first = np.unique(np.asarray(devices, dtype=np.float64)[optimal], return_index=True)
        return cls(counts, np.asarray(hours, dtype=np.float64)[optimal][first])

    def hours_at(self, devices: ArrayLike) -> Array:
        """The hours on the curve at these device counts; nan outside the range of the curve."""
        counts = np.asarray(devices, dtype=np.float64)
        if len(self.devices) == 0:
            return np.full(counts.shape, np.nan)
        logs = np.interp(
            np.log2(counts), np.log2(self.devices), np.log2(self.hours), left=np.nan, right=np.nan
        )
        nearest = np.minimum(np.searchsorted(self.devices, counts), len(self.devices) - 1)
        # at a point of the curve, return the point's hours without a rounding error
        return np.where(self.devices[nearest] == counts, self.hours[nearest], 2.0**logs)


@dataclass(frozen=True)
class AtDevices:
    """The hours of two optimizers on the same number of devices."""

    devices: float
    first_hours: float
    second_hours: float

    @property
    def ratio(self) -> float:
        """Hours of the first optimizer divided by hours of the second optimizer; above 1 if the
        second optimizer is ahead."""
        return self.first_hours / self.second_hours


@dataclass(frozen=True)
class Dominance:
    """Comparison of two iso-loss curves over their common range: the device counts at which both
    are defined. Areas are at least 0. Their unit is doublings of hours x doublings of devices."""

    # hours at the device counts in the common range at which a curve has a point, ascending
    rows: tuple[AtDevices, ...]
    first_ahead: float  # area between the curves where the first optimizer is ahead
    second_ahead: float  # area between the curves where the second optimizer is ahead

    @property
    def doublings(self) -> float:
        """Length of the common range, in doublings of devices."""
        return math.log2(self.rows[-1].devices / self.rows[0].devices)

    @property
    def ratio(self) -> float:
        """Geometric mean, over the common range, of hours of the first optimizer divided by hours
        of the second optimizer. Above 1 if the second optimizer is ahead on average."""
        return (
            2 ** ((self.second_ahead - self.first_ahead) / self.doublings)
            if self.doublings
            else self.rows[0].ratio
        )


def compare(first: Frontier, second: Frontier) -> Dominance | None:
    """The comparison of two iso-loss curves. None if there is no device count at which both curves
    are defined."""
    counts = np.unique(np.concatenate([first.devices, second.devices]))
    hours = np.stack([first.hours_at(counts), second.hours_at(counts)])
    common = np.isfinite(hours).all(axis=0)
    if not common.any():
        return None
    counts, (hours_first, hours_second) = counts[common], hours[:, common]
    rows = tuple(
        AtDevices(*map(float, row)) for row in zip(counts, hours_first, hours_second, strict=True)
    )
    x, ahead = np.log2(counts), np.log2(hours_first / hours_second)
    return Dominance(
        rows, first_ahead=positive_area(x, -ahead), second_ahead=positive_area(x, ahead)
    )


def positive_area(x: Array, y: Array) -> float:
    """Integral of max(y, 0) over x, with y linear between the points."""
    left, right = y[:-1], y[1:]
    high, low = np.maximum(left, right), np.minimum(left, right)
    above = np.where(
        low >= 0,
        (high + low) / 2,
        np.maximum(high, 0) ** 2 / (2 * np.where(high > low, high - low, 1.0)),
    )
    return float(np.diff(x) @ above)
