"""The bowl's form, against closed forms."""

import numpy as np
import pytest

from telescope.studies.telescoping.ladder.bowl import ParameterSlots, saturated, skewed


def test_the_skewed_bowl_is_a_parabola_without_skew_and_a_line_far_up() -> None:
    v = np.linspace(-4, 4, 41)
    assert skewed(v, np.array(0.0)) == pytest.approx(v**2)
    assert skewed(v, np.array(1e-6)) == pytest.approx(v**2, rel=1e-4, abs=1e-9)
    s = np.array(0.65)
    inside = v[v * 0.65 < 3]
    assert skewed(inside, s) == pytest.approx(
        2 * (np.exp(0.65 * inside) - 1 - 0.65 * inside) / 0.65**2
    )
    far = skewed(np.array([6.0, 7.0, 8.0]), s)
    assert np.diff(far, 2) == pytest.approx(0, abs=1e-9)
    assert skewed(np.array(1.0), s) / skewed(np.array(-1.0), s) == pytest.approx(1.55, abs=0.1)


@pytest.mark.parametrize(("phi", "power"), [(0.0, 1.0), (0.47, 0.5)])
def test_the_drift_laws_run_from_the_base_to_the_target(phi: float, power: float) -> None:
    layout = ParameterSlots(axes=1, level_doublings=(0.0, 1.0, 2.0, 3.0), doublings=4.0)
    theta = np.zeros(layout.size)
    theta[layout.slots["drift"]], theta[layout.slots["phi"]] = 1.0, phi
    i = np.arange(4)
    expected = (2.0 ** (-power * i) - 2.0 ** (-power * 4)) / (1 - 2.0 ** (-power * 4))
    assert layout.optima(theta)[:, 0] == pytest.approx(expected, abs=0.02)
    theta[layout.slots["phi"]] = 1.0
    assert layout.optima(theta)[:, 0] == pytest.approx(1 - i / 4)


def test_octaves_below_the_knee_are_all_the_same_and_those_above_are_not_changed() -> None:
    u = np.linspace(-12, 4, 33)
    assert saturated(u, np.array(30.0)) == pytest.approx(u, abs=1e-3)  # the knee is out of sight
    assert saturated(np.array([-40.0, -1.0, 0.0, 1.0]), np.array(0.0)) == pytest.approx(
        [-2, 2 * np.log2(0.75), 0, 2 * np.log2(1.5)]
    )
    for knee in (-1.0, 0.0, 2.0):
        assert np.diff(saturated(np.array([-1e-4, 1e-4]), np.array(knee)))[0] == pytest.approx(
            2e-4, rel=1e-3
        )
        assert (np.diff(saturated(u, np.array(knee))) > 0).all()
