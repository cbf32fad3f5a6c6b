"""The rows of the three tables that show the costs of reaching a target loss.

The first table has hours against devices, the second has tokens and steps against batch size, and
the third has the ratio of AdamW's tokens to Muon's against batch size. The tables can be computed
for any target loss from the finished runs. Rows are flat, so that JSON, CSV and a printed table
have the same fields. An infinite number is None. Intervals are 90 % intervals over seeds.

A run is *censored* if it ended before it reached the loss, without diverging. A run is *early* if
its loss was low enough at its first point already. The tokens of a censored run are a lower bound,
and the tokens of an early run are an upper bound. A batch is *settled* if at least one of its runs
reached the loss and none of its runs is censored or early. One row *dominates* another row of the
same optimizer if it is better in one quantity (such as hours) and at least as good in the other
(such as devices). The *frontier* consists of the rows that no other row dominates.
"""

from dataclasses import dataclass
from typing import Literal, Self

from telescope.statistics.frontier import Dominance
from telescope.statistics.step_time import Origin
from telescope.statistics.token_ratio import Direction, Standing
from telescope.trials.types import OptimizerName

# where an optimizer's learning rate and weight decay at a batch come from; `job` is a telescope job
Source = Literal["tuned", "interpolated", "extrapolated", "given", "job"]


@dataclass(frozen=True)
class FrontierRow:
    """The hours of an optimizer at a batch on a number of devices."""

    optimizer: OptimizerName
    batch_tokens: int
    devices: int
    # hours to the loss, a bound if a run is censored or early; None if every run diverged
    hours: float | None
    hours_low: float | None  # 0 if the interval has no lower end; None if every run diverged
    hours_high: float | None  # None if the interval has no upper end
    step_seconds: float
    origin: Origin  # origin of the step time: measured or modelled
    # model FLOP/s as a share of the devices' peak (MFU); None if the peak is unknown
    share_of_peak: float | None
    # true if a run is censored; the interval of hours then has no upper end, and the row is not on
    # the frontier
    censored: bool
    # true if a run is early; the interval of hours then has no lower end, and the row is not on the
    # frontier
    early: bool
    diverged: int  # number of runs that diverged; hours are computed from the other runs
    # true if hours are neither a bound nor None, and no other such row of this optimizer dominates
    # this row
    on_frontier: bool

    @property
    def bound(self) -> bool:
        """True if hours are a bound rather than an estimate."""
        return self.censored or self.early


@dataclass(frozen=True)
class FrontierAnswer:
    """Hours to a loss against the number of devices."""

    target_loss: float
    read: str  # how the loss was read off the runs, as text
    # in the study's order of optimizers, then sorted by devices and batch
    rows: tuple[FrontierRow, ...]
    # comparison of the frontiers of AdamW (first) and Muon (second), even if `rows` is limited to
    # one optimizer; None if no device count lies within the range of both frontiers
    dominance: Dominance | None
    model: str  # the assumptions of modelled step times, as text


@dataclass(frozen=True)
class BatchRow:
    """Tokens and steps of one optimizer at one batch."""

    optimizer: OptimizerName
    batch_tokens: int
    # tokens to the loss, a bound if a run is censored or early; None if all runs diverged
    tokens: float | None
    tokens_low: float | None  # 0 if the interval has no lower end; None if all runs diverged
    tokens_high: float | None  # None if the interval has no upper end
    steps: float | None  # steps to the loss
    steps_low: float | None
    steps_high: float | None
    reached: int  # number of runs that reached the loss; the next three count the other outcomes
    censored: int
    early: int
    diverged: int
    # true if the batch is settled and no other settled batch of this optimizer dominates it in
    # tokens and steps (the fewer, the better)
    on_frontier: bool
    lr: float
    weight_decay: float
    source: Source  # source of lr and weight decay


