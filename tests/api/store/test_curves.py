"""Curves are decoded bit for bit, merged over attempts, and thinned without losing spikes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.store.curves import Chunk, DamagedCurve, decode, encode, join_chunks, thin
from telescope.client.resources import Curve
from telescope.trials.outcome import Measurement
from tests.api.trials import point, points

finite = st.floats(allow_nan=False, allow_infinity=False, width=64)
metrics = st.dictionaries(st.sampled_from(["train_loss", "loss", "grad_norm"]), finite, min_size=1)


@given(st.lists(metrics, min_size=1, max_size=20))
def test_a_curve_is_read_back_bit_for_bit(values: list[dict[str, float]]) -> None:
    measurements = [
        Measurement(step, step * 32, step * 1.1e9, step * 0.1, row_metrics)
        for step, row_metrics in enumerate(values, start=1)
    ]
    curve = join_chunks(7, [Chunk(1, encode(measurements))])
    assert curve.trial_id == 7
    assert curve.step == tuple(measurement.step for measurement in measurements)
    assert curve.tokens == tuple(measurement.tokens for measurement in measurements)
    assert curve.flops == tuple(measurement.flops for measurement in measurements)
    assert curve.seconds == tuple(measurement.seconds for measurement in measurements)
    for name, column in curve.metrics.items():
        assert column == tuple(measurement.metrics.get(name) for measurement in measurements)


def test_a_later_attempt_replaces_all_points_from_its_first_point_on() -> None:
    def levelled(first: int, last: int, loss: float) -> list[Measurement]:
        return [point(step, train_loss=loss) for step in range(first, last + 1)]

    chunks = [
        Chunk(1, encode(levelled(1, 4, 1.0))),
        Chunk(1, encode(levelled(5, 8, 1.0))),
        Chunk(2, encode(levelled(4, 5, 2.0))),
        Chunk(3, encode(levelled(5, 6, 3.0))),
    ]
    for order in (chunks, chunks[::-1]):
        curve = join_chunks(1, order)
        assert curve.step == (1, 2, 3, 4, 5, 6)
        assert curve.metrics["train_loss"] == (1.0, 1.0, 1.0, 2.0, 3.0, 3.0)


def test_missing_metrics_and_diverged_losses_are_none() -> None:
    written = [
        point(1, train_loss=2.0),
        point(2, train_loss=math.inf, loss=math.nan),
        point(3, train_loss=1.0, loss=0.5),
    ]
    curve = join_chunks(1, [Chunk(1, encode(written[:1])), Chunk(1, encode(written[1:]))])
    assert curve.metrics == {"train_loss": (2.0, None, 1.0), "loss": (None, None, 0.5)}


def test_a_trial_without_points_has_an_empty_curve() -> None:
    assert join_chunks(1, []) == Curve(1, (), (), (), (), {})


def test_thinning_keeps_the_ends_the_spikes_and_every_held_out_loss() -> None:
    losses = [4.0 - step * 0.001 for step in range(1000)]
    losses[321], losses[654] = 9.0, 0.1
    written = [point(step, train_loss=loss) for step, loss in enumerate(losses, start=1)]
    written[500] = point(501, train_loss=losses[500], loss=3.3)
    thinned = thin(join_chunks(1, [Chunk(1, encode(written))]), 100)
    assert len(thinned.step) <= 101
    assert {1, 322, 501, 655, 1000} <= set(thinned.step)
    assert len(thinned.metrics["train_loss"]) == len(thinned.tokens) == len(thinned.step)
    assert 3.3 in thinned.metrics["loss"]
    assert list(thinned.step) == sorted(thinned.step)


def test_a_curve_that_is_short_enough_is_not_thinned() -> None:
    curve = join_chunks(1, [Chunk(1, encode(points(1, 10)))])
    assert thin(curve, 10) is curve


def test_a_chunk_of_a_later_format_is_refused() -> None:
    with pytest.raises(DamagedCurve, match="format 9"):
        decode(b"\x09" + encode(points(1, 2))[1:])
