"""Samplers inside shrinking windows: do they stay inside, and are they a pure function of what was
run?
"""

import logging
import math
import random
import warnings
from functools import cache
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surfaces.bowls import AXES, LOWS, Surface, document, random_surface, study
from telescope.studies import run_study
from telescope.studies.registry import parse, to_document
from telescope.studies.telescoping.forecast.preview import preview
from telescope.studies.telescoping.kind import KIND
from telescope.studies.telescoping.ladder.ladder import Done, Outcome, pool
from telescope.studies.telescoping.question.parts import PaperOptions, Sampler
from telescope.studies.telescoping.schedules import paper, windows
from telescope.studies.telescoping.schedules.samplers import (
    BATCH,
    Box,
    heights,
    propose,
    stage_sizes,
)
from telescope.trials.outcome import Trial, completed
from tests.telescope.studies.telescoping.folds import bowl, fold, ladder, runs, values

SAMPLERS: tuple[Sampler, ...] = ("qmc", "tpe", "gp")
BOX = Box((-3.0, 0.0, 2.0), (4.0, 0.5, 2.0))


def seen_in(box: Box, count: int, seed: int = 0) -> list[tuple[tuple[float, ...], float]]:
    """Some runs in a box, one of them diverged."""
    points = propose("qmc", box, [], count, ("seen", seed))
    losses = [math.inf if i == 2 else 3 + 0.06 * sum(v**2 for v in x) for i, x in enumerate(points)]
    return list(zip(points, losses, strict=True))


# Proposals


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_proposals_lie_on_the_lattice_inside_the_window_and_repeat_none(sampler: Sampler) -> None:
    seen = seen_in(BOX, 6)
    proposals = propose(sampler, BOX, seen, 5, "key")
    assert len(set(proposals)) == 5
    assert not set(proposals) & {x for x, _ in seen}
    for x in proposals:
        assert all(low <= v <= high for v, low, high in zip(x, BOX.low, BOX.high, strict=True))
        assert all(v * 64 == round(v * 64) for v in x)


@pytest.mark.parametrize("sampler", ["qmc", "tpe"])
@settings(max_examples=10, deadline=None)
@given(st.permutations(range(40)), st.integers(1, 8))
def test_proposals_do_not_depend_on_the_order_of_the_runs(
    sampler: Sampler, order: list[int], count: int
) -> None:
    seen = seen_in(BOX, 40)
    assert propose(sampler, BOX, [seen[i] for i in order], count, 7) == propose(
        sampler, BOX, seen, count, 7
    )


def test_nor_do_those_of_the_gaussian_process() -> None:
    seen = seen_in(BOX, 9)
    assert propose("gp", BOX, seen[::-1], 3, 7) == propose("gp", BOX, seen, 3, 7)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_another_question_is_given_other_points(sampler: Sampler) -> None:
    seen = seen_in(BOX, 6)
    assert propose(sampler, BOX, seen, 3, "one") != propose(sampler, BOX, seen, 3, "other")


def test_losses_decide_what_the_model_based_samplers_propose() -> None:
    seen = seen_in(BOX, 9)
    turned = [(x, -loss + 7 if math.isfinite(loss) else loss) for x, loss in seen]
    assert propose("tpe", BOX, turned, 4, 7) != propose("tpe", BOX, seen, 4, 7)
    assert propose("qmc", BOX, turned, 4, 7) == propose("qmc", BOX, seen, 4, 7)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_model_based_proposals_gather_where_losses_are_low(sampler: Sampler) -> None:
    box = Box((0.0, 0.0), (7.0, 7.0))
    points = propose("qmc", box, [], 32, 0)
    seen = [(x, 3 + 0.06 * ((x[0] - 2) ** 2 + (x[1] - 5) ** 2)) for x in points]
    proposals = propose(sampler, box, seen, 4, 1)
    mean = sum((x[0] - 2) ** 2 + (x[1] - 5) ** 2 for x in proposals) / 4
    assert mean < sum((x[0] - 2) ** 2 + (x[1] - 5) ** 2 for x in points) / 32 / 2


def test_a_window_that_is_full_gives_what_it_has() -> None:
    box = Box((0.0,), (3 / 64,))
    assert sorted(propose("qmc", box, [((0.0,), 3.0)], 10, 0)) == [(1 / 64,), (2 / 64,), (3 / 64,)]
    assert len(propose("tpe", box, [((0.0,), 3.0)], 2, 0)) == 2


