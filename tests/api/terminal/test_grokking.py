"""Terminal output of a grokking report, its tables, its forecast and its progress."""

import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from api.job_states import JobState
from api.store.record import CoordinatorStore
from api.terminal import grokking, grokking_tables
from api.terminal.follow import changed_lines
from api.terminal.progress import job_progress, live_view
from api.terminal.views import view_of
from telescope.client.resources import Curve
from telescope.studies import registry
from telescope.studies.grokking.kind import KIND
from telescope.studies.grokking.report import GrokkingReport
from telescope.studies.kind import EndCause, Ended
from telescope.trials.outcome import Measurement, Trial, completed
from tests.api.grokking_jobs import (
    DOCUMENT,
    answered,
    at_edge,
    equal,
    job_with_report,
    last_point,
    muon_first,
    never,
    study_of,
)

ADD = DOCUMENT["data"][0]


def printed(report: GrokkingReport, width: int = 150) -> str:
    console = Console(width=width, file=io.StringIO())
    document = registry.report_document(report)
    view_of("grokking").show(document, DOCUMENT, console)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_a_report_has_the_verdict_first_then_cells_tests_ledger_and_assumptions() -> None:
    report = answered(muon_first)
    output = printed(report)
    parts = (
        f"Muon generalises faster: {report.reason}.",
        "Protocol tuned: each optimizer searched the same values of lr and weight decay",
        "Sustained generalisation",
        "median steps",
        "AdamW / Muon, mean time",
        "a + b mod 7: AdamW needs more steps than Muon",
        "first crossing, median steps",
        "log-rank test over all cells: chi2",
        "The paper's pooled t-test: mean epoch",
        "What is wrong with it: the runs are paired by seed",
        "Hyperparameters of the runs:",
        "Tuning that each optimizer received:",
        "Assumptions:",
        f"Bill: {report.trials} trials",
    )
    places = [output.index(part) for part in parts]
    assert places == sorted(places)
    assert "it leaves out the runs that never generalised: 2" in output
    (row,) = [line for line in output.splitlines() if line.startswith("parity") and "8/8" in line]
    assert "8/8, 7/8" in row
    cell, tested = report.cells[0], line_with(output, "a + b mod 7", " 8")
    assert cell.smallest_p == 2 / 2**8
    assert "0.016" in tested, "the smallest p is corrected for two cells"
    assert {assumption.origin for assumption in report.assumptions} == {
        "paper",
        "public code",
        "ours",
    }


def line_with(output: str, start: str, end: str) -> str:
    (line,) = [
        line for line in output.splitlines() if line.startswith(start) and line.endswith(end)
    ]
    return line


@pytest.mark.parametrize(
    ("law", "changes", "verdict", "words"),
    [
        (equal, {}, "not_told_apart", "not told apart: "),
        (at_edge, {}, "unbracketed", "is the lowest tried"),
        (never, {}, "not_told_apart", "no run of either optimizer generalised within 400 epochs"),
        (muon_first, {"optimizer": "muon"}, "not_told_apart", "a single optimizer was run"),
        (muon_first, {"seeds": 1}, "not_told_apart", "with 1 seed the test cannot give p below 1"),
        (
            muon_first,
            {"protocol": "paper", "tuning": None},
            "faster",
            "all optimizers share their hyperparameters",
        ),
    ],
)
def test_every_verdict_can_be_printed(
    law: Any, changes: dict[str, Any], verdict: str, words: str
) -> None:
    report = answered(law, data=ADD, **changes)
    assert report.verdict == verdict
    assert words in printed(report)
    assert registry.is_conclusive("grokking", registry.report_document(report)) == (
        verdict != "unbracketed"
    )


def test_runs_that_never_generalise_have_a_median_over_the_budget() -> None:
    assert "over 1.2k" in printed(answered(never, data=ADD))


def test_a_report_before_any_trial_can_be_printed() -> None:
    output = printed(answered(muon_first, most=0))
    assert "unresolved so far: runs are still pending." in output
    assert "0 trials" in output


