"""Terminal output of a compute-time report and its forecast."""

import io
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from api.terminal import compute_time
from telescope.studies.compute_time.kind import KIND
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
    asked, console = study(**SMALL), Console(width=170, file=io.StringIO())
    report = KIND.of(asked).report(trained(asked, Trainer(point=0.002))[:trials])
    compute_time.show(compute_time.parse_report(report_document(report)), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_report_says_each_loss_the_verdict_the_batches_and_what_was_granted() -> None:
    said = printed()
    assert "Loss 2: AdamW needs" in said
    assert "resolved: every run reached every target loss, at hyperparameters given" in said
    assert "Muon ahead" in said
    assert "Granted to each optimizer:" in said
    assert "Bill: 26 trials" in said


def test_a_batch_at_which_a_run_diverged_says_so_beside_its_tokens() -> None:
    asked, console = study(**SMALL), Console(width=170, file=io.StringIO())
    lost = [
        trial.spec.digest
        for trial in trained(asked, Trainer())
        if trial.spec.optimizer.name == "adamw" and trial.spec.seed == 1
    ][:1]

    def train(spec: TrialSpec) -> Iterator[Measurement]:
        return Trainer(cliff=-99.0 if spec.digest in lost else 99.0)(spec)

    compute_time.show(
        compute_time.parse_report(report_document(KIND.of(asked).report(trained(asked, train)))),
        console,
    )
    assert isinstance(console.file, io.StringIO)
    (row,) = [line for line in console.file.getvalue().splitlines() if line.startswith("128 ")]
    assert row.count("(1 diverged)") == 1


def test_a_report_before_any_trial_can_be_printed() -> None:
    said = printed(0)
    assert "unresolved so far: runs are still pending" in said
    assert "0 trials" in said


def test_a_bill_says_least_and_most_and_what_it_assumes() -> None:
    console = Console(width=170, file=io.StringIO())
    compute_time.show_bill(report_document(KIND.forecast(study(**SMALL), None)), console)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert "least trials" in said
    assert "estimated" in said
    assert "all extensions and doublings" in said
