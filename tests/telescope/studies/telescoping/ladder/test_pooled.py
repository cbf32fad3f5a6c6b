"""The pooled model, against closed forms and simulation."""

import numpy as np
import pytest

from surfaces.bowls import study
from telescope.statistics.estimates import Estimate
from telescope.studies.telescoping.answer.verdict import SURPRISE, AxisFindings, status_of
from telescope.studies.telescoping.fold.ladders import all_ladders
from telescope.studies.telescoping.ladder.bowl import ParameterSlots, bowl, skewed
from telescope.studies.telescoping.ladder.pooled import (
    LAWS,
    fit,
    lowest_point,
    minimise,
    pooled_at_target,
)
from telescope.studies.telescoping.ladder.sample import FittedRun

GRID = [(x, y) for x in np.linspace(-9, -2, 8) for y in np.linspace(-6, 0, 3)]


def plain(levels: int, doublings: float) -> ParameterSlots:
    return ParameterSlots(2, tuple(map(float, range(levels))), doublings)


def noisy_runs(noise: float, seed: int = 0) -> tuple[FittedRun, ...]:
    """A parabola around (-5, -3) at two widths, with noise in %."""
    rng = np.random.default_rng(seed)

    def run(level: int, x: tuple[float, float], block: int) -> FittedRun:
        height = 0.6 * (x[0] + 5) ** 2 + 0.1 * (x[1] + 3) ** 2
        return FittedRun(
            level, x, block, 3.0 * (1 + (height + noise * rng.standard_normal()) / 100)
        )

    corners = [(-5 + a, -3 + b) for a in (-1, 1) for b in (-2, 2)]
    base = [run(0, x, 0) for x in GRID] + [run(0, x, b) for b in range(1, 5) for x in corners]
    return tuple(base + [run(1, x, b) for b in range(2) for x in corners])


def test_the_fit_recovers_optimum_curvature_and_noise() -> None:
    sigmas, errors = [], []
    for seed in range(8):
        fitted = fit(noisy_runs(0.2, seed), plain(2, 1.0))
        assert fitted is not None
        errors.append(fitted.optima[1] - [-5, -3])
        sigmas.append(fitted.sigma)
        assert fitted.curvature == pytest.approx(0.6, rel=0.35)
        assert fitted.ratios[1] == pytest.approx(1 / 6, rel=0.5)
    assert np.sqrt(np.mean(np.square(errors), axis=0)) == pytest.approx([0, 0], abs=0.35)
    assert 0.1 < np.mean(sigmas) < 0.25


def test_the_order_of_the_runs_does_not_matter_beyond_rounding() -> None:
    runs = noisy_runs(0.2)
    again = pooled_at_target(tuple(reversed(runs)), plain(2, 3.0))
    for run, second in zip(pooled_at_target(runs, plain(2, 3.0)) or (), again or (), strict=True):
        assert run.value == pytest.approx(second.value, abs=1e-4)
        assert run.half_width == pytest.approx(second.half_width, rel=1e-3)


def test_a_constant_added_to_one_seed_s_losses_leaves_the_answer() -> None:
    runs = noisy_runs(0.2)
    moved = tuple(
        FittedRun(r.level, r.x, r.block, r.loss + (0.01 if (r.level, r.block) == (1, 1) else 0))
        for r in runs
    )
    for run, second in zip(
        pooled_at_target(runs, plain(2, 3.0)) or (),
        pooled_at_target(moved, plain(2, 3.0)) or (),
        strict=True,
    ):
        assert run.value == pytest.approx(second.value, abs=0.02)


