"""Every reason has words, and what it says is told by its code alone."""

from telescope.studies.telescoping.answer.wording import advice_words, words
from telescope.studies.telescoping.reasons import Advice, Code, Reason, Remark

MOVED = {"move": -0.5, "span": "one", "doublings": 1.0}
EXAMPLES = [
    Reason.of(Code.COORDINATES_FAIL, check="updates grow", cause="the lr rule"),
    Reason.of(Code.ALL_DIVERGED, lr=0.01),
    Reason.of(Code.ALL_DIVERGED_SO_FAR, by=None, detail=None, lr=0.01),
    Reason.of(Code.STOPPED, by="limit:max_trials", detail=None),
    Reason.of(Code.STAGE_UNFINISHED, stage="the base grid"),
    Reason.of(Code.SO_FAR, half_width=None),
    Reason.of(Code.AT_BORDER, lr=0.01, borders="width 32, lr: low"),
    Reason.of(Code.NO_NOISE_MODEL),
    Reason.of(Code.INTERVAL_TOO_WIDE, half_width=0.7, most=0.5, advice=Remark.of(Advice.TRAIN_LONGER)),
    Reason.of(Code.DRIFTING, **MOVED, advice=Remark.of(Advice.CALIBRATE_WIDER)),
    Reason.of(Code.RESOLVED, half_width=0.3, **MOVED),
    Reason.of(
        Code.CONTRADICTED,
        width=512,
        optimum=0.02,
        low=0.01,
        high=0.04,
        lr=0.1,
        stated_low=0.08,
        stated_high=0.12,
        regret=1.5,
        settled=True,
    ),
    Reason.of(Code.NOTHING_FINISHED),
    Reason.of(Code.OF_LADDERS, parts=("plain: resolved",)),
]
ADVICE = [
    Remark.of(Advice.RAISE_CALIBRATION_WIDTH),
    Remark.of(Advice.GRID_EXHAUSTED),
    Remark.of(Advice.CALIBRATE_WIDER),
    Remark.of(Advice.TRAIN_LONGER),
    Remark.of(Advice.MORE_BLOCKS, blocks=2, max_base_runs=90),
    Remark.of(Advice.BLOCK_AT_WIDTH, width=64, max_base_runs=90),
    Remark.of(Advice.SECOND_WIDTH, width=64),
    Remark.of(Advice.SWEEP_WIDTH, width=64),
    Remark.of(Advice.NEW_SEEDS, runs="width 32, lr 0.1"),
    Remark.of(Advice.WIDER_OR_LONGER),
]


def test_each_code_has_words() -> None:
    assert {one.code for one in EXAMPLES} == set(Code)
    said = [words(one) for one in EXAMPLES]
    assert len(set(said)) == len(said)
    assert all(text and "None" not in text and "{" not in text for text in said)


def test_each_advice_has_words() -> None:
    assert {one.advice for one in ADVICE} == set(Advice)
    said = [advice_words(one) for one in ADVICE]
    assert len(set(said)) == len(said)
    assert all(text and "None" not in text and "{" not in text for text in said)


def test_parts_follow_what_a_reason_says_itself() -> None:
    whole = words(Reason.of(Code.NO_NOISE_MODEL, parts=("width 32: too few", "width 64: too few")))
    assert whole.startswith("no noise model")
    assert whole.endswith("; width 32: too few; width 64: too few")


def test_one_block_is_not_several() -> None:
    assert "1 more block of" in advice_words(Remark.of(Advice.MORE_BLOCKS, blocks=1, max_base_runs=9))
    assert "2 more blocks of" in advice_words(Remark.of(Advice.MORE_BLOCKS, blocks=2, max_base_runs=9))
