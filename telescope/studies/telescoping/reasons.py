"""Why a verdict is what it is, as values: a code, the numbers and names that belong to it, and advice.

Whatever decides by a reason reads its code. The words are made in `answer/wording.py`, where a report is put together.
A reason is built with `Reason.of`, which holds it to what `CARRIES` says of its code; one that is read from a stored
report is taken as it was written.

Parts: `Code`, `Advice`, `ClimbEnd` and what each `CARRIES` · `Edge`, `Border`, where an optimum lies · `SeedBlocks`, more of them ·
`Remark` · `Reason`, `Part`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, PlainSerializer

from telescope.studies.telescoping.axes import AxisName

Value = int | float | str | bool | None


def as_pairs(given: Any) -> Any:
    """A mapping as pairs, sorted by name, which cannot be changed and can be hashed; anything else as it is."""
    return tuple(sorted(given.items())) if isinstance(given, Mapping) else given


Values = Annotated[tuple[tuple[str, Value], ...], BeforeValidator(as_pairs), PlainSerializer(dict, return_type=dict[str, Value])]
"""Values by name; an object in JSON."""


class Code(StrEnum):
    """Why a verdict is what it is: of a ladder, of one width by itself, or of several of them."""

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
    OF_LADDERS = "of_ladders"  # parts alone
    IN_WORDS = "in_words"  # a part of a report from before parts were values


class Advice(StrEnum):
    """What would make an answer better."""

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
    """Why a ladder stopped rising where it did."""

    RUNNING = "running"
    LIMIT = "limit"
    CALIBRATION_WIDTH = "calibration_width"
    TOLERANCE = "tolerance"
    BUDGET = "budget"
    NO_FIT = "no_fit"
    RULE = "rule"


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
    Code.CONTRADICTED: frozenset({"width", "optimum", "low", "high", "lr", "stated_low", "stated_high", "regret", "settled"}),
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
    ClimbEnd.BUDGET: frozenset({"calibration_width", "next_width", "next_cost", "left", "max_base_runs"}),
    ClimbEnd.NO_FIT: frozenset({"calibration_width"}),
    ClimbEnd.RULE: frozenset({"calibration_width"}),
}
"""The names of the values that a code comes with; those that are not here come with none."""


def carried(code: Code | Advice | ClimbEnd, values: Mapping[str, Value]) -> Values:
    """The values of a code; ValueError where they are not those that it comes with."""
    names = CARRIES.get(code, frozenset())
    if values.keys() != names:
        raise ValueError(f"{code} comes with {sorted(names)}, not with {sorted(values)}")
    return tuple(sorted(values.items()))


class Side(StrEnum):
    """Which end of what was tried."""

    LOW = "low"
    HIGH = "high"
    OUTSIDE_LAST_BLOCK = "outside_last_block"


@dataclass(frozen=True)
class Edge:
    """An end of what was tried that an optimum lies at."""

    axis: AxisName
    side: Side


@dataclass(frozen=True)
class Border:
    """The edges that the optimum of a width lies at."""

    width: int
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class Corners:
    """The two values of a hyperparameter that a block of runs combines with those of the others."""

    axis: AxisName
    low: float
    high: float


@dataclass(frozen=True)
class SeedBlocks:
    """Blocks of runs at a width, each with a seed of its own."""

    blocks: int
    width: int
    corners: tuple[Corners, ...]


@dataclass(frozen=True)
class Remark:
    """Advice with its numbers."""

    advice: Advice
    values: Values = ()
    rates: tuple[float, ...] = ()  # learning rates to add
    runs: tuple[SeedBlocks, ...] = ()  # to add with new seeds

    @classmethod
    def of(cls, advice: Advice, *, rates: tuple[float, ...] = (), runs: tuple[SeedBlocks, ...] = (), **values: Value) -> Self:
        """Advice with the values that belong to it."""
        return cls(advice, carried(advice, values), rates, runs)


def as_part(given: Any) -> Any:
    """A part that an earlier report has as a text; any other as it is."""
    return {"reason": {"code": Code.IN_WORDS, "values": {"text": given}}} if isinstance(given, str) else given


@dataclass(frozen=True)
class Reason:
    """Why a verdict is what it is."""

    code: Code
    values: Values = ()
    advice: Remark | None = None
    borders: tuple[Border, ...] = ()  # that the optimum lies at
    parts: tuple[Annotated["Part", BeforeValidator(as_part)], ...] = ()  # the reasons of single ladders, variants or widths

    @classmethod
    def of(
        cls,
        code: Code,
        *,
        advice: Remark | None = None,
        borders: tuple[Border, ...] = (),
        parts: tuple["Part", ...] = (),
        **values: Value,
    ) -> Self:
        """A reason with the values that belong to its code."""
        return cls(code, carried(code, values), advice, borders, parts)


@dataclass(frozen=True)
class Part:
    """The reason of a single ladder, or of the width or variant that is named."""

    reason: Reason
    width: int | None = None
    variant: str | None = None
