"""Every reason has words, and what it says is told by its code alone."""

from dataclasses import replace
from typing import Any

from telescope.studies.telescoping.answer.budget import climbed
from telescope.studies.telescoping.answer.wording import advice_words, words
from telescope.studies.telescoping.reasons import (
    Advice,
    Border,
    ClimbEnd,
    Code,
    Corners,
    Edge,
    Reason,
    ReasonPart,
    Remark,
    SeedBlocks,
    Side,
)

MOVED: dict[str, Any] = {"move": -0.5, "span": "one", "doublings": 1.0}
LOW, OUTSIDE = (
    (Edge("lr", Side.LOW),),
    (Edge("lr", Side.HIGH), Edge("weight_decay", Side.OUTSIDE_LAST_BLOCK)),
)
CORNERS = (Corners("lr", 0.01, 0.02), Corners("weight_decay", 0.1, 0.4))
EXAMPLES = [
    Reason.of(Code.COORDINATES_FAIL, check="updates grow", cause="the lr rule"),
    Reason.of(Code.ALL_DIVERGED, lr=0.01),
    Reason.of(Code.ALL_DIVERGED_SO_FAR, by=None, detail=None, lr=0.01),
    Reason.of(Code.STOPPED, by="limit:max_trials", detail=None),
    Reason.of(Code.STAGE_UNFINISHED, stage="grid"),
    Reason.of(Code.SO_FAR, half_width=None),
    Reason.of(Code.AT_BORDER, lr=0.01, borders=(Border(32, LOW), Border(64, OUTSIDE))),
    Reason.of(Code.NO_NOISE_MODEL),
    Reason.of(
        Code.INTERVAL_TOO_WIDE, half_width=0.7, most=0.5, advice=Remark.of(Advice.TRAIN_LONGER)
    ),
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
    Reason.of(
        Code.TOO_FEW_RATES,
        finite=2,
        fitted=True,
        advice=Remark.of(Advice.ADD_RATES, rates=(0.01, 0.02)),
    ),
    Reason.of(Code.AT_END_OF_RATES, side="low", advice=Remark.of(Advice.ADD_RATES, rates=(0.01,))),
    Reason.of(Code.BASE_DIVERGED),
    Reason.of(Code.KNOWN_LOOSELY, half_width=0.7, advice=Remark.of(Advice.ADD_SEEDS)),
    Reason.of(Code.KNOWN, half_width=0.25),
    Reason.of(
        Code.OF_LADDERS, parts=(ReasonPart(Reason.of(Code.KNOWN, half_width=0.5), variant="plain"),)
    ),
    Reason.of(Code.IN_WORDS, text="plain: resolved"),
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
    Remark.of(Advice.NEW_SEEDS, runs=(SeedBlocks(2, 32, CORNERS), SeedBlocks(1, 64, CORNERS[:1]))),
    Remark.of(Advice.WIDER_OR_LONGER),
    Remark.of(Advice.ADD_RATES, rates=(0.01, 0.02)),
    Remark.of(Advice.ADD_SEEDS),
]


def test_each_code_has_words() -> None:
    assert {reason.code for reason in EXAMPLES} == set(Code)
    texts = [words(reason) for reason in EXAMPLES]
    assert len(set(texts)) == len(texts)
    assert all(text and "None" not in text and "{" not in text for text in texts)


def test_each_advice_has_words() -> None:
    assert {remark.advice for remark in ADVICE} == set(Advice)
    texts = [advice_words(remark) for remark in ADVICE]
    assert len(set(texts)) == len(texts)
    assert all(text and "None" not in text and "{" not in text for text in texts)


def test_parts_follow_what_a_reason_says_itself() -> None:
    reason = Reason.of(Code.KNOWN, half_width=0.25)
    whole = words(
        Reason.of(
            Code.NO_NOISE_MODEL,
            parts=(
                ReasonPart(reason, width=32),
                ReasonPart(reason, variant="plain"),
                ReasonPart(reason),
            ),
        )
    )
    assert whole.startswith("no noise model")
    text = "the optimum is known to +-0.25 octave"
    assert whole.endswith(f"; width 32: {text}; plain: {text}; {text}")


def test_borders_are_said_after_the_width_that_they_are_of() -> None:
    reason = Reason.of(Code.AT_BORDER, lr=0.01, borders=(Border(32, LOW), Border(64, OUTSIDE)))
    assert words(reason).endswith(
        "about 0.01 (width 32, lr: low; width 64, lr: high, weight_decay: outside its last block)"
    )
    assert words(replace(reason, borders=())).endswith("about 0.01")


def test_new_seeds_come_with_the_corners_of_their_blocks() -> None:
    remark = Remark.of(
        Advice.NEW_SEEDS, runs=(SeedBlocks(2, 32, CORNERS), SeedBlocks(1, 64, CORNERS[:1]))
    )
    text = (
        "2 at width 32, with lr about 0.01 and 0.02, weight decay about 0.1 and 0.4; "
        "1 at width 64, with lr about 0.01 and 0.02"
    )
    assert advice_words(remark) == f"add new seeds: {text}"


CLIMBS: dict[ClimbEnd, dict[str, Any]] = {
    ClimbEnd.RUNNING: {},
    ClimbEnd.LIMIT: {"limit": "limit:max_trials"},
    ClimbEnd.CALIBRATION_WIDTH: {},
    ClimbEnd.TOLERANCE: {"calibration_width": 256, "octaves": 0.1, "low": -0.2, "high": 0.4},
    ClimbEnd.BUDGET: {
        "calibration_width": 256,
        "next_width": 128,
        "next_cost": 16.2,
        "left": 3.0,
        "max_base_runs": 90.0,
    },
    ClimbEnd.NO_FIT: {"calibration_width": 256},
    ClimbEnd.WALL: {"calibration_width": 256},
    ClimbEnd.RULE: {"calibration_width": 256},
}


def test_each_end_of_a_climb_has_words_and_its_numbers() -> None:
    assert set(CLIMBS) == set(ClimbEnd)
    texts = [climbed(64, why, **values).words for why, values in CLIMBS.items()]
    assert len(set(texts)) == len(texts)
    assert all("width 64" in text and "None" not in text for text in texts)
    costs = "a block at width 128 costs 16 base runs, and 3 of 90 are left"
    assert (
        climbed(64, ClimbEnd.BUDGET, **CLIMBS[ClimbEnd.BUDGET]).words
        == f"stopped at width 64, below calibration_width 256: {costs}"
    )
    assert (
        dict(climbed(64, ClimbEnd.BUDGET, **CLIMBS[ClimbEnd.BUDGET]).values)
        == CLIMBS[ClimbEnd.BUDGET]
    )


def test_a_job_that_still_runs_is_to_be_waited_for_although_every_run_diverged() -> None:
    running, stopped = (
        words(Reason.of(Code.ALL_DIVERGED_SO_FAR, by=by, detail=None, lr=0.01))
        for by in (None, "cancelled")
    )
    assert running == "running; every run so far diverged; wait"
    assert stopped == "cancelled; every run so far diverged; add lr below 0.01"


def test_one_block_is_not_several() -> None:
    assert "1 more block of" in advice_words(
        Remark.of(Advice.MORE_BLOCKS, blocks=1, max_base_runs=9)
    )
    assert "2 more blocks of" in advice_words(
        Remark.of(Advice.MORE_BLOCKS, blocks=2, max_base_runs=9)
    )
