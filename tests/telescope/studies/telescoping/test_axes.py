"""One to five hyperparameters: each on its own scale, in its own place of a trial, within what
exists, and named in the report.
"""

import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from api.terminal.telescoping import show
from surfaces.bowls import AXES, LOWS, Surface, document, octaves, random_surface, study, swept
from telescope.errors import InvalidInput
from telescope.studies import run_study
from telescope.studies.registry import parse, report_document
from telescope.studies.telescoping.answer.importance import explained, ped_anova
from telescope.studies.telescoping.axes import SCALES, Axis, AxisName, AxisScale, field_of
from telescope.studies.telescoping.checks.search import LIMITS
from telescope.studies.telescoping.fold.ladders import all_ladders
from telescope.studies.telescoping.fold.specs import trial_spec
from telescope.studies.telescoping.kind import KIND
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, Outcome, Point, pooled_fit
from telescope.studies.telescoping.report import Report
from telescope.trials.outcome import Measurement
from telescope.trials.spec import TrialSpec
from tests.telescope.studies.telescoping.folds import ladder

INSIDE = (3.3, 4.1, 2.7, 3.6, 3.9, 3.1)  # octaves above the low end of each axis


def surface_of(axes: tuple[str, ...], **changes: Any) -> Surface:
    """A bowl in these axes, its optimum inside their ranges."""
    target = tuple(LOWS[AXES.index(axis)] + INSIDE[AXES.index(axis)] for axis in axes)
    return Surface(target, axes=axes, **changes)


def study_of(axes: tuple[str, ...], points: int = 3, **changes: Any) -> Any:
    """A job that sweeps these axes and holds the rest."""
    search: dict[str, Any] = {
        axis: swept(axis, LOWS[AXES.index(axis)], 8 if axis == "lr" else points) for axis in axes
    }
    return parse(
        document(search={"weight_decay": 0.1, **search}, coordinates="skip", **changes)
    ).question


def found_octaves(report: Report, axis: AxisName) -> float:
    value = report.ladders[0].hyperparameters[axis].value
    return math.log2(1 - value if axis == "momentum" else value)


# Scales


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(SCALES)), st.integers(-13 * 64, 0))
def test_planned_values_and_octaves_are_each_other_s_inverse(name: AxisName, lattice: int) -> None:
    axis = Axis(name, -13.0, 0.0, 8, True)
    value = axis.value(lattice / 64)
    assert (
        SCALES[name].octaves(value) == pytest.approx(lattice / 64, abs=1e-6)
        if value
        else lattice == 0
    )
    assert axis.value(lattice / 64 + 1e-9) == value


def test_momentum_is_spaced_in_octaves_of_what_is_left_to_one() -> None:
    axis = Axis.between("momentum", 0.75, 1 - 2.0**-6, 5, True)
    assert (axis.low, axis.high) == (-6.0, -2.0)
    assert [axis.value(x) for x in axis.values] == pytest.approx(
        [0.984375, 0.96875, 0.9375, 0.875, 0.75]
    )
    assert (axis.side(-1), axis.side(1)) == ("high", "low")


def test_a_scale_parameter_is_spaced_in_its_own_octaves() -> None:
    axis = Axis.between("warmup_fraction", 0.0625, 0.5, 4, True)
    assert [axis.value(x) for x in axis.values] == [0.0625, 0.125, 0.25, 0.5]
    assert (axis.side(-1), axis.side(1)) == ("low", "high")


@pytest.mark.parametrize(("name", "wall"), [("momentum", 0.0), ("warmup_fraction", 1.0)])
def test_no_search_goes_beyond_what_exists_whatever_the_user_allows(
    name: AxisName, wall: float
) -> None:
    axis = Axis(name, -5.0, -1.0, 5, True)
    assert axis.allows(0.0)
    assert not axis.allows(1 / 64)
    assert axis.value(axis.clip(3.0)) == wall
    assert axis.clip(-0.51) == pytest.approx(-0.51, abs=1 / 128)
    assert axis.value(5.0) == wall


@given(st.floats(-1e4, 1e4))
def test_whatever_the_octaves_momentum_is_one_that_exists(x: float) -> None:
    assert 0 <= SCALES["momentum"].value(x) < 1
    assert 0 <= SCALES["warmup_fraction"].value(x) <= 1


def test_a_user_s_wall_holds_too() -> None:
    axis = Axis("momentum", -5.0, -1.0, 5, False)
    assert (axis.clip(0.0), axis.clip(-9.0)) == (-1.0, -5.0)


def test_every_scale_with_walls_has_limits_that_ranges_are_checked_against() -> None:
    unlimited = AxisScale()
    walls = {name: (scale.lowest, scale.highest) for name, scale in SCALES.items()}
    with_walls = {
        name for name, wall in walls.items() if wall != (unlimited.lowest, unlimited.highest)
    }
    assert with_walls == LIMITS.keys()


