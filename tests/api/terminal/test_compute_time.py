"""Terminal output of a compute-time report and its forecast."""

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from api.terminal import compute_time
from telescope.studies.compute_time.kind import KIND
from telescope.studies.compute_time.rows import BatchRow
from telescope.studies.registry import report_document
from telescope.trials.outcome import Measurement
from telescope.trials.spec import TrialSpec
from tests.telescope.studies.compute_time.laws import Trainer, study, trained

GIVEN = [
    {"optimizer": name, "batch_tokens": batch, "lr": 0.02}
    for name in ("muon", "adamw")
    for batch in (128, 512, 2048)
]
SMALL: dict[str, Any] = {"batch_tokens": [128, 512, 2048], "seeds": 2, "given": GIVEN}


def printed(trials: int | None = None) -> str:
    question, console = study(**SMALL), Console(width=170, file=io.StringIO())
    report = KIND.of(question).report(trained(question, Trainer(point=0.002))[:trials])
    compute_time.show(compute_time.parse_report(report_document(report)), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_report_has_each_loss_the_verdict_the_batches_and_the_tuning_budget() -> None:
    output = printed()
    assert "Loss 2: AdamW needs" in output
    assert "resolved: all runs reached all target losses; the hyperparameters are given" in output
    assert "Muon ahead" in output
    assert "Tuning that each optimizer received:" in output
    assert "Bill: 26 trials" in output


ROW = BatchRow(
    optimizer="muon",
    batch_tokens=128,
    tokens=1.5e6,
    tokens_low=None,
    tokens_high=None,
    steps=None,
    steps_low=None,
    steps_high=None,
    reached=1,
    censored=0,
    early=0,
    diverged=0,
    on_frontier=False,
    lr=0.02,
    weight_decay=0.0,
    source="given",
)


@pytest.mark.parametrize(
    ("censored", "early", "cell"),
    [(0, 0, "1.5 M"), (1, 0, "over 1.5 M"), (0, 1, "under 1.5 M"), (1, 1, "1.5 M")],
)
def test_tokens_that_are_bounded_from_both_sides_have_no_prefix(
    censored: int, early: int, cell: str
) -> None:
    assert compute_time.tokens_cell(replace(ROW, censored=censored, early=early)) == cell


def test_diverged_runs_of_a_batch_are_counted_beside_its_tokens() -> None:
    question, console = study(**SMALL), Console(width=170, file=io.StringIO())
    diverging = [
        trial.spec.digest
        for trial in trained(question, Trainer())
        if trial.spec.optimizer.name == "adamw" and trial.spec.seed == 1
    ][:1]

    def train(spec: TrialSpec) -> Iterator[Measurement]:
        return Trainer(cliff=-99.0 if spec.digest in diverging else 99.0)(spec)

    compute_time.show(
        compute_time.parse_report(
            report_document(KIND.of(question).report(trained(question, train)))
        ),
        console,
    )
    assert isinstance(console.file, io.StringIO)
    (row,) = [line for line in console.file.getvalue().splitlines() if line.startswith("128 ")]
    assert row.count("(1 diverged)") == 1


def test_a_report_before_any_trial_can_be_printed() -> None:
    output = printed(0)
    assert "unresolved so far: runs are still pending" in output
    assert "0 trials" in output


def test_a_bill_has_the_least_the_most_and_its_assumptions() -> None:
    console = Console(width=170, file=io.StringIO())
    compute_time.show_bill(report_document(KIND.forecast(study(**SMALL), None)), console)
    assert isinstance(console.file, io.StringIO)
    output = console.file.getvalue()
    assert "least trials" in output
    assert "estimated" in output
    assert "most: all grids are extended" in output
