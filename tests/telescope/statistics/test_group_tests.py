"""Tests between groups: published runs to their digits, scipy, enumerations and hand-made cases."""

import math
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from telescope.statistics.group_tests import (
    exact_rank_p,
    holm,
    log_rank,
    mann_whitney,
    paired_permutation,
    spread_ratio,
    t_test,
)
from telescope.statistics.survival import Durations, censored_data, log_ratio, restricted_mean
from tests.telescope.statistics.grokking_runs import (
    ADAMW,
    ADAMW_SEEDS,
    ADAMW_STEPS,
    BUDGET,
    MUON,
    MUON_SEEDS,
    MUON_STEPS,
)


def group(*times: float | None, budget: float = 100.0) -> Durations:
    return Durations.of(times, budget)


def test_the_log_rank_test_of_published_sweeps_comes_out_to_its_digits() -> None:
    result = log_rank([(MUON, ADAMW)])
    assert result is not None
    assert round(result.chi2, 3) == 8.346
    assert round(result.p, 5) == 0.00386
    assert result.events == 16
    assert result.excess > 0  # Muon has more events than expected: it is earlier
    theirs = stats.logrank(censored_data(MUON), censored_data(ADAMW))
    assert (result.chi2, result.p) == pytest.approx((theirs.statistic**2, theirs.pvalue))


def test_the_t_test_of_published_sweeps_comes_out_to_its_digits() -> None:
    reached = [float(steps) for steps in ADAMW_STEPS if steps is not None]
    result = t_test(reached, MUON_STEPS, equal_variances=False)
    assert result is not None
    assert (round(result.mean_a), round(result.mean_b), result.n) == (30_486, 13_011, 16)
    assert round(result.p, 3) == 0.108


def test_all_divisions_of_published_sweeps_give_0_0066_for_the_restricted_means() -> None:
    def distance(first: Any, second: Any, axis: int) -> Any:
        # with one budget, the restricted mean is the mean of the times
        return np.abs(first.mean(axis=axis) - second.mean(axis=axis))

    observed = restricted_mean(ADAMW, BUDGET) - restricted_mean(MUON, BUDGET)
    assert distance(ADAMW.times, MUON.times, axis=0) == pytest.approx(observed)
    result = stats.permutation_test(
        (ADAMW.times, MUON.times),
        distance,
        n_resamples=math.inf,
        alternative="greater",
        vectorized=True,
    )
    # 1,111 of 167,960; a thousand random divisions give 0.002 to 0.012
    assert len(result.null_distribution) == math.comb(20, 9)
    assert round(result.pvalue, 4) == 0.0066


def test_five_published_seeds_come_out_to_their_digits() -> None:
    adamw, muon = group(*ADAMW_SEEDS, budget=BUDGET), group(*MUON_SEEDS, budget=BUDGET)
    ranks = mann_whitney(muon, adamw)
    assert round(ranks.test.p, 2) == 0.15
    assert ranks.chance == 0.8  # 4 of the 5 AdamW runs are later than all of Muon's
    welch = t_test(ADAMW_SEEDS, MUON_SEEDS, equal_variances=False)
    assert welch is not None
    assert (round(welch.t, 2), round(welch.df, 1), round(welch.p, 2)) == (1.92, 4.0, 0.13)


VALUES = st.lists(st.integers(1, 9), min_size=2, max_size=6)


@settings(deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=4, max_size=14, unique=True), st.data())
def test_without_ties_the_rank_test_is_scipys_exact_one(times: list[int], data: Any) -> None:
    n = data.draw(st.integers(2, len(times) - 2))
    a, b = group(*times[:n], budget=1e6), group(*times[n:], budget=1e6)
    theirs = stats.mannwhitneyu(times[:n], times[n:], method="exact")
    ours = mann_whitney(a, b)
    assert ours.test.p == pytest.approx(theirs.pvalue)
    assert ours.chance == pytest.approx(1 - theirs.statistic / (n * (len(times) - n)))


@settings(deadline=None, max_examples=50)
@given(VALUES, VALUES)
def test_with_ties_the_rank_test_is_that_of_all_divisions_into_groups(
    first: list[int], second: list[int]
) -> None:
    ranks = stats.rankdata([*first, *second])
    n, middle = len(first), len(first) * ranks.mean()
    distances = [abs(sum(chosen) - middle) for chosen in combinations(ranks.tolist(), n)]
    observed = abs(ranks[:n].sum() - middle)
    expected = np.mean([distance >= observed - 1e-9 for distance in distances])
    assert exact_rank_p(ranks, n) == pytest.approx(float(expected))


