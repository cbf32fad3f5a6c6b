"""The answer of a telescoping study: `Report`, the ladders in it, and the comparison of variants.

The types of a ladder's evidence are in `evidence`.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from telescope.optim.groups import ParameterGroup
from telescope.statistics.estimates import ScalingFit
from telescope.studies.coordinates.check import CoordinateReport
from telescope.studies.telescoping.axes import AxisName
from telescope.studies.telescoping.evidence import (
    Climb,
    Cost,
    Drift,
    ErrorBudget,
    Hyperparameter,
    LevelReport,
    Method,
    Pairing,
    Remedy,
    Shift,
    Transfer,
    Validation,
    Verdict,
)
from telescope.studies.telescoping.late_evidence import LateReport
from telescope.studies.telescoping.reasons import Reason
from telescope.trials.types import OptimizerName


@dataclass(frozen=True)
class LadderReport:
    """The answer of one ladder: for an optimizer and, if variants are compared, for a variant."""

    optimizer: OptimizerName
    verdict: Verdict
    reason: str
    hyperparameters: dict[AxisName, Hyperparameter]
    parameter_groups: tuple[ParameterGroup, ...]  # groups with their hyperparameters at the target
    pairing: Pairing
    assumptions: tuple[str, ...]  # conditions under which the answer transfers beyond width
    levels: tuple[LevelReport, ...]
    drift: Drift | None
    scaling_fit: ScalingFit | None
    cost: Cost
    shifts: tuple[Shift, ...] = ()  # the average over the drift laws, then one per law
    error_budget: dict[AxisName, ErrorBudget] = field(default_factory=dict)
    climb: Climb | None = None
    transfer: Transfer | None = None
    # None unless the study asks for validation and a stage of runs at the target has ended
    validation: Validation | None = None
    # the coordinate check before the first stage; None until the check has ended
    coordinates: CoordinateReport | None = None
    # the coordinate check at the end of the runs; None with too few widths or unsuitable runs
    late: LateReport | None = None
    # None unless the ladder has ended unresolved and more blocks of runs should resolve it
    remedy: Remedy | None = None
    method: Method | None = None
    # importance of each axis with three values or more, by PED-ANOVA over the base grid
    importance: dict[AxisName, float] = field(default_factory=dict)
    # share of the loss's variance over the base window that each axis explains, by the pooled model
    explained: dict[AxisName, float] = field(default_factory=dict)
    variant: str = ""
    # the fields of model or data in which the variant differs from the job's own
    differs: dict[str, Any] = field(default_factory=dict)
    because: Reason | None = None  # the reason as a value; None in older reports


@dataclass(frozen=True)
class VariantReport:
    """The answer for a variant: the answer of its best ladder."""

    name: str
    verdict: Verdict
    reason: str
    best: OptimizerName | None
    because: Reason | None = None  # the reason as a value; None in older reports


@dataclass(frozen=True)
class Compared:
    """A row of the comparison: one ladder of one variant. Parameters, FLOPs and loss hold at the
    widest level that all ladders have finished.
    """

    variant: str
    optimizer: OptimizerName
    verdict: Verdict
    lr: Hyperparameter | None  # None if the ladder reports no value
    weight_decay: Hyperparameter | None
    drift: Drift | None
    parameters: int | None
    flops: float | None  # FLOPs of one run
    loss: float | None  # loss at the optimum


@dataclass(frozen=True)
class Difference:
    """The distance between two variants' optima at the target, for one optimizer and one
    hyperparameter, in octaves.
    """

    optimizer: OptimizerName
    hyperparameter: AxisName
    first: str
    second: str
    octaves: float  # log2 of the second's value over the first's
    low: float
    high: float
    consistent: bool  # whether the interval contains zero


@dataclass(frozen=True)
class VariantComparison:
    """Variants side by side."""

    over: Literal["model", "data"]
    width: int | None  # widest width that all ladders have finished
    rows: tuple[Compared, ...]
    differences: tuple[Difference, ...]
    remark: str  # whether the losses are comparable


@dataclass(frozen=True)
class Report:
    """The answer of the study: the answer of its best ladder or, if it compares variants, the worst
    of their answers.
    """

    final: bool
    verdict: Verdict
    reason: str
    # optimizer of the ladder with the lowest loss; None without comparable losses, as between
    # variants that differ in their data
    best: OptimizerName | None
    ladders: tuple[LadderReport, ...]
    best_variant: str = ""  # the architecture with the lowest loss at equal width, if compared
    variants: tuple[VariantReport, ...] = ()
    comparison: VariantComparison | None = None
    because: Reason | None = None  # the reason as a value; None in older reports