# Where they go


def test_each_axis_sets_its_own_field_of_a_trial() -> None:
    question = study(optimizer=["muon", "adamw"])
    values: dict[AxisName, float] = {
        "lr": 0.01,
        "weight_decay": 0.1,
        "momentum": 0.875,
        "warmup_fraction": 0.25,
        "init_scale": 2.0,
    }
    muon, adamw = (
        trial_spec(question, "muon", 64, values),
        trial_spec(question, "adamw", 64, values),
    )
    assert (muon.optimizer.momentum, muon.optimizer.beta1) == (0.875, 0.9)
    assert (adamw.optimizer.momentum, adamw.optimizer.beta1) == (0.95, 0.875)
    for spec in (muon, adamw):
        assert (spec.horizon.warmup_fraction, spec.optimizer.init_scale, spec.optimizer.lr) == (
            0.25,
            2.0,
            0.01,
        )
        assert spec.horizon.steps == question.horizon.steps
    assert field_of("momentum", "adamw") == "beta1"


def test_what_is_not_swept_is_as_the_options_and_the_horizon_say() -> None:
    question = study(
        optimizer_options={"momentum": 0.8, "init_scale": 0.5},
        horizon={"steps": 10, "batch_tokens": 512, "warmup_fraction": 0.3},
    )
    spec = trial_spec(question, "muon", 32, {"lr": 0.01, "weight_decay": 0.1})
    assert (spec.optimizer.momentum, spec.optimizer.init_scale, spec.horizon.warmup_fraction) == (
        0.8,
        0.5,
        0.3,
    )


def test_trials_of_one_ladder_may_differ_in_warm_up_alone() -> None:
    specs = KIND.of(study_of(("lr", "warmup_fraction"))).plan([]).start
    assert len({spec.horizon.warmup_fraction for spec in specs}) == 3
    assert len({spec.digest for spec in specs}) == len(specs) == 24
    assert len({spec.optimizer.lr for spec in specs}) == 8


# Answers


@pytest.mark.parametrize(
    "axes",
    [("lr", "momentum"), ("lr", "warmup_fraction", "init_scale"), AXES[:4], AXES[:5]],
    ids=len,
)
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_two_to_five_hyperparameters_are_found_end_to_end(
    axes: tuple[AxisName, ...], optimizer: str
) -> None:
    axes = tuple(axis for axis in axes if optimizer == "muon" or axis != "adamw_lr_ratio")
    surface, question = surface_of(axes, drift=(0.4,) * 5), study_of(axes, optimizer=optimizer)
    report = run_study(KIND.of(question), surface)
    for axis, x in zip(axes, surface.target, strict=True):
        assert abs(found_octaves(report, axis) - x) <= 0.3
    assert report.verdict == "resolved"
    assert report_document(report)["final"]


def test_windows_grids_and_intervals_of_momentum_run_from_low_to_high() -> None:
    report = run_study(
        KIND.of(study_of(("lr", "momentum"))), surface_of(("lr", "momentum"), noise=0.05)
    )
    (ladder_report,) = report.ladders
    momentum = ladder_report.hyperparameters["momentum"]
    assert 0 < momentum.low < momentum.value < momentum.high < 1
    for level in ladder_report.levels:
        window, grid, interval = (
            level.window["momentum"],
            level.grid["momentum"],
            level.interval["momentum"],
        )
        assert 0 <= window.low < window.high < 1
        assert list(grid) == sorted(grid)
        assert (grid[0], grid[-1]) == (window.low, window.high)
        assert interval.low < level.optimum["momentum"] < interval.high
    assert momentum.half_width == pytest.approx(
        math.log2((1 - momentum.low) / (1 - momentum.high)) / 2, rel=1e-2
    )


def test_an_optimum_at_a_wall_that_nothing_can_move_is_tried_but_not_passed() -> None:
    seen: list[float] = []
    surface = Surface((LOWS[0] + 3.3, 0.0), axes=("lr", "warmup_fraction"))
    search = document()["search"] | {
        "weight_decay": 0.1,
        "warmup_fraction": {"low": 2.0**-6, "high": 0.25, "points": 3},
    }

    def train(spec: TrialSpec) -> list[Measurement]:
        seen.append(octaves(spec, "warmup_fraction"))
        return surface(spec)

    report = run_study(KIND.of(study(search=search, coordinates="skip")), train)
    assert max(seen) == 0.0
    assert 0.5 < report.ladders[0].hyperparameters["warmup_fraction"].value <= 1.0


