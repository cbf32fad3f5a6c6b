"""Reasons for verdicts, as data: a reason is a code with named values, and may include advice.

When a report is built, `answer/wording.py` turns the reason into text. `Reason.of` checks the names
of the values against `CARRIES`. When a stored report is read, they are not checked.

A *ladder* is the search of one optimizer over growing widths, its *levels*. Each swept
hyperparameter is an *axis*. A *block* is a set of runs with one seed around an expected optimum.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, PlainSerializer

from telescope.studies.telescoping.axes import AxisName

Value = int | float | str | bool | None


def as_pairs(values: Any) -> Any:
    """The items of a mapping as pairs, sorted by name. Anything but a mapping stays unchanged."""
    return tuple(sorted(values.items())) if isinstance(values, Mapping) else values


Values = Annotated[
    tuple[tuple[str, Value], ...],
    BeforeValidator(as_pairs),
    PlainSerializer(dict, return_type=dict[str, Value]),
]
"""Values by name. In Python they are sorted pairs, and in JSON they are an object."""


class Code(StrEnum):
    """The code of the reason for a verdict on a ladder, on several ladders or on a single width."""

    COORDINATES_FAIL = "coordinates_fail"
    ALL_DIVERGED = "all_diverged"
    ALL_DIVERGED_SO_FAR = "all_diverged_so_far"
    STOPPED = "stopped"
    STAGE_UNFINISHED = "stage_unfinished"
    SO_FAR = "so_far"
    AT_BORDER = "at_border"
    NO_NOISE_MODEL = "no_noise_model"
    INTERVAL_TOO_WIDE = "interval_too_wide"
    DRIFTING = "drifting"
    RESOLVED = "resolved"
    CONTRADICTED = "contradicted"
    NOTHING_FINISHED = "nothing_finished"
    TOO_FEW_RATES = "too_few_rates"
    AT_END_OF_RATES = "at_end_of_rates"
    BASE_DIVERGED = "base_diverged"
    KNOWN_LOOSELY = "known_loosely"
    KNOWN = "known"
    OF_LADDERS = "of_ladders"  # the reasons of several ladders or variants, as parts
    IN_WORDS = "in_words"  # a reason that an older report stored as text


class Advice(StrEnum):
    """The code of a piece of advice on how to improve an answer."""

    RAISE_CALIBRATION_WIDTH = "raise_calibration_width"
    GRID_EXHAUSTED = "grid_exhausted"
    CALIBRATE_WIDER = "calibrate_wider"
    TRAIN_LONGER = "train_longer"
    MORE_BLOCKS = "more_blocks"
    BLOCK_AT_WIDTH = "block_at_width"
    SECOND_WIDTH = "second_width"
    SWEEP_WIDTH = "sweep_width"
    NEW_SEEDS = "new_seeds"
    WIDER_OR_LONGER = "wider_or_longer"
    ADD_RATES = "add_rates"
    ADD_SEEDS = "add_seeds"


class ClimbEnd(StrEnum):
    """The reason why a ladder stopped at the width it reached."""

    RUNNING = "running"  # the ladder has not stopped
    LIMIT = "limit"  # the job's limit on trials or FLOPs
    CALIBRATION_WIDTH = "calibration_width"  # the ladder has no wider level
    TOLERANCE = "tolerance"  # the intervals at the target are narrow enough
    BUDGET = "budget"  # the budget allows no block at the next width
    NO_FIT = "no_fit"  # no statistical model of the losses could be fitted
    WALL = "wall"  # lr's optimum lies at or beyond a limit of the values allowed
    RULE = "rule"  # an option of `schedule: paper`


CARRIES: Mapping[Code | Advice | ClimbEnd, frozenset[str]] = {
    Code.COORDINATES_FAIL: frozenset({"check", "cause"}),
    Code.ALL_DIVERGED: frozenset({"lr"}),
    Code.ALL_DIVERGED_SO_FAR: frozenset({"by", "detail", "lr"}),
    Code.STOPPED: frozenset({"by", "detail"}),
    Code.STAGE_UNFINISHED: frozenset({"stage"}),
    Code.SO_FAR: frozenset({"half_width"}),
    Code.AT_BORDER: frozenset({"lr"}),
    Code.INTERVAL_TOO_WIDE: frozenset({"half_width", "most"}),
    Code.DRIFTING: frozenset({"move", "span", "doublings"}),
    Code.RESOLVED: frozenset({"half_width", "move", "span", "doublings"}),
    Code.CONTRADICTED: frozenset(
        {"width", "optimum", "low", "high", "lr", "stated_low", "stated_high", "regret", "settled"}
    ),
    Code.TOO_FEW_RATES: frozenset({"finite", "fitted"}),
    Code.AT_END_OF_RATES: frozenset({"side"}),
    Code.KNOWN_LOOSELY: frozenset({"half_width"}),
    Code.KNOWN: frozenset({"half_width"}),
    Code.IN_WORDS: frozenset({"text"}),
    Advice.MORE_BLOCKS: frozenset({"blocks", "max_base_runs"}),
    Advice.BLOCK_AT_WIDTH: frozenset({"width", "max_base_runs"}),
    Advice.SECOND_WIDTH: frozenset({"width"}),
    Advice.SWEEP_WIDTH: frozenset({"width"}),
    ClimbEnd.LIMIT: frozenset({"limit"}),
    ClimbEnd.TOLERANCE: frozenset({"calibration_width", "octaves", "low", "high"}),
    ClimbEnd.BUDGET: frozenset(
        {"calibration_width", "next_width", "next_cost", "left", "max_base_runs"}
    ),
    ClimbEnd.NO_FIT: frozenset({"calibration_width"}),
    ClimbEnd.WALL: frozenset({"calibration_width"}),
    ClimbEnd.RULE: frozenset({"calibration_width"}),
}
"""The names of the values of each code. A code that is not listed has no values."""


def code_values(code: Code | Advice | ClimbEnd, values: Mapping[str, Value]) -> Values:
    """The values of a code, sorted by name. Raises ValueError if the names differ from those in
    `CARRIES`.
    """
    names = CARRIES.get(code, frozenset())
    if values.keys() != names:
        raise ValueError(f"{code} needs the values {sorted(names)}, not {sorted(values)}")
    return tuple(sorted(values.items()))


class Side(StrEnum):
    """Where an optimum lies on an axis: at the low end of the values tried, at their high end, or
    outside the last block.
    """

    LOW = "low"
    HIGH = "high"
    OUTSIDE_LAST_BLOCK = "outside_last_block"


@dataclass(frozen=True)
class Edge:
    """The finding that an optimum lies on this side of the values of an axis."""

    axis: AxisName
    side: Side


@dataclass(frozen=True)
class Border:
    """A width, and the edges at which its optimum lies."""

    width: int
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class Corners:
    """The two values that a hyperparameter takes in a block."""

    axis: AxisName
    low: float
    high: float


@dataclass(frozen=True)
class SeedBlocks:
    """Blocks to add at a width, each with its own seed."""

    blocks: int
    width: int
    corners: tuple[Corners, ...]


@dataclass(frozen=True)
class Remark:
    """A piece of advice: a code, its values, and the runs to add."""

    advice: Advice
    values: Values = ()
    rates: tuple[float, ...] = ()  # learning rates to add
    runs: tuple[SeedBlocks, ...] = ()  # runs to add, with new seeds

    @classmethod
    def of(
        cls,
        advice: Advice,
        *,
        rates: tuple[float, ...] = (),
        runs: tuple[SeedBlocks, ...] = (),
        **values: Value,
    ) -> Self:
        """The advice with these values, whose names are checked against `CARRIES`."""
        return cls(advice, code_values(advice, values), rates, runs)


def as_part(part: Any) -> Any:
    """A part of a stored reason, in the current format. A text, as in older reports, becomes a
    mapping with the code IN_WORDS. Other parts stay unchanged.
    """
    return (
        {"reason": {"code": Code.IN_WORDS, "values": {"text": part}}}
        if isinstance(part, str)
        else part
    )


@dataclass(frozen=True)
class Reason:
    """The reason for a verdict."""

    code: Code
    values: Values = ()
    advice: Remark | None = None
    borders: tuple[Border, ...] = ()  # the widths whose optimum lies at an edge
    # the reasons for the verdicts on single ladders, variants or widths
    parts: tuple[Annotated["ReasonPart", BeforeValidator(as_part)], ...] = ()

    @classmethod
    def of(
        cls,
        code: Code,
        *,
        advice: Remark | None = None,
        borders: tuple[Border, ...] = (),
        parts: tuple["ReasonPart", ...] = (),
        **values: Value,
    ) -> Self:
        """The reason with these values, whose names are checked against `CARRIES`."""
        return cls(code, code_values(code, values), advice, borders, parts)


@dataclass(frozen=True)
class ReasonPart:
    """The reason for the verdict on one ladder, width or variant. It is part of a reason for the
    verdict on several of them.
    """

    reason: Reason
    width: int | None = None
    variant: str | None = None
