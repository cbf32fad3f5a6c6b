"""Every reason has words, and what it says is told by its code alone."""

import pytest

from telescope.studies.telescoping.answer.wording import advice_words, words
from telescope.studies.telescoping.reasons import Advice, Code, Reason, Remark

MOVED = {"half_width": 0.3, "move": -0.5, "span": "one", "doublings": 1.0}
EXAMPLES = [
    Reason(Code.COORDINATES_FAIL, {"check": "updates grow", "cause": "the lr rule"}),
    Reason(Code.ALL_DIVERGED, {"lr": 0.01}),
    Reason(Code.ALL_DIVERGED_SO_FAR, {"stopped": "running", "lr": 0.01}),
    Reason(Code.STOPPED, {"by": "limit:max_trials"}),
    Reason(Code.STAGE_UNFINISHED, {"stage": "the base grid"}),
    Reason(Code.SO_FAR, {"half_width": None}),
    Reason(Code.AT_BORDER, {"lr": 0.01, "borders": "width 32, lr: low"}),
    Reason(Code.NO_NOISE_MODEL),
    Reason(Code.INTERVAL_TOO_WIDE, {"half_width": 0.7, "most": 0.5}, Remark(Advice.TRAIN_LONGER)),
    Reason(Code.DRIFTING, MOVED, Remark(Advice.CALIBRATE_WIDER)),
    Reason(Code.RESOLVED, MOVED),
    Reason(
        Code.CONTRADICTED,
        {
            "width": 512,
            "optimum": 0.02,
            "low": 0.01,
            "high": 0.04,
            "lr": 0.1,
            "stated_low": 0.08,
            "stated_high": 0.12,
            "regret": 1.5,
            "settled": 1.0,
        },
    ),
    Reason(Code.NOTHING_FINISHED),
    Reason(Code.OF_LADDERS, parts=("plain: resolved",)),
]


def test_each_code_has_words() -> None:
    assert {one.code for one in EXAMPLES} == set(Code)
    said = [words(one) for one in EXAMPLES]
    assert len(set(said)) == len(said)
    assert all(text and "None" not in text and "{" not in text for text in said)


@pytest.mark.parametrize("advice", Advice)
def test_each_advice_has_words(advice: Advice) -> None:
    assert advice_words(Remark(advice, {"blocks": 2, "max_base_runs": 90, "width": 64, "runs": "width 32, lr 0.1"}))


def test_parts_follow_what_a_reason_says_itself() -> None:
    whole = words(Reason(Code.NO_NOISE_MODEL, parts=("width 32: too few", "width 64: too few")))
    assert whole.startswith("no noise model")
    assert whole.endswith("; width 32: too few; width 64: too few")


def test_one_block_is_not_several() -> None:
    assert "1 more block of" in advice_words(Remark(Advice.MORE_BLOCKS, {"blocks": 1, "max_base_runs": 9}))
    assert "2 more blocks of" in advice_words(Remark(Advice.MORE_BLOCKS, {"blocks": 2, "max_base_runs": 9}))
