"""The evidence of an answer: hyperparameters, levels, drift, costs and checks, as parts of a
report.

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
    """An interval from the 5 % to the 95 % point, or from one end to the other."""

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
        """Whether an interval is known; without one, low and high are the value itself."""
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
    optimum: dict[AxisName, float]  # empty where every run diverged, like the interval
    interval: dict[AxisName, Interval]
    best_loss: float | None  # lowest mean over the seeds of a point
    fitted_loss: float | None  # at the fitted optimum, seeds averaged; compares levels and ladders
    # sd of a run between seeds at the same point, % of the loss; None without repeats
    seed_noise: float | None
    edge: str | None  # the borders at which its optimum lies, in words
    edges: tuple[Edge, ...] = ()  # the same borders as values

    @property
    def loss(self) -> float:
        """The level's loss for comparisons: the fitted one, or else the lowest; infinite where all
        runs diverged.
        """
        known = self.best_loss if self.fitted_loss is None else self.fitted_loss
        return math.inf if known is None else known


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
    """The sources of a hyperparameter's uncertainty at the target: standard deviations in octaves
    whose squares add up to that of `total`.

    `total` is the scale of the distribution behind the 90 % interval.
    """

    seed_noise: float  # runs of different seeds differ
    # the model's bowl deviates from the true one far up its walls, and its shape is uncertain
    bowl_form: float
    finite_width: float  # the drift within a law, as far as the widths leave it open
    # the drift laws differ at the target; for `per_level`, the widths contradict its single law
    law: float
    # of a value that is a grid's point: step / sqrt(12), or its distance from the fitted optimum;
    # 0 where the value is fitted
    mesh: float
    total: float
    dominant: str
    remedy: str  # how to reduce the dominant part


@dataclass(frozen=True)
class Climb:
    """The width at which the ladder stopped climbing, and the reason."""

    width: int
    why: ClimbEnd
    words: str
    values: Values = ()  # the numbers in the text


@dataclass(frozen=True)
class Copying:
    """The cost of training a width with the optimum of the smallest width, in % of the loss,
    predicted by the pooled bowl.
    """

    width: int
    regret: float
    low: float
    high: float
    compute: float  # compute in % that makes up for it: a loss 2 % lower takes about 40 % more


@dataclass(frozen=True)
class Transfer:
    """The transfer of the optimum, by the pooled bowl."""

    copying: tuple[Copying, ...]  # one per wider level, and the target
    lr_interval_cost: Interval  # % of the loss at the ends of lr's interval, at the target
    loss_at_target: Interval | None  # by the scaling of loss with parameters, from three levels on


@dataclass(frozen=True)
class Remedy:
    """The runs that should resolve an unresolved ladder, by the greedy rule's forecast."""

    blocks: int
    widths: tuple[int, ...]  # of the blocks
    base_runs: float
    flops: float
    seconds: float | None  # of training, one run at a time, at the pace of this ladder's runs
    max_base_runs: int  # the limit to set


@dataclass(frozen=True)
class LevelCost:
    """The cost of a width; diverged runs count up to where they stopped, reused runs count as
    trials only.
    """

    width: int
    trials: int
    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class CheckCost:
    """The cost of the coordinate check, over all its widths."""

    trials: int
    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class Cost:
    """The cost; `share` is the final run's share of itself and tuning together, `saving` the saving
    against the full grid at the target.

    Both describe the method rather than this job: the cost of reused runs counts in them, and in no
    other sum.
    """

    levels: tuple[LevelCost, ...]
    trials: int
    tokens: int
    flops: float
    seconds: float
    # trials that other jobs had trained; their cost counts in share and saving alone
    reused: int
    final_run_flops: float
    share: float
    saving: float
    validation: LevelCost | None = None  # runs at the target width, included in the sums
    coordinates: CheckCost | None = None  # the coordinate check, included in the sums


@dataclass(frozen=True)
class Pairing:
    """The scaling rules of a ladder, and whether theory expects its optimum to stay put as width
    grows.
    """

    parametrisation: Parametrisation
    update_scale: UpdateScale | None  # of Muon, as its lr rule
    muon_lr_rule: MuonLrRule | None
    weight_decay_rule: WeightDecayRule
    eps_rule: Literal["constant", "inverse"]  # of AdamW's hidden matrices, in m
    attention_scale: AttentionScale | None  # None of a user's model
    head_form: HeadForm | None  # None where nothing scales the head
    sound: bool
    forced: bool  # used although it would be refused
    remarks: tuple[str, ...]  # theory's objections first


@dataclass(frozen=True)
class Validation:
    """The validation of the ladder's learning rate by real runs at the target width, the other
    hyperparameters held fixed.

    Losses in % are of the loss at the optimum; intervals run from the 5 % to the 95 % point.
    """

    width: int
    trials: int
    diverged: int
    flops: float
    lr: float  # the ladder's, with its interval
    stated: Interval
    loss: float | None  # at that lr, mean of the seeds; None where one diverged
    loss_error: float | None  # standard error of that mean
    seed_noise: float | None  # sd of a run between seeds at the same point, % of the loss
    optimum: float | None  # of lr, by a bowl through these runs; None where none can be fitted
    interval: Interval | None
    regret: float | None  # % of the loss that the ladder's lr costs more than the optimum
    regret_interval: Interval | None
    held: bool | None  # the optimum lies within the stated interval
    contradicted: bool  # the two intervals do not meet
    settled: bool  # these runs alone resolve the optimum


@dataclass(frozen=True)
class Method:
    """The rules by which the runs were chosen and evaluated: names of options, stored with every
    result.
    """

    schedule: str
    estimator: str
    # choices that the published rule leaves open; none under `robust`
    options: dict[str, str] = field(default_factory=dict)
    published: bool = False  # Algorithm 1 to the letter


def digits(x: float) -> float:
    """A number rounded to six significant digits, so that equal reports print equally
    everywhere.
    """
    return float(f"{x:.6g}")


def amount(number: float) -> str:
    """A number with an SI prefix, to be followed by its unit: 7.37 M, 1.2 T."""
    for prefix in PREFIXES:
        if number < 1000:
            return f"{number:.3g} {prefix}"
        number /= 1000
    return f"{number:.3g} Z"


def from_estimate(octaves: float, name: AxisName = "lr") -> float:
    """A hyperparameter from its estimate in octaves, clipped to its scale's limits, which wide
    intervals may exceed.
    """
    return digits(SCALES[name].value(octaves))


def interval(low: float, high: float, name: AxisName = "lr") -> Interval:
    """The values between two estimates in octaves, lowest first."""
    return Interval(*sorted((from_estimate(low, name), from_estimate(high, name))))
