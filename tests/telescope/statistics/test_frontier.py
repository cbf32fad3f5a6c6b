"""The frontier against brute force, and dominance against areas worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telescope.statistics.frontier import Frontier, compare, non_dominated

Points = list[tuple[float, float]]
FEW_VALUES = st.sampled_from([1.0, 2.0, 4.0, 8.0])  # ties and equal points are the rule
HOURS = st.one_of(FEW_VALUES, st.floats(0.01, 100))
POINTS = st.lists(st.tuples(st.one_of(FEW_VALUES, st.floats(1, 64)), HOURS), max_size=40)


def arrays(points: Points) -> tuple[np.ndarray, np.ndarray]:
    devices, hours = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return devices, hours


def dominated(point: tuple[float, float], points: Points) -> bool:
    return any(
        d <= point[0] and h <= point[1] and (d < point[0] or h < point[1]) for d, h in points
    )


@given(POINTS)
def test_the_non_dominated_points_are_those_that_brute_force_finds(points: Points) -> None:
    assert non_dominated(*arrays(points)).tolist() == [
        not dominated(point, points) for point in points
    ]


@given(POINTS)
def test_a_frontier_needs_fewer_hours_with_every_device_more(points: Points) -> None:
    curve = Frontier.of(*arrays(points))
    assert (np.diff(curve.devices) > 0).all()
    assert (np.diff(curve.hours) < 0).all()
    assert set(zip(curve.devices.tolist(), curve.hours.tolist(), strict=True)) == {
        p for p in points if not dominated(p, points)
    }


def test_equal_points_are_both_kept_and_drawn_once() -> None:
    assert non_dominated([8, 8, 16], [5, 5, 5]).tolist() == [True, True, False]
    curve = Frontier.of([8, 8, 16], [5, 5, 5])
    assert (curve.devices.tolist(), curve.hours.tolist()) == ([8], [5])


def test_hours_are_interpolated_in_logarithms_and_never_extrapolated() -> None:
    curve = Frontier.of([8, 32], [10, 2.5])
    assert curve.hours_at([8, 16, 32]) == pytest.approx([10, 5, 2.5])
    assert np.isnan(curve.hours_at([4, 64])).all()
    assert np.isnan(Frontier.of([], []).hours_at([8])).all()


def test_dominance_of_parallel_curves_is_their_ratio() -> None:
    adamw, muon = (
        Frontier.of([8, 16, 64], [12, 6, 3]),
        Frontier.of([4, 8, 32, 128], [16, 8, 8 / 3, 1]),
    )
    dominance = compare(adamw, Frontier.of(adamw.devices, adamw.hours / 1.5))
    assert dominance is not None
    assert dominance.ratio == pytest.approx(1.5)
    assert (dominance.first_ahead, dominance.second_ahead) == pytest.approx((0, 3 * math.log2(1.5)))
    overlapping = compare(adamw, muon)
    assert overlapping is not None
    assert [row.devices for row in overlapping.rows] == [8, 16, 32, 64]
    assert overlapping.rows[0].ratio == 1.5


def test_curves_that_cross_are_each_ahead_on_their_side() -> None:
    # ratio 1/2 at 4 devices, 2 at 16, 1 at 8
    flat, steep = Frontier.of([4, 16], [4, 2]), Frontier.of([4, 16], [8, 1])
    dominance = compare(flat, steep)
    assert dominance is not None
    assert (dominance.first_ahead, dominance.second_ahead, dominance.ratio) == pytest.approx(
        (0.5, 0.5, 1)
    )
    turned = compare(steep, flat)
    assert turned is not None
    assert turned.first_ahead == pytest.approx(dominance.second_ahead)


def test_one_device_count_is_compared_and_none_in_common_is_not() -> None:
    single = compare(Frontier.of([1], [3]), Frontier.of([1], [2]))
    assert single is not None
    assert (single.ratio, single.first_ahead, single.second_ahead) == (1.5, 0, 0)
    assert compare(Frontier.of([1, 2], [3, 2]), Frontier.of([4, 8], [3, 2])) is None
    assert compare(Frontier.of([], []), Frontier.of([4, 8], [3, 2])) is None
