"""The late check in a report: the coordinate check, repeated at the end of a ladder's runs."""

from dataclasses import dataclass
from typing import Literal

from telescope.studies.coordinates.slopes import CoordinateVerdict


@dataclass(frozen=True)
class LateSlope:
    """The slope, in log2 width, of the log2 of a quantity measured at the end of a run, for a kind
    of hidden matrix or for the features before the head.
    """

    name: str  # spectral/<kind>, update/<kind>, update/features
    slope: float
    low: float
    high: float
    verdict: CoordinateVerdict | None  # None where the slope is reported but not judged


@dataclass(frozen=True)
class LateReason:
    """The reason of a late check's verdict; its wording is in `answer.late`."""

    code: Literal["beyond_gate", "within_gate", "across_gate"]
    worst: LateSlope  # the steepest that fails, or else the steepest that is judged
    narrowest: int
    widest: int
    judged: int  # number of judged slopes
    gate: float  # the steepest slope that passes


@dataclass(frozen=True)
class LateReport:
    """The coordinate check at the end of the ladder's runs; a failure is only a warning."""

    verdict: CoordinateVerdict
    reason: str
    slopes: tuple[LateSlope, ...]  # the steepest first
    widths: tuple[int, ...]
    runs: int
    because: LateReason | None = None  # the reason as a value; None in older reports
