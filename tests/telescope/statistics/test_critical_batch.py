"""Both forms recover the law that the tokens were generated from, and report what is unknown."""

import math

import numpy as np
import pytest

from telescope.statistics.batch_readings import Readings
from telescope.statistics.critical_batch import TOLERANCE, piecewise, smooth
from telescope.statistics.tokens_to_loss import TargetOutcome

BATCHES = tuple(2.0**n for n in range(8, 15))


def readings(log_tokens: np.ndarray, seeds: int = 3, sd: float = 0.0, number: int = 0) -> Readings:
    """Seeds scattered about known log tokens."""
    rng = np.random.default_rng(number)
    noisy = log_tokens[:, None] + sd * rng.standard_normal((len(log_tokens), seeds))
    return Readings(
        np.array(BATCHES[: len(log_tokens)]),
        np.arange(seeds),
        noisy,
        np.full(noisy.shape, TargetOutcome.REACHED, dtype=np.int8),
    )


def hinge(
    critical: float = 1500.0, slope: float = -0.4, batches: tuple[float, ...] = BATCHES
) -> np.ndarray:
    return math.log(2e6) + (1 + slope) * np.maximum(np.log(np.array(batches) / critical), 0)


def test_the_piecewise_law_is_recovered() -> None:
    law = piecewise(readings(hinge()))
    assert law is not None
    assert law.critical_batch.value == pytest.approx(1500, rel=1e-3)
    assert law.slope.value == pytest.approx(-0.4, abs=1e-3)
    assert law.fewest_tokens == pytest.approx(2e6, rel=1e-3)
    assert law.residual_percent < 0.1
    assert law.left_out == pytest.approx([1500] * len(BATCHES), rel=2e-3)


def test_the_token_optimal_batch_is_where_the_law_has_risen_by_the_tolerance() -> None:
    law = piecewise(readings(hinge(), sd=0.02))
    assert law is not None
    rise = 1 + law.slope.value
    assert (law.token_optimal_batch.value / law.critical_batch.value) ** rise == pytest.approx(
        1 + TOLERANCE
    )
    assert (
        law.critical_batch.low
        < law.token_optimal_batch.low
        < law.token_optimal_batch.value
        < law.token_optimal_batch.high
    )
    exact = piecewise(readings(hinge(), sd=0.02), tolerance=1e-9)
    assert exact is not None
    assert exact.token_optimal_batch.value == pytest.approx(exact.critical_batch.value)
    assert exact.token_optimal_batch.low == pytest.approx(exact.critical_batch.low)


def test_mccandlishs_form_is_recovered_with_its_fewest_steps() -> None:
    law = smooth(readings(math.log(2e6) + np.log1p(np.array(BATCHES) / 3000)))
    assert law is not None
    assert (law.critical_batch.value, law.fewest_tokens) == pytest.approx((3000, 2e6), rel=1e-3)
    assert law.fewest_steps == pytest.approx(2e6 / 3000, rel=2e-3)
    steps, tokens = 2e6 * (1 / 512 + 1 / 3000), 2e6 * (1 + 512 / 3000)
    assert (steps / law.fewest_steps - 1) * (tokens / law.fewest_tokens - 1) == pytest.approx(
        1, rel=0.01
    )


def test_the_form_that_does_not_hold_has_larger_residuals_and_a_small_p() -> None:
    sharp_law, round_law = (
        readings(hinge(), sd=0.005),
        readings(math.log(2e6) + np.log1p(np.array(BATCHES) / 3000), sd=0.005),
    )
    for observed, right, wrong in ((sharp_law, piecewise, smooth), (round_law, smooth, piecewise)):
        held, failed = right(observed), wrong(observed)
        assert held is not None
        assert failed is not None
        assert held.residual_percent < failed.residual_percent / 2
        assert held.p_of_misfit is not None
        assert failed.p_of_misfit is not None
        assert held.p_of_misfit > 0.05 > 0.001 > failed.p_of_misfit


