"""Reasons of a coordinate check are values: hashable, the same again after a way through JSON, each
with words of its own.
"""

import json
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from telescope.studies.coordinates.causes import Exponent, LrRule
from telescope.studies.coordinates.check import CoordinateReport
from telescope.studies.coordinates.reasons import (
    AcrossGate,
    BeyondGate,
    CheckReason,
    DivergedAtWidths,
    Finding,
    NothingMoved,
    Reduced,
    SkippedByJob,
    TooCostly,
    TooFewWidths,
    WithinGate,
)
from telescope.studies.coordinates.slopes import LayerSlope
from telescope.studies.coordinates.wording import cause_words, words

VALUE = LayerSlope("blocks.0.value", "own", 0.5, 0.4, 0.6, "fail", (0.0, 0.5))
HEAD = LayerSlope("logits", "moved", -0.6, -0.7, -0.5, "fail", (0.0, -0.6))
KEY = LayerSlope("blocks.1.key", "moved", 0.1, -0.05, 0.25, "pass", (0.0, 0.1))
NOISY = LayerSlope("blocks.1.key", "moved", 0.3, 0.15, 0.45, "unresolved", (0.0, 0.3))
FINDINGS: list[tuple[Any, str]] = [
    (SkippedByJob(), "the job sets `coordinates: skip`"),
    (TooCostly(), "the check would cost more than its budget"),
    (
        TooFewWidths(widths=(16, 32), needed=4),
        "there are only 2 widths up to the target (16, 32), and the check needs 4; "
        "for more, lower base_width, and lower head_dim if narrower models need it",
    ),
    (
        DivergedAtWidths(widths=(64, 128), steps=8, lr=0.03125),
        "runs diverged within 8 steps at width 64, 128 with lr 0.0312; lower search.lr",
    ),
    (NothingMoved(), "there is no layer whose change was measured in every run"),
    (
        BeyondGate(worst=(VALUE, HEAD), failed=5, gate=0.25),
        "the effect of blocks.0.value's own updates scales as width^+0.50 "
        "(+0.40 to +0.60); the change of the logits scales as width^-0.60 (-0.70 to -0.50); "
        "in total, 5 slopes fail; the gate is ±0.25",
    ),
    (
        BeyondGate(worst=(VALUE,), failed=1, gate=0.25),
        "the effect of blocks.0.value's own updates scales as width^+0.50 "
        "(+0.40 to +0.60); the gate is ±0.25",
    ),
    (
        WithinGate(narrowest=16, widest=128, steepest=KEY, layers=9, gate=0.25),
        "over widths 16 to 128, the change of the output of blocks.1.key scales as width^+0.10 "
        "(-0.05 to +0.25), the steepest of 9 slopes; the gate is ±0.25",
    ),
    (
        AcrossGate(seeds=5, steepest=NOISY, gate=0.25),
        "with 5 seeds, the change of the output of blocks.1.key scales as width^+0.30 "
        "(+0.15 to +0.45); this is beyond the gate of ±0.25, but not clearly",
    ),
]
CAUSES = (
    Exponent(LrRule.EMBEDDING, has=-1.0, needed=0.0),
    Exponent(LrRule.READOUT, has=0.0, needed=-1.0),
    Exponent(LrRule.MUON, has=-0.77, needed=-0.5, update_scale="rms_match"),
    Exponent(LrRule.ADAMW, has=0.0, needed=-1.0),
)


def test_the_examples_are_of_every_finding() -> None:
    assert {type(finding) for finding, _ in FINDINGS} == set(get_args(get_args(Finding)[0]))


@pytest.mark.parametrize("reduced", [None, Reduced(seeds=2, steps=4)], ids=["whole", "reduced"])
@pytest.mark.parametrize(
    ("finding", "text"), FINDINGS, ids=[finding.code for finding, _ in FINDINGS]
)
def test_every_reason_has_its_words_and_comes_back_from_json_as_it_was(
    finding: Any, text: str, reduced: Reduced | None
) -> None:
    reason, reasons = CheckReason(finding, reduced), TypeAdapter(CheckReason)
    restored = reasons.validate_json(reasons.dump_json(reason))
    assert (restored, hash(restored)) == (reason, hash(reason))
    note = (
        " (the check was reduced to 2 seeds and 4 steps, to stay within its budget)"
        if reduced
        else ""
    )
    assert words(restored) == words(reason) == text + note


def test_rules_that_do_not_fit_have_their_words_and_come_back_from_json_as_they_were() -> None:
    causes: TypeAdapter[Any] = TypeAdapter(tuple[Exponent, ...])
    assert causes.validate_json(causes.dump_json(CAUSES)) == CAUSES
    assert cause_words(CAUSES) == (
        "the embedding's lr x multiplier must be constant, but is ~ 1/m; "
        "the readout's lr x multiplier must be ~ 1/m, but is constant; "
        "with update scale rms_match, Muon's lr must be ~ m^-1/2, but is ~ m^-0.77; "
        "AdamW's lr for hidden matrices must be ~ 1/m, but is constant"
    )
    assert cause_words(()).startswith(
        "all scaling rules fit; look for a wrong or missing multiplier in the model"
    )


def test_reports_are_read_with_and_without_their_reason_as_a_value() -> None:
    because = CheckReason(BeyondGate(worst=(VALUE,), failed=1, gate=0.25))
    report = CoordinateReport(
        verdict="fail",
        reason=words(because),
        layers=(VALUE,),
        cause=cause_words(CAUSES),
        widths=(16, 32),
        seeds=3,
        steps=8,
        lr=0.1,
        because=because,
        causes=CAUSES,
    )
    reports = TypeAdapter(CoordinateReport)
    document = json.loads(reports.dump_json(report))
    assert reports.validate_python(document) == report
    stored = reports.validate_python(
        {name: value for name, value in document.items() if name not in ("because", "causes")}
    )
    assert (stored.because, stored.causes) == (None, ())
    assert (stored.reason, stored.cause) == (report.reason, report.cause)
