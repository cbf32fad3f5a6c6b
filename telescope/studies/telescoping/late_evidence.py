"""The late check in a report: a test of the scaling rules at the end of a ladder's own runs.

A *ladder* is the search of one optimizer over growing widths. The late check tests whether sizes,
such as norms of matrices, grow or fall with width. The *gate* is the steepest slope of log2 size
against log2 width that passes.
"""

from dataclasses import dataclass
from typing import Literal

from telescope.studies.coordinates.slopes import CoordinateVerdict


@dataclass(frozen=True)
class LateSlope:
    """The slope of log2 of a quantity against log2 of the width, with a 90 % interval. The quantity
    is measured at the end of each run. `name` states the quantity:

    - `spectral/<kind>`: the spectral norm of the hidden matrices of one kind
    - `update/<kind>`: the spectral norm of the last update of these matrices
    - `update/features`: the change of the model's last features by the last update
    """

    name: str
    slope: float
    low: float
    high: float
    verdict: CoordinateVerdict | None  # None for a slope that is reported but not judged


@dataclass(frozen=True)
class LateReason:
    """The reason for a late check's verdict, as a code with values. `answer.late` has the texts."""

    code: Literal["beyond_gate", "within_gate", "across_gate"]
    worst: LateSlope  # the steepest failing slope; if none fails, the steepest judged slope
    narrowest: int  # narrowest width
    widest: int  # widest width
    judged: int  # number of judged slopes
    gate: float  # the steepest slope that passes


@dataclass(frozen=True)
class LateReport:
    """The verdict of a late check, with its slopes. A failure is only a warning."""

    verdict: CoordinateVerdict
    reason: str
    slopes: tuple[LateSlope, ...]  # steepest slope first
    widths: tuple[int, ...]
    runs: int  # number of runs that the slopes are fitted to
    because: LateReason | None = None  # None in older reports