@dataclass(frozen=True)
class CriticalBatch:
    """The critical batch, which is the batch size beyond which the tokens to a loss rise.

    It is estimated by fitting a formula for the tokens at each batch size, in a piecewise or in a
    smooth form (`telescope.statistics.critical_batch`). In the piecewise form, `batch_tokens` is
    None if the tokens do not rise within the settled batches. In the smooth form, the critical
    batch may lie outside the settled batches.
    """

    form: Literal["piecewise", "smooth"]
    batch_tokens: float | None
    low: float | None  # 0 if the interval has no lower end
    high: float | None  # None if the interval has no upper end
    fewest_tokens: float  # tokens to the loss in the limit of small batches, by this form
    residual_percent: float  # root mean square of the residuals of the fit, in % of the tokens
    # p-value of the fit, which is small if the form does not fit; None if the fit cannot be tested,
    # because there are too few batches or seeds, or because runs with different seeds are equal
    p_of_misfit: float | None
    # slope of log steps against log batch beyond the critical batch; None for the smooth form
    slope: float | None
    # Lowest and highest critical batch of the fits that each leave out one batch. Both are None for
    # the smooth form, and if there are fewer than four settled batches. A number that would be
    # infinite is None, too.
    left_out_low: float | None
    left_out_high: float | None


@dataclass(frozen=True)
class BatchSummary:
    """The token-optimal batch and the critical batches of an optimizer."""

    optimizer: OptimizerName
    # the largest batch that needs at most 2 % more than the fewest tokens, by the piecewise form;
    # None if it lies beyond the settled batches, or if there are fewer than three settled batches
    token_optimal_batch: float | None
    token_optimal_low: float | None
    token_optimal_high: float | None
    critical: tuple[CriticalBatch, ...]  # one per form; empty with fewer than three settled batches


@dataclass(frozen=True)
class BatchAnswer:
    """Tokens and steps to a loss against batch size."""

    target_loss: float
    read: str
    rows: tuple[BatchRow, ...]  # in the study's order of optimizers, then sorted by batch
    optimizers: tuple[BatchSummary, ...]


@dataclass(frozen=True)
class RatioRow:
    """AdamW's costs divided by Muon's at a batch. A ratio is above 1 if Muon's cost is lower."""

    batch_tokens: int
    ratio: float | None  # ratio of tokens
    ratio_low: float | None
    ratio_high: float | None
    flops_ratio: float | None  # ratio of FLOPs, optimizer steps included
    hours_ratio: float | None  # ratio of hours on one worker; None if steps were not timed
    gap_tokens: float | None  # AdamW's tokens minus Muon's
    gap_low: float | None
    gap_high: float | None
    # number of seeds with which both optimizers reached the loss, if the batch is settled for both;
    # with 0 pairs, the ratio and the gap may be only bounds
    pairs: int
    muon: Standing  # ahead if Muon needs fewer tokens, behind if more, or unresolved


@dataclass(frozen=True)
class RatioAnswer:
    """AdamW's tokens divided by Muon's, against batch size."""

    target_loss: float
    read: str
    rows: tuple[RatioRow, ...]  # sorted by batch
    # the batch size from which on the trend is fitted: the larger of the critical batches that
    # could be fitted, or the median of AdamW's batches if none could be fitted; None without rows,
    # or if a critical batch is infinite
    trend_from_batch_tokens: float | None
    # trend of the ratio from that batch on; None if fewer than two of these batches have pairs
    trend: Direction | None
    exponent: float | None  # the ratio changes as batch^exponent; None without a trend
    exponent_low: float | None
    exponent_high: float | None
    # p-value of the hypothesis that the ratio does not fall, which is small if the ratio falls
    # clearly; None without a trend
    p_falling: float | None
    note: str  # the reason why there are no rows; empty if there are rows

    @classmethod
    def without_rows(cls, target_loss: float, read: str, note: str) -> Self:
        """An answer without rows; `note` gives the reason."""
        return cls(
            target_loss=target_loss,
            read=read,
            rows=(),
            trend_from_batch_tokens=None,
            trend=None,
            exponent=None,
            exponent_low=None,
            exponent_high=None,
            p_falling=None,
            note=note,
        )