def test_censored_runs_rank_last_and_tie() -> None:
    # of 9 pairs, the first group is earlier in 3 + 3, ties in 1, later in 2
    a, b = group(1, 2, None), group(5, None, 9)
    assert mann_whitney(a, b).chance == pytest.approx(6.5 / 9)
    assert mann_whitney(b, a).chance == pytest.approx(2.5 / 9)
    # a run that ends at the budget is earlier than one that is censored there
    assert mann_whitney(group(100.0, 100.0), group(None, None)).chance == 1


def test_large_groups_use_the_normal_approximation() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.exponential(size=n) for n in (12, 15))
    ours = mann_whitney(group(*a), group(*b))
    assert ours.test.p == pytest.approx(
        stats.mannwhitneyu(a, b, method="asymptotic").pvalue, rel=1e-9
    )
    never = group(*[None] * 12)
    assert mann_whitney(never, never).test.p == 1


def test_the_smallest_attainable_p_is_reached_by_groups_that_do_not_overlap() -> None:
    for n, expected in ((3, 2 / 20), (5, 2 / 252), (8, 2 / 12870)):
        early, late = group(*range(1, n + 1)), group(*range(50, 50 + n))
        test = mann_whitney(early, late).test
        assert (test.p, test.smallest_p) == pytest.approx((expected, expected))
    for n, expected in ((5, 2 / 32), (6, 2 / 64), (8, 2 / 256)):
        early, late = group(*range(1, n + 1)), group(*range(50, 50 + n))
        test = paired_permutation(early, late, 100)
        assert (test.p, test.smallest_p) == (expected, expected)
    assert mann_whitney(group(1), group(2)).test.smallest_p == 1


def brute_force_exchanges(a: Durations, b: Durations, until: float) -> float:
    """The p-value of all exchanges, by restricted means."""
    observed, extreme = abs(log_ratio(a, b, until)), 0
    swaps = list(product((False, True), repeat=len(a.times)))
    for swap in map(np.array, swaps):
        ratio = log_ratio(a.swapped(b, swap), b.swapped(a, swap), until)
        extreme += abs(ratio) >= observed - 1e-12
    return extreme / len(swaps)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=6))
def test_the_paired_test_is_that_of_all_exchanges_with_a_common_budget(
    times: list[tuple[int, int]],
) -> None:
    a, b = (group(*(t[i] if t[i] < 15 else None for t in times), budget=15) for i in (0, 1))
    for until in (15, 10):
        assert paired_permutation(a, b, until).p == brute_force_exchanges(a, b, until)


def test_the_paired_test_handles_runs_that_are_censored_early() -> None:
    reached = np.array([True, False, True, True])
    a, b = Durations(np.array([3.0, 5, 9, 20]), reached), group(8, 9, 12, None, budget=20)
    assert paired_permutation(a, b, 20).p == brute_force_exchanges(a, b, 20)


def test_the_paired_test_agrees_with_scipys_for_means() -> None:
    a, b = np.array([3.0, 7, 9, 20, 6, 12]), np.array([8.0, 9, 12, 14, 30, 13])
    theirs = stats.permutation_test(
        (a, b), lambda x, y: math.log(x.mean() / y.mean()), permutation_type="samples"
    )
    assert paired_permutation(group(*a), group(*b), 100).p == pytest.approx(theirs.pvalue)


def test_many_pairs_are_sampled_and_repeat_their_p() -> None:
    rng = np.random.default_rng(2)
    a, b = (group(*rng.exponential(size=20)) for _ in range(2))
    first = paired_permutation(a, b, 100)
    assert first == paired_permutation(a, b, 100)
    assert first.smallest_p == 1 / 20_000
    differences = np.log(a.times) - np.log(b.times)
    assert 0 < first.p <= 1
    shifted = group(*(a.times * 3))
    assert paired_permutation(shifted, a, 100).p == first.smallest_p, differences


def test_a_stratified_log_rank_test_by_hand() -> None:
    first = (group(1, 3), group(2, None))
    # time 1: 2 of 4 at risk, expected 1/2, variance 1/4; time 2: 1 of 3, 1/3, 2/9;
    # time 3: 1 of 2, 1/2, 1/4: observed 2, expected 4/3
    second = (group(5), group(4))
    # time 4: 1 of 2, expected 1/2, variance 1/4; time 5: 1 of 1, expected 1, variance 0
    excess, variance = [2 - 4 / 3, 1 - 3 / 2], [1 / 4 + 2 / 9 + 1 / 4, 1 / 4]
    for strata, e, v in (
        ([first], excess[0], variance[0]),
        ([second], excess[1], variance[1]),
        ([first, second], sum(excess), sum(variance)),
    ):
        result = log_rank(strata)
        assert result is not None
        assert (result.excess, result.chi2) == pytest.approx((e, e**2 / v))
        assert result.p == pytest.approx(math.erfc(math.sqrt(e**2 / v / 2)))
    both = log_rank([first, second])
    assert both is not None
    assert both.events == 5
    # pooled, the strata would be one group of other people
    pooled = log_rank([(group(1, 3, 5), group(2, None, 4))])
    assert pooled is not None
    assert pooled.chi2 != pytest.approx(both.chi2)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=2, max_size=10),
    st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=2, max_size=10),
)
def test_the_log_rank_test_of_one_stratum_is_scipys(
    first: list[tuple[int, bool]], second: list[tuple[int, bool]]
) -> None:
    a, b = (
        Durations(np.array([float(t) for t, _ in runs]), np.array([r for _, r in runs]))
        for runs in (first, second)
    )
    result = log_rank([(a, b)])
    if result is None:  # scipy divides by zero
        return
    theirs = stats.logrank(censored_data(a), censored_data(b))
    assert result.chi2 == pytest.approx(theirs.statistic**2, abs=1e-9)


