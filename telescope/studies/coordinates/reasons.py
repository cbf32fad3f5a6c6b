"""Why a coordinate check comes out as it does, as values: a class for each finding, with its numbers. The words are in `wording`.

Parts: `Finding` and its classes · `Reduced` · `CheckReason`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from telescope.studies.coordinates.slopes import LayerSlope


@dataclass(frozen=True, kw_only=True)
class SkippedByJob:
    """The job asks for no check."""

    code: Literal["skipped_by_job"] = "skipped_by_job"


@dataclass(frozen=True, kw_only=True)
class TooCostly:
    """No check fits into its share of the job."""

    code: Literal["too_costly"] = "too_costly"


@dataclass(frozen=True, kw_only=True)
class TooFewWidths:
    """There are fewer widths up to the target than a verdict needs."""

    code: Literal["too_few_widths"] = "too_few_widths"
    widths: tuple[int, ...]
    needed: int


@dataclass(frozen=True, kw_only=True)
class DivergedAtWidths:
    """Runs diverged within the steps of the check."""

    code: Literal["diverged_at_widths"] = "diverged_at_widths"
    widths: tuple[int, ...]
    steps: int
    lr: float


@dataclass(frozen=True, kw_only=True)
class NothingMoved:
    """No layer changed that all runs measured."""

    code: Literal["nothing_moved"] = "nothing_moved"


@dataclass(frozen=True, kw_only=True)
class BeyondGate:
    """Layers fail."""

    code: Literal["beyond_gate"] = "beyond_gate"
    worst: tuple[LayerSlope, ...]
    failed: int  # layers, the worst included
    gate: float


@dataclass(frozen=True, kw_only=True)
class WithinGate:
    """Every layer passes."""

    code: Literal["within_gate"] = "within_gate"
    narrowest: int
    widest: int
    steepest: LayerSlope
    layers: int
    gate: float


@dataclass(frozen=True, kw_only=True)
class AcrossGate:
    """No layer fails, and the interval of one lies across the gate."""

    code: Literal["across_gate"] = "across_gate"
    seeds: int
    steepest: LayerSlope
    gate: float


Finding = Annotated[
    SkippedByJob | TooCostly | TooFewWidths | DivergedAtWidths | NothingMoved | BeyondGate | WithinGate | AcrossGate,
    Field(discriminator="code"),
]


@dataclass(frozen=True, kw_only=True)
class Reduced:
    """What a check was reduced to, to stay within its share of the job."""

    seeds: int
    steps: int


@dataclass(frozen=True)
class CheckReason:
    """Why a check comes out as it does."""

    finding: Finding
    reduced: Reduced | None = None
