"""The evidence for an answer, as parts of a report: hyperparameters, levels, drift, costs, checks.

A *ladder* is the search of one optimizer over growing widths, its *levels*. The value of a
hyperparameter is its base value, from which scaling rules compute its value at each width. Unless
stated otherwise, `low` and `high` are the ends of a 90 % interval. The *pooled bowl* is a
statistical model of the losses at all levels. Hyperparameters with three values or more are
*fitted*: the model has an optimum along them. The estimator `argmin` takes the best point tried as
its answer; its intervals are at least as wide as the steps of the grid.
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
"""The status of a hyperparameter. `answer.verdict` defines each status but `fixed`."""
PREFIXES = ("", "k", "M", "G", "T", "P", "E")  # SI prefixes of the powers of 1000


@dataclass(frozen=True)
class Interval:
    """Two ends: of a 90 % interval (its 5 % and 95 % points), or as stated by the field."""

    low: float
    high: float


@dataclass(frozen=True)
class Hyperparameter:
    """A hyperparameter at the target. `half_width` is the half-width of its interval, in octaves.
    `tolerance` is the largest half-width at which the hyperparameter is resolved. The tolerance is
    None if the hyperparameter is not fitted. Without a pooled bowl, only lr has a tolerance.
    """

    value: float
    low: float
    high: float
    resolved: bool
    status: Status
    half_width: float
    tolerance: float | None

    @property
    def has_interval(self) -> bool:
        """Whether the value has an interval. Without one, low and high equal the value."""
        return self.half_width > 0


@dataclass(frozen=True)
class LevelReport:
    """The report on one level: its runs and its optimum."""

    level: int
    width: int
    window: dict[AxisName, Interval]  # range of the values tried
    grid: dict[AxisName, tuple[float, ...]]  # the values tried, ascending
    stages: tuple[str, ...]  # names of the rules that planned the runs
    trials: int
    diverged: int
    # if every run diverged, optimum and interval are empty
    optimum: dict[AxisName, float]
    interval: dict[AxisName, Interval]
    best_loss: float | None  # lowest loss, as a mean over seeds; None if no such mean is finite
    # pooled bowl's loss at the optimum, averaged over seeds; None if no run of the level was fitted
    fitted_loss: float | None
    # sd of the loss between seeds at equal hyperparameters, in % of the loss; None if unknown
    seed_noise: float | None
    edge: str | None  # the edges at which the optimum lies, in words; None without edges
    edges: tuple[Edge, ...] = ()  # the same edges, as values

    @property
    def loss(self) -> float:
        """The fitted loss if there is one, otherwise the best loss. Infinite without either."""
        loss = self.best_loss if self.fitted_loss is None else self.fitted_loss
        return math.inf if loss is None else loss


@dataclass(frozen=True)
class Drift:
    """The drift of the learning rate's optimum with width, over the levels so far."""

    octaves_per_doubling: float
    low: float
    high: float


@dataclass(frozen=True)
class Shift:
    """The shift of the learning rate's optimum from the widest level to the target, in octaves,
    under one law of its drift with width, or averaged over the laws.
    """

    law: str  # averaged, constant per doubling, a/n or a/sqrt(n); n is the width, a is a constant
    probability: float  # posterior probability of the law; 1 for the average
    octaves: float
    low: float
    high: float


@dataclass(frozen=True)
class ErrorBudget:
    """The sources of a hyperparameter's uncertainty at the target, as standard deviations in
    octaves. The sum of their squares is the square of `total`.
    """

    seed_noise: float  # the difference between runs of different seeds
    bowl_form: float  # the uncertain shape of the pooled bowl, and its error far from the optimum
    finite_width: float  # the uncertainty of the drift under a given law
    # the difference between the drift laws at the target; for the estimator `per_level`, which fits
    # a single law, the deviation of the levels from this law
    law: float
    # 0 for a fitted value; for a point of a grid, the grid's spacing / sqrt(12) or the distance to
    # the fitted optimum, whichever is larger
    mesh: float
    total: float
    dominant: str  # the name of the largest source
    remedy: str  # how to reduce the dominant source


@dataclass(frozen=True)
class Climb:
    """The widest width that the ladder has reached, and why it stopped there, if it did."""

    width: int
    why: ClimbEnd
    words: str  # the reason `why` as text
    values: Values = ()  # the values of the reason `why`, by name


@dataclass(frozen=True)
class Copying:
    """The *regret* of training at a width with the optimum of the smallest width. The regret is the
    excess loss, in % of the loss, as predicted by the pooled bowl.
    """

    width: int
    regret: float  # median of the regret; low and high are its interval
    low: float
    high: float
    compute: float  # extra compute that makes up for the regret, in %: 40 for a regret of 2 %


