"""Reasons and doubts are values: hashable, the same again after a way through JSON, each with words
of its own.
"""

import json
from dataclasses import FrozenInstanceError
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from telescope.studies.compute_time.kind import KIND
from telescope.studies.compute_time.reasons import (
    BestAtEdge,
    Borrowed,
    Doubt,
    Doubted,
    EveryRateDiverged,
    NoTargets,
    NothingToRead,
    NotReached,
    OneSeed,
    OptimizerBatch,
    Reason,
    Reservation,
    Resolved,
    RunsCensored,
    RunsDiverged,
    RunsEarly,
)
from telescope.studies.compute_time.report import OptimizerComparison
from telescope.studies.compute_time.wording import doubt_words, words
from telescope.studies.endings import RunsPending, StudyStopped
from telescope.studies.registry import report_document
from tests.telescope.studies.compute_time.laws import GIVEN, Trainer, rounds, study, trained

BATCHES = (
    OptimizerBatch(optimizer="muon", batch_tokens=512),
    OptimizerBatch(optimizer="adamw", batch_tokens=2048),
)
DOUBTS: list[tuple[Any, str]] = [
    (
        EveryRateDiverged(batch_tokens=512, lr_low=2.0**-9, lr_high=0.125),
        "at batch 512, every learning rate from 0.00195 to 0.125 has at least one run that "
        "diverged",
    ),
    (
        BestAtEdge(batch_tokens=512, edge="low", lr=2.0**-9),
        "the best learning rate at batch 512 is the lowest tried, 0.00195",
    ),
    (Reservation(mark="of another corpus"), "of another corpus"),
    (
        NothingToRead(target_loss=2.0),
        "loss 2: no run has recorded a loss yet; query again when more runs have finished, or "
        "lower the learning rates if all runs diverged",
    ),
    (
        NotReached(target_loss=1.5, highest_loss=5.54321, lowest_loss=1.51111),
        "loss 1.5: no run reached this loss; the losses range from 5.543 down to 1.511",
    ),
    (
        Borrowed(batches=BATCHES),
        (
            "Muon at batch 512, AdamW at batch 2048 use the hyperparameters of the nearest tuned "
            "or given batch; other values may be better"
        ),
    ),
    (NoTargets(), "the study sets no target_losses; query any loss with `telescope frontier`"),
    (
        RunsCensored(target_loss=2.0, batches=BATCHES),
        "some runs ended before they reached loss 2: Muon at batch 512, AdamW at batch 2048",
    ),
    (
        RunsDiverged(target_loss=2.25, batches=BATCHES[:1]),
        "some runs diverged before they reached loss 2.25 (Muon at batch 512); "
        "the answer rests on the other runs",
    ),
    (
        RunsEarly(target_loss=9.0, batches=BATCHES[1:]),
        (
            "some runs were below loss 9 at their first point (AdamW at batch 2048), "
            "so only an upper bound on their tokens to this loss is known"
        ),
    ),
    (
        OneSeed(),
        "a single seed gives no estimate of the noise and no intervals; set seeds to 2 or more",
    ),
]
ALL = tuple(doubt for doubt, _ in DOUBTS)
REASONS: list[tuple[Any, str]] = [
    (StudyStopped(by="limit:max_seconds"), "limits.max_seconds is used up"),
    (StudyStopped(by="failed", detail="a corpus is gone"), "failed: a corpus is gone"),
    (RunsPending(), "runs are still pending"),
    (Doubted(doubts=ALL), "; ".join(text for _, text in DOUBTS)),
    (
        Resolved(tuned=True),
        "all runs reached all target losses; the best learning rates lie inside their grids",
    ),
    (Resolved(tuned=False), "all runs reached all target losses; the hyperparameters are given"),
    (
        Resolved(tuned=False, jobs=("a", "b")),
        "all runs reached all target losses; the hyperparameters are from jobs a, b",
    ),
]


