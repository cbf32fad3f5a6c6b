"""The answer of a telescoping study: `Report`, the ladders in it, and the comparison of variants.

A *ladder* is the search of one optimizer over growing widths, its *levels*. A *variant* is one of
the architectures or texts that a study compares; it has one ladder per optimizer. Each swept
hyperparameter is an *axis*. `evidence` defines the types of many fields.
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
    """The answer of one ladder. It holds for one optimizer and, if the study compares variants, for
    one variant.
    """

    optimizer: OptimizerName
    verdict: Verdict
    reason: str
    hyperparameters: dict[AxisName, Hyperparameter]
    # the final run's parameter groups, each with its hyperparameters; empty without an answer
    parameter_groups: tuple[ParameterGroup, ...]
    pairing: Pairing
    # conditions under which the answer holds for a final run that differs from the trials in more
    # than width
    assumptions: tuple[str, ...]
    levels: tuple[LevelReport, ...]
    drift: Drift | None
    scaling_fit: ScalingFit | None
    cost: Cost
    # expected shift of lr's optimum from the widest level so far to the target: first averaged over
    # the laws by which the optimum may drift with width, then under each law
    shifts: tuple[Shift, ...] = ()
    error_budget: dict[AxisName, ErrorBudget] = field(default_factory=dict)
    climb: Climb | None = None
    transfer: Transfer | None = None
    # the check of the learning rate by runs at the target; None until the first set has ended
    validation: Validation | None = None
    # the coordinate check, which tests the scaling rules before the search; None until it has ended
    coordinates: CoordinateReport | None = None
    # the check of the scaling rules at the end of the runs; None without enough suitable runs
    late: LateReport | None = None
    # for a ladder that has ended unresolved, the runs that should resolve it; None for other
    # ladders, or if no such runs are known
    remedy: Remedy | None = None
    method: Method | None = None
    # importance of each axis with three values or more, by PED-ANOVA over the first runs, at the
    # narrowest width; empty if PED-ANOVA cannot be applied
    importance: dict[AxisName, float] = field(default_factory=dict)
    # how much each axis with three values or more explains of the modelled loss at the narrowest
    # width, as a share of the variance over the values tried there
    explained: dict[AxisName, float] = field(default_factory=dict)
    variant: str = ""  # empty if the study compares no variants
    # the fields of `model` or `data` in which the variant differs from the job's own section
    differs: dict[str, Any] = field(default_factory=dict)
    because: Reason | None = None  # the reason as a code with values; None in older reports


@dataclass(frozen=True)
class VariantReport:
    """The answer for a variant. If there is a best ladder, its verdict and reason are used."""

    name: str
    verdict: Verdict
    reason: str
    best: OptimizerName | None  # optimizer of the best ladder; None if there is no best ladder
    because: Reason | None = None  # the reason as a code with values; None in older reports


@dataclass(frozen=True)
class Compared:
    """A row of the comparison: one ladder of one variant.

    Parameters, FLOPs and loss are those of the widest level that all compared ladders have reached.
    All three are None if the ladder is refused or reports no value. The loss is also None if it is
    infinite.
    """

    variant: str
    optimizer: OptimizerName
    verdict: Verdict
    # both are None if the ladder is refused or reports no value
    lr: Hyperparameter | None
    weight_decay: Hyperparameter | None
    drift: Drift | None
    parameters: int | None
    flops: float | None  # FLOPs of one run
    loss: float | None  # loss at the optimum of that level


@dataclass(frozen=True)
class Difference:
    """The difference in octaves between the optima of two variants at the target, for one optimizer
    and one hyperparameter.
    """

    optimizer: OptimizerName
    hyperparameter: AxisName
    first: str
    second: str
    octaves: float  # octaves of the second variant's optimum minus octaves of the first's
    low: float  # `low` and `high` are the ends of the 90 % interval of `octaves`
    high: float
    consistent: bool  # whether the interval contains zero


@dataclass(frozen=True)
class VariantComparison:
    """Variants side by side."""

    over: Literal["model", "data"]  # the section of the document in which the variants differ
    width: int | None  # widest width that all compared ladders have reached; None without ladders
    rows: tuple[Compared, ...]
    differences: tuple[Difference, ...]
    remark: str  # whether the losses are comparable


@dataclass(frozen=True)
class Report:
    """The answer of the study. If the study compares variants, the verdict is the worst verdict of
    any variant. Otherwise, the verdict is that of the best ladder, if there is one.
    """

    final: bool
    verdict: Verdict
    reason: str
    # optimizer of the ladder with the lowest loss; None if the variants differ in their data, since
    # the losses are then not comparable, or if no ladder can be compared yet
    best: OptimizerName | None
    ladders: tuple[LadderReport, ...]
    # the architecture with the lowest loss at equal width; empty if the study compares no
    # architectures, or if no ladder can be compared yet
    best_variant: str = ""
    variants: tuple[VariantReport, ...] = ()
    comparison: VariantComparison | None = None
    because: Reason | None = None  # the reason as a code with values; None in older reports