@dataclass(frozen=True)
class Transfer:
    """The transfer of the optimum from width to width, predicted by the pooled bowl."""

    # for the levels above the narrowest; then for the target, if it is wider than these levels
    copying: tuple[Copying, ...]
    lr_interval_cost: Interval  # excess loss at each end of lr's interval, in % of the loss
    # loss predicted by a power law in the number of parameters; None if no such law can be fitted
    loss_at_target: Interval | None


@dataclass(frozen=True)
class Remedy:
    """The runs that should resolve an unresolved ladder, as planned by the schedule `robust`."""

    blocks: int  # number of blocks, which are sets of runs around the expected optimum
    widths: tuple[int, ...]  # widths at which the blocks run
    base_runs: float  # cost in runs at the base width
    flops: float
    # seconds to train all runs one after the other; None if the ladder has trained no run itself
    seconds: float | None
    max_base_runs: int  # value of limits.max_base_runs that allows these runs


@dataclass(frozen=True)
class LevelCost:
    """The cost of a width. Diverged runs count up to the step at which they stopped. Runs reused
    from other jobs count as trials, but cost nothing.
    """

    width: int
    trials: int
    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class CheckCost:
    """The cost of the coordinate check, which tests the scaling rules by short runs."""

    trials: int
    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class Cost:
    """The cost of a ladder.

    `share` is the compute of the final run, as a fraction of the compute of tuning and final run
    together. `saving` compares this sum with a full grid at the target: it is the saved fraction of
    the grid's compute. Only `share` and `saving` include the original cost of reused runs.
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
    """The scaling rules of a ladder. They are `sound` if theory raises no objection to them."""

    parametrisation: Parametrisation
    update_scale: UpdateScale | None  # None in an AdamW run
    muon_lr_rule: MuonLrRule | None  # None in an AdamW run
    weight_decay_rule: WeightDecayRule
    eps_rule: Literal["constant", "inverse"]  # AdamW's eps for hidden matrices, against width
    attention_scale: AttentionScale | None  # None for a user's model
    head_form: HeadForm | None  # None if no rule scales the readout
    sound: bool
    forced: bool  # whether the rules would be refused without `force_pairing`
    remarks: tuple[str, ...]  # the objections from theory, then other remarks


@dataclass(frozen=True)
class Validation:
    """The validation of the ladder's learning rate by real runs at the target width, with the other
    hyperparameters held fixed.

    If fewer than two learning rates have a finite loss, these runs show no optimum. The fields that
    depend on the optimum are then None, or False for `contradicted` and `settled`.
    """

    width: int
    trials: int
    diverged: int
    flops: float
    lr: float  # the ladder's learning rate, before these runs could replace it
    stated: Interval  # the ladder's interval of lr
    loss: float | None  # mean loss of the runs at `lr`; None if one of these runs diverged
    loss_error: float | None  # standard error of `loss`
    seed_noise: float | None  # as in `LevelReport`
    optimum: float | None  # optimal lr, by a bowl fitted to these runs
    interval: Interval | None  # the interval of `optimum`
    regret: float | None  # loss at the ladder's lr minus loss at the optimum, in % of the latter
    regret_interval: Interval | None
    held: bool | None  # whether `optimum` lies within `stated`
    contradicted: bool  # whether `interval` and `stated` do not overlap
    settled: bool  # whether these runs determine the optimum well enough to report it


@dataclass(frozen=True)
class Method:
    """The rules by which the runs were chosen and evaluated, by their names in the document."""

    schedule: str
    estimator: str
    # under `paper`, the choices that the published rule leaves open; empty under `robust`
    options: dict[str, str] = field(default_factory=dict)
    published: bool = False  # whether the rules are Algorithm 1 of arXiv 2505.02222, read literally


def digits(x: float) -> float:
    """A number rounded to six significant digits."""
    return float(f"{x:.6g}")


def amount(number: float) -> str:
    """A number with an SI prefix, such as `7.37 M` or `1.2 T`, to which a unit can be appended."""
    for prefix in PREFIXES:
        if number < 1000:
            return f"{number:.3g} {prefix}"
        number /= 1000
    return f"{number:.3g} Z"


def from_estimate(octaves: float, name: AxisName = "lr") -> float:
    """A hyperparameter's value at `octaves`. Octaves beyond the limits of its scale are clipped."""
    return digits(SCALES[name].value(octaves))


def interval(low: float, high: float, name: AxisName = "lr") -> Interval:
    """The interval of values between two estimates in octaves."""
    return Interval(*sorted((from_estimate(low, name), from_estimate(high, name))))
