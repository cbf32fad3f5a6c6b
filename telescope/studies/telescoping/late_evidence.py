"""The late check in a report: a coordinate check at the end of a ladder's own runs."""

from dataclasses import dataclass
from typing import Literal

from telescope.studies.coordinates.slopes import CoordinateVerdict


@dataclass(frozen=True)
class LateSlope:
    """The slope of log2 of a quantity against log2 of the width. The quantity is measured at the
    end of each run, for a kind of hidden matrix or for the features before the readout.
    """

    name: str  # spectral/<kind>, update/<kind>, update/features
    slope: float
    low: float
    high: float
    verdict: CoordinateVerdict | None  # None for a slope that is only reported


@dataclass(frozen=True)
class LateReason:
    """The reason for a late check's verdict, as a value; `answer.late` words it."""

    code: Literal["beyond_gate", "within_gate", "across_gate"]
    worst: LateSlope  # the steepest failing slope, or else the steepest judged slope
    narrowest: int  # narrowest width
    widest: int  # widest width
    judged: int  # number of judged slopes
    gate: float  # the steepest slope that passes


@dataclass(frozen=True)
class LateReport:
    """The verdict of a late check, with its slopes; a failure is only a warning."""

    verdict: CoordinateVerdict
    reason: str
    slopes: tuple[LateSlope, ...]  # steepest slope first
    widths: tuple[int, ...]
    runs: int
    because: LateReason | None = None  # None in older reports
