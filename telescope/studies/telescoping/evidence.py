"""The evidence for an answer, as parts of a report: hyperparameters, levels, drift, costs, checks.

Hyperparameters are base values, which hold at every width.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from telescope.studies.telescoping.axes import SCALES, AxisName
from telescope.studies.telescoping.reasons import ClimbEnd, Edge, Values
from telescope.trials.types import (
    AttentionScale,
    HeadForm,
    MuonLrRule,
    Parametrisation,
    UpdateScale,
    WeightDecayRule,
)

Verdict = Literal["resolved", "unresolved", "unbracketed", "refused"]
Status = Literal["resolved", "unresolved", "unbracketed", "flat", "swept", "fixed"]
PREFIXES = ("", "k", "M", "G", "T", "P", "E")


@dataclass(frozen=True)
class Interval:
    """A range of values: a 90 % interval from the 5 % to the 95 % point, or a window."""

    low: float
    high: float


@dataclass(frozen=True)
class Hyperparameter:
    """A base hyperparameter at the target; half-width and tolerance in octaves."""

    value: float
    low: float
    high: float
    resolved: bool
    status: Status
    half_width: float
    tolerance: float | None

    @property
    def has_interval(self) -> bool:
        """Whether the value has an interval; otherwise low and high equal the value."""
        return self.half_width > 0


@dataclass(frozen=True)
class LevelReport:
    """A width: its runs and its optimum."""

    level: int
    width: int
    window: dict[AxisName, Interval]
    grid: dict[AxisName, tuple[float, ...]]
    stages: tuple[str, ...]
    trials: int
    diverged: int
    # optimum and interval are empty if every run diverged
    optimum: dict[AxisName, float]
    interval: dict[AxisName, Interval]
    best_loss: float | None  # lowest mean loss of a point over its seeds; None without a finite one
    # loss at the fitted optimum, averaged over seeds; comparable across levels and ladders
    fitted_loss: float | None
    # sd of a run between seeds at the same point, % of the loss; None without repeats
    seed_noise: float | None
    edge: str | None  # the borders at which the optimum lies, in words
    edges: tuple[Edge, ...] = ()  # the same borders as values

    @property
    def loss(self) -> float:
        """The fitted loss, or else the lowest; infinite if all runs diverged."""
        loss = self.best_loss if self.fitted_loss is None else self.fitted_loss
        return math.inf if loss is None else loss


@dataclass(frozen=True)
class Drift:
    """The drift of the learning rate's optimum with width, over the levels run."""

    octaves_per_doubling: float
    low: float
    high: float


@dataclass(frozen=True)
class Shift:
    """The shift of the learning rate's optimum from the widest level to the target, in octaves,
    under a drift law.
    """

    law: str  # a/n, a/sqrt(n), constant per doubling, or averaged
    probability: float  # posterior probability of the law
    octaves: float
    low: float
    high: float


@dataclass(frozen=True)
class ErrorBudget:
    """The sources of a hyperparameter's uncertainty at the target, as standard deviations in
    octaves.

    Their squares add up to the square of `total`, the scale of the distribution behind the 90 %
    interval.
    """

    seed_noise: float  # the difference between runs of different seeds
    # the uncertain shape of the bowl, and its deviation from the true losses far from the optimum
    bowl_form: float
    finite_width: float  # the uncertainty of the drift under a given law
    # the difference between the drift laws at the target; for `per_level`, the deviation of the
    # levels from its single law
    law: float
    # for a value on a grid: step / sqrt(12), or the distance to the fitted optimum if this is
    # larger; 0 for a fitted value
    mesh: float
    total: float
    dominant: str  # the name of the largest source
    remedy: str  # how to reduce the dominant source


@dataclass(frozen=True)
class Climb:
    """The width at which the ladder stopped climbing, and the reason."""

    width: int
    why: ClimbEnd
    words: str
    values: Values = ()  # the numbers in `words`


@dataclass(frozen=True)
class Copying:
    """The cost of training a width with the optimum of the smallest width, in % of the loss,
    predicted by the pooled bowl.
    """

    width: int
    regret: float  # median of the cost; low and high are its interval
    low: float
    high: float
    # additional compute, in %, that makes up for the regret: 40 % for a loss that is 2 % lower
    compute: float


@dataclass(frozen=True)
class Transfer:
    """The transfer of the optimum from width to width, predicted by the pooled bowl."""

    copying: tuple[Copying, ...]  # one per wider level, then one for the target
    lr_interval_cost: Interval  # cost, in % of the loss, at the ends of lr's interval
    # by a power law in the number of parameters; None if no such law can be fitted
    loss_at_target: Interval | None


