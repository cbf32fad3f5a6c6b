"""Intervals over seeds against Student's t by hand; bounds where runs did not reach the loss."""

import math

import numpy as np
import pytest
from scipy import stats

from telescope.errors import InvalidInput
from telescope.statistics.batch_readings import Pooled, Readings, tokens_at
from telescope.statistics.tokens_to_loss import Crossings, TargetOutcome

R, C, D, E = (
    TargetOutcome.REACHED,
    TargetOutcome.CENSORED,
    TargetOutcome.DIVERGED,
    TargetOutcome.EARLY,
)


def table(*rows: tuple[int, int, float, TargetOutcome]) -> Readings:
    batch, seed, tokens, outcome = (np.array(column) for column in zip(*rows, strict=True))
    return Readings.of(batch, seed, Crossings(tokens.astype(np.float64), outcome.astype(np.int8)))


TWO_BATCHES = table(
    (256, 0, 100, R), (256, 1, 121, R), (256, 2, 110, R), (512, 0, 200, R), (512, 1, 220, R)
)


def test_all_batches_share_one_variance() -> None:
    small, large = tokens_at(TWO_BATCHES)
    a, b = np.log([100, 121, 110]), np.log([200, 220])
    sd = math.sqrt((3 * a.var() + 2 * b.var()) / 3)
    half = stats.t(3).ppf(0.95) * sd
    assert small.log_tokens.half_width == pytest.approx(half / math.sqrt(3))
    assert large.log_tokens.half_width == pytest.approx(half / math.sqrt(2))
    assert (small.tokens.value, large.tokens.value) == pytest.approx((110, math.sqrt(200 * 220)))
    assert large.steps.high == pytest.approx(large.tokens.high / 512)


def test_a_censored_run_makes_its_batch_a_bound_and_leaves_the_variance_alone() -> None:
    readings = table(
        (256, 0, 100, R), (256, 1, 121, R),
        (512, 0, 300, C), (512, 1, 220, R), (512, 2, 290, R),
        (1024, 0, 300, C), (1024, 1, 300, C),
    )  # fmt: skip
    settled, half, never = tokens_at(readings)
    assert settled.settled
    assert not half.settled
    assert (half.reached, half.censored, never.reached) == (2, 1, 0)
    assert half.tokens.value == pytest.approx((300 * 220 * 290) ** (1 / 3))
    assert half.tokens.high == never.tokens.high == math.inf
    assert half.log_tokens.value - half.log_tokens.low == pytest.approx(
        settled.log_tokens.half_width * math.sqrt(2 / 3)
    )
    assert Pooled.of(readings.settled).dof == 1


def test_a_diverged_run_is_counted_and_takes_no_part() -> None:
    whole, lost = tokens_at(
        table((256, 0, 100, R), (256, 1, 121, R), (256, 2, np.inf, D), (512, 0, np.inf, D))
    )
    assert (whole.diverged, whole.settled, whole.tokens.value) == (1, True, pytest.approx(110))
    assert (lost.settled, lost.tokens.value, lost.tokens.low) == (False, math.inf, math.inf)


def test_a_run_that_was_early_gives_an_upper_bound() -> None:
    (batch,) = tokens_at(table((256, 0, 100, E), (256, 1, 121, R)))
    assert (batch.early, batch.settled, batch.tokens.low) == (1, False, 0)


def test_without_a_second_seed_nothing_is_known_of_the_error() -> None:
    for batch in tokens_at(table((256, 0, 100, R), (512, 0, 121, R))):
        assert (batch.tokens.low, batch.tokens.high) == (0, math.inf)
        assert batch.settled


def test_two_runs_of_one_batch_and_seed_are_refused() -> None:
    with pytest.raises(InvalidInput, match="same batch and seed"):
        table((256, 0, 100, R), (256, 0, 121, R))
