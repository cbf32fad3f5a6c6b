"""The rows of the three tables that show the costs of reaching a target loss.

The first table has hours against devices, the second has tokens and steps against batch size, and
the third has the ratio of AdamW's tokens to Muon's against batch size. The tables can be computed
for any target loss from the finished runs. Rows are flat, so that JSON, CSV and a printed table
have the same fields. None takes the place of infinite numbers. Intervals are 90 % intervals; they
are estimated from the differences between runs with different seeds.

A run is *censored* if it ended before it reached the loss, without diverging. A run is *early* if
its loss was low enough at its first point already. The tokens of a censored run are a lower bound,
and the tokens of an early run are an upper bound. A batch is *settled* if at least one of its runs
reached the loss and none of its runs is censored or early. One row *dominates* another row of the
same optimizer if it is better in one quantity (such as hours) and at least as good in the other
(such as devices). The *frontier* of an optimizer consists of its rows at settled batches that no
other such row dominates.
"""

from dataclasses import dataclass
from typing import Literal, Self

from telescope.statistics.frontier import Dominance
from telescope.statistics.step_time import Origin
from telescope.statistics.token_ratio import Direction, Standing
from telescope.trials.types import OptimizerName

# Source of an optimizer's learning rate and weight decay at a batch. `extrapolated`: the values of
# the nearest batch that has values. `job`: a job of kind `telescope`.
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
    origin: Origin  # whether the step time is measured or modelled
    # model FLOP utilisation (MFU): the model's FLOP/s divided by the peak FLOP/s of the devices;
    # None if the peak is unknown
    share_of_peak: float | None
    # true if a run is censored; the interval of hours then has no upper end, and the row is not on
    # the frontier
    censored: bool
    # true if a run is early; the interval of hours then has no lower end, and the row is not on the
    # frontier
    early: bool
    diverged: int  # number of runs that diverged; hours are computed from the other runs
    on_frontier: bool  # true if the row is on the frontier of hours and devices

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
    steps: float | None  # steps to the loss: tokens divided by batch_tokens
    steps_low: float | None
    steps_high: float | None
    # number of runs that reached the loss; the next three fields count the other outcomes
    reached: int
    censored: int
    early: int
    diverged: int
    on_frontier: bool  # true if the row is on the frontier of tokens and steps
    lr: float
    weight_decay: float
    source: Source  # source of lr and weight decay


@dataclass(frozen=True)
class CriticalBatch:
    """The critical batch by one *form*: a formula for the tokens to a loss at each batch size,
    which is fitted to the settled batches (`telescope.statistics.critical_batch`).

    By the piecewise form, the tokens rise beyond the critical batch. If they do not rise within the
    settled batches, `batch_tokens` is None. By the smooth form, the tokens at the critical batch
    are twice `fewest_tokens`. The critical batch may then lie outside the settled batches.
    """

    form: Literal["piecewise", "smooth"]
    batch_tokens: float | None
    low: float | None  # 0 if the interval has no lower end
    high: float | None  # None if the interval has no upper end
    fewest_tokens: float  # tokens to the loss in the limit of small batches, by this form
    # root mean square of the residuals of the fit, approximately in % of the tokens
    residual_percent: float
    # p-value of a test of the form; small if the form does not fit. None if the test is impossible:
    # there are too few batches or seeds, or all runs at the same batch need the same tokens.
    p_of_misfit: float | None
    # slope of log steps against log batch beyond the critical batch; None for the smooth form
    slope: float | None
    # lowest and highest critical batch over fits that each leave out one batch; None for the smooth
    # form, and with fewer than four settled batches
    left_out_low: float | None
    left_out_high: float | None


@dataclass(frozen=True)
class BatchSummary:
    """The token-optimal batch and the critical batches of an optimizer."""

    optimizer: OptimizerName
    # by the piecewise form, the largest batch size whose tokens exceed `fewest_tokens` by at most
    # 2 %; None if it lies beyond the settled batches, or with fewer than three settled batches
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
    flops_ratio: float | None  # ratio of FLOPs, including those of Muon's Newton-Schulz iterations
    # ratio of hours on one worker; None if the time of a step is not known for both optimizers
    hours_ratio: float | None
    gap_tokens: float | None  # AdamW's tokens minus Muon's
    gap_low: float | None
    gap_high: float | None
    # number of seeds with which both optimizers reached the loss; 0 if the batch is not settled for
    # both optimizers. With 0 pairs, the ratio and the gap may be only bounds.
    pairs: int
    # Muon's standing: ahead if the interval of the ratio lies above 1, behind if it lies below 1,
    # and otherwise unresolved
    muon: Standing


@dataclass(frozen=True)
class RatioAnswer:
    """AdamW's tokens divided by Muon's, against batch size."""

    target_loss: float
    read: str
    rows: tuple[RatioRow, ...]  # sorted by batch
    # The trend is fitted over the batches of at least this size: the larger of the critical batches
    # (piecewise form) that could be fitted, or the median of AdamW's batches if none could be
    # fitted. None without rows, or if tokens do not rise at the settled batches of an optimizer.
    trend_from_batch_tokens: float | None
    # how the ratio changes with the batch size; None if fewer than two batches in the fit have
    # pairs
    trend: Direction | None
    exponent: float | None  # the ratio changes as batch^exponent; None without a trend
    exponent_low: float | None
    exponent_high: float | None
    # p-value of the hypothesis that the ratio does not fall; small if the ratio clearly falls, None
    # without a trend
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
