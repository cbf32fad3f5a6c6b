"""What an answer rests on: hyperparameters, levels, drift, costs, checks, as the parts of a report.

Numbers with their units, no pictures; hyperparameters are base values, which hold at every width.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from telescope.studies.coordinates.slopes import CoordinateVerdict
from telescope.studies.telescoping.axes import SCALES, AxisName
from telescope.studies.telescoping.reasons import ClimbEnd, Edge, Values
from telescope.trials.types import AttentionScale, HeadForm, MuonLrRule, Parametrisation, UpdateScale, WeightDecayRule

Verdict = Literal["resolved", "unresolved", "unbracketed", "refused"]
Status = Literal["resolved", "unresolved", "unbracketed", "flat", "swept", "fixed"]
PREFIXES = ("", "k", "M", "G", "T", "P", "E")


@dataclass(frozen=True)
class Interval:
    """From the 5 % to the 95 % point, or simply from one end to the other."""

    low: float
    high: float


@dataclass(frozen=True)
class Hyperparameter:
    """One base hyperparameter at the target; widths in octaves."""

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
    """One width: what was run there and where its optimum lies."""

    level: int
    width: int
    window: dict[AxisName, Interval]
    grid: dict[AxisName, tuple[float, ...]]
    stages: tuple[str, ...]
    trials: int
    diverged: int
    optimum: dict[AxisName, float]  # empty where every run diverged, as is the interval
    interval: dict[AxisName, Interval]
    best_loss: float | None  # lowest mean over the seeds of a point
    fitted_loss: float | None  # at the fitted optimum, seeds averaged: what levels and ladders are compared by
    seed_noise: float | None  # sd of one run between seeds at the same point, % of the loss; None without repeats
    edge: str | None  # the borders its optimum lies at
    edges: tuple[Edge, ...] = ()  # the same as values

    @property
    def loss(self) -> float:
        """The level's loss for comparisons: fitted where it can be, the lowest one seen elsewhere; infinite where all diverged."""
        known = self.best_loss if self.fitted_loss is None else self.fitted_loss
        return math.inf if known is None else known


@dataclass(frozen=True)
class Drift:
    """How the learning rate's optimum moves with width, over the levels run."""

    octaves_per_doubling: float
    low: float
    high: float


@dataclass(frozen=True)
class Shift:
    """How far the learning rate's optimum moves from the widest level to the target, in octaves, and by which law."""

    law: str  # a/n, a/sqrt(n), constant per doubling; or all of them, averaged
    probability: float  # of the law, after the data
    octaves: float
    low: float
    high: float


@dataclass(frozen=True)
class ErrorBudget:
    """What makes one hyperparameter at the target uncertain: standard deviations in octaves whose squares add up to that of `total`.

    `total` is the scale of the distribution that the 90 % interval is drawn from.
    """

    seed_noise: float  # runs of different seeds differ
    bowl_form: float  # the model's bowl is not the true one far up its walls, and its own shape is not known exactly
    finite_width: float  # the drift within a law, as far as the widths run leave it open
    law: float  # the drift laws differ at the target; for `per_level`, the widths contradict the one law it knows
    mesh: float  # the value is a grid's point: step / sqrt(12), or as far as it lies off the fitted optimum; 0 where it is fitted
    total: float
    dominant: str
    remedy: str  # what would reduce the dominant part


@dataclass(frozen=True)
class Climb:
    """At which width the ladder stopped rising, and why."""

    width: int
    why: ClimbEnd
    words: str
    values: Values = ()  # the numbers of the words


@dataclass(frozen=True)
class Copying:
    """What training a width with the optimum of the smallest one costs, predicted by the pooled bowl, in % of the loss."""

    width: int
    regret: float
    low: float
    high: float
    compute: float  # the compute, in %, that would make up for it: a loss 2 % lower takes about 40 % more


@dataclass(frozen=True)
class Transfer:
    """How well the optimum transfers, by the pooled bowl."""

    copying: tuple[Copying, ...]  # one per wider level, and the target
    lr_interval_cost: Interval  # % of the loss at the ends of lr's interval, at the target
    loss_at_target: Interval | None  # where the scaling of loss with parameters leads; from three levels on


@dataclass(frozen=True)
class Remedy:
    """What would resolve an unresolved ladder, by the greedy rule's own forecast."""

    blocks: int
    widths: tuple[int, ...]  # at which they would be run
    base_runs: float
    flops: float
    seconds: float | None  # of training, at the pace of this ladder's own runs, one after the other
    max_base_runs: int  # the limit to set


