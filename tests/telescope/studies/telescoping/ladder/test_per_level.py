"""Per-level optima by hand-computed parabolas, and where they lead."""

import math

import numpy as np
import pytest

from surfaces.bowls import LOWS, Surface, random_surface, study
from telescope.statistics.estimates import QUANTILE
from telescope.studies import run_study
from telescope.studies.telescoping.kind import KIND
from telescope.studies.telescoping.ladder import per_level
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, Outcome, Point, selected
from telescope.studies.telescoping.ladder.per_level import (
    BIAS,
    carried_to_target,
    level_optimum,
    noise,
    vertex,
    vertices,
)
from telescope.studies.telescoping.ladder.pooled import NOISE, NOISE_DOF
from tests.telescope.studies.telescoping.folds import bowl, fold, ladder

BETTER = {
    "points": "odd_floor",
    "floor": 5,
    "centre": "vertex",
    "select": "seed_mean_fit",
    "edge": "recentre",
}


def level_of(losses: dict[float, float], seeds: int = 1) -> tuple[Ladder, tuple[Done, ...]]:
    """One level of one axis with these losses (x -> loss), each the same for all seeds."""
    results = tuple(
        Outcome(Point(0, (x,), seed), loss) for x, loss in losses.items() for seed in range(seeds)
    )
    return ladder([8]), (Done("grid", results),)


def parabola(losses: dict[float, float]) -> float:
    optimum = vertex(*level_of(losses), 0)
    assert optimum is not None
    return optimum.x[0]


# Vertices


def test_through_three_points_it_is_the_parabola_of_the_textbooks() -> None:
    below, first, above = 3.08, 3.0, 3.03
    expected = 5 + 0.5 * (below - above) / (below - 2 * first + above)
    assert parabola({4.0: below, 5.0: first, 6.0: above}) == pytest.approx(expected)


def test_through_five_points_it_is_the_least_squares_parabola() -> None:
    y = dict(zip((3.0, 3.5, 4.0, 4.5, 5.0), (3.11, 3.03, 3.0, 3.02, 3.06), strict=True))
    curvature, slope, _ = np.polyfit(np.array(list(y)) - 4, list(y.values()), 2)
    assert parabola(y) == pytest.approx(4 - slope / (2 * curvature))


def test_points_far_from_the_lowest_take_no_part() -> None:
    near = {4.0: 3.08, 5.0: 3.0, 6.0: 3.03}
    assert parabola(near | {1.0: 9.0, 8.0: 5.0, 9.0: math.inf}) == pytest.approx(parabola(near))