def test_runs_that_all_diverged_are_no_reason_to_fail() -> None:
    seen = [(x, math.inf) for x, _ in seen_in(BOX, 5)]
    for sampler in SAMPLERS:
        assert len(propose(sampler, BOX, seen, 2, 0)) == 2


def test_a_diverged_run_is_worse_than_any_other() -> None:
    distinct = heights([3.0, math.inf, 9.0])
    assert distinct[0] == 0.0
    assert distinct[1] > distinct[2] > 0
    assert heights([math.inf, math.inf]) == [0.0, 0.0]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_optuna_stays_quiet_and_its_settings_stay_as_they_were(
    sampler: Sampler, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    optuna.logging.enable_propagation()
    try:
        with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
            warnings.simplefilter("always")
            propose(sampler, BOX, seen_in(BOX, 5), 2, 0)
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.disable_propagation()
    assert not [w for w in caught if "optuna" in str(w.filename) or "optuna" in str(w.category)]
    assert not [record for record in caplog.records if record.name.startswith("optuna")]
    assert capfd.readouterr() == ("", "")


# Sizes


@pytest.mark.parametrize(
    ("sampler", "trials", "sizes"),
    [
        ("qmc", 64, (64,)),
        ("tpe", 64, (32, 8, 8, 8, 8)),
        ("gp", 20, (10, 8, 2)),
        ("tpe", 4, (2, 2)),
        ("tpe", 1, (1,)),
    ],
)
def test_batches_are_of_fixed_size_the_first_of_half(
    sampler: Sampler, trials: int, sizes: tuple[int, ...]
) -> None:
    assert stage_sizes(sampler, trials) == sizes
    assert sum(sizes) == trials
    assert max(sizes[1:], default=0) <= BATCH


@pytest.mark.parametrize(("k", "expected"), [(3, [64, 16, 4, 4]), (4, [128, 32, 8, 4])])
def test_runs_are_quartered_per_doubling(k: int, expected: list[int]) -> None:
    assert runs(fold(ladder([8] * k), bowl(*(3.3,) * k), sampler="qmc")) == expected
    assert runs(fold(ladder([8] * k, seeds=2), bowl(*(3.3,) * k), sampler="qmc", trials=20)) == [
        40,
        10,
        8,
        8,
    ]


def test_auto_is_the_whole_grid_up_to_two_hyperparameters() -> None:
    assert [windows.sampler_of(ladder([8] * k), PaperOptions()) for k in (1, 2, 3, 4)] == [
        "grid",
        "grid",
        "tpe",
        "tpe",
    ]
    assert windows.sampler_of(ladder([8, 8, 1, 1]), PaperOptions()) == "grid"


@pytest.mark.parametrize(
    ("narrow", "factor"),
    [("halve", 4 ** (-1 / 3) / 2), ("root4", 4 ** (-2 / 3)), ("extent", 4 ** (-1 / 3))],
)
def test_windows_shrink_by_the_published_rule(narrow: Any, factor: float) -> None:
    options = PaperOptions(narrow=narrow)
    for level in range(4):
        assert windows.half_windows(ladder([8, 8, 8]), level, options) == pytest.approx(
            [3.5 * factor**level] * 3
        )


def test_no_point_lies_outside_its_window_or_a_wall() -> None:
    example = ladder([8, 8, 8], extend=False)
    done: list[Done] = fold(example, bowl(7.0, 0.0, 3.0), sampler="tpe", trials=16)
    for stage in done:
        level = stage.outcomes[0].point.level
        box = windows.box(example, done, level, PaperOptions(sampler="tpe", trials=16))
        for o in stage.outcomes:
            assert all(
                max(0, low) <= v <= min(7, high)
                for v, low, high in zip(o.point.x, box.low, box.high, strict=True)
            )


def test_a_hyperparameter_of_one_point_is_held_and_all_runs_are_pooled() -> None:
    example = ladder([8, 8, 8, 1])
    done = fold(example, bowl(3.3, 2.1, 4.2, 3.0), sampler="qmc")
    assert [values(done, level, 3) for level in range(4)] == [[3.5]] * 4
    assert len(pool(example, done)) == sum(runs(done)) == 88


# Purity of the whole fold


@cache
def folded(sampler: Sampler) -> list[Done]:
    """One fold, to compare with."""
    return fold(
        ladder([8, 8, 8], levels=3),
        bowl(3.3, 2.1, 4.2),
        sampler=sampler,
        trials=20,
        centre="vertex",
    )


@pytest.mark.parametrize("sampler", ["qmc", "tpe"])
@settings(max_examples=8, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_stage_is_the_same_whatever_the_order_in_which_runs_ended(
    sampler: Sampler, rng: random.Random
) -> None:
    example, loss, options = (
        ladder([8, 8, 8], levels=3),
        bowl(3.3, 2.1, 4.2),
        PaperOptions(sampler=sampler, trials=20, centre="vertex"),
    )
    done = folded(sampler)
    count = rng.randrange(len(done))
    shuffled = [
        Done(stage.name, tuple(rng.sample(stage.outcomes, len(stage.outcomes))))
        for stage in done[:count]
    ]
    stage = paper.next_stage(example, shuffled, options)
    assert stage is not None
    assert (
        tuple(
            sorted(Outcome(point, loss(point.level, point.x, point.seed)) for point in stage.points)
        )
        == done[count].outcomes
    )


def life(doc: dict[str, Any], surface: Surface, seed: int) -> tuple[set[str], Any]:
    """A coordinator's life: trials end in random order, and it is restarted now and then, all its
    caches empty.
    """
    from telescope.studies.telescoping.fold.ladders import ladders
    from telescope.studies.telescoping.fold.progress import next_stage
    from telescope.studies.telescoping.fold.specs import cached_trial_spec

    rng, question, terminal = random.Random(seed), parse(doc).question, dict[str, Trial]()
    while not (
        plan := KIND.of(question).plan(rng.sample(list(terminal.values()), len(terminal)))
    ).done:
        for spec in rng.sample(plan.start, rng.randint(1, len(plan.start))):
            terminal[spec.digest] = completed(spec, surface(spec))
        if rng.random() < 0.3:
            question = parse(to_document(KIND.of(question))).question
            for cached in (next_stage, ladders, cached_trial_spec):
                cached.cache_clear()
    return set(terminal), KIND.of(question).report(list(terminal.values()))


@pytest.mark.parametrize(("sampler", "trials", "lives"), [("tpe", 16, 3), ("gp", 8, 2)])
def test_all_completion_orders_and_restarts_give_one_set_of_trials_and_one_report(
    sampler: str, trials: int, lives: int
) -> None:
    model = document()["model"] | {"calibration_width": 64}
    doc = document(
        3,
        (8, 8, 8),
        schedule="paper",
        paper={"sampler": sampler, "trials": trials},
        coordinates="skip",
        model=model,
    )
    surface = random_surface(7, axes=3, noise=0.2)
    first = life(doc, surface, 0)
    for seed in range(1, lives):
        assert life(doc, surface, seed) == first


# Answers


def test_three_hyperparameters_are_found_within_the_runs_that_the_preview_names() -> None:
    surface = Surface(tuple(low + x for low, x in zip(LOWS[:3], (3.3, 4.1, 2.7), strict=True)))
    question = study(
        3,
        (8, 8, 8),
        schedule="paper",
        estimator="pooled",
        paper={"sampler": "tpe", "centre": "vertex"},
        coordinates="skip",
    )
    report, forecast = run_study(KIND.of(question), surface), preview(question)
    assert forecast.trials.least == forecast.trials.most == report.ladders[0].cost.trials == 88
    answers_ = report.ladders[0].hyperparameters
    for name, x in zip(AXES, surface.target, strict=False):
        assert abs(math.log2(answers_[name].value) - x) <= 0.1  # type: ignore[index]
    assert report.verdict == "resolved"


def test_an_optimum_outside_of_a_sampled_window_is_reported_unbracketed() -> None:
    surface = Surface((LOWS[0] - 2, LOWS[1] + 3.3, LOWS[2] + 3.3))
    report = run_study(KIND.of(study(3, (8, 8, 8), schedule="paper", coordinates="skip")), surface)
    assert report.verdict == "unbracketed"
    assert report.ladders[0].levels[0].edge == "lr: low"
