"""The report: its verdict with every reason, its ledger, and its conversion to a document."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from telescope.studies.compute_time.kind import KIND
from telescope.studies.compute_time.report import OptimizerComparison
from telescope.studies.kind import EndCause, Ended
from telescope.studies.registry import report_document
from telescope.trials.spec import TrialSpec
from tests.telescope.studies.compute_time.laws import GIVEN, TUNED, Trainer, rounds, study, trained

NOISY = Trainer(curvature=0.01, point=0.002)
RANGE = {"low": 2.0**-10, "high": 2.0**-2, "points": 5}
SMALL: dict[str, Any] = {"batch_tokens": [128, 512, 2048], "tuning": {"lr": RANGE}, "seeds": 2}


def reported(
    train: Any = NOISY, runs: dict[str, Any] | None = None, **changes: Any
) -> OptimizerComparison:
    question = study(runs, **SMALL | changes)
    return KIND.of(question).report(trained(question, train))


def test_a_study_whose_every_run_reached_its_targets_is_resolved() -> None:
    report = reported()
    assert (report.final, report.verdict) == (True, "resolved")
    assert (
        report.reason
        == "all runs reached all target losses; the best learning rates lie inside their grids"
    )
    (target,) = report.targets
    assert (target.reached, target.muon) == (True, "ahead")
    assert "AdamW needs" in target.sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": 1}, "set seeds to 2 or more"),
        ({"target_losses": []}, "sets no target_losses"),
        ({"target_losses": [1.51]}, "loss 1.51: no run reached this loss"),
        (
            {"target_losses": [2.0], "runs": {"tokens": 200_000, "doublings": 0}},
            "some runs ended before they reached loss 2",
        ),
        (
            {"tuning": {"lr": {"low": 2.0**-12, "high": 2.0**-9, "points": 3, "extend": False}}},
            "the best learning rate at batch 512 is the highest",
        ),
        (
            {"tuning": {"lr": RANGE, "batch_tokens": [128, 512]}},
            "Muon at batch 2048, AdamW at batch 2048 use the hyperparameters of the nearest tuned",
        ),
    ],
)
def test_an_unresolved_study_says_why(changes: dict[str, Any], words: str) -> None:
    report = reported(**changes)
    assert (report.final, report.verdict) == (True, "unresolved")
    assert words in report.reason


def test_a_seed_that_diverged_is_a_doubt_though_the_others_reached_the_loss() -> None:
    def train(spec: TrialSpec) -> Any:
        lost = (spec.optimizer.name, spec.horizon.batch_tokens, spec.seed) == ("muon", 512, 1)
        return replace(NOISY, curvature=0.0, cliff=-99.0 if lost else 99.0)(spec)

    report = reported(train, seeds=3, **GIVEN, tuning=None)
    (row,) = (
        (row for row in report.targets[0].batches.rows if row.diverged)
        if report.targets[0].batches
        else ()
    )
    assert (row.optimizer, row.batch_tokens, row.reached, row.diverged) == ("muon", 512, 2, 1)
    assert report.verdict == "unresolved"
    assert "some runs diverged before they reached loss 2 (Muon at batch 512)" in report.reason


def test_a_study_that_goes_on_or_was_ended_says_so() -> None:
    question = study(**SMALL)
    first, *_ = rounds(question, NOISY)
    running = KIND.of(question).report(first)
    assert (running.final, running.verdict, running.reason) == (
        False,
        "unresolved",
        "runs are still pending",
    )
    ended = KIND.of(question).report(first, Ended(EndCause.OUT_OF_TIME))
    assert (ended.final, ended.verdict, ended.reason) == (
        True,
        "unresolved",
        "limits.max_seconds is used up",
    )
    empty = KIND.of(question).report([])
    assert (empty.trials, empty.batches, empty.lowest_loss) == (0, (), None)


def test_the_ledger_grants_both_optimizers_the_same() -> None:
    muon, adamw = reported(Trainer(curvature=0.01), batch_tokens=[512, 1024, 2048]).ledger
    for name in (
        "tuning_trials",
        "tuned_batches",
        "lr_low",
        "lr_high",
        "lr_octaves",
        "weight_decays",
        "tuning_tokens",
        "seeds",
        "schedule",
    ):
        assert getattr(muon, name) == getattr(adamw, name), name
    assert (muon.tuning_trials, muon.lr_octaves, muon.hyperparameters) == (15, 8.0, "tuned here")
    assert muon.tuning_flops > adamw.tuning_flops
    assert "Newton-Schulz" in muon.precision
    assert adamw.precision == "float32; on GPUs, bfloat16 in forward and backward passes"


def test_the_ledger_names_each_optimizers_own_jobs() -> None:
    given = [values | {"job": f"job-{i}"} for i, values in enumerate(GIVEN["given"])]
    ledger = reported(Trainer(), tuning=None, given=given).ledger
    assert [entry.hyperparameters for entry in ledger] == ["from jobs job-0", "from jobs job-1"]


def test_reused_trials_cost_nothing() -> None:
    question = study(**SMALL)
    trials = trained(question, NOISY)
    whole, half = (
        KIND.of(question).report(trials),
        KIND.of(question).report([replace(t, reused=i % 2 == 0) for i, t in enumerate(trials)]),
    )
    assert (half.trials, half.reused) == (len(trials), (len(trials) + 1) // 2)
    assert 0 < half.tokens < whole.tokens
    assert half.targets == whole.targets


def test_tokens_count_trained_steps_even_of_stopped_runs_and_branches() -> None:
    question = study({"tokens": 100_000}, batch_tokens=[128, 512])
    trials = trained(question, Trainer())
    trained_tokens = sum(round(t.seconds * 1000) * t.spec.horizon.batch_tokens for t in trials)
    report = KIND.of(question).report(trials)
    assert any(t.spec.branch for t in trials)
    assert report.tokens == trained_tokens == sum(entry.tokens for entry in report.ledger)


def test_a_report_survives_the_journey_through_its_document() -> None:
    for report in (reported(), KIND.of(study(**TUNED)).report([])):
        assert TypeAdapter(OptimizerComparison).validate_python(report_document(report)) == report