@dataclass(frozen=True)
class LevelCost:
    """What one width cost; runs that diverged count as far as they came, and reused ones among the trials alone."""

    width: int
    trials: int
    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class CheckCost:
    """What the coordinate check cost, over all its widths."""

    trials: int
    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class Cost:
    """The bill; `share` is the final run's part of it and tuning together, `saving` that against the full grid at the target.

    Both are of the method, not of the day: what reused runs once took counts in them, and in no other sum.
    """

    levels: tuple[LevelCost, ...]
    trials: int
    tokens: int
    flops: float
    seconds: float
    reused: int  # of the trials, those that other jobs had trained; what that took is in no sum here, but in share and saving
    final_run_flops: float
    share: float
    saving: float
    validation: LevelCost | None = None  # runs at the target width, included in the sums
    coordinates: CheckCost | None = None  # the coordinate check, included in the sums


@dataclass(frozen=True)
class Pairing:
    """Which scaling rules a ladder went by, and whether theory expects its optimum to stay where it is as width grows."""

    parametrisation: Parametrisation
    update_scale: UpdateScale | None  # of Muon, as its lr rule
    muon_lr_rule: MuonLrRule | None
    weight_decay_rule: WeightDecayRule
    eps_rule: Literal["constant", "inverse"]  # of AdamW's hidden matrices, in m
    attention_scale: AttentionScale | None  # None of a user's model
    head_form: HeadForm | None  # None where nothing scales the head
    sound: bool
    forced: bool  # it would have been refused
    remarks: tuple[str, ...]  # what theory has against it, then what else there is to know


@dataclass(frozen=True)
class Validation:
    """What real runs at the target width say of the learning rate that the ladder states, the other hyperparameters held.

    Losses in % are of the loss at the optimum; intervals run from the 5 % to the 95 % point.
    """

    width: int
    trials: int
    diverged: int
    flops: float
    lr: float  # as the ladder states it, and its interval
    stated: Interval
    loss: float | None  # at that lr, mean of the seeds; None where one diverged
    loss_error: float | None  # standard error of that mean
    seed_noise: float | None  # sd of one run between seeds at the same point, % of the loss
    optimum: float | None  # of lr, by a bowl through these runs; None where they do not bear one
    interval: Interval | None
    regret: float | None  # % of the loss that the ladder's lr costs more than the optimum
    regret_interval: Interval | None
    held: bool | None  # the optimum lies within the stated interval
    contradicted: bool  # the two intervals do not meet
    settled: bool  # these runs alone resolve the optimum


@dataclass(frozen=True)
class LateSlope:
    """How the end of a run changes with width at the optimum, for one kind of hidden matrix or the last features."""

    name: str  # spectral/<kind>, update/<kind>, update/features
    slope: float
    low: float
    high: float
    verdict: CoordinateVerdict | None  # None: told, not judged


@dataclass(frozen=True)
class LateReason:
    """Why a late check comes out as it does; its words are in `answer.late`."""

    code: Literal["beyond_gate", "within_gate", "across_gate"]
    worst: LateSlope  # the steepest that fails; where none does, the steepest that is judged
    narrowest: int
    widest: int
    judged: int  # slopes
    gate: float


@dataclass(frozen=True)
class LateReport:
    """The coordinate check at the end of the ladder's own runs: a warning, and no more."""

    verdict: CoordinateVerdict
    reason: str
    slopes: tuple[LateSlope, ...]  # the steepest first
    widths: tuple[int, ...]
    runs: int
    because: LateReason | None = None  # the reason as a value; None in reports from before it was kept


@dataclass(frozen=True)
class Method:
    """By which rules the runs were chosen and read: names of options, kept with every result."""

    schedule: str
    estimator: str
    options: dict[str, str] = field(default_factory=dict)  # of what the published rule leaves open; none under `robust`
    published: bool = False  # Algorithm 1 to the letter


def digits(x: float) -> float:
    """Six of them: what is estimated has no more, and equal reports print equally everywhere."""
    return float(f"{x:.6g}")


def amount(number: float) -> str:
    """With an SI prefix: 7.37 M, 1.2 T; the unit follows."""
    for prefix in PREFIXES:
        if number < 1000:
            return f"{number:.3g} {prefix}"
        number /= 1000
    return f"{number:.3g} Z"


def from_estimate(octaves: float, name: AxisName = "lr") -> float:
    """A hyperparameter from its estimate in octaves; where data say next to nothing, intervals leave what exists."""
    return digits(SCALES[name].value(octaves))


def interval(low: float, high: float, name: AxisName = "lr") -> Interval:
    """The values between two estimates in octaves, lowest first."""
    return Interval(*sorted((from_estimate(low, name), from_estimate(high, name))))