@pytest.mark.parametrize(
    ("report", "conclusive"),
    [
        ({"final": True, "verdict": "depends"}, True),
        ({"final": True, "verdict": "slower"}, True),
        ({"final": False, "verdict": "faster"}, False),
        ({"final": True, "verdict": "unbracketed"}, False),
        ({"final": True, "verdict": "unresolved"}, False),
    ],
)
def test_results_are_told_from_open_questions(report: dict[str, Any], conclusive: bool) -> None:
    assert registry.is_conclusive("grokking", report) == conclusive


@pytest.mark.parametrize("kind", ["telescope", "compute_time", "of a newer version"])
def test_in_other_kinds_only_resolved_is_conclusive(kind: str) -> None:
    assert registry.is_conclusive(kind, {"final": True, "verdict": "resolved"})
    assert not registry.is_conclusive(kind, {"final": True, "verdict": "faster"})


def test_a_cancelled_study_has_the_cause_as_its_reason() -> None:
    report = study_of().report([], Ended(EndCause.CANCELLED))
    assert "unresolved: cancelled." in printed(report)


def test_runs_are_printed_with_their_milestones() -> None:
    console = Console(width=150, file=io.StringIO())
    runs = answered(muon_first, data=ADD).runs
    grokking_tables.show_runs([*runs, replace(runs[0], diverged=True)], console)
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert len(lines) == len(runs) + 3
    assert "sustained" in lines[1]
    assert lines[-1].endswith("diverged")
    assert any(" – " in line and " runs " in line for line in lines), "one AdamW run never does"


def test_a_bill_has_runs_and_tuning_runs_per_optimizer_and_its_assumptions() -> None:
    console = Console(width=150, file=io.StringIO())
    grokking.show_bill(registry.report_document(KIND.forecast(study_of().question, None)), console)
    assert isinstance(console.file, io.StringIO)
    output = console.file.getvalue()
    assert "All cells: 52 to 56 trials" in output
    assert "estimated" in output
    assert "most: all are" in output


def test_progress_names_cells_on_a_terminal_and_in_plain_lines(
    record: CoordinatorStore,
) -> None:
    job_id = job_with_report(record, muon_first, most=25)
    trials = record.trials(job_id, 1000).items
    view = job_progress(record.job(job_id), trials, datetime.now(UTC), 1e15)
    assert view.state is JobState.RUNNING
    assert [(level.variant, level.optimizer) for level in view.levels] == [
        (task, optimizer)
        for task in ("a + b mod 7", "parity of a 4-bit number")
        for optimizer in ("adamw", "muon")
    ]
    assert sum(level.done for level in view.levels) == 25
    (line, *_) = changed_lines(view)
    assert "a + b mod 7 adamw width 16" in line
    assert "25/" in line
    console = Console(width=150, file=io.StringIO())
    console.print(live_view(view))


@pytest.mark.parametrize(("memorises", "units"), [(True, 3), (False, 2)])
def test_reused_runs_cost_nothing_and_are_compared_all_the_same(
    memorises: bool, units: int
) -> None:
    study, trials = study_of(data=ADD), list[Trial]()
    while not (plan := study.plan(trials)).done:
        for spec in plan.start:
            adamw = spec.optimizer.name == "adamw"
            last = last_point(spec, never if adamw else muon_first)
            metrics = {
                name: value
                for name, value in last.metrics.items()
                if memorises or not adamw or "memorised" not in name
            }
            point = replace(last, seconds=0.0, metrics=metrics)
            trials.append(replace(completed(spec, [point]), reused=True))
    report = study.report(trials)
    assert (report.flops, report.reused) == (0.0, report.trials)
    assert [ratio.ratio > 0 for ratio in report.cells[0].ratios] == [True] * units
    assert "over 1.2k" in printed(report)


def test_a_point_of_a_curve_has_no_metrics_that_are_null() -> None:
    metrics = {"loss": (None, 2.0), "train_loss": (3.0, 2.5)}
    curve = Curve(7, (1, 2), (8, 16), (1.0, 2.0), (0.1, 0.2), metrics)
    assert grokking.measurements_of(curve) == [
        Measurement(1, 8, 1.0, 0.1, {"train_loss": 3.0}),
        Measurement(2, 16, 2.0, 0.2, {"loss": 2.0, "train_loss": 2.5}),
    ]
