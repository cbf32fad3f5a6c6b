"""The rows of the three tables that answer a target loss.

The tables are computed for any target loss from the curves of the finished runs. Rows are flat, so
that JSON, CSV and a printed table have the same fields; an infinite number is None. Intervals are
90 % intervals over seeds. A batch is *settled* if at least one of its runs reached the loss, and
all other runs diverged.

Parts: `FrontierRow`, `FrontierAnswer` · `BatchRow`, `BatchSummary`, `BatchAnswer` · `RatioRow`,
`RatioAnswer`.
"""

from dataclasses import dataclass
from typing import Literal, Self

from telescope.statistics.frontier import Dominance
from telescope.statistics.step_time import Origin
from telescope.statistics.token_ratio import Direction, Standing
from telescope.trials.types import OptimizerName

Source = Literal["tuned", "interpolated", "extrapolated", "given", "job"]


@dataclass(frozen=True)
class FrontierRow:
    """The hours of an optimizer at a batch on a number of devices."""

    optimizer: OptimizerName
    batch_tokens: int
    devices: int
    hours: float | None  # hours to the loss; None if every run diverged
    hours_low: float | None  # 0 if the interval has no lower end
    hours_high: float | None  # None if the interval has no upper end
    step_seconds: float
    origin: Origin  # origin of the step time: measured or modelled
    share_of_peak: float | None  # MFU; None if the peak is unknown
    # true if a run neither reached the loss nor diverged: then hours are a lower bound, and off the
    # frontier
    censored: bool
    # true if a run was below the loss at its first point: then hours are an upper bound, and off
    # the frontier
    early: bool
    diverged: int  # number of runs that diverged, which do not count in hours
    on_frontier: bool  # true if hours are an estimate that no other one of this optimizer dominates

    @property
    def bound(self) -> bool:
        """True if hours are a bound rather than an estimate."""
        return self.censored or self.early


@dataclass(frozen=True)
class FrontierAnswer:
    """Hours to a loss against the number of devices."""

    target_loss: float
    read: str  # how the loss was read off the runs, as text
    rows: tuple[FrontierRow, ...]  # sorted by optimizer, devices, batch
    # comparison of the frontiers of AdamW (first) and Muon (second), even if the rows are of one
    # optimizer only; None if no device count lies within the range of both frontiers
    dominance: Dominance | None
    model: str  # the assumptions of modelled step times, as text


@dataclass(frozen=True)
class BatchRow:
    """Tokens and steps of one optimizer at one batch."""

    optimizer: OptimizerName
    batch_tokens: int
    # tokens to the loss: a bound if a run is censored or early; None if all runs diverged
    tokens: float | None
    tokens_low: float | None  # 0 if the interval has no lower end
    tokens_high: float | None  # None if the interval has no upper end
    steps: float | None  # steps to the loss
    steps_low: float | None
    steps_high: float | None
    reached: int  # number of runs that reached the loss; the next three count other outcomes
    censored: int
    early: int
    diverged: int
    # true if the batch is settled and no other settled batch of this optimizer dominates it in
    # tokens and steps
    on_frontier: bool
    lr: float
    weight_decay: float
    source: Source  # source of lr and weight decay


@dataclass(frozen=True)
class CriticalBatch:
    """The critical batch, beyond which the tokens to a loss rise, by one form of the law of tokens
    against batch size. In the piecewise form it is None if the tokens do not rise within the
    batches that were run; in the smooth form it may lie outside these batches.
    """

    form: Literal["piecewise", "smooth"]
    batch_tokens: float | None
    low: float | None
    high: float | None
    fewest_tokens: float
    residual_percent: float
    # p-value of the fit: small if the form does not fit; None if there are too few batches or seeds
    p_of_misfit: float | None
    slope: float | None  # slope of log steps beyond the critical batch; None for the smooth form
    # lowest and highest critical batch of the fits that leave one batch out; None for the smooth
    # form, with fewer than four settled batches, and for an infinite critical batch
    left_out_low: float | None
    left_out_high: float | None


@dataclass(frozen=True)
class BatchSummary:
    """The token-optimal batch and the critical batches of an optimizer."""

    optimizer: OptimizerName
    # the largest batch that needs at most 2 % more than the fewest tokens, by the piecewise law;
    # None if it lies beyond the batches that were run, or with fewer than three settled batches
    token_optimal_batch: float | None
    token_optimal_low: float | None
    token_optimal_high: float | None
    critical: tuple[CriticalBatch, ...]  # empty with fewer than three settled batches


@dataclass(frozen=True)
class BatchAnswer:
    """Tokens and steps to a loss against batch size."""

    target_loss: float
    read: str
    rows: tuple[BatchRow, ...]  # sorted by optimizer, batch
    optimizers: tuple[BatchSummary, ...]


@dataclass(frozen=True)
class RatioRow:
    """AdamW's cost divided by Muon's at a batch; ratios are above 1 if Muon needs less."""

    batch_tokens: int
    ratio: float | None  # ratio of tokens
    ratio_low: float | None
    ratio_high: float | None
    flops_ratio: float | None  # ratio of FLOPs, optimizer steps included
    hours_ratio: float | None  # ratio of hours on one worker; None if steps were not timed
    gap_tokens: float | None  # AdamW's tokens minus Muon's
    gap_low: float | None
    gap_high: float | None
    pairs: int  # pairs of runs with the same seed; 0 if the row is a bound
    muon: Standing  # Muon's standing in tokens


@dataclass(frozen=True)
class RatioAnswer:
    """The token ratio against batch size."""

    target_loss: float
    read: str
    rows: tuple[RatioRow, ...]  # sorted by batch
    # the first batch of the trend: the larger critical batch, or the median of AdamW's batches if
    # none could be fitted; None without rows, or if an optimizer's tokens do not rise within the
    # batches that were run
    trend_from_batch_tokens: float | None
    # trend of the ratio from that batch on; None if fewer than two batches there have pairs of runs
    trend: Direction | None
    exponent: float | None  # the ratio changes as batch^exponent; None without a trend
    exponent_low: float | None
    exponent_high: float | None
    p_falling: float | None  # p-value of the hypothesis that the ratio does not fall
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
