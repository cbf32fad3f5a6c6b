"""Why a verdict is what it is, as values: a code, the numbers and names that belong to it, and advice.

Whatever decides by a reason reads its code. The words are made in `answer/wording.py`, where a report is put together.
"""

from dataclasses import dataclass, field
from enum import StrEnum

Value = float | str | None


class Limit(StrEnum):
    """A limit of the job that ended a ladder."""

    MAX_TRIALS = "limit:max_trials"
    MAX_FLOPS = "limit:max_flops"


class Code(StrEnum):
    """Why a verdict is what it is."""

    COORDINATES_FAIL = "coordinates_fail"  # check, cause
    ALL_DIVERGED = "all_diverged"  # lr
    ALL_DIVERGED_SO_FAR = "all_diverged_so_far"  # stopped, lr
    STOPPED = "stopped"  # by
    STAGE_UNFINISHED = "stage_unfinished"  # stage
    SO_FAR = "so_far"  # half_width
    AT_BORDER = "at_border"  # lr, borders
    NO_NOISE_MODEL = "no_noise_model"
    INTERVAL_TOO_WIDE = "interval_too_wide"  # half_width, most; advice
    DRIFTING = "drifting"  # move, span, doublings; advice
    RESOLVED = "resolved"  # half_width, move, span, doublings
    CONTRADICTED = "contradicted"  # width, optimum, low, high, lr, stated_low, stated_high, regret, settled
    NOTHING_FINISHED = "nothing_finished"
    OF_LADDERS = "of_ladders"  # parts alone: the reasons of several ladders or variants


class Advice(StrEnum):
    """What would make an answer better."""

    RAISE_CALIBRATION_WIDTH = "raise_calibration_width"
    GRID_EXHAUSTED = "grid_exhausted"
    CALIBRATE_WIDER = "calibrate_wider"
    TRAIN_LONGER = "train_longer"
    MORE_BLOCKS = "more_blocks"  # blocks, max_base_runs
    BLOCK_AT_WIDTH = "block_at_width"  # width, max_base_runs
    SECOND_WIDTH = "second_width"  # width
    SWEEP_WIDTH = "sweep_width"  # width
    NEW_SEEDS = "new_seeds"  # runs
    WIDER_OR_LONGER = "wider_or_longer"


@dataclass(frozen=True)
class Remark:
    """Advice with its numbers."""

    advice: Advice
    values: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Reason:
    """Why a verdict is what it is."""

    code: Code
    values: dict[str, Value] = field(default_factory=dict)
    advice: Remark | None = None
    parts: tuple[str, ...] = ()  # what is said besides, in words: of single ladders, variants or widths
