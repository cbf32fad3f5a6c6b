"""The answer of a telescoping study, from `Report` down to its ladders; the evidence is in
`evidence`.

`parameter_groups` are the hyperparameters of each group at the target.
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
    """The answer for an optimizer, and for one variant where the study compares several."""

    optimizer: OptimizerName
    verdict: Verdict
    reason: str
    hyperparameters: dict[AxisName, Hyperparameter]
    parameter_groups: tuple[ParameterGroup, ...]
    pairing: Pairing
    assumptions: tuple[str, ...]  # that carry the answer beyond width
    levels: tuple[LevelReport, ...]
    drift: Drift | None
    scaling_fit: ScalingFit | None
    cost: Cost
    shifts: tuple[Shift, ...] = ()  # the average first, then one per law
    error_budget: dict[AxisName, ErrorBudget] = field(default_factory=dict)
    climb: Climb | None = None
    transfer: Transfer | None = None
    validation: Validation | None = None  # where the study asks for it, and its runs have ended
    # the check before the first stage; None until it has ended
    coordinates: CoordinateReport | None = None
    late: LateReport | None = None  # the check at the end of the runs; None with too few widths
    remedy: Remedy | None = None  # where the interval is too wide and more runs would help
    method: Method | None = None
    # of axes of three values or more, by the base grid (PED-ANOVA)
    importance: dict[AxisName, float] = field(default_factory=dict)
    # share of the loss's variance over the base window, by the model
    explained: dict[AxisName, float] = field(default_factory=dict)
    variant: str = ""
    # the fields of model or data in which the variant differs from the job
    differs: dict[str, Any] = field(default_factory=dict)
    because: Reason | None = None  # the reason as values; None in older reports


@dataclass(frozen=True)
class VariantReport:
    """The answer for a variant: that of its best ladder."""

    name: str
    verdict: Verdict
    reason: str
    best: OptimizerName | None
    because: Reason | None = None  # the reason as values; None in older reports


@dataclass(frozen=True)
class Compared:
    """A ladder beside those of other variants; size, cost and loss at the widest level that all
    ladders have finished.
    """

    variant: str
    optimizer: OptimizerName
    verdict: Verdict
    lr: Hyperparameter | None  # at the target; None where the ladder reports none
    weight_decay: Hyperparameter | None
    drift: Drift | None
    parameters: int | None
    flops: float | None  # of one run
    loss: float | None  # at the optimum


@dataclass(frozen=True)
class Difference:
    """The distance between two variants' optima at the target, in octaves of a hyperparameter of
    one optimizer.
    """

    optimizer: OptimizerName
    hyperparameter: AxisName
    first: str
    second: str
    octaves: float  # the second's over the first's
    low: float
    high: float
    consistent: bool  # with no difference: the interval contains zero


@dataclass(frozen=True)
class VariantComparison:
    """Variants side by side."""

    over: Literal["model", "data"]
    width: int | None  # the widest that all ladders have finished
    rows: tuple[Compared, ...]
    differences: tuple[Difference, ...]
    remark: str  # on the comparability of their losses


@dataclass(frozen=True)
class Report:
    """The study's answer: that of its best ladder; over variants, the worst of theirs
    (`comparison`).
    """

    final: bool
    verdict: Verdict
    reason: str
    best: OptimizerName | None  # None over texts, whose losses are not comparable; see `variants`
    ladders: tuple[LadderReport, ...]
    best_variant: str = ""  # of architectures: the lowest loss at equal width
    variants: tuple[VariantReport, ...] = ()
    comparison: VariantComparison | None = None
    because: Reason | None = None  # the reason as values; None in older reports