def test_the_learning_rate_handed_out_is_lowered_for_the_skew_and_no_other_value_is() -> None:
    rng, skew = np.random.default_rng(0), np.array(0.65)
    heights = [
        0.6 * float(skewed(np.array(x + 5), skew))
        + 0.1 * (y + 3) ** 2
        + 0.5 * rng.standard_normal()
        for x, y in GRID
    ]
    runs = tuple(
        FittedRun(0, x, 0, 3.0 * (1 + height / 100))
        for x, height in zip(GRID, heights, strict=True)
    )
    # a target that was trained: the three laws agree
    pooled_fit_, estimates = fit(runs, plain(1, 0.0)), pooled_at_target(runs, plain(1, 0.0))
    assert pooled_fit_
    assert estimates
    lr, decay = estimates
    fitted = float(pooled_fit_.theta[pooled_fit_.layout.slots["skew"]][0])
    assert fitted == pytest.approx(0.65, abs=0.3)
    assert (lr.low + lr.high) / 2 - lr.value == pytest.approx(
        fitted / 2 * (lr.half_width / pooled_fit_.quantile) ** 2, rel=0.01
    )
    assert (lr.low + lr.high) / 2 - lr.value > 1e-3
    assert decay.value == pytest.approx((decay.low + decay.high) / 2, abs=1e-6)


def test_the_floor_is_the_loss_at_the_optimum_whatever_was_run_and_seeds_are_averaged() -> None:
    corners = [(-5 + a, -3 + b) for a in (-1, 1) for b in (-2, 2)]

    def height(x: tuple[float, float]) -> float:
        return 0.6 * (x[0] + 5) ** 2 + 0.1 * (x[1] + 3) ** 2

    base = [FittedRun(0, x, 0, 3.0 * (1 + height(x) / 100)) for x in GRID]
    far = [
        FittedRun(1, x, seed, 2.0 * (1 + (height(x) + offset) / 100))
        for seed, offset in enumerate((0.3, -0.1))
        for x in corners
    ]
    fitted = fit(tuple(base + far), plain(3, 3.0))
    assert fitted
    assert min(run.loss for run in far) > 2.0 * 1.008
    assert fitted.floor(0) == pytest.approx(3.0, rel=5e-4)
    assert fitted.floor(1) == pytest.approx(2.0 * 1.001, rel=5e-4)
    assert fitted.floor(2) is None


def test_far_targets_are_less_certain_and_more_seeds_more() -> None:
    runs = noisy_runs(0.2)
    near, far = pooled_at_target(runs, plain(2, 2.0)), pooled_at_target(runs, plain(2, 6.0))
    few = pooled_at_target(tuple(r for r in runs if r.level == 0 or r.block == 0), plain(2, 2.0))
    assert near
    assert far
    assert few
    assert near[0].half_width < far[0].half_width
    assert near[0].half_width < few[0].half_width


def test_the_fit_has_converged_no_parameter_can_be_moved_to_a_lower_objective() -> None:
    for noise in (0.0, 0.2, 1.0):
        runs = noisy_runs(noise)
        fitted = fit(runs, plain(2, 3.0))
        assert fitted
        sample, layout = fitted.sample, fitted.layout
        weights = 1 / sample.variance(
            bowl(layout, fitted.theta, sample.level, sample.x), fitted.sigma
        )
        mean, precision = layout.prior(near=lowest_point(runs))
        theta = minimise(sample, layout, fitted.theta, weights, (mean, precision))
        f, J = sample.linearised(layout, theta)
        r, J = sample.centred(sample.z - f, weights), sample.centred(J, weights)
        gradient = J.T @ (weights * r) - precision * (theta - mean)
        information = (J.T * weights) @ J + np.diag(precision)
        left = np.linalg.solve(information, gradient)
        # standard deviations still to go
        assert np.abs(left * np.sqrt(np.diag(information))).max() < 1e-3


def test_a_fit_can_be_had_from_a_single_run_and_from_none_not() -> None:
    lonely = fit((FittedRun(0, (-5.0, -3.0), 0, 3.0),), plain(1, 2.0))
    assert lonely is not None
    assert np.isfinite(lonely.theta).all()
    assert fit((), plain(1, 2.0)) is None


def test_the_predicted_information_of_a_block_is_that_of_the_refit() -> None:
    runs = noisy_runs(0.2)
    fitted = fit(runs, plain(2, 3.0))
    assert fitted is not None
    corners = np.array([(-5 + a, -3 + b) for a in (-1, 1) for b in (-2, 2)], dtype=float)
    height = bowl(fitted.layout, fitted.theta, np.ones(4, dtype=np.int64), corners)
    more = fit(
        runs
        + tuple(
            FittedRun(1, tuple(x), 2, 3.0 * (1 + h / 100))
            for x, h in zip(corners, height, strict=True)
        ),
        plain(2, 3.0),
    )
    assert more is not None
    predicted = np.linalg.inv(np.linalg.inv(fitted.covariance) + fitted.information(1, corners))
    assert np.sqrt(np.diag(more.covariance)[:2]) == pytest.approx(
        np.sqrt(np.diag(predicted)[:2]), rel=0.15
    )


