"""The search for hyperparameters on laws whose optimum is known."""

import math

import pytest

from telescope.studies.grokking.bill import most_trials
from telescope.studies.grokking.search import first_axes, most_tuning_trials, points_of
from telescope.trials.spec import TrialSpec
from tests.telescope.studies.grokking.simulated import Law, finished, report_of, study_of, tuned


def bowl(lr: float, weight_decay: float) -> Law:
    """Runs generalise soonest at these values, later by 10 steps per octave away from them."""

    def law(spec: TrialSpec) -> float:
        away = abs(math.log2(spec.optimizer.lr / lr))
        away += abs(math.log2(spec.optimizer.weight_decay / weight_decay))
        return 10 + 10 * away

    return law


def chosen(report) -> dict[str, tuple[float, float]]:
    return {arm.optimizer: (arm.lr, arm.weight_decay) for arm in report.cells[0].arms}


def test_an_optimum_inside_the_grid_is_found_without_extension() -> None:
    report = report_of(tuned(seeds=2, tuning={"weight_decay": [0.25, 0.5, 1.0]}), bowl(0.5, 0.5))
    assert chosen(report) == {"muon": (0.5, 0.5), "adamw": (0.5, 0.5)}
    assert {entry.tuning_trials for entry in report.ledger} == {9}
    assert report.verdict != "unbracketed"


@pytest.mark.parametrize("lr", [1 / 16, 4.0])
def test_an_optimum_beyond_the_grid_is_reached_by_extending_it(lr: float) -> None:
    report = report_of(tuned(seeds=2, tuning={"weight_decay": [1.0]}), bowl(lr, 1.0))
    assert chosen(report)["muon"] == (lr, 1.0)
    assert not report.ledger[0].edges
    # three values, and three more: two to the optimum and one beyond it
    assert report.ledger[0].tuning_trials == 6


def test_a_search_that_ends_at_an_edge_leaves_the_cell_unbracketed() -> None:
    changes = tuned(seeds=2, tuning={"extensions": 1, "weight_decay": [1.0]})
    report = report_of(changes, bowl(64.0, 1.0))
    assert report.verdict == "unbracketed"
    assert "Muon's best learning rate, 2, is the highest tried" in report.reason
    assert "tuning.extensions" in report.reason


def test_without_extend_the_learning_rate_stays_in_its_range() -> None:
    tuning = {"lr": {"low": 0.25, "high": 1.0, "points": 3, "extend": False}, "weight_decay": [1.0]}
    report = report_of(tuned(seeds=2, tuning=tuning), bowl(4.0, 1.0))
    assert chosen(report)["adamw"] == (1.0, 1.0)
    assert report.verdict == "unbracketed"


def test_both_optimizers_have_the_same_grid_and_muon_its_ratios_too() -> None:
    question = study_of(tuned(tuning={"adamw_lr_ratio": [0.1, 0.3]})).question
    adamw, muon = (first_axes(question.tuning, name) for name in ("adamw", "muon"))
    assert {axis: muon[axis] for axis in adamw} == adamw
    assert len(points_of(muon)) == 2 * len(points_of(adamw)) == 12


def test_runs_that_never_generalise_are_ordered_by_their_loss() -> None:
    """All runs are censored, so the mean final loss decides; equal losses keep the first point."""
    report = report_of(tuned(seeds=2), lambda spec: math.inf)
    assert chosen(report)["muon"] is not None
    assert report.cells[0].arms[0].generalised == 0


@pytest.mark.parametrize("beyond", [1e-6, 1e6])
def test_no_study_needs_more_trials_than_its_upper_bound(beyond: float) -> None:
    study = study_of(tuned(seeds=2, tuning={"extensions": 3}))
    trials = finished(study, bowl(beyond, beyond))
    assert len(trials) <= most_trials(study.question)
    per_arm = most_tuning_trials(study.question.tuning, "adamw")
    assert sum(t.spec.optimizer.name == "adamw" for t in trials) - 2 <= per_arm


def test_a_learning_rate_that_is_not_extended_adds_nothing_to_the_upper_bound() -> None:
    lr = {"low": 0.25, "high": 1.0, "points": 3, "extend": False}
    tuning = {"lr": lr, "weight_decay": [1.0], "extensions": 4}
    question = study_of(tuned(seeds=2, tuning=tuning)).question
    assert most_tuning_trials(question.tuning, "adamw") == 3 * question.tuning.seeds
