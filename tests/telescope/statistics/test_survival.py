"""Censored times: published runs to their digits, scipy, hand-made examples, and simulated runs."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from telescope.statistics.group_tests import paired_permutation
from telescope.statistics.survival import (
    Durations,
    kaplan_meier,
    log_ratio,
    median_time,
    pairs_needed,
    ratio_of_means,
    restricted_mean,
)
from tests.telescope.statistics.grokking_runs import ADAMW, BUDGET, MUON

# a textbook example: weeks of remission under 6-MP (Freireich et al. 1963)
REACHED = [6, 6, 6, 7, 10, 13, 16, 22, 23]
CENSORED = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
REMISSION = Durations(
    np.array([*REACHED, *CENSORED], dtype=np.float64),
    np.array([True] * len(REACHED) + [False] * len(CENSORED)),
)

TIMES = st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=12)


def durations(runs: Sequence[tuple[int, bool]]) -> Durations:
    return Durations(
        np.array([time for time, _ in runs], dtype=np.float64),
        np.array([reached for _, reached in runs]),
    )


def test_restricted_means_of_published_sweeps_come_out_to_their_digits() -> None:
    assert round(restricted_mean(ADAMW, BUDGET)) == 55_764
    assert round(restricted_mean(MUON, BUDGET)) == 13_011
    assert round(float(ADAMW.times[ADAMW.reached].mean())) == 30_486
    assert (ADAMW.censored, MUON.censored) == (4, 0)


def test_the_curve_of_a_textbook_example_is_the_published_one() -> None:
    curve = kaplan_meier(REMISSION)
    published = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    share = dict(zip(curve.times.tolist(), curve.share.tolist(), strict=True))
    assert {time: round(share[time], 3) for time in published} == published
    assert (np.diff(curve.times) > 0).all()
    assert (curve.low <= curve.share).all()
    assert (curve.share <= curve.high).all()


def test_the_interval_of_the_curve_is_log_log_by_hand() -> None:
    # at 6: Greenwood's sum 3 / (21 * 18); log(-log S) +- 1.645 * sqrt(sum) / log S
    curve = kaplan_meier(REMISSION)
    s, z = 18 / 21, float(stats.norm.ppf(0.95))
    half = z * math.sqrt(3 / (21 * 18)) / abs(math.log(s))
    expected = [s ** math.exp(sign * half) for sign in (1, -1)]
    assert [curve.low[0], curve.high[0]] == pytest.approx(expected, rel=1e-9)


def brute_force_curve(group: Durations) -> list[tuple[float, float]]:
    """The product-limit estimate after each time that was reached."""
    share, points = 1.0, []
    for time in sorted(set(group.times[group.reached].tolist())):
        at_risk = sum(group.times >= time)
        share *= 1 - sum((group.times == time) & group.reached) / at_risk
        points.append((time, share))
    return points


@settings(deadline=None)
@given(TIMES, st.integers(1, 14))
def test_the_restricted_mean_is_the_area_under_the_product_limit_curve(
    runs: list[tuple[int, bool]], until: int
) -> None:
    group = durations(runs)
    steps = [(0.0, 1.0), *brute_force_curve(group)]
    ends = [min(time, until) for time, _ in steps[1:]] + [until]
    area = sum(
        share * (end - min(time, until)) for (time, share), end in zip(steps, ends, strict=True)
    )
    assert restricted_mean(group, until) == pytest.approx(area, rel=1e-9)


@settings(deadline=None)
@given(TIMES)
def test_the_median_is_the_first_time_at_which_half_has_reached_the_event(
    runs: list[tuple[int, bool]],
) -> None:
    group = durations(runs)
    expected = next(
        (time for time, share in brute_force_curve(group) if share <= 0.5 + 1e-12), None
    )
    median = median_time(group)
    assert median.value == expected
    if median.low is not None and median.value is not None:
        assert median.low <= median.value
    if median.high is not None:
        assert median.value is not None
        assert median.high >= median.value


def test_the_median_of_the_textbook_example_is_23_weeks_without_an_upper_bound() -> None:
    median = median_time(REMISSION)
    assert (median.value, median.high) == (23, None)
    assert median.low == 13  # the lower curve is 0.502 at 10, 0.491 at 13


def test_the_median_without_censoring_is_the_middle_time() -> None:
    for n in range(1, 60):
        times = [float(i) for i in range(1, n + 1)]
        assert median_time(Durations.of(times, 100)).value == -(-n // 2)


def test_rounding_of_the_curve_does_not_move_the_median() -> None:
    # 9/10 x 7/9 x 5/7 is above 1/2 in floating point
    half = Durations.of([1, 2, 2, 3, 3, *[None] * 5], 9)
    assert 0.5 < kaplan_meier(half).share[2] < 0.5 + 1e-12
    assert median_time(half).value == 3


def test_a_group_that_never_reaches_the_event_has_the_budget_as_its_mean_and_no_median() -> None:
    never = Durations.of([None, None, None], 50)
    assert (never.censored, restricted_mean(never, 50), restricted_mean(never, 40)) == (3, 50, 40)
    median = median_time(never)
    assert (median.value, median.low, median.high) == (None, None, None)


def test_times_of_one_budget_are_cut_off_there() -> None:
    group = Durations.of([10, 30, None, 50], 60)
    assert group.times.tolist() == [10, 30, 60, 50]
    assert restricted_mean(group, 60) == (10 + 30 + 60 + 50) / 4
    assert restricted_mean(group, 40) == (10 + 30 + 40 + 40) / 4
    assert restricted_mean(Durations.of([10, 30], 60), 100) == 20


def test_a_run_that_is_censored_early_counts_by_the_curve_and_not_by_its_time() -> None:
    # 1 - 1/4 until 2; 1/2 of it until 4: 2 at risk; then 3 of 8 until 10
    group = durations([(1, True), (2, False), (4, True), (10, False)])
    assert restricted_mean(group, 10) == pytest.approx(1 + 0.75 * 3 + 0.375 * 6)


def test_the_ratio_of_means_and_its_interval_by_hand() -> None:
    a, b = Durations.of([2, 4, 6], 100), Durations.of([1, 2, 3], 100)
    exact = ratio_of_means(a, b, 100)
    assert (exact.value, exact.low, exact.high) == pytest.approx((2, 2, 2))
    c = Durations.of([1, 1, 4], 100)
    ratio = ratio_of_means(a, c, 100)
    # leaving one out: 10/5, 8/5, 6/2
    logs = [math.log(2), math.log(1.6), math.log(3)]
    mean = sum(logs) / 3
    error = math.sqrt(2 / 3 * sum((log - mean) ** 2 for log in logs))
    half = float(stats.t.ppf(0.95, 2)) * error
    assert ratio.value == pytest.approx(2)
    assert (ratio.low, ratio.high) == pytest.approx((2 * math.exp(-half), 2 * math.exp(half)))


def test_one_pair_has_a_ratio_without_bounds() -> None:
    ratio = ratio_of_means(Durations.of([6], 9), Durations.of([None], 9), 9)
    assert (ratio.value, ratio.low, ratio.high) == (pytest.approx(6 / 9), 0, math.inf)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=2, max_size=8))
def test_swapping_the_groups_inverts_the_ratio(times: list[tuple[int, int]]) -> None:
    a, b = (Durations.of([float(t[i]) if t[i] < 50 else None for t in times], 50) for i in (0, 1))
    ratio, inverse = ratio_of_means(a, b, 50), ratio_of_means(b, a, 50)
    assert (inverse.value, inverse.low, inverse.high) == pytest.approx(
        (1 / ratio.value, 1 / ratio.high, 1 / ratio.low)
    )


def test_the_pairs_that_are_needed_are_the_fewest_whose_t_test_has_an_even_chance() -> None:
    a, b = Durations.of([20, 30, 25, 40], 100), Durations.of([18, 33, 20, 30], 100)
    needed = pairs_needed(a, b, 100, alpha=0.05)
    assert needed is not None
    ratio = ratio_of_means(a, b, 100)
    deviation = math.log(ratio.high / ratio.value) / float(stats.t.ppf(0.95, 3)) * 2

    def threshold(n: int) -> float:
        return float(stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)

    effect = math.log(ratio.value)
    assert threshold(needed) < effect < threshold(int(needed * 0.97) - 1)
    # without a difference no number is enough
    assert pairs_needed(a, a, 100, alpha=0.05) is None
    assert pairs_needed(Durations.of([1], 9), Durations.of([2], 9), 9, alpha=0.05) is None
    # more than 1000 pairs are never recommended
    many_a, many_b = Durations.of([20, 21] * 500, 100), Durations.of([21, 20] * 500, 100)
    assert pairs_needed(many_a, many_b, 100, alpha=0.05) is None


def test_more_pairs_are_needed_than_there_are_and_than_an_exchange_of_labels_can_tell() -> None:
    a, b = Durations.of([20, 21, 20, 21], 100), Durations.of([2, 2, 2, 2.1], 100)
    assert pairs_needed(a, b, 100, alpha=0.05) == 6  # 2 / 2^5 is above 0.05
    assert pairs_needed(a, b, 100, alpha=0.05 / 21) == 10


def test_swapping_runs_of_pairs_keeps_which_of_them_are_censored() -> None:
    a, b = Durations.of([1, None], 9), Durations.of([None, 3], 9)
    swapped = a.swapped(b, np.array([True, False]))
    assert (swapped.times.tolist(), swapped.reached.tolist()) == ([9, 9], [False, False])
    assert (a.without(0).times.tolist(), a.without(0).reached.tolist()) == ([9], [False])


DRAWS, PAIRS = 400, 8
LAWS = {
    # shared spread of a pair, own spread of a run, budget in units of the median, true log ratio
    "no difference, none censored": (0.3, 0.5, math.inf, 0.0),
    "no difference, 20 % censored": (0.3, 0.5, 1.63, 0.0),
    "no difference, 40 % censored": (0.3, 0.5, 1.16, 0.0),
    "no difference, long tails": (0.0, 1.0, 3.0, 0.0),
    "twice as fast, none censored": (0.3, 0.5, math.inf, math.log(2)),
    "twice as fast, 40 % of the slower censored": (0.3, 0.5, 2.32, math.log(2)),
}


def drawn_pairs(law: str, n: int, rng: np.random.Generator) -> tuple[Durations, Durations, float]:
    """n paired times of two groups, the first slower, and the time up to which both are known."""
    shared, own, budget, log_effect = LAWS[law]
    common = shared * rng.standard_normal(n)
    slow, fast = (
        np.exp(shift + common + own * rng.standard_normal(n)) for shift in (log_effect, 0.0)
    )
    until = min(budget, max(slow.max(), fast.max()))
    a, b = (Durations(np.minimum(times, budget), times < budget) for times in (slow, fast))
    return a, b, float(until)


@pytest.mark.parametrize("law", LAWS)
def test_intervals_of_simulated_runs_cover_the_ratio_and_false_claims_are_rare(law: str) -> None:
    rng = np.random.default_rng(16)
    _, _, budget, log_effect = LAWS[law]
    slow, fast, until = drawn_pairs(law, 400_000, rng)
    # without a budget, the mean itself: both laws are shifted by a factor
    true = log_effect if budget == math.inf else log_ratio(slow, fast, until)
    covered, claimed, half_widths, censored = 0, 0, [], 0.0
    for _ in range(DRAWS):
        a, b, until = drawn_pairs(law, PAIRS, rng)
        censored = max(censored, slow.censored / 400_000)
        ratio = ratio_of_means(a, b, until)
        covered += ratio.low <= math.exp(true) <= ratio.high
        half_widths.append(math.log(ratio.high / ratio.low) / 2)
        claimed += paired_permutation(a, b, until).p < 0.05 and ratio.value > 1
    report = (
        f"{law}: {censored:.0%} of the slower group censored, covered {covered / DRAWS:.1%}, "
        f"claimed faster {claimed / DRAWS:.1%}, "
        f"median half-width a factor of {math.exp(float(np.median(half_widths))):.2f}"
    )
    print(report)
    assert covered / DRAWS >= 0.85, report
    assert censored <= 0.42, report
    if log_effect == 0:
        assert claimed / DRAWS <= 0.05, report
    else:
        assert claimed / DRAWS >= 0.3, report
