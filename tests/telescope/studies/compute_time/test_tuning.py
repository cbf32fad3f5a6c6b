"""Learning rates: the grid of all optimizers, its edges, the vertex, and interpolation between
batches.
"""

import itertools
import math
from typing import Any

import pytest

from telescope.studies.compute_time.fold import progress
from telescope.studies.compute_time.question import Question
from telescope.studies.compute_time.reasons import (
    BestAtEdge,
    EveryRateDiverged,
    HyperparameterDoubt,
)
from telescope.studies.compute_time.tuning import (
    BatchHyperparameters,
    RateSweep,
    SearchProgress,
    hyperparameters_at,
    neighbours,
)
from telescope.studies.ranges import grid_octaves
from telescope.trials.outcome import Trial
from telescope.trials.spec import TrialSpec
from tests.telescope.studies.compute_time.laws import OPTIMA, Trainer, rounds, study, trained

RANGE = {"low": 2.0**-9, "high": 2.0**-3, "points": 4}


def tuned_study(**changes: Any) -> Question:
    """Muon at one batch, tuned on four learning rates two octaves apart."""
    return study(
        optimizer="muon", batch_tokens=[512], target_losses=[], tuning={"lr": RANGE} | changes
    )


def search(question: Question, trials: list[Trial]) -> SearchProgress:
    (entry,) = progress(question, trials).searches
    return entry.progress


def octaves_tried(result: SearchProgress) -> list[float]:
    return sorted({math.log2(trial.spec.optimizer.lr) for trial in result.trials})


def test_both_optimizers_try_the_same_learning_rates() -> None:
    (first, *_) = rounds(study(tuning={"lr": RANGE, "seeds": 2}), Trainer(curvature=0.01))
    rates = {
        name: sorted(t.spec.optimizer.lr for t in first if t.spec.optimizer.name == name)
        for name in OPTIMA
    }
    assert rates["muon"] == rates["adamw"]
    assert sorted({math.log2(lr) for lr in rates["muon"]}) == [-9, -7, -5, -3]


@pytest.mark.parametrize("optimum", [-6.4, -5.6, -4.5])
def test_the_vertex_of_a_bowl_in_octaves_is_found_to_a_64th(optimum: float) -> None:
    law_of_muon = Trainer(curvature=0.01)
    shift = OPTIMA["muon"] - optimum

    def train(spec: TrialSpec) -> Any:
        moved = Trainer(curvature=0.01)
        losses = list(moved(spec))
        off = moved.octaves(spec) + shift
        factor = (1 + 0.01 * off**2) / (1 + 0.01 * (off - shift) ** 2)
        return [
            type(m)(
                m.step, m.tokens, m.flops, m.seconds, {k: v * factor for k, v in m.metrics.items()}
            )
            for m in losses
        ]

    question = tuned_study()
    result = search(question, trained(question, train if shift else law_of_muon))
    assert math.log2(result.hyperparameters.lr) == pytest.approx(optimum, abs=1 / 64)
    assert (result.edge, result.doubts) == (None, ())


def test_the_vertex_is_that_of_the_parabola_through_three_points() -> None:
    # y = (x - 0.25)^2 + 1 at -2, 0, 2
    line = RateSweep(0.1, (-4.0, -2.0, 0.0, 2.0), (19.0, 6.0625, 1.0625, 4.0625))
    assert line.vertex == pytest.approx((0.25, 1.0))
    # unequal steps: y = x^2 at -1, 0.5, 4
    assert RateSweep(0.1, (-1.0, 0.5, 4.0), (1.0, 0.25, 16.0)).vertex == pytest.approx((0.0, 0.0))


def test_beside_a_diverged_run_or_on_a_flat_line_the_lowest_point_is_taken() -> None:
    assert RateSweep(0.1, (0.0, 1.0, 2.0), (3.0, 2.0, math.inf)).vertex == (1.0, 2.0)
    assert RateSweep(0.1, (0.0, 1.0, 2.0), (3.0, 2.0, math.inf)).edge is None
    assert RateSweep(0.1, (0.0, 1.0, 2.0), (2.0, 2.0, 2.0)).edge == "low"


@pytest.mark.parametrize(("low", "edge", "last"), [(-4.0, "low", -8.0), (-12.0, "high", -2.0)])
def test_a_grid_is_extended_by_two_points_if_the_best_lies_at_its_end(
    low: float, edge: str, last: float
) -> None:
    lr = {"low": 2.0**low, "high": 2.0 ** (low + 6), "points": 4}
    question = tuned_study(lr=lr)
    stages = rounds(question, Trainer(curvature=0.01))
    assert [
        len({t.spec.optimizer.lr for t in stage if t.spec.measure == "loss"}) for stage in stages
    ] == [4, 2, 1]
    result = search(question, [trial for stage in stages for trial in stage])
    assert (octaves_tried(result)[0] if edge == "low" else octaves_tried(result)[-1]) == last
    assert math.log2(result.hyperparameters.lr) == pytest.approx(-5, abs=1 / 64)


@pytest.mark.parametrize("extensions", [0, 1, 2])
def test_a_grid_is_extended_as_often_as_the_study_allows(extensions: int) -> None:
    question = tuned_study(lr={"low": 2.0**7, "high": 2.0**13, "points": 4}, extensions=extensions)
    result = search(question, trained(question, Trainer(curvature=0.0001)))
    assert len(octaves_tried(result)) == 4 + 2 * extensions
    assert result.edge == "low"
    assert result.doubts == (
        BestAtEdge(batch_tokens=512, edge="low", lr=result.hyperparameters.lr),
    )


