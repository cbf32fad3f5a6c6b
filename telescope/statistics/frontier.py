"""Hours against devices to reach a loss, and the comparison of two optimizers.

Each run that reached the target loss is a point (devices, hours). A point is Pareto-optimal if no
other point of the same optimizer has at most its devices and at most its hours, and less of either;
equal points do not dominate each other. Between these points an optimizer's iso-loss curve is a
straight line in log devices and log hours; beyond its ends it is undefined (arXiv 2505.02222,
sections 2.3 and 4, compares Muon and AdamW by such curves, by eye). Two curves are compared where
both are defined:

    at n devices     ratio(n) = hours of the first / hours of the second,
                     above 1 where the second is ahead
    over a range     area = integral of log2 ratio over log2 n, split by which is ahead;
                     area / doublings is the mean log2 ratio

Parts: `non_dominated` · `Frontier` of some runs · `compare` -> `Dominance`, with an `AtDevices` per
device count.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from telescope.statistics.estimates import Array


def non_dominated(devices: ArrayLike, hours: ArrayLike) -> NDArray[np.bool_]:
    """For each point, whether no other point dominates it, in O(n log n)."""
    x, y = np.asarray(devices, dtype=np.float64), np.asarray(hours, dtype=np.float64)
    if len(x) == 0:
        return np.zeros(0, dtype=bool)
    order = np.lexsort((y, x))
    x, y = x[order], y[order]
    # the fastest of those with equally many devices
    first = np.concatenate([[True], x[1:] > x[:-1]])
    starts = np.flatnonzero(first)
    with_fewer = np.concatenate([[np.inf], np.minimum.accumulate(y[starts])[:-1]])
    group = np.cumsum(first) - 1
    kept = np.empty(len(x), dtype=bool)
    kept[order] = (y == y[starts][group]) & (y < with_fewer[group])
    return kept


@dataclass(frozen=True, eq=False)
class Frontier:
    """The iso-loss curve of one optimizer: devices rise, hours fall."""

    devices: Array
    hours: Array

    @classmethod
    def of(cls, devices: ArrayLike, hours: ArrayLike) -> "Frontier":
        """The curve through the Pareto-optimal points, duplicates removed."""
        kept = non_dominated(devices, hours)
        counts, first = np.unique(np.asarray(devices, dtype=np.float64)[kept], return_index=True)
        return cls(counts, np.asarray(hours, dtype=np.float64)[kept][first])

    def hours_at(self, devices: ArrayLike) -> Array:
        """Hours on so many devices, interpolated; nan outside the range of the points."""
        counts = np.asarray(devices, dtype=np.float64)
        if len(self.devices) == 0:
            return np.full(counts.shape, np.nan)
        logs = np.interp(
            np.log2(counts), np.log2(self.devices), np.log2(self.hours), left=np.nan, right=np.nan
        )
        exact = np.minimum(np.searchsorted(self.devices, counts), len(self.devices) - 1)
        # a point itself, without rounding
        return np.where(self.devices[exact] == counts, self.hours[exact], 2.0**logs)


@dataclass(frozen=True)
class AtDevices:
    """The hours of two optimizers on the same number of devices."""

    devices: float
    first_hours: float
    second_hours: float

    @property
    def ratio(self) -> float:
        """Hours of the first over hours of the second; above 1 if the second is ahead."""
        return self.first_hours / self.second_hours


@dataclass(frozen=True)
class Dominance:
    """Comparison of two iso-loss curves over the device counts that both cover; areas in doublings
    of hours x doublings of devices, none negative."""

    rows: tuple[AtDevices, ...]  # at all device counts where either curve has a point
    first_ahead: float  # area where the first needs fewer hours
    second_ahead: float

    @property
    def doublings(self) -> float:
        """Length of the common range, in doublings of devices."""
        return math.log2(self.rows[-1].devices / self.rows[0].devices)

    @property
    def ratio(self) -> float:
        """Geometric mean of the ratio of hours over the common range; above 1 if the second is
        ahead on the whole."""
        return (
            2 ** ((self.second_ahead - self.first_ahead) / self.doublings)
            if self.doublings
            else self.rows[0].ratio
        )


def compare(first: Frontier, second: Frontier) -> Dominance | None:
    """Hours of both at each device count, and the area by which either is ahead; None if the curves
    share no device count."""
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
    """Integral of max(y, 0), where y is a straight line between the points."""
    left, right = y[:-1], y[1:]
    high, low = np.maximum(left, right), np.minimum(left, right)
    above = np.where(
        low >= 0,
        (high + low) / 2,
        np.maximum(high, 0) ** 2 / (2 * np.where(high > low, high - low, 1.0)),
    )
    return float(np.diff(x) @ above)
