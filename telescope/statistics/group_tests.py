"""Tests of the difference between two groups of times to an event, and Holm's correction.

A time is *censored* if the run ended before the event. `paired_permutation`, `mann_whitney` and
`log_rank` take censored times into account. `spread_ratio` and `t_test` do not. The module
telescope.statistics.survival defines the *restricted mean* and *paired* groups.

Parts: `paired_permutation` · `mann_whitney` · `log_rank`, over strata · `spread_ratio` · `t_test` ·
`holm`, the correction for several tests.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from telescope.statistics.estimates import Array
from telescope.statistics.survival import Durations, log_ratio

MOST_ENUMERATED = 14  # largest number of pairs for which all exchanges of labels are tried
SAMPLED = 20_000  # number of exchanges of labels that are tried with more pairs
MOST_DIVISIONS = 20_000  # largest number of divisions into two groups for an exact rank test


@dataclass(frozen=True)
class TestResult:
    """The result of a two-sided test."""

    p: float
    # the smallest p-value that the test can give with this number of runs; for the normal
    # approximation in `mann_whitney`, the smallest p-value of the exact test
    smallest_p: float


def paired_permutation(a: Durations, b: Durations, until: float) -> TestResult:
    """Test whether two paired groups differ in their restricted means up to `until`. The log ratio
    of the means is compared with its values after exchanges of labels within pairs."""
    swaps = exchanges(len(a.times))
    return exchange_test(log_ratio(a, b, until), exchanged_log_ratios(a, b, until, swaps))


def exchanges(pairs: int) -> NDArray[np.bool_]:  # (exchanges, pairs)
    """The exchanges of labels to try. A row marks the pairs whose labels are exchanged; the first
    row marks no pair. The rows are all exchanges, if there are at most MOST_ENUMERATED pairs. With
    more pairs, there are SAMPLED rows, and all but the first are random."""
    if pairs <= MOST_ENUMERATED:
        return np.array(list(product((False, True), repeat=pairs)))
    swaps = np.random.default_rng(0).random((SAMPLED, pairs)) < 0.5
    swaps[0] = False
    return swaps


def exchange_test(observed: float, exchanged: Array) -> TestResult:
    """The test of a statistic. Its p-value is the share of exchanges under which the statistic is
    at least as far from 0 as its observed value."""
    p = float((np.abs(exchanged) >= abs(observed) - 1e-12).mean())
    enumerated = math.log2(len(exchanged)).is_integer()
    return TestResult(p, (2 if enumerated else 1) / len(exchanged))


def exchanged_log_ratios(
    a: Durations, b: Durations, until: float, swaps: NDArray[np.bool_]
) -> Array:
    """The log ratios of restricted means, one per row of `swaps` (exchanges, pairs)."""
    # if no run is censored before `until`, the restricted mean is the mean of min(time, until)
    observed_until = all(bool(np.all(d.reached | (d.times >= until))) for d in (a, b))
    if not observed_until:
        return np.array(
            [log_ratio(a.swapped(b, swap), b.swapped(a, swap), until) for swap in swaps]
        )
    cut_a, cut_b = np.minimum(a.times, until), np.minimum(b.times, until)
    first = np.where(swaps, cut_b, cut_a).mean(axis=1)
    second = np.where(swaps, cut_a, cut_b).mean(axis=1)
    ratios: Array = np.log(first / second)
    return ratios


@dataclass(frozen=True)
class MannWhitney:
    """The Mann-Whitney test, and the chance that a run of the first group is earlier than a run of
    the second group. Ties count half."""

    chance: float
    test: TestResult


def mann_whitney(a: Durations, b: Durations) -> MannWhitney:
    """Compare the ranks of two groups. All runs must have the same budget, because censored runs
    rank last and tie with each other. The p-value is exact if there are at most MOST_DIVISIONS ways
    to divide the runs into two groups of these sizes. Otherwise, it is a normal approximation."""
    ranked_a, ranked_b = (np.where(d.reached, d.times, math.inf) for d in (a, b))
    ranks = stats.rankdata(np.concatenate([ranked_a, ranked_b]))
    n, m = len(ranked_a), len(ranked_b)
    ways = math.comb(n + m, n)
    # number of pairs in which the run of `a` is the later one; ties count half
    u = float(ranks[:n].sum()) - n * (n + 1) / 2
    if ways <= MOST_DIVISIONS:
        p = exact_rank_p(ranks, n)
    else:
        p = float(stats.mannwhitneyu(ranks[:n], ranks[n:], method="asymptotic").pvalue)
    return MannWhitney(1 - u / (n * m), TestResult(p, min(1.0, 2 / ways)))


def exact_rank_p(ranks: Array, n: int) -> float:
    """The exact p-value of the sum of the first n ranks. Among all choices of n ranks, it is the
    share of those whose sum is at least as far from the mean sum."""
    # dynamic programming over the doubled ranks, which are whole numbers even for ties
    doubled = np.rint(2 * ranks).astype(int)
    total = int(doubled.sum())
    counts = np.zeros((n + 1, total + 1))
    counts[0, 0] = 1.0
    for rank in doubled:
        counts[1:, rank:] += counts[:-1, : total + 1 - rank].copy()
    sums = np.arange(total + 1)
    mean = n * total / len(ranks)
    observed = abs(int(doubled[:n].sum()) - mean)
    extreme = np.abs(sums - mean) >= observed - 1e-9
    return float(counts[n, extreme].sum() / counts[n].sum())


@dataclass(frozen=True)
class LogRank:
    """The stratified log-rank test, which compares the hazards (rates of events) of two groups."""

    chi2: float
    p: float
    events: int  # over both groups and all strata
    excess: float  # events of the first group, minus those expected if the groups did not differ


def log_rank(strata: Sequence[tuple[Durations, Durations]]) -> LogRank | None:
    """The stratified log-rank test of the pairs of groups in `strata`. None if the variance of the
    excess is 0, for instance because there are no events."""
    excess, variance, events = 0.0, 0.0, 0
    for a, b in strata:
        times = np.concatenate([a.times, b.times])
        reached = np.concatenate([a.reached, b.reached])
        for time in np.unique(times[reached]):
            at_risk_a, at_risk = int((a.times >= time).sum()), int((times >= time).sum())
            events_a = int(((a.times == time) & a.reached).sum())
            events_now = int(((times == time) & reached).sum())
            share = at_risk_a / at_risk
            events += events_now
            excess += events_a - events_now * share
            if at_risk > 1:
                variance += (
                    events_now * share * (1 - share) * (at_risk - events_now) / (at_risk - 1)
                )
    if variance <= 0:
        return None
    chi2 = excess**2 / variance
    return LogRank(chi2, float(stats.chi2.sf(chi2, 1)), events, excess)


@dataclass(frozen=True)
class SpreadRatio:
    """The spread of one group's times divided by the spread of another group's times. The spread of
    a group is the mean absolute deviation of its log times from their median."""

    value: float | None  # None if the spread of the second group is 0
    test: TestResult


def spread_ratio(a: Durations, b: Durations, until: float) -> SpreadRatio:
    """Compare the spreads of two paired groups. Times above `until` count as `until`, and a
    censored time counts as a time to the event. The test exchanges the absolute deviations from the
    median within pairs."""
    centred_a, centred_b = (
        deviations(np.log(np.minimum(durations.times, until))) for durations in (a, b)
    )
    swaps = exchanges(len(centred_a))
    first = np.where(swaps, centred_b, centred_a).mean(axis=1)
    second = np.where(swaps, centred_a, centred_b).mean(axis=1)
    spread_a, spread_b = float(centred_a.mean()), float(centred_b.mean())
    value = spread_a / spread_b if spread_b > 0 else None
    return SpreadRatio(value, exchange_test(spread_a - spread_b, first - second))


def deviations(values: Array) -> Array:
    """Absolute deviations from the median."""
    result: Array = np.abs(values - np.median(values))
    return result


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's adjusted p-values, in the given order. If the hypotheses whose adjusted p-value is at
    most alpha are rejected, the chance of one or more false rejections is at most alpha."""
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)


@dataclass(frozen=True)
class TTest:
    """Student's or Welch's t-test of two means, two-sided."""

    mean_a: float
    mean_b: float
    t: float
    df: float
    p: float
    n: int  # number of values in both samples together


def t_test(a: Sequence[float], b: Sequence[float], equal_variances: bool) -> TTest | None:
    """The t-test of two samples: Student's if `equal_variances` is true, otherwise Welch's. None if
    a sample has fewer than two values, or if neither sample has two different values."""
    if min(len(a), len(b)) < 2 or (len(set(a)) == 1 and len(set(b)) == 1):
        return None
    with warnings.catch_warnings():
        # scipy warns of a sample without variance, for which the test is still defined
        warnings.simplefilter("ignore", RuntimeWarning)
        result = stats.ttest_ind(a, b, equal_var=equal_variances)
    mean_a, mean_b = float(np.mean(a)), float(np.mean(b))
    t, df, p = float(result.statistic), float(result.df), float(result.pvalue)
    return TTest(mean_a, mean_b, t, df, p, len(a) + len(b))