def classes(union: Any) -> set[type]:
    return set(get_args(get_args(union)[0]))


def test_the_examples_are_of_every_class() -> None:
    assert {type(doubt) for doubt in ALL} == classes(Doubt)
    assert {type(reason) for reason, _ in REASONS} == classes(Reason)
    assert len({doubt.code for doubt in ALL}) == len(ALL)


@pytest.mark.parametrize(("doubt", "text"), DOUBTS, ids=[doubt.code for doubt in ALL])
def test_every_doubt_has_its_words_and_comes_back_from_json_as_it_was(
    doubt: Any, text: str
) -> None:
    doubts: TypeAdapter[Any] = TypeAdapter(Doubt)
    restored = doubts.validate_json(doubts.dump_json(doubt))
    assert (restored, hash(restored)) == (doubt, hash(doubt))
    assert doubt_words(restored) == doubt_words(doubt) == text


@pytest.mark.parametrize(("reason", "text"), REASONS)
def test_every_reason_has_its_words_and_comes_back_from_json_as_it_was(
    reason: Any, text: str
) -> None:
    reasons: TypeAdapter[Any] = TypeAdapter(Reason)
    restored = reasons.validate_json(reasons.dump_json(reason))
    assert (restored, hash(restored)) == (reason, hash(reason))
    assert words(restored) == words(reason) == text


def test_a_reason_cannot_be_changed() -> None:
    reason = StudyStopped(by="cancelled")
    with pytest.raises(FrozenInstanceError):
        reason.by = "failed"  # type: ignore[misc]


def without_reasons(document: Any) -> Any:
    """A report as it was stored before reasons were kept."""
    if isinstance(document, dict):
        return {
            name: without_reasons(value) for name, value in document.items() if name != "because"
        }
    return [without_reasons(item) for item in document] if isinstance(document, list) else document


def test_reports_carry_the_reason_that_their_text_says_and_are_read_with_or_without_it() -> None:
    tuning = {"lr": {"low": 2.0**-12, "high": 2.0**-9, "points": 3, "extend": False}}
    for changes in ({"tuning": tuning}, {"target_losses": [1.0]}, {"target_losses": []}):
        question = study(**{"batch_tokens": [128, 512], **changes})
        report = KIND.of(question).report(trained(question, Trainer(curvature=0.01)))
        assert report.because is not None
        assert words(report.because) == report.reason
        reports, document = TypeAdapter(OptimizerComparison), report_document(report)
        assert reports.validate_json(json.dumps(document)) == report
        stored = reports.validate_python(without_reasons(document))
        assert (stored.because, stored.reason, stored.verdict) == (
            None,
            report.reason,
            report.verdict,
        )


def test_a_doubt_that_batches_share_is_listed_once() -> None:
    question = study(
        batch_tokens=[128, 512, 2048],
        given=[values | {"mark": "of another corpus"} for values in GIVEN["given"]],
    )
    report = KIND.of(question).report(
        [trial for stage in rounds(question, Trainer()) for trial in stage]
    )
    assert isinstance(report.because, Doubted)
    assert [doubt for doubt in report.because.doubts if isinstance(doubt, Reservation)] == [
        Reservation(mark="of another corpus")
    ]
    assert {batch.doubt for batch in report.batches} == {"of another corpus"}


def test_a_target_that_no_run_reached_says_why_as_a_value() -> None:
    question = study(batch_tokens=[128, 512], target_losses=[1.0])
    report = KIND.of(question).report(trained(question, Trainer()))
    assert report.highest_loss is not None
    assert report.lowest_loss is not None
    unread = NotReached(
        target_loss=1.0, highest_loss=report.highest_loss, lowest_loss=report.lowest_loss
    )
    (target,) = report.targets
    assert (target.reached, target.because) == (False, unread)
    assert isinstance(report.because, Doubted)
    assert unread in report.because.doubts
