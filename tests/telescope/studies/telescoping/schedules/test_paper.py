"""The published rule: are its grids those that one computes by hand, under every reading of it?"""

import math
from typing import Any

import pytest

from surfaces.bowls import LOWS, Surface, document, random_surface, study
from telescope.errors import InvalidInput
from telescope.studies import run_study
from telescope.studies.registry import parse
from telescope.studies.telescoping.forecast.preview import preview
from telescope.studies.telescoping.kind import KIND
from telescope.studies.telescoping.question.parts import PaperOptions
from telescope.studies.telescoping.schedules import paper, windows
from tests.telescope.studies.telescoping.folds import (
    bowl,
    counts,
    ended,
    fold,
    ladder,
    middle,
    runs,
    steps,
    values,
)

CENTRE = (3.3, 3.6, 3.1)  # octaves, of ranges from 0 to 7


# Sizes: m x 4^(-i/k) from 8 points. k = 1: 8, 2, 1/2, 1/8. k = 2: 8, 4, 2, 1. k = 3: 8, 5.04, 3.17,
# 2.

SIZES = [
    ({}, 1, [8, 2, 1, 1]),
    ({}, 2, [8, 4, 2, 1]),
    ({}, 3, [8, 5, 3, 2]),
    ({"rounding": "ceil"}, 1, [8, 2, 1, 1]),
    ({"rounding": "ceil"}, 3, [8, 6, 4, 2]),
    ({"rounding": "odd_up"}, 3, [8, 7, 5, 3]),
    ({"points": "paper"}, 1, [8, 3, 1, 1]),
    ({"points": "paper"}, 2, [8, 5, 3, 1]),
    ({"points": "paper"}, 3, [8, 7, 5, 3]),
    ({"points": "odd_floor"}, 1, [8, 3, 3, 3]),
    ({"points": "odd_floor"}, 2, [8, 5, 3, 3]),
    ({"points": "odd_floor", "floor": 5}, 2, [8, 5, 5, 5]),
]


@pytest.mark.parametrize(("options", "k", "expected"), SIZES, ids=str)
def test_the_points_per_hyperparameter_are_those_computed_by_hand(
    options: dict[str, Any], k: int, expected: list[int]
) -> None:
    done = fold(ladder([8] * k), bowl(*CENTRE[:k]), sampler="grid", **options)
    for axis in range(k):
        assert counts(done, axis) == expected
    assert runs(done) == [m**k for m in expected]


