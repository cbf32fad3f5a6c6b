"""The ratio of two optimizers' tokens by hand, paired by seed; its bounds; its trend."""

import math

import numpy as np
import pytest
from scipy import stats

from telescope.statistics.batch_readings import Readings
from telescope.statistics.token_ratio import Direction, Standing, ratios, trend
from telescope.statistics.tokens_to_loss import TargetOutcome

BATCHES = np.array([256.0, 512.0, 1024.0, 2048.0])


def readings(
    tokens: np.ndarray, outcome: np.ndarray | None = None, batches: np.ndarray = BATCHES
) -> Readings:
    fates = np.zeros(tokens.shape, dtype=np.int8) if outcome is None else outcome.astype(np.int8)
    return Readings(batches[: len(tokens)], np.arange(tokens.shape[1]), np.log(tokens), fates)


def scattered(
    base: np.ndarray, number: int, own: float, shared: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Two optimizers of equal tokens at three seeds each, part of the noise in common."""
    rng = np.random.default_rng(number)
    common = shared * rng.standard_normal((len(base), 3))
    first, second = (
        base[:, None] * np.exp(common + own * rng.standard_normal((len(base), 3))) for _ in range(2)
    )
    return first, second


def test_the_interval_of_the_ratio_is_that_of_paired_differences() -> None:
    first, second = scattered(np.array([1e6, 1.2e6]), 0, own=0.02, shared=0.1)
    differences = np.log(first / second)
    sd = math.sqrt(differences.var(axis=1, ddof=1).mean())
    half = stats.t(4).ppf(0.95) * sd / math.sqrt(3)
    for row, log in zip(
        ratios(readings(first), readings(second)), differences.mean(axis=1), strict=True
    ):
        assert (row.ratio.low, row.ratio.value, row.ratio.high) == pytest.approx(
            np.exp([log - half, log, log + half])
        )
        assert row.pairs == 3
        assert half < 0.06  # the shared tenth has gone


def test_the_gap_is_the_difference_of_tokens() -> None:
    first, second = scattered(np.array([2e6]), 1, own=0.02)
    (row,) = ratios(readings(1.5 * first), readings(second))
    expected = stats.gmean(1.5 * first[0]) - stats.gmean(second[0])
    assert row.gap_tokens.value == pytest.approx(expected)
    residuals = (
        np.log(1.5 * first[0] / stats.gmean(1.5 * first[0])),
        np.log(second[0] / stats.gmean(second[0])),
    )
    errors = stats.gmean(1.5 * first[0]) * residuals[0] - stats.gmean(second[0]) * residuals[1]
    assert row.gap_tokens.half_width == pytest.approx(
        stats.t(2).ppf(0.95) * errors.std(ddof=1) / math.sqrt(3)
    )
    assert row.standing is Standing.AHEAD
    (turned,) = ratios(readings(second), readings(1.5 * first))
    assert turned.standing is Standing.BEHIND
    (equal,) = ratios(*(readings(tokens) for tokens in scattered(np.array([1e6]), 2, own=0.05)))
    assert equal.standing is Standing.UNRESOLVED


def test_only_batches_and_seeds_of_both_are_paired() -> None:
    first, second = scattered(np.full(4, 1e6), 3, own=0.02)
    first[2, 1] = np.nan
    rows = ratios(readings(first), readings(second[1:, :2], batches=BATCHES[1:]))
    assert [(row.batch_tokens, row.pairs) for row in rows] == [(512, 2), (1024, 1), (2048, 2)]


def test_a_censored_optimizer_gives_a_bound_of_the_ratio() -> None:
    first, second = scattered(np.full(2, 1e6), 4, own=0.01)
    fates = np.zeros((2, 3))
    fates[1] = TargetOutcome.CENSORED
    settled, bound = ratios(readings(2 * first, fates), readings(second))
    assert settled.pairs == 3
    assert (bound.pairs, bound.ratio.high, bound.gap_tokens.high) == (0, math.inf, math.inf)
    assert 1.8 < bound.ratio.low < 2 < 2.2
    assert bound.standing is Standing.AHEAD


def test_a_batch_at_which_one_of_them_only_diverged_has_no_ratio() -> None:
    first, second = scattered(np.full(2, 1e6), 5, own=0.01)
    fates = np.zeros((2, 3))
    first[1], fates[1] = np.inf, TargetOutcome.DIVERGED
    assert [row.batch_tokens for row in ratios(readings(first, fates), readings(second))] == [256]


@pytest.mark.parametrize(
    ("exponent", "direction"), [(0.2, Direction.RISING), (-0.2, Direction.FALLING)]
)
def test_a_trend_of_the_ratio_is_found_with_its_sign(exponent: float, direction: Direction) -> None:
    first, second = scattered(np.full(4, 1e6), 6, own=0.01)
    fit = trend(
        readings(3 * first * BATCHES[:, None] ** exponent), readings(second), from_batch_tokens=500
    )
    assert fit is not None
    assert fit.batches == 3
    assert fit.exponent.low < exponent < fit.exponent.high
    assert fit.direction is direction
    assert (fit.p_falling < 0.05) == (exponent < 0)


def test_a_trend_needs_two_batches() -> None:
    first, second = scattered(np.full(4, 1e6), 7, own=0.01)
    assert trend(readings(first), readings(second), from_batch_tokens=1500) is None
    assert trend(readings(first), readings(second), from_batch_tokens=math.inf) is None


def test_a_falling_ratio_is_claimed_wrongly_about_once_in_twenty() -> None:
    trends = [
        trend(
            *(readings(tokens) for tokens in scattered(np.full(4, 1e6), n, own=0.02)),
            from_batch_tokens=0,
        )
        for n in range(400)
    ]
    falling = np.mean([fit is not None and fit.p_falling < 0.05 for fit in trends])
    inside = np.mean(
        [fit is not None and fit.exponent.low <= 0 <= fit.exponent.high for fit in trends]
    )
    assert 0.02 < falling < 0.08
    assert 0.86 < inside < 0.94


def test_one_seed_gives_ratios_without_ends() -> None:
    row = ratios(readings(np.full((1, 1), 2e6)), readings(np.full((1, 1), 1e6)))[0]
    assert (row.ratio.low, row.ratio.value, row.ratio.high) == (0, pytest.approx(2), math.inf)