def test_a_wall_is_never_crossed() -> None:
    question = tuned_study(lr={"low": 2.0**-12, "high": 2.0**-6, "points": 4, "extend": False})
    result = search(question, trained(question, Trainer(curvature=0.001)))
    assert octaves_tried(result) == [-12, -10, -8, -6]
    assert result.edge == "high"
    assert result.doubts == (BestAtEdge(batch_tokens=512, edge="high", lr=2.0**-6),)


def test_a_search_ends_with_a_doubt_if_every_learning_rate_diverges() -> None:
    question = tuned_study()
    result = search(question, trained(question, Trainer(cliff=-100)))
    assert len(result.trials) == 4
    assert result.doubts == (EveryRateDiverged(batch_tokens=512, lr_low=2.0**-9, lr_high=2.0**-3),)


def test_the_weight_decay_with_the_lowest_vertex_is_chosen() -> None:
    def train(spec: TrialSpec) -> Any:
        worse = {0.05: 1.02, 0.1: 1.0, 0.2: 1.01}[spec.optimizer.weight_decay]
        points = list(Trainer(curvature=0.01)(spec))
        return [
            type(m)(
                m.step, m.tokens, m.flops, m.seconds, {k: v * worse for k, v in m.metrics.items()}
            )
            for m in points
        ]

    question = tuned_study(weight_decay=[0.05, 0.1, 0.2])
    result = search(question, trained(question, train))
    assert result.hyperparameters.weight_decay == 0.1
    assert len(result.trials) == 12


def test_losses_are_averaged_over_seeds_and_one_that_diverges_counts_as_infinite() -> None:
    def train(spec: TrialSpec) -> Any:
        dead = spec.seed == 1 and math.log2(spec.optimizer.lr) > -6 and spec.measure == "loss"
        return Trainer(curvature=0.01, cliff=-100 if dead else 99.0)(spec)

    question = tuned_study(seeds=2)
    result = search(question, trained(question, train))
    assert math.log2(result.hyperparameters.lr) == -7
    assert len(result.trials) == 8


def test_searches_have_the_given_length_and_the_schedule_of_the_reading() -> None:
    for reading, decay in (("constant", "constant"), ("cooldown", "wsd"), ("full", "linear")):
        question = study(
            {"reading": reading},
            optimizer="muon",
            batch_tokens=[512],
            tuning={"lr": RANGE, "tokens": 51_200},
        )
        (first, *_) = rounds(question, Trainer(curvature=0.01))
        assert {(t.spec.horizon.steps, t.spec.horizon.decay) for t in first} == {(100, decay)}


def hyperparameters(
    batch: int, octaves: float, decay: float = 0.1, *doubts: HyperparameterDoubt
) -> BatchHyperparameters:
    return BatchHyperparameters(batch, 2.0**octaves, decay, "tuned", doubts)


def test_halfway_between_two_batches_log_lr_and_log_weight_decay_are_halfway() -> None:
    doubt = BestAtEdge(batch_tokens=1024, edge="high", lr=2.0**-5)
    ends = (hyperparameters(256, -8, 0.04), hyperparameters(1024, -5, 0.16, doubt))
    middle = hyperparameters_at(512, neighbours(512, ends))
    assert math.log2(middle.lr) == pytest.approx(-6.5)
    assert math.log2(middle.weight_decay) == pytest.approx(math.log2(0.08), abs=1 / 64)
    assert (middle.source, middle.doubts) == ("interpolated", (doubt,))


def test_between_a_weight_decay_of_0_and_another_the_nearer_one_is_taken() -> None:
    ends = (hyperparameters(128, -8, 0.0), hyperparameters(1024, -5, 0.1))
    assert [
        hyperparameters_at(batch, neighbours(batch, ends)).weight_decay for batch in (256, 512)
    ] == [
        0.0,
        0.1,
    ]


def test_beyond_the_batches_that_are_known_the_nearest_one_is_taken_and_marked() -> None:
    three = (hyperparameters(256, -8), hyperparameters(512, -7), hyperparameters(1024, -5))
    assert hyperparameters_at(128, neighbours(128, three)) == BatchHyperparameters(
        128, 2.0**-8, 0.1, "extrapolated"
    )
    assert hyperparameters_at(4096, neighbours(4096, three)) == BatchHyperparameters(
        4096, 2.0**-5, 0.1, "extrapolated"
    )
    assert hyperparameters_at(512, neighbours(512, three)) == three[1]


def test_an_optimum_that_moves_with_the_batch_is_followed_between_two_tuned_ones() -> None:
    question = study(
        tuning={"lr": {"low": 2.0**-11, "high": 2.0**-2, "points": 5}, "batch_tokens": [128, 2048]}
    )
    trials = trained(question, Trainer(curvature=0.01))
    for at in progress(question, trials).batches:
        assert at.setting is not None
        expected = OPTIMA[at.optimizer] + 0.5 * math.log2(min(at.batch_tokens, 2048) / 512)
        assert math.log2(at.setting.optimizer.lr) == pytest.approx(expected, abs=1 / 32)
        source = {128: "tuned", 2048: "tuned", 4096: "extrapolated"}.get(
            at.batch_tokens, "interpolated"
        )
        assert at.setting.source == source


def test_a_grid_is_even_in_octaves_on_the_planning_lattice() -> None:
    tuning = tuned_study(lr={"low": 0.003, "high": 0.1, "points": 4}).tuning
    assert tuning is not None
    octaves = grid_octaves(tuning.lr)
    assert all((64 * x).is_integer() for x in octaves)
    assert [b - a for a, b in itertools.pairwise(octaves)] == pytest.approx(
        [math.log2(0.1 / 0.003) / 3] * 3, abs=1 / 32
    )