@dataclass(frozen=True)
class Remedy:
    """The runs that should resolve an unresolved ladder, as forecast by the schedule `robust`."""

    blocks: int
    widths: tuple[int, ...]  # widths at which the blocks run
    base_runs: float  # cost in runs at the base width
    flops: float
    # seconds to train one run after the other; None if the speed of the ladder's runs is unknown
    seconds: float | None
    max_base_runs: int  # value of limits.max_base_runs that allows these runs


@dataclass(frozen=True)
class LevelCost:
    """The cost of a width. Diverged runs count up to the step at which they stopped; reused runs
    count as trials only.
    """

    width: int
    trials: int
    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class CheckCost:
    """The cost of the coordinate check over all its widths."""

    trials: int
    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class Cost:
    """The cost of a ladder.

    `share` is the final run's share of the total compute of tuning and final run. `saving` is the
    share of the compute that is saved compared with a full grid at the target. Both describe the
    method rather than this job, so they include the cost of reused runs, unlike `tokens`, `flops`
    and `seconds`.
    """

    levels: tuple[LevelCost, ...]
    trials: int
    tokens: int
    flops: float
    seconds: float
    reused: int  # trials that other jobs had trained
    final_run_flops: float
    share: float
    saving: float
    validation: LevelCost | None = None  # runs at the target width, included in the sums
    coordinates: CheckCost | None = None  # the coordinate check, included in the sums


@dataclass(frozen=True)
class Pairing:
    """The scaling rules of a ladder, and whether theory expects its optimum to stay fixed as width
    grows.
    """

    parametrisation: Parametrisation
    update_scale: UpdateScale | None  # None in an AdamW run
    muon_lr_rule: MuonLrRule | None  # None in an AdamW run
    weight_decay_rule: WeightDecayRule
    # the change of AdamW's eps for hidden matrices with width / base width
    eps_rule: Literal["constant", "inverse"]
    attention_scale: AttentionScale | None  # None for a user's model
    head_form: HeadForm | None  # None if no rule scales the readout
    sound: bool
    forced: bool  # whether the ladder ran although its pairing would be refused
    remarks: tuple[str, ...]  # objections from theory come first


@dataclass(frozen=True)
class Validation:
    """The validation of the ladder's learning rate by real runs at the target width, with the other
    hyperparameters held fixed.

    Regrets are in % of the loss at the optimum; intervals run from the 5 % to the 95 % point. All
    fields about the optimum are None if fewer than two learning rates have a finite loss.
    """

    width: int
    trials: int
    diverged: int
    flops: float
    lr: float  # the ladder's learning rate
    stated: Interval  # the ladder's interval of lr
    loss: float | None  # mean over the seeds at this lr; None if a run diverged
    loss_error: float | None  # standard error of `loss`
    seed_noise: float | None  # sd of a run between seeds, % of the loss; None without repeats
    optimum: float | None  # optimal lr by a bowl fitted to these runs
    interval: Interval | None
    regret: float | None  # loss at the ladder's lr above the loss at the optimum, in %
    regret_interval: Interval | None
    held: bool | None  # whether the optimum lies within the stated interval
    contradicted: bool  # whether the two intervals exist and do not overlap
    settled: bool  # whether these runs alone resolve the optimum


@dataclass(frozen=True)
class Method:
    """The rules by which the runs were chosen and evaluated, as names of options."""

    schedule: str
    estimator: str
    # the choices that the published rule leaves open; empty under `robust`
    options: dict[str, str] = field(default_factory=dict)
    published: bool = False  # whether the rules are Algorithm 1 of arXiv 2505.02222, read literally


def digits(x: float) -> float:
    """A number rounded to six significant digits, so that equal reports print equally."""
    return float(f"{x:.6g}")


def amount(number: float) -> str:
    """A number with an SI prefix, to be followed by its unit, such as `7.37 M` or `1.2 T`."""
    for prefix in PREFIXES:
        if number < 1000:
            return f"{number:.3g} {prefix}"
        number /= 1000
    return f"{number:.3g} Z"


def from_estimate(octaves: float, name: AxisName = "lr") -> float:
    """The value of a hyperparameter from an estimate in octaves, clipped to the limits of its
    scale, which wide intervals may exceed.
    """
    return digits(SCALES[name].value(octaves))


def interval(low: float, high: float, name: AxisName = "lr") -> Interval:
    """The interval of values between two estimates in octaves."""
    return Interval(*sorted((from_estimate(low, name), from_estimate(high, name))))
