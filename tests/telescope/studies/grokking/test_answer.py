"""Reports of grokking studies on simulated runs: verdicts, tests, rows, costs."""

import math
from dataclasses import replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from telescope.studies.grokking.kind import KIND
from telescope.studies.grokking.reasons import Told
from telescope.studies.grokking.report import GrokkingReport
from telescope.studies.kind import EndCause, Ended
from telescope.studies.registry import report_document
from telescope.trials.spec import TrialSpec
from tests.telescope.studies.grokking.simulated import (
    Law,
    by_optimizer,
    document,
    finished,
    off_centre,
    report_of,
    study_of,
    tuned,
)


@pytest.mark.parametrize(
    ("muon", "adamw", "verdict", "words"),
    [
        (20, 60, "faster", "AdamW needs more steps than Muon"),
        (60, 20, "slower", "Muon needs more steps than AdamW"),
        (40, 40, "not_told_apart", "unlikely to be significant"),
        (math.inf, math.inf, "not_told_apart", "no run of either optimizer generalised"),
        (20, math.inf, "faster", "AdamW needs more steps than Muon"),
    ],
)
def test_the_verdict_of_one_cell(muon: float, adamw: float, verdict: str, words: str) -> None:
    report = report_of(document(), by_optimizer(muon, adamw))
    assert (report.verdict, report.final) == (verdict, True)
    assert words in report.reason


def test_the_ratio_is_of_restricted_means_and_its_bounds_are_the_evaluations_before() -> None:
    # a full batch is one step an epoch, evaluated every two: step 20 means after 18
    report = report_of(document(seeds=4), by_optimizer(20, 40, spread=0.0))
    row = report.cells[0]
    ratios = {ratio.unit: ratio.ratio for ratio in row.ratios}
    assert ratios["steps"] == pytest.approx(2.0)
    assert ratios["flops"] == pytest.approx(1.0)  # a step of Muon costs twice as much
    assert (row.ratio_least, row.ratio_most) == (pytest.approx(38 / 20), pytest.approx(40 / 18))
    assert [arm.median_steps for arm in row.arms] == [20, 40]
    assert row.chance_earlier == 1.0


def test_runs_that_never_generalise_count_with_their_budget() -> None:
    law = by_optimizer(20, 40, spread=0.0)

    def sometimes(spec: TrialSpec) -> float:
        return math.inf if spec.optimizer.name == "adamw" and spec.seed < 2 else law(spec)

    row = report_of(document(seeds=4), sometimes).cells[0]
    muon, adamw = row.arms
    assert (muon.generalised, adamw.generalised, adamw.runs) == (4, 2, 4)
    assert adamw.mean_steps == pytest.approx((100 + 100 + 40 + 40) / 4)
    assert {ratio.unit: ratio.ratio for ratio in row.ratios}["steps"] == pytest.approx(70 / 20)


def test_runs_of_which_none_generalises_have_no_ratio() -> None:
    """Both restricted means are the budget, and their ratio of 1 would look measured."""
    for row in report_of(document(seeds=4), by_optimizer(math.inf, math.inf)).cells:
        assert (row.ratios, row.ratio_least, row.ratio_most) == ((), None, None)
        assert (row.pairs, row.p) == (4, 1.0)


def test_a_unit_in_which_no_run_generalises_in_time_has_no_ratio() -> None:
    """Muon generalises at step 60, with 120 MFLOP; the budget of AdamW is 100 MFLOP."""
    row = report_of(document(seeds=4), by_optimizer(60, math.inf, spread=0.0)).cells[0]
    assert [ratio.unit for ratio in row.ratios] == ["steps", "seconds"]
    row = report_of(document(seeds=4), by_optimizer(40, math.inf, spread=0.0)).cells[0]
    assert [ratio.unit for ratio in row.ratios] == ["steps", "flops", "seconds"]