def test_its_standard_error_is_the_textbook_s() -> None:
    """sigma / (2 a h sqrt 2) for three points around the vertex, sigma / (2 a h sqrt 10) for five;
    a in % per octave^2.
    """
    for h, points, root in ((1.0, 3, 2), (0.5, 5, 10)):
        losses = {
            5 + h * i: 3 * (1 + 0.02 * (h * i) ** 2) for i in range(-(points // 2), points // 2 + 1)
        }
        optimum = vertex(*level_of(losses), 0)
        assert optimum is not None
        assert math.sqrt(optimum.variance(0)) == pytest.approx(
            1 / (2 * 2.0 * h * math.sqrt(root)), rel=1e-4
        )


def test_seeds_have_their_own_height_and_halve_the_variance_by_two() -> None:
    losses = {4.0: 3.06, 5.0: 3.0, 6.0: 3.06}
    single, two = vertex(*level_of(losses), 0), vertex(*level_of(losses, seeds=2), 0)
    assert single is not None
    assert two is not None
    assert two.variance(0) == pytest.approx(single.variance(0) / 2)
    assert (single.dof, two.dof) == (0, 2)


@pytest.mark.parametrize(
    "losses",
    [
        {4.0: 3.0, 5.0: 3.1, 6.0: 3.3},  # the lowest on the edge
        {4.0: 3.1, 5.0: 3.0},  # too few
        {4.0: math.inf, 5.0: 3.0, 6.0: 3.1},  # a neighbour diverged
        {4.0: 3.0, 5.0: 3.0, 6.0: 3.0},  # flat
        {4.0: math.inf, 5.0: math.inf, 6.0: math.inf},
    ],
    ids=["edge", "few", "diverged", "flat", "all diverged"],
)
def test_a_level_without_an_inner_bowl_has_no_vertex(losses: dict[float, float]) -> None:
    assert vertex(*level_of(losses), 0) is None


def test_two_axes_have_a_cross_term() -> None:
    def tilted(level: int, x: tuple[float, ...], seed: int) -> float:
        u, v = x[0] - 3.3, x[1] - 3.6
        return 3 + 0.03 * (u**2 + 0.5 * v**2 + 0.8 * u * v)

    done = fold(ladder([8, 8]), tilted)
    optimum = vertex(ladder([8, 8]), done, 0)
    assert optimum is not None
    assert [optimum.x[0], optimum.x[1]] == pytest.approx([3.3, 3.6], abs=1e-3)


def test_an_axis_without_an_inner_optimum_is_held_and_the_learning_rate_still_told() -> None:
    done = fold(ladder([8, 8]), bowl(3.3, -2.0))
    optimum = vertex(ladder([8, 8]), done, 0)
    assert optimum is not None
    assert optimum.x.keys() == {0}
    assert optimum.x[0] == pytest.approx(3.3, abs=1e-3)


# Carried to the target


def drifting(level: int, x: tuple[float, ...], seed: int) -> float:
    """x*(n) = 3.5 - 0.8 n0/n; at the target, 16 times as wide, 3.45."""
    return 3 + 0.06 * (x[0] - 3.5 + 0.8 * 2.0**-level) ** 2


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_vertices_are_carried_on_by_a_over_n(levels: int) -> None:
    example = ladder([8], levels=levels)
    done = fold(example, drifting, points="odd_floor", floor=5, centre="vertex")
    assert len(vertices(example, done)) == levels
    assert carried_to_target(example, done)[0].value == pytest.approx(3.45, abs=0.002)


def test_through_two_levels_it_is_richardson_s_extrapolation_with_its_error() -> None:
    example = ladder([8], levels=2)
    done = fold(example, drifting, points="odd_floor", floor=5, centre="vertex")
    optimum, (sigma, dof) = vertices(example, done), noise(vertices(example, done))
    a, b = optimum[0].x[0], optimum[1].x[0]
    grown = (2.0**-1 - 2.0**-4) / (1 - 2.0**-1)  # of the move from a to b, further on
    estimate = carried_to_target(example, done)[0]
    assert estimate.value == pytest.approx(b + grown * (b - a))
    sd = math.hypot(
        sigma
        * math.sqrt((1 + grown) ** 2 * optimum[1].variance(0) + grown**2 * optimum[0].variance(0)),
        BIAS,
    )
    assert estimate.half_width == pytest.approx(per_level.stdtrit(dof, QUANTILE) * sd)


def test_one_level_alone_leaves_the_drift_open() -> None:
    example = ladder([8], levels=1)
    estimate = carried_to_target(example, fold(example, drifting))[0]
    assert estimate.value == pytest.approx(2.7, abs=0.01)
    assert estimate.half_width > 2


def test_an_axis_that_no_level_can_tell_has_its_whole_range() -> None:
    example = ladder([8])
    estimate = carried_to_target(example, fold(example, bowl(-2.0)))[0]
    # the second grid has two points, 1/2 apart, around 0
    assert (estimate.low, estimate.high) == (-0.25, 7.0)


def test_levels_that_contradict_the_law_widen_the_interval() -> None:
    def jumping(level: int, x: tuple[float, ...], seed: int) -> float:
        return 3 + 0.06 * (x[0] - (3.0, 3.4, 2.9, 3.4)[level]) ** 2

    example = ladder([8])
    calm, jumpy = (
        carried_to_target(example, fold(example, loss, **BETTER))[0] for loss in (drifting, jumping)
    )
    assert jumpy.half_width > 1.5 * calm.half_width


def test_the_noise_is_pooled_over_levels_under_a_prior() -> None:
    example = ladder([8])
    done = fold(example, drifting, points="odd_floor", floor=5)
    sigma, dof = noise(vertices(example, done))
    assert dof == NOISE_DOF + sum(optimum.dof for optimum in vertices(example, done).values())
    assert sigma == pytest.approx(math.sqrt(NOISE_DOF * NOISE**2 / dof), rel=0.05)


# In a study


@pytest.mark.parametrize("estimator", ["pooled", "per_level", "argmin"])
def test_every_estimator_finds_a_drifting_optimum_without_noise(estimator: str) -> None:
    surface = Surface((LOWS[0] + 3.3, LOWS[1] + 3.9), drift=(1.0, 0.0))
    report = run_study(
        KIND.of(
            study(
                2, (8, 5), schedule="paper", estimator=estimator, paper=BETTER, coordinates="skip"
            )
        ),
        surface,
    )
    (ladder_report,) = report.ladders
    error = math.log2(ladder_report.hyperparameters["lr"].value) - surface.target[0]
    assert abs(error) <= {"pooled": 0.1, "per_level": 0.05, "argmin": 0.2}[estimator]
    assert (
        ladder_report.hyperparameters["lr"].low
        <= 2 ** surface.target[0]
        <= ladder_report.hyperparameters["lr"].high
    )
    assert ladder_report.method is not None
    assert ladder_report.method.estimator == estimator
    for level in ladder_report.levels:
        assert all(
            interval.low <= level.optimum[name] <= interval.high
            for name, interval in level.interval.items()
        )


def test_the_argmin_is_a_point_that_was_run_and_its_interval_holds_half_a_step_each_side() -> None:
    question = study(2, (8, 8), schedule="paper", coordinates="skip")
    assert question.estimated_by == "argmin"
    (ladder_report,) = run_study(KIND.of(question), random_surface(4, noise=0.2)).ladders
    lr, last = ladder_report.hyperparameters["lr"], ladder_report.levels[-1].grid["lr"]
    assert lr.value in last
    assert math.log2(lr.value / lr.low) >= 0.125 - 1e-3  # half of the step of 2x2, 1/4
    assert math.log2(lr.high / lr.value) >= 0.125 - 1e-3


def test_an_argmin_without_a_noise_model_is_never_resolved() -> None:
    report = run_study(
        KIND.of(study(2, (2, 8), schedule="paper", coordinates="skip")),
        Surface((LOWS[0] + 7.0, LOWS[1] + 3.0)),
    )
    assert report.verdict == "unresolved"
    assert "no noise model" in report.reason


def test_corners_of_blocks_tell_no_vertex_so_per_level_stays_unresolved_under_robust() -> None:
    report = run_study(
        KIND.of(study(estimator="per_level", coordinates="skip")),
        Surface((LOWS[0] + 3.3, LOWS[1] + 3.9), drift=(1.0, 0.0)),
    )
    assert report.verdict == "unresolved"
    first, *_, last = report.ladders[0].levels
    assert first.interval.keys() == {"lr"}
    assert last.interval == {}


def test_an_axis_that_has_no_bowl_is_held_at_its_best() -> None:
    def ridge(level: int, x: tuple[float, ...], seed: int) -> float:
        return 3 + 0.06 * (x[0] - 3.3) ** 2 - 0.01 * (x[1] - 3.0) ** 2 * (x[1] != 4.0)

    done = fold(ladder([8, 8]), ridge)
    optimum = vertex(ladder([8, 8]), done, 0)
    assert optimum is not None
    assert optimum.x[0] == pytest.approx(3.3, abs=0.01)
    assert optimum.x.keys() == {0}


def test_where_every_point_has_a_diverged_run_the_lowest_finite_loss_is_selected() -> None:
    runs = [(1.0, 0, 3.0), (1.0, 1, math.inf), (2.0, 0, 3.1), (2.0, 1, math.inf)]
    done = [Done("grid", tuple(Outcome(Point(0, (x,), seed), loss) for x, seed, loss in runs))]
    assert selected(done, 0, {0: 2.0}) == (1.0,)


def test_vertices_do_not_depend_on_the_order_of_the_runs() -> None:
    done = fold(ladder([8, 8]), drifting_on_two)
    turned = [Done(stage.name, stage.outcomes[::-1]) for stage in done]
    assert level_optimum(vertices(ladder([8, 8]), turned), 0) == level_optimum(
        vertices(ladder([8, 8]), done), 0
    )


def drifting_on_two(level: int, x: tuple[float, ...], seed: int) -> float:
    """The drifting bowl, with a second axis."""
    return drifting(level, x[:1], seed) + 0.02 * (x[1] - 3.1) ** 2