# Weight decay: a plateau, a dip and a wall


def plateau_runs(noise: float, seed: int = 0) -> tuple[FittedRun, ...]:
    """What weight decay does on real text, its optimum at 2^-2; not the form of the model."""
    rng, runs = np.random.default_rng(seed), []
    near = [(-5 + a, -2 + b, block) for block in range(1, 5) for a in (-1, 1) for b in (-1.5, 1.5)]
    for x, y, block in [
        (x, y, 0) for x in np.linspace(-9, -2, 8) for y in (-9.0, -6.0, -3.0, 0.0)
    ] + near:
        q = 2.0 ** (y + 2)
        height = (
            0.6 * (x + 5) ** 2 + 0.9 * (q - 1) ** 2 / (1 + q / 2) + noise * rng.standard_normal()
        )
        runs.append(FittedRun(0, (x, y), block, 3.0 * (1 + height / 100)))
    return tuple(runs)


def test_the_dip_beside_a_plateau_is_found_and_an_ill_fitting_bowl_is_mostly_doubted() -> None:
    flat, dip, doubted, believed = [], [], [], []
    for seed in range(6):
        runs = plateau_runs(0.15, seed)
        bowl_only, saturating = (
            fit(runs, ParameterSlots(2, (0.0,), 0.0)),
            fit(runs, ParameterSlots(2, (0.0,), 0.0, saturating=(1,))),
        )
        assert bowl_only
        assert saturating
        flat.append(bowl_only.optima[0, 1] + 2)
        dip.append(saturating.optima[0, 1] + 2)
        doubted.append(bowl_only.surprise(1))
        believed.append(saturating.surprise(1))
    assert np.mean(flat) < -0.5
    assert np.abs(dip).max() < 0.4
    assert np.mean(doubted) > SURPRISE > max(believed)


def test_what_is_doubted_is_not_called_flat() -> None:
    (ladder,) = all_ladders(study(2))
    runs = plateau_runs(0.15, 3)
    doubted, believed = (
        fit(runs, ParameterSlots(2, (0.0,), 0.0)),
        fit(runs, ParameterSlots(2, (0.0,), 0.0, saturating=(1,))),
    )
    assert doubted
    assert believed
    assert doubted.surprise(1) > SURPRISE > believed.surprise(1)
    narrow = Estimate(-4.0, -4.1, -3.9)
    assert status_of(ladder, 1, believed, AxisFindings(narrow, 1.0, at_border=False)) == "flat"
    assert status_of(ladder, 1, doubted, AxisFindings(narrow, 1.0, at_border=False)) == "unresolved"
    assert status_of(ladder, 1, doubted, AxisFindings(narrow, 1.0, at_border=True)) == "unbracketed"


def test_what_an_axis_costs_off_its_optimum_is_the_height_of_the_bowl_there() -> None:
    fitted = fit(plateau_runs(0.1), ParameterSlots(2, (0.0,), 0.0, saturating=(1,)))
    assert fitted
    x = fitted.optima[0] + [[0.0, octaves] for octaves in (-6.0, -1.0, 0.0, 1.0)]
    level = np.zeros(4, dtype=np.int64)
    theta = fitted.theta.copy()
    for name in ("cross", "d"):
        theta[fitted.layout.slots[name]] = 0.0
    assert bowl(fitted.layout, theta, level, x) == pytest.approx(
        [fitted.cost(1, o) for o in (-6.0, -1.0, 0.0, 1.0)]
    )
    assert fitted.cost(1, -6) == pytest.approx(0.9, rel=0.3)


def test_the_laws_prior_probabilities_add_up() -> None:
    assert sum(probability for _, probability in LAWS) == pytest.approx(1)