def test_a_search_without_a_run_that_generalises_is_named_beside_the_verdict() -> None:
    """Only the final loss has chosen its hyperparameters."""

    def law(adamw: float) -> Law:
        def steps(spec: TrialSpec) -> float:
            distance = off_centre(spec)
            return (10 if spec.optimizer.name == "muon" else adamw) * (1 + distance)

        return steps

    report = report_of(tuned(), law(math.inf))
    assert report.verdict == "faster"
    assert isinstance(report.cells[0].because, Told)
    assert report.cells[0].because.failed_searches == ("adamw",)
    assert "no run of AdamW's search generalised" in report.reason
    report = report_of(tuned(), law(40))
    assert report.verdict == "faster"
    assert "search" not in report.reason


def test_few_seeds_cannot_tell_and_the_report_says_so() -> None:
    report = report_of(document(seeds=4), by_optimizer(10, 60))
    assert report.verdict == "not_told_apart"
    assert report.cells[0].smallest_p == 2 / 2**4
    assert "with 4 seeds the test cannot give p below 0.12" in report.reason


def test_a_single_seed_is_not_said_to_show_a_small_difference() -> None:
    report = report_of(document(seeds=1), by_optimizer(10, 60))
    assert "with 1 seed the test cannot give p below 1; add seeds" in report.reason


def test_cells_that_differ_are_named_and_p_is_corrected_for_their_number() -> None:
    tasks = [{"task": "add", "modulus": 7, "train_share": 0.6}, {"task": "parity", "bits": 5}]

    def law(spec: TrialSpec) -> float:
        faster = spec.data.task == "add"
        return by_optimizer(10, 60)(spec) if faster else by_optimizer(40, 40)(spec)

    report = report_of(document(data=tasks), law)
    add, parity = report.cells[:2]
    assert report.verdict == "depends"
    words = "faster in a + b mod 7, 60 % for training; not told apart in parity of a 5-bit number"
    assert words in report.reason
    assert add.p == 2 / 2**8
    assert add.p_holm == pytest.approx(2 * add.p)
    assert parity.p_holm == parity.p
    pooled = report.over_cells[0].pooled
    assert pooled is not None
    assert (pooled.df, pooled.runs) == (30, 32)
    assert any("2 cells" in fault for fault in pooled.faults)


def test_cells_that_agree_are_tested_together() -> None:
    tasks = [{"task": name, "modulus": 7} for name in ("add", "sub", "mul")]
    report = report_of(document(data=tasks), by_optimizer(20, 60))
    assert report.verdict == "faster"
    assert report.over_cells[0].log_rank_p is not None
    assert report.over_cells[0].log_rank_p < 1e-6
    assert "in all 3 cells" in report.reason


def test_a_running_study_reports_what_it_has() -> None:
    study = study_of(document(seeds=4))
    trials = finished(study, by_optimizer(20, 40))[:5]
    report = study.report(trials)
    assert (report.final, report.verdict) == (False, "unresolved")
    assert report.cells[0].verdict == "pending"
    assert len(report.runs) == 5
    empty = study.report([])
    assert (empty.cells[0].pairs, empty.cells[0].p, empty.runs) == (0, None, ())


def test_a_study_that_ended_early_says_why() -> None:
    study = study_of(document(seeds=4))
    trials = finished(study, by_optimizer(20, 40))[:5]
    report = study.report(trials, Ended(EndCause.OUT_OF_TIME))
    assert (report.final, report.verdict) == (True, "unresolved")
    assert report.reason == "limits.max_seconds is used up"


def test_a_single_optimizer_is_not_compared() -> None:
    report = report_of(document(optimizer="adamw", seeds=3), by_optimizer(20, 40))
    assert report.verdict == "not_told_apart"
    assert "name both to compare them" in report.reason
    assert report.cells[0].arms[0].generalised == 3
    tasks = [{"task": name, "modulus": 7} for name in ("add", "mul")]
    several = report_of(document(optimizer="adamw", seeds=3, data=tasks), by_optimizer(20, 40))
    assert several.reason == report.reason


