"""The comparison of two commits fails exactly if values that must be equal differ."""

from typing import Any

import pytest

from benchmarks.checkouts import Observation
from benchmarks.comparison import Difference, compare
from benchmarks.unchanged import difference_lines, table

BECAUSE = {
    "code": "drifting",
    "values": {"move": 0.25, "doublings": 1.0},
    "advice": {"advice": "more_blocks", "values": {"blocks": 6.0, "max_base_runs": 90.0}},
    "parts": ["no level is finished yet"],
}


def report(because: Any, **changes: Any) -> dict[str, Any]:
    return {
        "verdict": "unresolved",
        "reason": "drifting: about 6 more blocks",
        "loss": 2.5,
        "because": because,
    } | changes


def compared(before: dict[str, Any], after: dict[str, Any]) -> Difference:
    return compare(
        "quickstart",
        *(Observation({"report": document, "trials": {}}, 1.0) for document in (before, after)),
    )


def unequal(difference: Difference) -> list[tuple[str, str, Any, Any]]:
    return [
        (kind, before.path, before.value, after and after.value)
        for kind, before, after in difference.unequal
    ]


def test_equal_reports_differ_in_nothing_and_their_reasons_are_counted() -> None:
    difference = compared(report(BECAUSE), report(BECAUSE))
    assert not difference.failed
    assert (difference.compared["codes"], difference.compared["numbers"]) == (1 + 2, 1 + 4)
    assert not difference.added + difference.removed + difference.retyped


def test_numbers_and_codes_of_a_reason_that_both_sides_give_must_be_equal() -> None:
    difference = compared(
        report(BECAUSE),
        report(BECAUSE | {"code": "resolved", "values": {"move": 0.5, "doublings": 1.0}}),
    )
    assert unequal(difference) == [
        ("codes", "report.because.code", "drifting", "resolved"),
        ("numbers", "report.because.values.move", 0.25, 0.5),
    ]


def test_a_float_in_a_reason_that_becomes_an_integer_is_listed_and_no_failure() -> None:
    integers = BECAUSE | {
        "advice": {"advice": "more_blocks", "values": {"blocks": 6, "max_base_runs": 90}}
    }
    difference = compared(report(BECAUSE), report(integers))
    assert not difference.failed
    assert list(difference_lines([difference], 20)) == [
        "number of another type: quickstart report.because.advice.values.blocks 6.0 -> 6 (1 times)",
        (
            "number of another type: quickstart report.because.advice.values.max_base_runs "
            "90.0 -> 90 (1 times)"
        ),
    ]
    assert unequal(compared(report(BECAUSE, loss=2.0), report(BECAUSE, loss=2))) == [
        ("numbers", "report.loss", 2.0, 2)
    ], "outside reasons a change of type is a failure"


def test_a_value_may_move_within_its_reason_but_not_get_lost() -> None:
    moved = {name: value for name, value in BECAUSE.items() if name != "values"} | {
        "drift": {"move": 0.25, "doublings": 1}
    }
    difference = compared(report(BECAUSE), report(moved))
    assert not difference.failed
    assert difference.removed == {
        "report.because.values.move": 1,
        "report.because.values.doublings": 1,
    }
    assert difference.added == {"report.because.drift.move": 1, "report.because.drift.doublings": 1}
    lost = compared(report(BECAUSE), report(moved | {"drift": {"move": 0.25}}))
    assert unequal(lost) == [("numbers", "report.because.values.doublings", 1.0, "missing")]


def test_a_value_counts_for_its_own_reason_alone() -> None:
    ladders = [
        {"because": {"code": "drifting", "move": 0.25}},
        {"because": {"code": "drifting", "shift": 0.5}},
    ]
    changed = [
        {"because": {"code": "drifting"}},
        {"because": {"code": "drifting", "shift": 0.5, "move": 0.25}},
    ]
    difference = compared({"ladders": ladders}, {"ladders": changed})
    assert unequal(difference) == [("numbers", "report.ladders[0].because.move", 0.25, "missing")]


def test_a_reason_that_is_no_longer_given_is_a_loss() -> None:
    difference = compared(report({"code": "no_noise_model", "values": {}}), report(None))
    assert unequal(difference) == [("codes", "report.because.code", "no_noise_model", "missing")]


@pytest.mark.parametrize("before", [None, "absent"])
def test_a_reason_that_one_side_alone_gives_is_listed_as_keys(before: str | None) -> None:
    """Reports of older commits, such as df29b18, do not give reasons as structured values."""
    earlier = report(None)
    if before == "absent":
        del earlier["because"]
    difference = compared(earlier, report(BECAUSE))
    assert not difference.failed
    assert difference.added["report.because.advice.values.blocks"] == 1
    assert "key added: quickstart report.because.code (1 values)" in list(
        difference_lines([difference], 20)
    )


def test_words_may_differ_but_not_in_their_numbers_alone() -> None:
    difference = compared(report(BECAUSE), report(BECAUSE, reason="drifting: 6 blocks more"))
    assert not difference.failed
    assert list(difference.words) == [
        ("report.reason", "drifting: about 6 more blocks", "drifting: 6 blocks more")
    ]
    difference = compared(
        report(BECAUSE), report(BECAUSE, reason="drifting: about 6.0 more blocks")
    )
    assert [kind for kind, *_ in unequal(difference)] == ["numbers"]
    assert table([difference])[1].split()[:2] == ["quickstart", "0"]