@pytest.mark.parametrize("schedule", ["robust", "paper"])
def test_the_edge_of_momentum_is_named_by_its_values(schedule: str) -> None:
    surface = Surface((LOWS[0] + 3.3, LOWS[3] - 3.0), axes=("lr", "momentum"))
    question = study_of(
        ("lr", "momentum"), points=8 if schedule == "paper" else 3, schedule=schedule
    )
    search = question.search
    walled = parse(
        document(
            search={
                "weight_decay": 0.1,
                "lr": vars(search.lr),
                "momentum": vars(search.momentum) | {"extend": False},
            },
            schedule=schedule,
            coordinates="skip",
        )
    ).question
    assert run_study(KIND.of(walled), surface).ladders[0].levels[0].edge == "momentum: high"


def test_only_momentum_s_own_groups_know_of_it_and_init_scale_shows_in_the_groups() -> None:
    plain = run_study(KIND.of(study_of(("lr",))), surface_of(("lr",))).ladders[0].parameter_groups
    another = (
        run_study(
            KIND.of(study_of(("lr",), optimizer_options={"momentum": 0.5})), surface_of(("lr",))
        )
        .ladders[0]
        .parameter_groups
    )
    assert plain == another
    scaled = run_study(
        KIND.of(study_of(("lr", "init_scale"))), surface_of(("lr", "init_scale"))
    ).ladders[0]
    factor = scaled.hyperparameters["init_scale"].value
    for before, after in zip(plain, scaled.parameter_groups, strict=True):
        assert after.init_std == pytest.approx(
            before.init_std * (factor if str(before.role) == "hidden" else 1.0), rel=1e-4
        )


def test_a_report_prints_every_hyperparameter_its_importance_and_the_method() -> None:
    axes: tuple[AxisName, ...] = ("lr", "momentum", "warmup_fraction")
    out = io.StringIO()
    show(
        run_study(KIND.of(study_of(axes)), surface_of(axes, noise=0.1)),
        512,
        Console(file=out, width=200),
    )
    text = out.getvalue()
    assert "momentum 0." in text
    assert "warmup fraction 0." in text
    assert "of the variance of the loss in the fitted model: lr" in text
    assert "Method: schedule robust, estimator pooled." in text


# What is refused


RANGE = {"low": 0.01, "high": 0.5, "points": 3}
REFUSED = [
    (
        "momentum",
        {"low": 0.5, "high": 1.0, "points": 3},
        "search.momentum.high",
        "the momentum must lie within 0.001 to 0.999985",
    ),
    ("momentum", {"low": 0.0001, "high": 0.9, "points": 3}, "search.momentum.low", "range within"),
    (
        "momentum",
        {"low": 0.95, "high": 0.9, "points": 3},
        "search.momentum.low",
        "leave the range out to hold momentum fixed",
    ),
    ("momentum", {"low": 0.9, "high": 0.901, "points": 3}, "search.momentum.points", "too close"),
    (
        "lr",
        {"low": 0.5, "high": 0.5, "points": 8},
        "search.lr.low",
        "low 0.5 is not below high 0.5; lower low or raise high",
    ),
    ("momentum", 0.9, "search.momentum", "a mapping with fields"),
    (
        "warmup_fraction",
        {"low": 0.1, "high": 1.5, "points": 3},
        "search.warmup_fraction.high",
        "the warmup_fraction must lie within 1e-09 to 1;",
    ),
    (
        "init_scale",
        {"low": 0.1, "high": 1e10, "points": 3},
        "search.init_scale.high",
        "range within",
    ),
    ("init_scale", {"low": -1, "high": 1, "points": 3}, "search.init_scale.low", "greater than 0"),
    ("warmup_fractions", RANGE, "search.warmup_fractions", "did you mean warmup_fraction"),
]


