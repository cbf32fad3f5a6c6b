"""The answer of a telescoping study, from `Report` down to its ladders; what they rest on is in `evidence`.

`parameter_groups` are what base hyperparameters amount to at the target.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from telescope.optim.groups import Group
from telescope.statistics.estimates import ScalingFit
from telescope.studies.coordinates.check import CoordinateReport
from telescope.studies.telescoping.axes import AxisName
from telescope.studies.telescoping.evidence import (
    Climb,
    Cost,
    Drift,
    ErrorBudget,
    Hyperparameter,
    LateReport,
    LevelReport,
    Method,
    Pairing,
    Remedy,
    Shift,
    Transfer,
    Validation,
    Verdict,
)
from telescope.studies.telescoping.reasons import Reason
from telescope.trials.types import OptimizerName


@dataclass(frozen=True)
class LadderReport:
    """One optimizer's answer, for one variant where the study compares several."""

    optimizer: OptimizerName
    verdict: Verdict
    reason: str
    hyperparameters: dict[AxisName, Hyperparameter]
    parameter_groups: tuple[Group, ...]
    pairing: Pairing
    assumptions: tuple[str, ...]  # what carries the answer beyond width; none is applied silently
    levels: tuple[LevelReport, ...]
    drift: Drift | None
    scaling_fit: ScalingFit | None
    cost: Cost
    shifts: tuple[Shift, ...] = ()  # the average first, then one per law
    error_budget: dict[AxisName, ErrorBudget] = field(default_factory=dict)
    climb: Climb | None = None
    transfer: Transfer | None = None
    validation: Validation | None = None  # where the study asks for it, and its runs have ended
    coordinates: CoordinateReport | None = None  # the check before the first stage; None until it has ended
    late: LateReport | None = None  # the same question at the end of the runs; None where too few widths are done
    remedy: Remedy | None = None  # where the interval is too wide and more runs would help
    method: Method | None = None
    importance: dict[AxisName, float] = field(default_factory=dict)  # of axes of three values or more, by the base grid (PED-ANOVA)
    explained: dict[AxisName, float] = field(default_factory=dict)  # share of the loss's variance over the base window, by the model
    variant: str = ""
    differs: dict[str, Any] = field(default_factory=dict)  # the fields of model, or data, that the variant has otherwise than the job
    because: Reason | None = None  # the reason as values; None in reports from before it was kept


@dataclass(frozen=True)
class VariantReport:
    """One variant's answer: that of its best ladder."""

    name: str
    verdict: Verdict
    reason: str
    best: OptimizerName | None
    because: Reason | None = None  # the reason as values; None in reports from before it was kept


@dataclass(frozen=True)
class Compared:
    """One ladder beside those of other variants; size, cost and loss at the widest level that all ladders have finished."""

    variant: str
    optimizer: OptimizerName
    verdict: Verdict
    lr: Hyperparameter | None  # at the target; None where nothing is handed out
    weight_decay: Hyperparameter | None
    drift: Drift | None
    parameters: int | None
    flops: float | None  # of one run
    loss: float | None  # at the optimum


@dataclass(frozen=True)
class Difference:
    """How far one variant's optimum at the target lies from another's, in octaves of one hyperparameter of one optimizer."""

    optimizer: OptimizerName
    hyperparameter: AxisName
    first: str
    second: str
    octaves: float  # the second's over the first's
    low: float
    high: float
    consistent: bool  # with none: the interval holds zero


@dataclass(frozen=True)
class Comparison:
    """Variants side by side."""

    over: Literal["model", "data"]
    width: int | None  # the widest that all ladders have finished
    rows: tuple[Compared, ...]
    differences: tuple[Difference, ...]
    remark: str  # on what their losses say of each other


@dataclass(frozen=True)
class Report:
    """The study's answer: that of its best ladder, and all of them; of a study over variants the worst of theirs (see `comparison`)."""

    final: bool
    verdict: Verdict
    reason: str
    best: OptimizerName | None  # over texts None: their losses say nothing of each other, and each of `variants` has its own
    ladders: tuple[LadderReport, ...]
    best_variant: str = ""  # of architectures, the one of the lowest loss at equal width
    variants: tuple[VariantReport, ...] = ()
    comparison: Comparison | None = None
    because: Reason | None = None  # the reason as values; None in reports from before it was kept