def test_tokens_that_do_not_rise_have_no_critical_batch_within_the_range() -> None:
    flat = piecewise(readings(hinge(critical=1e9), sd=0.01))
    assert flat is not None
    # a rise of nothing may begin anywhere
    assert (flat.critical_batch.low, flat.critical_batch.high) == (0, math.inf)
    assert flat.token_optimal_batch.low > 4096
    assert flat.token_optimal_batch.value == flat.token_optimal_batch.high == math.inf
    falling = piecewise(readings(hinge(critical=1e9) - 0.1 * np.arange(7)))
    assert falling is not None
    assert falling.critical_batch.value == falling.token_optimal_batch.value == math.inf


def test_tokens_that_rise_from_the_first_batch_on_bound_it_from_above_only() -> None:
    law, steep = (
        piecewise(readings(hinge(critical=1.0), sd=0.01)),
        smooth(readings(np.log(np.array(BATCHES)), sd=0.01)),
    )
    assert law is not None
    assert steep is not None
    assert law.critical_batch.low == 0
    assert law.critical_batch.high < 1024
    # of the range that was run
    assert 256 < law.token_optimal_batch.low < law.token_optimal_batch.high < 1024
    assert steep.critical_batch.low == 0
    assert steep.critical_batch.high < 256


def test_a_token_optimal_batch_beyond_all_that_were_run_is_not_claimed() -> None:
    # times 1.02^40 = 2.21
    inside, beyond = (
        piecewise(readings(hinge(critical, slope=-0.975))) for critical in (7000, 8000)
    )
    assert inside is not None
    assert beyond is not None
    assert inside.token_optimal_batch.value == pytest.approx(7000 * 1.02**40, rel=0.01)
    assert (beyond.token_optimal_batch.low, beyond.token_optimal_batch.value) == (
        pytest.approx(16_384),
        math.inf,
    )
    assert beyond.token_optimal_batch.high == math.inf


def test_steps_never_rise_with_the_batch_and_tokens_never_fall() -> None:
    steep, falling = (
        piecewise(readings(slope * np.log(np.array(BATCHES)))) for slope in (1.5, -0.5)
    )
    assert steep is not None
    assert falling is not None
    assert (steep.slope.value, falling.slope.value) == (0, -1)


def test_many_seeds_do_not_make_a_law_certain_that_does_not_hold() -> None:
    few, many = (
        piecewise(readings(hinge() + 0.05 * np.array([0, 1, -1, 1, -1, 1, 0]), seeds=n, sd=0.01))
        for n in (3, 300)
    )
    assert few is not None
    assert many is not None
    assert few.p_of_misfit is not None
    assert few.p_of_misfit < 0.001
    assert math.log(many.critical_batch.high / many.critical_batch.low) == pytest.approx(
        math.log(few.critical_batch.high / few.critical_batch.low), rel=0.25
    )


def test_a_batch_that_was_tuned_worse_widens_the_interval() -> None:
    quiet, wobbly = (
        piecewise(
            readings(hinge() + bump * np.array([0, 1, -1, 1, -1, 1, 0]), seeds=5, sd=0.01, number=1)
        )
        for bump in (0.0, 0.05)
    )
    assert quiet is not None
    assert wobbly is not None
    assert math.log(wobbly.critical_batch.high / wobbly.critical_batch.low) > 3 * math.log(
        quiet.critical_batch.high / quiet.critical_batch.low
    )


def test_two_batches_make_no_law_and_three_of_one_seed_an_open_one() -> None:
    assert piecewise(readings(hinge()[:2])) is None
    assert smooth(readings(hinge()[:2])) is None
    law = piecewise(readings(hinge(critical=500.0)[:3], seeds=1))
    assert law is not None
    assert (
        law.critical_batch.low,
        law.critical_batch.high,
        law.p_of_misfit,
        law.left_out,
    ) == (0, math.inf, None, ())


def test_intervals_hold_the_truth_about_nine_times_in_ten() -> None:
    held = []
    for number in range(300):
        law = piecewise(readings(hinge(), sd=0.02, number=number))
        assert law is not None
        held.append(
            [
                law.critical_batch.low <= 1500 <= law.critical_batch.high,
                law.token_optimal_batch.low
                <= 1500 * (1 + TOLERANCE) ** (1 / 0.6)
                <= law.token_optimal_batch.high,
                law.slope.low <= -0.4 <= law.slope.high,
            ]
        )
    assert (abs(np.mean(held, axis=0) - 0.9) < 0.05).all()