def test_a_diverged_run_never_generalises_and_is_counted() -> None:
    study = study_of(document(seeds=4))
    trials = finished(study, by_optimizer(20, 40))
    trials[0] = replace(trials[0], loss=math.inf, metrics={"loss": math.inf})
    report = study.report(trials)
    name = trials[0].spec.optimizer.name
    (arm,) = (arm for arm in report.cells[0].arms if arm.optimizer == name)
    assert (arm.diverged, arm.generalised) == (1, 3)
    row = next(row for row in report.runs if row.diverged)
    assert row.loss is None


def test_p_is_corrected_for_cells_that_are_not_complete_yet() -> None:
    tasks = [{"task": name, "modulus": 7} for name in ("add", "sub")]
    study = study_of(document(data=tasks))
    trials = finished(study, by_optimizer(20, 60))
    first = [trial for trial in trials if trial.spec.data.task == "add"]
    row = study.report(first).cells[0]
    assert (row.p, row.p_holm) == (2 / 2**8, 4 / 2**8)


def test_spreads_are_compared_only_if_every_run_generalised() -> None:
    assert report_of(document(), by_optimizer(20, 60)).cells[0].spread_ratio is not None
    assert report_of(document(), by_optimizer(20, math.inf)).cells[0].spread_ratio is None


def test_the_ledger_names_axes_that_were_not_searched() -> None:
    report = report_of(tuned(seeds=2, tuning={"adamw_lr_ratio": [0.3]}), by_optimizer(20, 60))
    sources = {entry.optimizer: entry.hyperparameters for entry in report.ledger}
    assert sources["adamw"] == "tuned in each cell"
    assert "not searched: ratio of AdamW's learning rate" in sources["muon"]


def test_the_bill_counts_each_trial_once_and_reused_trials_not() -> None:
    study = study_of(tuned(seeds=2))
    trials = finished(study, by_optimizer(20, 40))
    report = study.report([replace(trials[0], reused=True), *trials[1:]])
    assert (report.trials, report.reused) == (len(trials), 1)
    assert report.flops == pytest.approx(sum(trial.flops for trial in trials[1:]))
    assert sum(entry.trials for entry in report.ledger) == len(trials)


@pytest.mark.parametrize("changes", [{}, {"protocol": "tuned"}])
def test_a_report_survives_json(changes: dict[str, Any]) -> None:
    report = report_of(tuned() if changes else document(), by_optimizer(20, math.inf))
    text = TypeAdapter(GrokkingReport).dump_json(report)
    assert TypeAdapter(GrokkingReport).validate_json(text) == report
    assert report_document(report)["because"]["code"] == "single_cell"


def test_values_that_the_paper_leaves_open_are_marked() -> None:
    report = report_of(document(seeds=2), by_optimizer(20, 40))
    origins = {row.name: row.origin for row in report.assumptions}
    assert origins["AdamW's betas"] == origins["generalised"] == "paper"
    assert origins["AdamW's hyperparameters"] == origins["initial values"] == "public code"
    assert origins["Muon's hyperparameters"] == "ours"
    assert origins["training share"] == origins["size"] == "ours"


def test_a_training_share_that_the_paper_states_is_the_papers_also_if_given() -> None:
    data = {"task": "add", "modulus": 7, "train_share": 0.8}
    report = report_of(document(seeds=2, data=data), by_optimizer(20, 40))
    assert {row.name: row.origin for row in report.assumptions}["training share"] == "paper"


def test_a_forecast_counts_what_the_study_runs() -> None:
    study = study_of(document(seeds=3))
    forecast = study.preview()
    assert forecast.trials.least == forecast.trials.most == 6
    assert forecast.tokens.least == 6 * 100 * 29 * 4
    assert KIND.expected_flops(forecast) == forecast.flops.expected > 0
