"""Why a verdict is what it is, as values: a code, the numbers and names that belong to it, and advice.

Whatever decides by a reason reads its code. The words are made in `answer/wording.py`, where a report is put together.
A reason is built with `Reason.of`, which holds it to what `CARRIES` says of its code; one that is read from a stored
report is taken as it was written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, PlainSerializer

Value = int | float | str | bool | None


def as_pairs(given: Any) -> Any:
    """A mapping as pairs, sorted by name, which cannot be changed and can be hashed; anything else as it is."""
    return tuple(sorted(given.items())) if isinstance(given, Mapping) else given


Values = Annotated[tuple[tuple[str, Value], ...], BeforeValidator(as_pairs), PlainSerializer(dict, return_type=dict[str, Value])]
"""Values by name; an object in JSON."""


class Code(StrEnum):
    """Why a verdict is what it is."""

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
    OF_LADDERS = "of_ladders"


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


CARRIES: Mapping[Code | Advice, frozenset[str]] = {
    Code.COORDINATES_FAIL: frozenset({"check", "cause"}),
    Code.ALL_DIVERGED: frozenset({"lr"}),
    Code.ALL_DIVERGED_SO_FAR: frozenset({"by", "detail", "lr"}),
    Code.STOPPED: frozenset({"by", "detail"}),
    Code.STAGE_UNFINISHED: frozenset({"stage"}),
    Code.SO_FAR: frozenset({"half_width"}),
    Code.AT_BORDER: frozenset({"lr", "borders"}),
    Code.INTERVAL_TOO_WIDE: frozenset({"half_width", "most"}),
    Code.DRIFTING: frozenset({"move", "span", "doublings"}),
    Code.RESOLVED: frozenset({"half_width", "move", "span", "doublings"}),
    Code.CONTRADICTED: frozenset({"width", "optimum", "low", "high", "lr", "stated_low", "stated_high", "regret", "settled"}),
    Advice.MORE_BLOCKS: frozenset({"blocks", "max_base_runs"}),
    Advice.BLOCK_AT_WIDTH: frozenset({"width", "max_base_runs"}),
    Advice.SECOND_WIDTH: frozenset({"width"}),
    Advice.SWEEP_WIDTH: frozenset({"width"}),
    Advice.NEW_SEEDS: frozenset({"runs"}),
}
"""The names of the values that a code comes with; those that are not here come with none."""


def carried(code: Code | Advice, values: Mapping[str, Value]) -> Values:
    """The values of a code; ValueError where they are not those that it comes with."""
    names = CARRIES.get(code, frozenset())
    if values.keys() != names:
        raise ValueError(f"{code} comes with {sorted(names)}, not with {sorted(values)}")
    return tuple(sorted(values.items()))


@dataclass(frozen=True)
class Remark:
    """Advice with its numbers."""

    advice: Advice
    values: Values = ()

    @classmethod
    def of(cls, advice: Advice, **values: Value) -> Self:
        """Advice with the values that belong to it."""
        return cls(advice, carried(advice, values))


@dataclass(frozen=True)
class Reason:
    """Why a verdict is what it is."""

    code: Code
    values: Values = ()
    advice: Remark | None = None
    parts: tuple[str, ...] = ()  # what is said besides, in words: of single ladders, variants or widths

    @classmethod
    def of(cls, code: Code, *, advice: Remark | None = None, parts: tuple[str, ...] = (), **values: Value) -> Self:
        """A reason with the values that belong to its code."""
        return cls(code, carried(code, values), advice, parts)
