"""Survival curves, medians and means of times to an event.

A run that does not reach the event within its budget has a *censored* time: the time to the event
is longer than the budget. If these runs were left out, a group that often misses the event would
look too fast. Therefore, they are kept.

The *Kaplan-Meier curve* estimates the share of runs that have not reached the event by a time, for
all times. The area under the curve up to a time limit is the *restricted mean*: the mean of the
times, where times above the limit count as the limit. Two groups are *paired* if run i of one group
and run i of the other group differ only in the treatment, such as the optimizer. The module
telescope.statistics.group_tests tests whether groups differ.

Parts: `Durations` · `kaplan_meier`, `median_time` · `restricted_mean`, `ratio_of_means` ·
`pairs_needed`, the number of pairs for a significant difference.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import stdtrit

from telescope.statistics.estimates import QUANTILE, Array, Estimate

MOST_PAIRS = 1000  # largest result of `pairs_needed`
CONFIDENCE = 2 * QUANTILE - 1  # level of confidence intervals: 0.9


@dataclass(frozen=True, eq=False)
class Durations:
    """The times of a group of runs. A censored time is the time at which the run ended."""

    times: Array  # (n,)
    reached: NDArray[np.bool_]  # (n,), false for censored times

    @classmethod
    def of(cls, times: Sequence[float | None], budget: float) -> "Durations":
        """The times of runs that all have the same budget. A time is None if the run did not reach
        the event within the budget."""
        return cls(
            np.array([budget if time is None else time for time in times], dtype=np.float64),
            np.array([time is not None for time in times]),
        )

    @property
    def censored(self) -> int:
        """Number of runs that did not reach the event."""
        return int((~self.reached).sum())

    def swapped(self, other: "Durations", swap: NDArray[np.bool_]) -> "Durations":
        """A copy in which runs of the other group replace this group's runs in the pairs that
        `swap` marks."""
        return Durations(
            np.where(swap, other.times, self.times), np.where(swap, other.reached, self.reached)
        )

    def without(self, index: int) -> "Durations":
        """A copy without the run at this index."""
        return Durations(np.delete(self.times, index), np.delete(self.reached, index))


@dataclass(frozen=True, eq=False)
class SurvivalCurve:
    """An estimated survival curve, with 90 % intervals by the log-log method."""

    times: Array  # ascending
    share: Array  # share of runs that have not reached the event by each time
    low: Array  # lower ends of the intervals
    high: Array  # upper ends of the intervals


def kaplan_meier(durations: Durations) -> SurvivalCurve:
    """The Kaplan-Meier curve of a group."""
    survival = stats.ecdf(censored_data(durations)).sf
    with warnings.catch_warnings():
        # the interval is undefined at times at which the share is 0 or 1
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = survival.confidence_interval(CONFIDENCE, method="log-log")
    share = survival.probabilities
    # where the interval is undefined, both of its ends are set to the share
    low, high = (
        np.where(np.isfinite(bound.probabilities), bound.probabilities, share)
        for bound in (interval.low, interval.high)
    )
    return SurvivalCurve(survival.quantiles, share, low, high)


def censored_data(durations: Durations) -> stats.CensoredData:
    """The times in scipy's form."""
    return stats.CensoredData(
        uncensored=durations.times[durations.reached], right=durations.times[~durations.reached]
    )


@dataclass(frozen=True)
class MedianTime:
    """The time by which half of the runs reach the event, with a 90 % interval (Brookmeyer and
    Crowley). A field is None if too few runs reached the event to estimate it."""

    value: float | None
    low: float | None
    high: float | None


def median_time(durations: Durations) -> MedianTime:
    """The median time of a group."""
    curve = kaplan_meier(durations)

    def first_below(share: Array) -> float | None:
        """The first time at which `share` is at most one half; None if there is no such time."""
        # rounding errors may make a share of one half slightly larger
        below = np.flatnonzero(share <= 0.5 + 1e-12)
        return float(curve.times[below[0]]) if len(below) else None

    return MedianTime(first_below(curve.share), first_below(curve.low), first_below(curve.high))


def restricted_mean(durations: Durations, until: float) -> float:
    """The restricted mean: the area under the Kaplan-Meier curve up to `until`. After the last
    time, the curve keeps its last value."""
    times, reached = durations.times, durations.reached
    if bool(np.all(reached | (times >= until))):  # no run is censored before `until`
        return float(np.minimum(times, until).mean())
    survival = stats.ecdf(censored_data(durations)).sf
    inside = survival.quantiles < until
    edges = np.concatenate([[0.0], survival.quantiles[inside], [until]])
    shares = np.concatenate([[1.0], survival.probabilities[inside]])
    return float(np.diff(edges) @ shares)


def log_ratio(a: Durations, b: Durations, until: float) -> float:
    """Log of the restricted mean of `a` divided by the restricted mean of `b`."""
    return math.log(restricted_mean(a, until) / restricted_mean(b, until))


def ratio_of_means(a: Durations, b: Durations, until: float) -> Estimate:
    """The restricted mean of `a` divided by the restricted mean of `b`, for paired groups. The 90 %
    interval comes from a Student t interval of the log ratio, whose standard error is estimated by
    a jackknife over pairs. With one pair, the interval is 0 to inf."""
    n, value = len(a.times), log_ratio(a, b, until)
    if n < 2:
        return Estimate(math.exp(value), 0.0, math.inf)
    half = float(stdtrit(n - 1, QUANTILE)) * jackknife_error(a, b, until)
    return Estimate(math.exp(value), math.exp(value - half), math.exp(value + half))


def jackknife_error(a: Durations, b: Durations, until: float) -> float:
    """Standard error of `log_ratio`, estimated by leaving out one pair at a time."""
    n = len(a.times)
    left_out = np.array([log_ratio(a.without(i), b.without(i), until) for i in range(n)])
    return math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum()))


def pairs_needed(a: Durations, b: Durations, until: float, alpha: float) -> int | None:
    """The number of pairs with which a paired test of the two groups, at significance level
    `alpha`, would be significant with a probability of one half. The estimate assumes that the
    observed log ratio is the true one. It is larger than the present number of pairs, and accurate
    to about 2 %. None if it would be above MOST_PAIRS, or if there is only one pair."""
    n, size = len(a.times), abs(log_ratio(a, b, until))
    if n < 2 or n >= MOST_PAIRS:
        return None
    deviation = jackknife_error(a, b, until) * math.sqrt(n)
    counts = np.unique(np.geomspace(n + 1, MOST_PAIRS, 400).astype(int))
    # A t-test must be significant with a probability of one half. The smallest p-value of the
    # paired permutation test with n pairs, 2 / 2^n, must be below alpha.
    significant = stdtrit(counts - 1, 1 - alpha / 2) * deviation / np.sqrt(counts) < size
    enough = significant & (2.0 ** (1 - np.minimum(counts, 60)) < alpha)
    return int(counts[enough][0]) if enough.any() else None
