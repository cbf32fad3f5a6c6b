"""On surfaces whose truth is known: do the parts of an answer's uncertainty add up, and do its
predictions come true?
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from surfaces.bowls import Surface, random_surface, study
from telescope.studies import run_study
from telescope.studies.telescoping.answer.answer import answer
from telescope.studies.telescoping.answer.budget import error_budget, laws_of, shifts
from telescope.studies.telescoping.evidence import ErrorBudget
from telescope.studies.telescoping.fold.ladders import all_ladders
from telescope.studies.telescoping.fold.progress import ladder_progress
from telescope.studies.telescoping.kind import KIND
from telescope.studies.telescoping.ladder import per_level
from telescope.studies.telescoping.ladder.ladder import Done, Ladder
from telescope.studies.telescoping.ladder.pooled import Laws
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.report import LadderReport
from telescope.train.flops import parameters
from telescope.trials.outcome import Trial, completed

NUMBERS = range(20)
PARTS = ("seed_noise", "bowl_form", "finite_width", "law", "mesh")


def played(question: Question, surface: Surface) -> list[Trial]:
    """All trials of a study on a surface."""
    trials: list[Trial] = []
    while not (plan := KIND.of(question).plan(trials)).done:
        trials += [completed(spec, surface(spec)) for spec in plan.start]
    return trials


def folded(question: Question, surface: Surface) -> tuple[Ladder, tuple[Done, ...]]:
    (ladder,) = all_ladders(question)
    return ladder, ladder_progress(question, ladder, played(question, surface)).done


def laws_on(question: Question, surface: Surface) -> Laws:
    laws = laws_of(*folded(question, surface))
    assert laws is not None
    return laws


@pytest.fixture(scope="module")
def answers() -> Sequence[tuple[Surface, LadderReport]]:
    """Of twenty noisy surfaces whose drift law is drawn too."""
    surfaces = [random_surface(number, noise=0.2, law="drawn") for number in NUMBERS]
    return [(surface, run_study(KIND.of(study()), surface).ladders[0]) for surface in surfaces]


# The budget


def test_the_parts_of_the_budget_add_up_to_the_variance_that_the_interval_is_drawn_from() -> None:
    for number in range(4):
        laws = laws_on(study(), random_surface(number, noise=0.3))
        for axis in range(2):
            means = np.array([law.theta[axis] for law in laws.fits])
            inside = np.array([law.covariance[axis, axis] for law in laws.fits])
            variance = float(laws.weights @ (inside + (means - laws.weights @ means) ** 2))
            budget = error_budget(laws, axis, mesh=0.0)
            assert math.fsum(getattr(budget, part) ** 2 for part in PARTS) == pytest.approx(
                variance, rel=1e-4
            )
            assert budget.total == pytest.approx(math.sqrt(variance), rel=1e-4)
            assert all(getattr(budget, part) >= 0 for part in PARTS)


@pytest.mark.parametrize("schedule", ["robust", "paper"])
@pytest.mark.parametrize(
    ("estimator", "least", "most"),
    [("pooled", 1.3, 2.1), ("per_level", 1.64, 2.93), ("argmin", 1.0, 2.3)],
)
def test_the_interval_is_as_wide_as_the_total_says(
    estimator: str, least: float, most: float, schedule: str
) -> None:
    """90 % of a Student t of 2 observations or more; an argmin's interval reaches to one side, as
    far as it lies off.
    """
    held = 0
    for number in range(5):
        question = study(schedule=schedule, estimator=estimator)
        (ladder,) = run_study(
            KIND.of(question), random_surface(number, noise=0.2, law="drawn")
        ).ladders
        for axis in all_ladders(question)[0].axes:
            values = ladder.hyperparameters[axis.name]
            below, above = (
                math.log2(values.value / values.low),
                math.log2(values.high / values.value),
            )
            if axis.name not in ladder.error_budget:
                # no level can tell this axis, and its whole range is left
                assert estimator == "per_level"
                assert below + above >= axis.high - axis.low - 1e-3
                continue
            width = max(below, above) if estimator == "argmin" else values.half_width
            assert least <= width / ladder.error_budget[axis.name].total <= most
            held += 1
    assert held >= 5


def test_a_per_level_budget_is_of_its_own_terms() -> None:
    question, surface = study(schedule="paper", estimator="per_level"), random_surface(1, noise=0.2)
    (ladder,), (plain,) = (
        run_study(KIND.of(question), surface).ladders,
        run_study(KIND.of(replace(question, estimator="pooled")), surface).ladders,
    )
    for name, carried in per_level.level_optima_at_target(*folded(question, surface)).items():
        budget = ladder.error_budget[all_ladders(question)[0].axes[name].name]
        assert budget.bowl_form == per_level.BIAS
        assert budget.seed_noise**2 == pytest.approx(carried.noise, rel=1e-4)
        assert budget.law**2 == pytest.approx(carried.misfit, rel=1e-4)
        assert budget.total**2 == pytest.approx(carried.variance, rel=1e-4)
    assert ladder.error_budget["lr"] != plain.error_budget["lr"]


def test_an_argmin_far_from_the_fitted_optimum_is_uncertain_by_that_distance() -> None:
    question, surface = study(estimator="argmin"), random_surface(1, noise=0.2, law="drawn")
    (ladder,) = run_study(KIND.of(question), surface).ladders
    laws = laws_on(question, surface)
    mean = float(laws.weights @ [law.theta[1] for law in laws.fits])
    off = abs(math.log2(ladder.hyperparameters["weight_decay"].value) - mean)
    assert ladder.error_budget["weight_decay"].mesh == pytest.approx(off, rel=1e-3)
    assert off > 2 * ladder.error_budget["weight_decay"].finite_width


def test_the_noise_s_part_follows_the_noise_and_the_law_s_part_the_drift() -> None:
    still = random_surface(3, drift=(0.0, 0.0), bend=(1.0,) * 8)
    budgets = [
        error_budget(laws_on(study(), replace(still, noise=noise)), 0, 0.0)
        for noise in (0.02, 0.2, 0.6)
    ]
    assert budgets[0].seed_noise < budgets[1].seed_noise < budgets[2].seed_noise
    moving = replace(still, noise=0.05, drift=(2.5, 0.0))
    assert (
        error_budget(laws_on(study(), moving), 0, 0.0).law
        > 3 * error_budget(laws_on(study(), replace(still, noise=0.05)), 0, 0.0).law
    )


def test_more_runs_at_a_level_shrink_what_they_are_said_to_shrink() -> None:
    noisy = random_surface(5, noise=0.5)
    tight, ample = (
        run_study(KIND.of(study(limits={"max_base_runs": cap})), noisy)
        .ladders[0]
        .error_budget["lr"]
        for cap in (60, 600)
    )
    assert ample.total < tight.total
    assert ample.seed_noise < tight.seed_noise


def test_a_target_among_the_trained_widths_leaves_no_law_to_doubt() -> None:
    model = {"base_width": 32, "calibration_width": 128, "target_width": 128, "head_dim": 16}
    budget = (
        run_study(KIND.of(study(model=model)), random_surface(2, noise=0.1, target_width=128))
        .ladders[0]
        .error_budget["lr"]
    )
    assert budget.law <= 0.1 * budget.total


def test_a_grid_s_point_is_uncertain_by_its_mesh_and_a_fitted_value_is_not() -> None:
    published = run_study(
        KIND.of(study(2, (8, 8), schedule="paper")), Surface((-5.5, -3.5), noise=0.02)
    ).ladders[0]
    step = math.log2(published.levels[2].grid["lr"][1] / published.levels[2].grid["lr"][0])
    budget = published.error_budget["lr"]
    assert budget.mesh == pytest.approx(step / math.sqrt(12), rel=1e-3)
    assert budget.total**2 == pytest.approx(
        math.fsum(getattr(budget, part) ** 2 for part in PARTS), rel=1e-4
    )
    assert all("block" not in budget.remedy for budget in published.error_budget.values())
    assert (
        run_study(KIND.of(study()), Surface((-5.7, -3.7), noise=0.1))
        .ladders[0]
        .error_budget["lr"]
        .mesh
        == 0
    )


def test_the_largest_part_is_named_with_what_would_reduce_it(answers: Any) -> None:
    for _, ladder in answers:
        budget: ErrorBudget = ladder.error_budget["lr"]
        assert getattr(budget, budget.dominant) == max(getattr(budget, part) for part in PARTS)
    drifting = (
        run_study(KIND.of(study()), Surface((-5.7, -3.7), drift=(2.8, 0.0), noise=0.05))
        .ladders[0]
        .error_budget["lr"]
    )
    assert drifting.dominant == "law"
    assert "calibration_width" in drifting.remedy


# The drift still to come


def test_the_drift_to_the_target_lies_within_the_interval_that_was_predicted(answers: Any) -> None:
    held = []
    for surface, ladder in answers:
        average = ladder.shifts[0]
        true = surface.target[0] - surface.optimum(ladder.levels[-1].width)[0]
        held.append(average.low <= true <= average.high)
        assert math.fsum(law.probability for law in ladder.shifts[1:]) == pytest.approx(1, abs=1e-4)
        assert average.octaves == pytest.approx(
            math.fsum(law.probability * law.octaves for law in ladder.shifts[1:]), abs=1e-3
        )
    assert sum(held) >= 0.8 * len(held)


def test_a_strong_drift_makes_its_own_law_the_most_probable() -> None:
    model = {"base_width": 32, "calibration_width": 256, "target_width": 512, "head_dim": 16}
    for law, name in (("inverse", "a/n"), ("constant", "constant per doubling")):
        surface = Surface((-5.7, -3.7), drift=(2.4, 0.0), law=law, noise=0.05)  # type: ignore[arg-type]
        laws = laws_on(study(model=model, limits={"max_base_runs": 3000}), surface)
        moves = shifts(laws, 2)
        assert max(moves[1:], key=lambda move: move.probability).law == name


# Transfer


def test_the_regret_of_copying_the_smallest_width_s_optimum_lies_within_its_interval(
    answers: Any,
) -> None:
    held, large = [], 0
    for surface, ladder in answers:
        copied = [math.log2(ladder.levels[0].optimum[name]) for name in ("lr", "weight_decay")]
        for copy in ladder.transfer.copying:
            true = surface.excess(copy.width, copied)
            held.append(copy.low <= true <= copy.high)
            large += true > 0.2
            assert copy.compute == pytest.approx(20 * copy.regret, rel=1e-4)
        assert ladder.transfer.copying[-1].width == 512
    assert large > 10
    assert sum(held) >= 0.8 * len(held)


def test_the_loss_at_the_ends_of_the_interval_is_that_of_the_bowl(answers: Any) -> None:
    ratios = []
    for surface, ladder in answers:
        lr = ladder.hyperparameters["lr"]
        ends = [math.log2(end) - math.log2(lr.value) for end in (lr.low, lr.high)]
        true = [surface.excess(512, [surface.target[0] + end, surface.target[1]]) for end in ends]
        cost = ladder.transfer.lr_interval_cost
        ratios.append((cost.low + cost.high) / sum(true))
    assert 0.7 <= np.median(ratios) <= 1.5


@pytest.mark.parametrize("exponent", [0.2, 0.31])
def test_the_loss_at_the_target_lies_within_the_interval_that_the_scaling_predicts(
    exponent: float,
) -> None:
    question, held = study(), []
    sizes = {
        width: parameters(question.model.at(width), 256, question.data.context)
        for width in (32, 64, 128, 256, 512)
    }
    for number in range(8):
        plain = random_surface(number, noise=0.2)
        floors = {
            width: 1.3 + 1.7 * (size / sizes[32]) ** -exponent for width, size in sizes.items()
        }
        surface = replace(
            plain, scale=tuple(floors[width] / plain.floor(width) for width in floors) + (1.0,) * 3
        )
        transfer = run_study(KIND.of(question), surface).ladders[0].transfer
        assert transfer is not None
        assert transfer.loss_at_target is not None
        assert transfer.loss_at_target.high - transfer.loss_at_target.low < 0.15 * floors[512]
        held.append(transfer.loss_at_target.low <= floors[512] <= transfer.loss_at_target.high)
    assert sum(held) >= 6


# Stopping


def test_the_report_says_at_which_width_the_ladder_stopped_and_why(answers: Any) -> None:
    for _, ladder in answers:
        assert ladder.climb.width == ladder.levels[-1].width
        resolved_early = ladder.climb.width < 256 and ladder.climb.why == "tolerance"
        assert ladder.climb.why in ("tolerance", "budget", "calibration_width")
        assert not resolved_early or "beyond the tolerance" in ladder.climb.words
    assert {ladder.climb.why for _, ladder in answers} >= {"tolerance"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"limits": {"max_base_runs": 50}}, "budget"),
        ({"limits": {"max_trials": 60}}, "limit"),
        ({"schedule": "paper"}, "calibration_width"),
    ],
)
def test_a_ladder_that_was_stopped_names_what_stopped_it(changes: dict[str, Any], why: str) -> None:
    ladder = run_study(KIND.of(study(**changes)), random_surface(1, noise=0.4)).ladders[0]
    assert ladder.climb is not None
    assert ladder.climb.why == why
    assert why != "budget" or "base runs, and" in ladder.climb.words


def test_a_study_in_the_middle_has_all_of_it_too() -> None:
    question, surface = study(), random_surface(3, noise=0.2)
    trials = played(question, surface)
    for count in range(0, len(trials), 7):
        (ladder,) = answer(question, trials[:count]).ladders
        assert ladder.remedy is None
        assert (ladder.climb is None) == (not ladder.levels)
        assert bool(ladder.shifts) == bool(ladder.error_budget) == (ladder.transfer is not None)


# Remedies


def test_what_is_said_to_resolve_an_unresolved_study_mostly_does() -> None:
    resolved = []
    for number in range(7):
        surface = random_surface(number, noise=0.2)
        short = run_study(KIND.of(study(limits={"max_base_runs": 50})), surface).ladders[0]
        if short.remedy is None or not short.reason.startswith("interval"):
            continue
        assert short.remedy.blocks >= 1
        assert short.remedy.flops == pytest.approx(
            short.remedy.base_runs * all_ladders(study())[0].base_flops, rel=1e-4
        )
        assert "FLOP" not in short.reason  # the remedy has it
        assert f"limits.max_base_runs to {short.remedy.max_base_runs}" in short.reason
        longer = run_study(
            KIND.of(study(limits={"max_base_runs": short.remedy.max_base_runs})), surface
        ).ladders[0]
        assert longer.cost.flops <= short.cost.flops + 1.01 * short.remedy.flops
        resolved.append(longer.verdict == "resolved")
    assert len(resolved) >= 4
    assert sum(resolved) >= 0.8 * len(resolved)


def test_a_drift_is_told_from_chance_by_one_width_more() -> None:
    model = {"base_width": 32, "calibration_width": 256, "target_width": 256, "head_dim": 16}
    surface = Surface((-5.7, -3.7), drift=(-2.4, 0.0), law="constant", noise=0.02, target_width=256)
    ladder = run_study(KIND.of(study(model=model, limits={"max_base_runs": 180})), surface).ladders[
        0
    ]
    assert ladder.reason.startswith("drifting")
    assert ladder.climb is not None
    assert ladder.climb.width == 128
    assert ladder.remedy is not None
    assert ladder.remedy.widths == (256,)
    assert "add a block of runs at width 256" in ladder.reason


@pytest.mark.parametrize(("x", "side"), [(-11.0, "low"), (0.0, "high")])
def test_an_unbracketed_verdict_names_the_border(x: float, side: str) -> None:
    search = {
        "lr": {"low": 2.0**-9, "high": 2.0**-2, "points": 8, "extend": False},
        "weight_decay": 0.1,
    }
    report = run_study(KIND.of(study(search=search)), Surface((x, math.log2(0.1))))
    assert report.verdict == "unbracketed"
    assert f"width 32, lr: {side}" in report.reason


def test_when_unsure_the_lower_learning_rate_is_handed_out() -> None:
    for number in range(4):
        laws = laws_on(study(), random_surface(number, noise=0.5))
        mean = float(laws.weights @ [law.theta[0] for law in laws.fits])
        handed_out = (
            run_study(KIND.of(study()), random_surface(number, noise=0.5))
            .ladders[0]
            .hyperparameters["lr"]
            .value
        )
        assert mean - 0.3 < math.log2(handed_out) < mean
