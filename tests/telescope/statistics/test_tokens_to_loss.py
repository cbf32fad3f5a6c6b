"""Crossings of curves whose true crossing is known, and every outcome that a run can have."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surfaces.batch_laws import BATCHES, TARGET, Law, Noise, curves
from telescope.statistics.tokens_to_loss import (
    MEANING,
    REACH,
    SMOOTHED,
    Crossings,
    LossCurves,
    TargetOutcome,
    moving_sums,
    smoothed,
)

LAW = Law(critical_batch=1500.0, slope=-0.4, tokens=2e6)


def read(
    runs: list[tuple[list[float], list[float]]],
    target: float,
    window: int = 1,
    diverged: tuple[bool, ...] = (),
) -> Crossings:
    return smoothed(LossCurves.of(runs, diverged), window).crossings(target)


def test_smoothing_does_not_move_the_crossing_of_a_smooth_curve() -> None:
    crossings = smoothed(curves(LAW, Noise(), seeds=1, number=0)).crossings(TARGET)
    assert (crossings.outcome == TargetOutcome.REACHED).all()
    assert crossings.tokens == pytest.approx(LAW.tokens_to(TARGET, BATCHES), rel=5e-4)


def test_half_a_percent_of_noise_leaves_tokens_unbiased_and_known_to_two_percent() -> None:
    crossings = smoothed(curves(LAW, Noise(point=0.005), seeds=40, number=1)).crossings(TARGET)
    errors = np.log(
        crossings.tokens.reshape(len(BATCHES), -1) / LAW.tokens_to(TARGET, BATCHES)[:, None]
    )
    assert errors.std() < 0.025
    assert abs(errors.mean()) < 3 * errors.std() / np.sqrt(errors.size)


def test_a_mean_of_means_weighs_points_as_a_triangle() -> None:
    tokens, impulse = np.arange(1.0, 42.0)[None], np.zeros((1, 41))
    impulse[0, 20] = 1
    (weights,) = smoothed(
        LossCurves.recorded(tokens, impulse, np.array([41]), np.zeros(1, dtype=bool)), window=5
    ).loss
    assert weights[15:26] * 25 == pytest.approx([0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0])


def test_a_straight_line_in_log_tokens_is_smoothed_into_itself_up_to_its_ends() -> None:
    tokens = np.geomspace(1e3, 1e6, 40)
    for points in (3, 25, 40):
        line = LossCurves.recorded(
            tokens[None],
            5 - 0.2 * np.log(tokens[None]),
            np.array([points]),
            np.zeros(1, dtype=bool),
        )
        smooth = smoothed(line)
        assert smooth.loss[0, :points] == pytest.approx(5 - 0.2 * smooth.log_tokens[0, :points])


@given(st.integers(1, 60), st.sampled_from([1, 3, 5, 11]))
def test_moving_sums_are_sums_of_what_is_there(width: int, window: int) -> None:
    values = np.random.default_rng(width).normal(size=(2, width))
    halves = [min(window // 2, (i + 1) // REACH) for i in range(width)]
    expected = [
        [row[i - half : i + half + 1].sum() for i, half in enumerate(halves)] for row in values
    ]
    assert moving_sums(values, window) == pytest.approx(np.array(expected))


def test_the_crossing_lies_on_a_line_in_log_tokens_between_the_points_around_it() -> None:
    crossings = read([([100, 400, 1600], [4.0, 3.0, 1.0])], target=3.5)
    assert crossings.tokens == pytest.approx([200])
    assert read([([100, 400, 1600], [4.0, 3.0, 1.0])], target=3.0).tokens == pytest.approx([400])


def test_a_dip_that_does_not_last_is_no_crossing() -> None:
    raw = smoothed(
        LossCurves.of([([1, 2, 4, 8, 16, 32, 64], [5.0, 1.9, 5.0, 5.0, 1.0, 1.0, 1.0])]), window=1
    )
    assert raw.crossings(2.0).tokens == pytest.approx([2 ** (3 / 3.1)])  # held for one point
    assert replace(raw, window=3).crossings(2.0).tokens == pytest.approx([8 * 2 ** (3 / 4)])


def test_a_run_that_ends_below_the_target_has_reached_it() -> None:
    raw = smoothed(LossCurves.of([([1, 2, 4, 8], [5.0, 4.0, 3.0, 1.0])]), window=1)
    assert replace(raw, window=3).crossings(2.0).outcome.tolist() == [TargetOutcome.REACHED]


def test_every_fate_is_told_apart_and_nothing_is_extrapolated() -> None:
    tokens = [1.0, 2.0, 4.0, 8.0]
    runs = [
        (tokens, [4.0, 3.0, 2.0, 1.0]),
        (tokens, [4.0, 3.5, 3.2, 3.0]),  # on its way, and not there
        (tokens[:3], [4.0, 3.5, 3.2]),
        (tokens, [4.0, 3.0, float("nan"), 1.0]),  # what follows a divergence is not read
        (tokens, [4.0, 5.0, 9.0, 9.0]),
        (tokens, [4.0, 2.0, 1.0, float("inf")]),  # reached first, then diverged
        (tokens, [2.0, 1.8, 1.6, 1.5]),
        ([], []),
    ]
    crossings = read(
        runs, target=2.5, diverged=(False, False, False, False, True, False, False, False)
    )
    names = [TargetOutcome(value).name for value in crossings.outcome]
    assert names == [
        "REACHED",
        "CENSORED",
        "CENSORED",
        "DIVERGED",
        "DIVERGED",
        "REACHED",
        "EARLY",
        "CENSORED",
    ]
    assert crossings.tokens.tolist() == pytest.approx(
        [2 * 2**0.5, 8, 4, np.inf, np.inf, 2**0.75, 1, 0]
    )
    assert set(MEANING) == set(TargetOutcome)
    assert TargetOutcome.CENSORED.meaning.startswith("The run ended")


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 3, SMOOTHED]))
def test_runs_of_different_lengths_are_read_as_if_each_were_alone(seed: int, window: int) -> None:
    rng = np.random.default_rng(seed)
    runs = []
    for _ in range(5):
        length = int(rng.integers(1, 60))
        tokens = np.cumsum(rng.uniform(1, 100, length))
        runs.append(
            (tokens.tolist(), (4 - 0.3 * np.log(tokens) + rng.normal(0, 0.2, length)).tolist())
        )
    together, alone = read(runs, 2.5, window), [read([run], 2.5, window) for run in runs]
    assert together.outcome.tolist() == [int(single.outcome[0]) for single in alone]
    assert together.tokens == pytest.approx([float(single.tokens[0]) for single in alone])


def test_padding_may_be_anything() -> None:
    tokens, loss = (
        np.array([[1.0, 2.0, 4.0, -7.0, np.nan]]),
        np.array([[3.0, 2.0, 1.0, np.nan, 0.0]], dtype=np.float32),
    )
    crossings = smoothed(
        LossCurves.recorded(tokens, loss, np.array([3]), np.array([False])), 1
    ).crossings(1.5)
    assert (crossings.tokens.tolist(), crossings.outcome.tolist()) == (
        [pytest.approx(2 * 2**0.5)],
        [TargetOutcome.REACHED],
    )