@pytest.mark.parametrize(("name", "value", "field", "words"), REFUSED, ids=lambda value: str(value))
def test_a_range_that_cannot_be_is_refused_with_the_remedy(
    name: str, value: Any, field: str, words: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse(document(search=document()["search"] | {name: value}))
    named = {problem.field: problem.message for problem in refusal.value.problems}
    assert words in named[field]


def test_six_fitted_hyperparameters_are_refused_and_five_with_a_compared_one_are_not() -> None:
    with pytest.raises(InvalidInput, match=r"6 hyperparameters.*at most 5.*init_scale") as refusal:
        study_of(AXES, optimizer=["adamw", "muon"])
    assert [problem.field for problem in refusal.value.problems] == ["search"]
    search = {
        axis: swept(axis, low, 2 if axis == "init_scale" else 3)
        for axis, low in zip(AXES, LOWS, strict=True)
    }
    question = parse(document(search=search | {"lr": swept("lr", LOWS[0], 8)})).question
    assert len(all_ladders(question)[0].fitted) == 5


# Importance


def grid_of(weights: tuple[float, ...], diverging: bool = False) -> tuple[Ladder, tuple[Done, ...]]:
    """A base grid over a bowl of these curvatures."""
    example = ladder([8] * len(weights), levels=1)
    xs = [()]
    for axis in example.axes:
        xs = [(*x, v) for x in xs for v in axis.values]
    losses = [
        3 + 0.03 * sum(w * (v - 3.2) ** 2 for w, v in zip(weights, x, strict=True)) for x in xs
    ]
    results = [
        Outcome(Point(0, x, 0), math.inf if diverging and x[0] > 5 else loss)
        for x, loss in zip(xs, losses, strict=True)
    ]
    return example, (Done("grid", tuple(results)),)


@pytest.mark.parametrize("diverging", [False, True])
def test_the_hyperparameter_that_decides_is_the_important_one(diverging: bool) -> None:
    for weights in ((1.0, 0.05), (0.05, 1.0)):
        example, done = grid_of(weights, diverging and weights[0] == 1)
        shares = ped_anova(example, done)
        assert sum(shares.values()) == pytest.approx(1)
        assert (shares["lr"] > 0.8) == (weights[0] == 1)


def test_the_explained_shares_are_those_of_a_bowl_that_one_can_integrate() -> None:
    """Var of w u^2 for u uniform on an interval of length 7 is w^2 times a constant: shares are
    w1^2 : w2^2 where skew is none.
    """
    example, done = grid_of((1.0, 0.5))
    fit = pooled_fit(example, done)
    assert fit is not None
    shares = explained(example, done, fit)
    assert sum(shares.values()) <= 1 + 1e-9
    assert shares["lr"] == pytest.approx(0.8, abs=0.08)
    assert shares["weight_decay"] == pytest.approx(0.2, abs=0.08)


def test_few_points_or_equal_losses_say_nothing_of_importance() -> None:
    example, (stage,) = grid_of((1.0,))
    assert ped_anova(example, (Done("grid", stage.outcomes[:5]),)) == {}
    assert (
        ped_anova(example, (Done("grid", tuple(Outcome(o.point, 3.0) for o in stage.outcomes)),))
        == {}
    )


def test_two_values_and_runs_after_the_grid_say_nothing_of_importance() -> None:
    """Later runs crowd at one value of an axis that does not matter, which is not thereby
    important.
    """
    example, (stage,) = grid_of((1.0, 0.05))
    decays = sorted({o.point.x[1] for o in stage.outcomes})
    two = Done(
        "grid",
        tuple(
            Outcome(Point(0, (o.point.x[0], decays[o.point.x[1] > decays[3]]), 0), o.loss)
            for o in stage.outcomes
        ),
    )
    two = Done(
        "grid",
        two.outcomes
        + tuple(
            Outcome(Point(0, (o.point.x[0] + 0.25, o.point.x[1]), 0), o.loss) for o in two.outcomes
        ),
    )
    assert ped_anova(example, (two,)) == {}
    later = [Outcome(Point(0, (3.2 + i / 64, decays[-1]), 0), 2.9) for i in range(-8, 8)]
    assert ped_anova(example, (stage, Done("shape", tuple(later)))) == ped_anova(example, (stage,))


@pytest.mark.parametrize("points", [(5, 4), (8, 3), (7, 5)])
def test_a_small_grid_names_the_hyperparameter_that_matters_six_times_as_much(
    points: tuple[int, int],
) -> None:
    """Also with seed noise of 0.2 %, wherever the optimum lies."""
    example, rng = ladder(list(points), levels=1), np.random.default_rng(0)
    ends = [(axis.values[0], axis.values[-1]) for axis in example.axes]
    for _ in range(25):
        best = [rng.uniform(0.7 * low + 0.3 * high, 0.3 * low + 0.7 * high) for low, high in ends]
        grid = [(x, y) for x in example.axes[0].values for y in example.axes[1].values]
        heights = [
            0.5 * (x - best[0]) ** 2 + 0.5 / 6 * (y - best[1]) ** 2 + 0.2 * rng.standard_normal()
            for x, y in grid
        ]
        names = [
            Outcome(Point(0, x, 0), 3 * (1 + z / 100)) for x, z in zip(grid, heights, strict=True)
        ]
        assert ped_anova(example, (Done("grid", tuple(names)),))["lr"] > 0.6


def test_importance_is_in_the_report_of_every_ladder() -> None:
    report = run_study(KIND.of(study(coordinates="skip")), random_surface(2, noise=0.1))
    (ladder_report,) = report.ladders
    assert (
        ladder_report.importance.keys() == ladder_report.explained.keys() == {"lr", "weight_decay"}
    )
    assert ladder_report.explained["lr"] > ladder_report.explained["weight_decay"]
