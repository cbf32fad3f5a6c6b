"""The reasons for a coordinate check's verdict, as values.

The check trains models of several widths for a few steps, and measures the changes of layers'
outputs. It fits a power of width to the size of each change. The exponent of this power is the
*slope*. The *gate* is the range of slopes at which a change counts as constant in size: from -GATE
to GATE (`slopes.GATE`). A field `gate` holds the value of GATE.

A *finding* is what the check found. The classes of findings differ in their fields. The module
`wording` turns reasons into text.

Parts: `Finding` and its classes · `Reduced` · `CheckReason`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from telescope.studies.coordinates.slopes import LayerSlope


@dataclass(frozen=True, kw_only=True)
class SkippedByJob:
    """The job asks to skip the check."""

    code: Literal["skipped_by_job"] = "skipped_by_job"


@dataclass(frozen=True, kw_only=True)
class TooCostly:
    """Even the smallest check would cost more than the check's budget."""

    code: Literal["too_costly"] = "too_costly"


@dataclass(frozen=True, kw_only=True)
class TooFewWidths:
    """There are fewer widths up to the target width than a verdict needs."""

    code: Literal["too_few_widths"] = "too_few_widths"
    widths: tuple[int, ...]
    needed: int  # number of widths that a verdict needs


@dataclass(frozen=True, kw_only=True)
class DivergedAtWidths:
    """Runs diverged within the steps of the check."""

    code: Literal["diverged_at_widths"] = "diverged_at_widths"
    widths: tuple[int, ...]  # widths of the runs that diverged
    steps: int  # number of steps of the check
    lr: float  # learning rate at the base width


@dataclass(frozen=True, kw_only=True)
class NothingMoved:
    """No change was measured in every run, so no slope can be fitted."""

    code: Literal["nothing_moved"] = "nothing_moved"


@dataclass(frozen=True, kw_only=True)
class BeyondGate:
    """At least one slope fails (`slopes.judged_slope`)."""

    code: Literal["beyond_gate"] = "beyond_gate"
    worst: tuple[LayerSlope, ...]  # the failing slopes that the text of the reason names
    failed: int  # number of failing slopes
    gate: float


@dataclass(frozen=True, kw_only=True)
class WithinGate:
    """Every slope passes."""

    code: Literal["within_gate"] = "within_gate"
    narrowest: int
    widest: int
    steepest: LayerSlope
    layers: int  # number of slopes
    gate: float


@dataclass(frozen=True, kw_only=True)
class AcrossGate:
    """No slope fails, but at least one lies outside the gate."""

    code: Literal["across_gate"] = "across_gate"
    seeds: int
    steepest: LayerSlope
    gate: float


Finding = Annotated[
    SkippedByJob
    | TooCostly
    | TooFewWidths
    | DivergedAtWidths
    | NothingMoved
    | BeyondGate
    | WithinGate
    | AcrossGate,
    Field(discriminator="code"),
]


@dataclass(frozen=True, kw_only=True)
class Reduced:
    """The size of a check that was reduced to stay within its budget."""

    seeds: int
    steps: int


@dataclass(frozen=True)
class CheckReason:
    """The reason for a check's verdict, and the size of a reduced check."""

    finding: Finding
    reduced: Reduced | None = None  # None for a check of full size