def test_a_log_rank_test_without_events_has_no_result() -> None:
    assert log_rank([(group(None), group(None))]) is None
    assert log_rank([]) is None
    assert log_rank([(group(3), group(3))]) is None  # both at once: nothing varies


def test_the_spread_of_a_group_is_that_of_its_logarithms() -> None:
    # deviations of the logarithms from their medians: 1, 0, 1 and 2, 0, 2 octaves
    tight, wide = group(2, 4, 8), group(1, 4, 16)
    result = spread_ratio(tight, wide, 100)
    assert result.value == pytest.approx(0.5)
    # exchanges of the first and third pair: two of four are as extreme
    assert (result.test.p, result.test.smallest_p) == (0.5, 0.25)
    # a factor changes no spread
    assert spread_ratio(group(20, 40, 80), wide, 100).value == pytest.approx(0.5)
    # cut off at 4, the wide group spreads below its median alone
    assert spread_ratio(wide, wide, 4).value == pytest.approx(1)
    assert spread_ratio(tight, wide, 4).value == pytest.approx(0.5)
    assert spread_ratio(tight, group(4, 4, 4), 100).value is None


def test_a_group_that_is_always_tighter_reaches_the_smallest_p() -> None:
    tight = group(*(10 + 0.1 * i for i in range(8)))
    wide = group(*(2.0**i for i in (-4, -3, -2, -1, 1, 2, 3, 4)))
    test = spread_ratio(tight, wide, 1000).test
    assert test.p == test.smallest_p == 2 / 256


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    # the second, at 0.02 x 2, is kept at the first's 0.045
    assert holm([0.02, 0.015, 0.5]) == pytest.approx((0.045, 0.045, 0.5))
    assert holm([0.6, 0.7]) == (1, 1)
    assert holm([0.2]) == (0.2,)
    assert holm([]) == ()


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holms_correction_lies_between_none_and_bonferronis(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1, len(p_values) * p) + 1e-12
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_students_and_welchs_tests_by_the_formulas_of_the_reference() -> None:
    a, b = [1.0, 2.0, 4.0, 5.0], [3.0, 8.0, 9.0]
    variances = [np.var(x, ddof=1) / len(x) for x in (a, b)]
    t = (3 - 20 / 3) / math.sqrt(sum(variances))
    df = sum(variances) ** 2 / (variances[0] ** 2 / 3 + variances[1] ** 2 / 2)
    welch, student = (t_test(a, b, equal_variances=equal) for equal in (False, True))
    assert welch is not None
    assert student is not None
    assert (welch.t, welch.df) == pytest.approx((t, df))
    assert welch.p == pytest.approx(2 * stats.t.sf(abs(t), df))
    assert (student.df, student.n) == (5, 7)
    assert student.p == pytest.approx(2 * stats.t.sf(abs(student.t), 5))


def test_the_papers_t_does_not_give_its_p_at_any_number_of_runs() -> None:
    # arXiv 2504.16041: t = 5.0175, p = 6.33e-8
    for df, expected in ((100, 2.28e-6), (200, 1.15e-6), (1000, 6.19e-7), (math.inf, 5.23e-7)):
        assert 2 * stats.t.sf(5.0175, df) == pytest.approx(expected, rel=0.01)
    assert stats.norm.isf(6.33e-8 / 2) == pytest.approx(5.41, abs=0.01)


def test_a_t_test_needs_two_values_and_some_variance() -> None:
    assert t_test([1.0], [1.0, 2.0], equal_variances=False) is None
    assert t_test([1.0, 1.0], [2.0, 2.0], equal_variances=False) is None
    # one group without variance, such as runs that end at the same evaluation
    constant = t_test([5.0, 5.0, 5.0], [6.0, 7.0, 8.0], equal_variances=False)
    assert constant is not None
    assert (constant.t, constant.df) == pytest.approx((-2 * math.sqrt(3), 2))
