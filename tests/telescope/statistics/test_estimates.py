"""Mixtures and scaling laws, against closed forms."""

import math

import numpy as np
import pytest
from scipy import stats

from telescope.statistics.estimates import Estimate, difference, mixture, scaling_fit


def test_a_mixture_of_one_is_a_student_t_and_of_two_covers_both() -> None:
    alone = mixture(np.array([1.0]), np.array([0.5]), np.array([1.0]), dof=7.0)
    assert (alone.low, alone.high) == pytest.approx(stats.t(7, 1.0, 0.5).interval(0.9))
    mixed = mixture(np.array([-1.0, 1.0]), np.array([0.1, 0.1]), np.array([0.5, 0.5]), dof=50.0)
    assert mixed.value == pytest.approx(0)
    assert mixed.low < -1 < 1 < mixed.high
    assert Estimate(0.0, -1.0, 2.0).half_width == 1.5


def test_the_difference_of_independent_normal_estimates_is_theirs() -> None:
    a, b = (
        Estimate(mean, *stats.norm(mean, sd).interval(0.9))
        for mean, sd in ((1.0, 0.3), (0.25, 0.4))
    )
    estimate = difference(a, b)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
        (0.75, *stats.norm(0.75, 0.5).interval(0.9))
    )
    skewed = difference(Estimate(0.0, -3.0, 1.0), Estimate(0.0, -1.0, 4.0))
    assert (skewed.low, skewed.high) == pytest.approx((-5.0, math.sqrt(2)))


def test_a_skewed_bowl_asks_for_a_slightly_lower_learning_rate() -> None:
    assert mixture(
        np.array([1.0]), np.array([0.5]), np.array([1.0]), 7.0, lowered=0.65
    ).value == pytest.approx(1 - 0.65 * 0.125)


def test_no_value_is_handed_out_below_its_own_interval() -> None:
    wide = mixture(np.array([1.0]), np.array([8.0]), np.array([1.0]), 7.0, lowered=0.65)
    assert wide.value == wide.low == pytest.approx(stats.t(7, 1.0, 8.0).ppf(0.05))


def test_a_scaling_law_is_recovered() -> None:
    sizes = np.array([6.6e7, 2.0e8, 6.7e8, 2.4e9])
    fit = scaling_fit(sizes.tolist(), (277 / sizes**0.31 + 1.31).tolist())
    assert fit is not None
    assert (fit.A, fit.exponent, fit.E) == pytest.approx((277, 0.31, 1.31), rel=1e-3)


def test_no_scaling_law_is_made_of_two_sizes_or_of_rising_losses() -> None:
    assert scaling_fit([1e6, 1e7], [3.0, 2.0]) is None
    assert scaling_fit([1e6, 1e7, 1e8], [2.0, 2.5, 3.0]) is None
