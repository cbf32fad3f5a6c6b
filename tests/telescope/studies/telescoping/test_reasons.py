"""Reasons are values: frozen, hashable, held to what their code comes with, and the same again
after a way through JSON.
"""

import gzip
import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from telescope.studies.registry import report_document
from telescope.studies.telescoping.answer.wording import advice_words, words
from telescope.studies.telescoping.reasons import CARRIES, Advice, ClimbEnd, Code, Reason, Remark
from telescope.studies.telescoping.report import Report
from tests.telescope.studies.telescoping.answer.test_wording import ADVICE, EXAMPLES

REASON = TypeAdapter(Reason)
REPORT = TypeAdapter(Report)
STORED = Path(__file__).parents[3] / "files" / "before_values" / "reports.json.gz"


def stored() -> list[dict[str, Any]]:
    parsed: list[dict[str, Any]] = json.loads(gzip.decompress(STORED.read_bytes()))
    return parsed


@pytest.mark.parametrize("reason", EXAMPLES, ids=lambda example: example.code)
def test_a_reason_comes_back_from_json_as_it_was(reason: Reason) -> None:
    parsed = REASON.validate_json(REASON.dump_json(reason))
    assert parsed == reason
    assert hash(parsed) == hash(reason)
    assert words(parsed) == words(reason)


@pytest.mark.parametrize("remark", ADVICE, ids=lambda example: example.advice)
def test_advice_comes_back_from_json_as_it_was(remark: Remark) -> None:
    reason = Reason.of(Code.NO_NOISE_MODEL, advice=remark)
    parsed = REASON.validate_json(REASON.dump_json(reason))
    assert parsed == reason
    assert advice_words(parsed.advice) == advice_words(remark)


def test_counts_stay_counts() -> None:
    reason = Reason.of(
        Code.NO_NOISE_MODEL, advice=Remark.of(Advice.MORE_BLOCKS, blocks=6, max_base_runs=90)
    )
    document = json.loads(REASON.dump_json(reason))
    assert document["advice"]["values"] == {"blocks": 6, "max_base_runs": 90}
    assert "6 more blocks" in advice_words(REASON.validate_python(document).advice)


def test_a_reason_cannot_be_changed() -> None:
    reason = Reason.of(Code.STOPPED, by="limit:max_trials", detail=None)
    with pytest.raises(FrozenInstanceError):
        reason.code = Code.RESOLVED  # type: ignore[misc]
    assert isinstance(reason.values, tuple)
    assert (
        len({reason, replace(reason), Reason.of(Code.STOPPED, by="limit:max_flops", detail=None)})
        == 2
    )


@pytest.mark.parametrize("values", [{}, {"lr": 0.1, "width": 32}, {"width": 32}])
def test_a_reason_with_other_values_than_its_code_comes_with_is_not_built(
    values: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match=r"all_diverged needs the values \['lr'\]"):
        Reason.of(Code.ALL_DIVERGED, **values)
    with pytest.raises(
        ValueError, match=r"more_blocks needs the values \['blocks', 'max_base_runs'\]"
    ):
        Remark.of(Advice.MORE_BLOCKS, **values)


def test_what_comes_with_a_code_stands_under_that_code_alone() -> None:
    assert len({*Code, *Advice, *ClimbEnd}) == len(Code) + len(Advice) + len(ClimbEnd), (
        "they share the keys of a table"
    )
    assert set(CARRIES) <= {*Code, *Advice, *ClimbEnd}


@pytest.mark.parametrize("document", stored(), ids=lambda example: example["because"]["code"])
def test_stored_reports_are_read(document: dict[str, Any]) -> None:
    parsed = REPORT.validate_python(document)
    assert (parsed.verdict, parsed.reason) == (document["verdict"], document["reason"])
    assert parsed.because is not None
    assert parsed.because.code == document["because"]["code"]
    assert [words(part.reason) for part in parsed.because.parts] == document["because"]["parts"]
    assert (
        report_document(parsed).items()
        >= {key: document[key] for key in ("verdict", "reason", "best", "final")}.items()
    )


def test_numbers_that_were_stored_as_floats_are_read() -> None:
    """Counts, and `settled`, were once written as floats."""
    values = {
        "width": 512,
        "optimum": 0.02,
        "low": 0.01,
        "high": 0.04,
        "lr": 0.1,
        "stated_low": 0.08,
        "stated_high": 0.12,
        "regret": 1.5,
    }
    for settled, text in (
        (1.0, "the measured value is reported"),
        (0.0, "still reported"),
        (True, "the measured value is reported"),
    ):
        parsed = REASON.validate_python(
            {
                "code": "contradicted",
                "values": values | {"settled": settled},
                "advice": None,
                "parts": [],
            }
        )
        assert text in words(parsed)
    advice = {"advice": "more_blocks", "values": {"blocks": 6.0, "max_base_runs": 90.0}}
    assert (
        REASON.validate_python({"code": "drifting", "values": {}, "advice": advice}).advice
        is not None
    )