@pytest.mark.parametrize(
    ("narrow", "k", "expected"),
    [
        ("halve", 1, [1.0, 0.5, 0.25, 0.125]),
        ("halve", 3, [1.0, 0.5, 0.25, 0.125]),
        ("root4", 1, [1.0, 0.25, 0.0625, 0.015625]),
        ("root4", 2, [1.0, 0.5, 0.25, 0.125]),
        ("root4", 3, [1.0, 4 ** (-1 / 3), 4 ** (-2 / 3), 0.25]),
        ("extent", 1, [1.0, 1.0, 1.0, 1.0]),
        ("extent", 3, [1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_the_step_per_doubling_is_halved_or_a_kth_root_of_four_smaller_or_kept(
    narrow: str, k: int, expected: list[float]
) -> None:
    done = fold(
        ladder([8] * k), bowl(*CENTRE[:k]), sampler="grid", narrow=narrow, points="odd_floor"
    )
    for level, step in enumerate(expected):
        tried = values(done, level)
        assert (tried[-1] - tried[0]) / (len(tried) - 1) == pytest.approx(step, abs=1 / 32)


# Centres


def test_the_next_window_is_centred_on_the_argmin() -> None:
    done = fold(ladder([8, 8]), bowl(3.3, 3.6))
    assert middle(values(done, 1, 0)) == 3.0
    assert middle(values(done, 1, 1)) == 4.0


def test_or_on_the_vertex_of_a_quadratic() -> None:
    done = fold(ladder([8, 8]), bowl(3.3, 3.6), centre="vertex")
    assert middle(values(done, 1, 0)) == pytest.approx(3.3, abs=1 / 64)
    assert middle(values(done, 1, 1)) == pytest.approx(3.6, abs=1 / 64)


def test_or_where_the_last_two_vertices_lead_by_a_over_n() -> None:
    """x*(n) = 3.5 - 0.8 (n0/n): 2.7, 3.1, 3.3, 3.4 at n0 x 1, 2, 4, 8."""

    def drifting(level: int, x: tuple[float, ...], seed: int) -> float:
        return 3 + 0.06 * (x[0] - 3.5 + 0.8 * 2.0**-level) ** 2

    done = fold(ladder([8]), drifting, centre="richardson", points="odd_floor", floor=5)
    assert [round(middle(values(done, level)), 1) for level in (1, 2, 3)] == [2.7, 3.3, 3.4]
    plain = fold(ladder([8]), drifting, centre="vertex", points="odd_floor", floor=5)
    assert [round(middle(values(plain, level)), 1) for level in (1, 2, 3)] == [2.7, 3.1, 3.3]


def test_where_a_level_has_no_vertex_its_argmin_is_the_centre() -> None:
    done = fold(ladder([8, 8]), bowl(0.0, 3.6), centre="vertex")
    assert middle(values(done, 1, 0)) == 0.0


# Selecting


def outlier(level: int, x: tuple[float, ...], seed: int) -> float:
    """A bowl around 3 with one lucky run at 3.5."""
    return bowl(3.0)(level, x, seed) - (0.02 if level == 0 and x[0] == 3.5 else 0.0)


def test_a_fit_through_the_seed_means_is_not_misled_by_one_lucky_run() -> None:
    example = ladder([15])
    assert middle(values(fold(example, outlier), 1)) == 3.5
    assert middle(values(fold(example, outlier, select="seed_mean_fit"), 1)) == 3.0


def test_seeds_are_averaged_and_a_point_with_a_diverged_seed_is_the_worst() -> None:
    def loss(level: int, x: tuple[float, ...], seed: int) -> float:
        if x[0] == 3.0 and seed == 1:
            return math.inf
        return bowl(3.0)(level, x, seed) + (0.5 if x[0] == 4.0 and seed == 0 else 0.0)

    done = fold(ladder([8], seeds=2), loss)
    assert runs(done) == [16, 4, 2, 2]
    assert middle(values(done, 1)) == 2.0


# Edges


@pytest.mark.parametrize("k", [1, 2])
def test_the_literal_rule_never_looks_beyond_its_window(k: int) -> None:
    done = fold(ladder([8] * k), bowl(*(-2.5,) * k))
    assert [stage.name for stage in done] == ["grid"] * 4
    assert min(values(done, 0)) == 0


def test_extending_adds_one_column_at_a_time_until_the_optimum_is_inside() -> None:
    done = fold(ladder([8, 8]), bowl(8.2, 3.0), edge="extend")
    stages = [stage for stage in done if stage.outcomes[0].point.level == 0]
    assert [(stage.name, len(stage.outcomes)) for stage in stages] == [
        ("grid", 64),
        ("edge", 8),
        ("edge", 8),
    ]
    assert values(done, 0) == list(range(10))


def test_recentring_adds_half_a_window_and_leaves_the_other_end_behind() -> None:
    done = fold(ladder([8, 8]), bowl(8.2, 3.0), edge="recentre")
    stages = [stage for stage in done if stage.outcomes[0].point.level == 0]
    assert [(stage.name, len(stage.outcomes)) for stage in stages] == [("grid", 64), ("edge", 32)]
    assert values(done, 0) == list(range(12))


def test_a_corner_is_followed_on_both_axes_from_the_window_that_moved() -> None:
    done = fold(ladder([8, 8]), bowl(8.2, -1.2), edge="recentre")
    edge = next(stage for stage in done if stage.name == "edge")
    assert {o.point.x for o in edge.outcomes} == {
        (float(a), float(b)) for a in range(4, 12) for b in range(-4, 4) if not (a < 8 and b >= 0)
    }


def test_the_edge_rule_gives_up_after_four_rounds() -> None:
    done = fold(ladder([8]), bowl(90.0), edge="extend")
    assert [stage.name for stage in done][:6] == ["grid", "edge", "edge", "edge", "edge", "grid"]
    assert max(values(done, 0)) == 11


def test_an_edge_rule_stops_at_a_wall() -> None:
    done = fold(ladder([8], extend=False), bowl(9.0), edge="recentre")
    assert max(o.point.x[0] for stage in done for o in stage.outcomes) == 7.0
    assert "edge" not in {stage.name for stage in done if stage.outcomes[0].point.level == 0}


def test_windows_at_a_wall_keep_their_size_and_move_inside() -> None:
    done = fold(ladder([8], extend=False), bowl(7.0), points="odd_floor")
    assert counts(done) == [8, 3, 3, 3]
    assert values(done, 1) == [6.0, 6.5, 7.0]


def test_a_window_that_was_left_behind_takes_one_refinement_back() -> None:
    def jump(level: int, x: tuple[float, ...], seed: int) -> float:
        return bowl(3.0 if level == 0 else 6.5)(level, x, seed)

    done = fold(ladder([8]), jump, edge="recentre", points="odd_floor")
    assert steps(done, 1) == {0.5}
    assert steps(done, 2) == {0.5}
    assert steps(done, 3) == {0.2}  # a quarter, to one digit


def test_failing_at_an_edge_ends_the_ladder_there() -> None:
    assert [stage.name for stage in fold(ladder([8, 8]), bowl(-2.0, 3.0), edge="fail")] == ["grid"]
    assert runs(fold(ladder([8, 8]), bowl(3.0, 3.0), edge="fail", points="paper")) == [64, 25, 9, 1]


@pytest.mark.parametrize("edge", ["extend", "recentre", "fail"])
def test_a_flat_axis_has_no_edge(edge: str) -> None:
    done = fold(ladder([8, 8]), bowl(3.1, 0.0, flatness=math.inf), edge=edge, points="paper")
    assert runs(done) == [64, 25, 9, 1]
    assert values(done, 0, 1) == list(range(8))


def test_where_all_runs_diverge_the_optimum_is_taken_to_lie_below() -> None:
    done = fold(
        ladder([8]),
        lambda level, x, seed: math.inf if x[0] > -1.5 else 3 + (x[0] + 3) ** 2,
        edge="recentre",
    )
    assert values(done, 0) == list(range(-4, 8))
    assert middle(values(done, 1)) == -3.0


def test_among_equals_the_lowest_learning_rate_is_chosen() -> None:
    done = fold(ladder([8, 8]), lambda level, x, seed: 3.0)
    assert [min(values(done, level)) for level in (0, 1)] == [0.0, -0.75]


# Where it ends


def test_a_ladder_stops_where_its_optimum_no_longer_moves() -> None:
    flat = fold(ladder([8, 8]), bowl(3.2, 3.4), nc="stop_when_flat", points="paper")
    assert runs(flat) == [64, 25]
    moving = fold(
        ladder([8, 8]),
        bowl(3.0, 3.0, drift=1.0),
        nc="stop_when_flat",
        points="odd_floor",
        floor=5,
        edge="recentre",
    )
    assert len(runs(moving)) == 4


def test_one_or_two_points_cannot_tell_that_nothing_moves() -> None:
    assert runs(fold(ladder([8]), bowl(3.2), nc="stop_when_flat")) == [8, 2, 1, 1]


# Purity: each stage depends on the set of outcomes, not on their order


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"edge": "recentre", "centre": "vertex", "select": "seed_mean_fit", "points": "odd_floor"},
    ],
    ids=str,
)
def test_stages_depend_on_earlier_ones_alone(options: dict[str, Any]) -> None:
    example, loss = ladder([8, 5]), bowl(8.4, 2.0, drift=0.3)
    done = fold(example, loss, **options)
    for count in range(len(done)):
        stage = paper.next_stage(example, done[:count], PaperOptions(**options))
        assert stage is not None
        assert ended(stage, loss) == done[count]


# Previews


EXACT = [
    {},
    {"points": "paper"},
    {"points": "odd_floor", "centre": "vertex", "select": "seed_mean_fit"},
    {"narrow": "root4"},
]
BOUNDED = [
    {"edge": "extend"},
    {"edge": "recentre", "points": "odd_floor"},
    {"edge": "fail"},
    {"nc": "stop_when_flat", "points": "paper"},
]


@pytest.mark.parametrize("options", EXACT, ids=str)
@pytest.mark.parametrize("extend", [True, False])
def test_the_preview_is_exact_where_the_options_allow_it(
    options: dict[str, Any], extend: bool
) -> None:
    search = document()["search"]
    search["lr"] |= {"points": 8, "extend": extend}
    search["weight_decay"] |= {"points": 5, "extend": extend}
    question = study(search=search, schedule="paper", paper=options, coordinates="skip")
    bill, forecast = (
        run_study(KIND.of(question), Surface((LOWS[0], LOWS[1] + 7))).ladders[0].cost,
        preview(question),
    )
    assert forecast.trials.least == forecast.trials.expected == forecast.trials.most == bill.trials
    assert forecast.flops.most == pytest.approx(bill.flops)


@pytest.mark.parametrize("options", BOUNDED, ids=str)
@pytest.mark.parametrize("number", range(3))
def test_the_preview_bounds_the_bill_where_the_rule_may_add_or_stop(
    options: dict[str, Any], number: int
) -> None:
    question = study(2, (5, 5), schedule="paper", paper=options, coordinates="skip")
    surface = random_surface(number, noise=0.2, cliff=math.inf)
    bill, forecast = run_study(KIND.of(question), surface).ladders[0].cost, preview(question)
    assert forecast.trials.least <= bill.trials <= forecast.trials.most


def test_the_most_that_an_edge_rule_can_add_is_not_exceeded() -> None:
    for options in (PaperOptions(edge="extend"), PaperOptions(edge="recentre")):
        example = ladder([3, 3], levels=1)
        done = fold(example, bowl(99.0, -99.0), edge=options.edge)
        assert runs(done)[0] <= paper.most_runs(example, 0, options)
        assert runs(done)[0] > windows.runs(example, 0, options)


# What a report says


def test_the_names_of_the_options_are_kept_with_the_result() -> None:
    literal = (
        run_study(
            KIND.of(study(2, (8, 8), schedule="paper", coordinates="skip")), Surface((-5.7, -3.7))
        )
        .ladders[0]
        .method
    )
    assert literal is not None
    assert literal.published
    assert literal.options["points"] == "strict"
    assert literal.options["sampler"] == "grid"
    options = {"points": "odd_floor", "edge": "recentre"}
    another = (
        run_study(
            KIND.of(study(2, (8, 8), schedule="paper", paper=options, coordinates="skip")),
            Surface((-5.7, -3.7)),
        )
        .ladders[0]
        .method
    )
    assert another is not None
    assert not another.published
    assert (another.options["points"], another.options["floor"], another.options["edge"]) == (
        "odd_floor",
        "3",
        "recentre",
    )


def test_an_edge_that_ends_the_ladder_is_reported_unbracketed() -> None:
    question = study(2, (8, 8), schedule="paper", paper={"edge": "fail"}, coordinates="skip")
    report = run_study(KIND.of(question), Surface((LOWS[0] - 2, LOWS[1] + 3)))
    assert (report.verdict, report.ladders[0].levels[-1].edge, len(report.ladders[0].levels)) == (
        "unbracketed",
        "lr: low",
        1,
    )
    assert report.ladders[0].climb is not None
    assert report.ladders[0].climb.why == "rule"


def test_an_optimum_beyond_the_window_is_followed_and_bracketed() -> None:
    surface = Surface((LOWS[0] - 2.0, LOWS[1] + 3))
    options = {
        "edge": "recentre",
        "points": "odd_floor",
        "centre": "vertex",
        "select": "seed_mean_fit",
    }
    report = run_study(
        KIND.of(study(2, (8, 5), schedule="paper", paper=options, coordinates="skip")), surface
    )
    assert abs(math.log2(report.ladders[0].hyperparameters["lr"].value) - surface.target[0]) <= 0.1
    assert report.ladders[0].levels[0].edge is None
    assert "edge" in report.ladders[0].levels[0].stages


# What is refused


REFUSED = [
    ({"rounding": "ceil", "points": "paper"}, "paper.rounding", "points: strict"),
    ({"floor": 5}, "paper.floor", "odd_floor"),
    ({"floor": 4}, "paper.floor", "3 or 5"),
    ({"trials": 64}, "paper.trials", "sampler: qmc"),
    ({"sampler": "qmc", "edge": "extend"}, "paper.edge", "sampler: grid"),
    ({"sampler": "sobol"}, "paper.sampler", "qmc"),
    ({"sampler": "tpe", "trials": 4000}, "paper.trials", "fewer"),
]


@pytest.mark.parametrize(("options", "field", "words"), REFUSED, ids=str)
def test_options_that_contradict_each_other_are_refused_with_the_remedy(
    options: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse(document(2, (8, 8), schedule="paper", paper=options))
    (problem,) = refusal.value.problems
    assert problem.field == field
    assert words in problem.message


def test_options_of_the_paper_are_refused_under_robust() -> None:
    with pytest.raises(InvalidInput, match=r"paper\.edge.*schedule: paper"):
        parse(document(paper={"edge": "recentre"}))
