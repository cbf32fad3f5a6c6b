"""The tables that answer a target loss, row by row.

The three tables are computed for any target loss from the curves of the finished runs. Rows are
flat, so that JSON, CSV and a printed table agree; an infinite number is None. Intervals are 90 %
intervals over seeds.

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
    """An optimizer at a batch on a number of devices."""

    optimizer: OptimizerName
    batch_tokens: int
    devices: int
    hours: float | None  # None where every run diverged
    hours_low: float | None
    hours_high: float | None  # None where the interval is open
    step_seconds: float
    origin: Origin  # of the step's time
    share_of_peak: float | None  # MFU; None where the device's peak is not known
    censored: bool  # a run did not reach the loss: hours are a lower bound, and not on the frontier
    # a run was below the loss at its first point: hours are an upper bound, and not on the frontier
    early: bool
    diverged: int  # runs that are left out
    on_frontier: bool  # no other row of this optimizer needs at most its devices and its hours

    @property
    def bound(self) -> bool:
        """Whether hours are a bound rather than an estimate."""
        return self.censored or self.early


@dataclass(frozen=True)
class FrontierAnswer:
    """Hours against devices to a loss."""

    target_loss: float
    read: str  # the method by which the loss was read, in words
    rows: tuple[FrontierRow, ...]  # by optimizer, devices, batch
    # of AdamW's curve (first) and Muon's (second), where both have device counts in common
    dominance: Dominance | None
    model: str  # of step times that were not measured, in words; empty where all were measured


@dataclass(frozen=True)
class BatchRow:
    """One optimizer at one batch."""

    optimizer: OptimizerName
    batch_tokens: int
    tokens: float | None  # T_L(B), a bound where a run is censored; None where all runs diverged
    tokens_low: float | None
    tokens_high: float | None
    steps: float | None  # S_L(B)
    steps_low: float | None
    steps_high: float | None
    reached: int  # runs by outcome
    censored: int
    early: int
    diverged: int
    on_frontier: bool  # no other batch of this optimizer needs at most its tokens and its steps
    lr: float
    weight_decay: float
    source: Source  # of lr and weight decay


@dataclass(frozen=True)
class CriticalBatch:
    """The critical batch, up to which tokens stay constant, by a form of the law; an end beyond the
    batches is None.
    """

    form: Literal["piecewise", "smooth"]
    batch_tokens: float | None
    low: float | None
    high: float | None
    fewest_tokens: float
    residual_percent: float
    p_of_misfit: float | None  # small where the form does not fit
    slope: float | None  # of log steps beyond the critical batch, by the piecewise form
    left_out_low: float | None  # least and greatest critical batch with one batch left out
    left_out_high: float | None


@dataclass(frozen=True)
class BatchSummary:
    """The summary of an optimizer's batches."""

    optimizer: OptimizerName
    # the largest that needs at most 2 % more than the fewest tokens; None where it lies beyond all
    # batches run
    token_optimal_batch: float | None
    token_optimal_low: float | None
    token_optimal_high: float | None
    critical: tuple[CriticalBatch, ...]  # empty with fewer than three settled batches


@dataclass(frozen=True)
class BatchAnswer:
    """Tokens and steps to a loss against batch size."""

    target_loss: float
    read: str
    rows: tuple[BatchRow, ...]  # by optimizer, batch
    optimizers: tuple[BatchSummary, ...]


@dataclass(frozen=True)
class RatioRow:
    """AdamW over Muon at a batch: above 1 where Muon needs less."""

    batch_tokens: int
    ratio: float | None  # R_L(B), in tokens
    ratio_low: float | None
    ratio_high: float | None
    flops_ratio: float | None  # the same with each optimizer's own FLOPs counted
    # the same in measured hours on one worker; None where they were not measured
    hours_ratio: float | None
    gap_tokens: float | None  # AdamW's tokens less Muon's
    gap_low: float | None
    gap_high: float | None
    pairs: int  # of runs with the same seed; 0 where this is a bound
    muon: Standing  # ahead, behind or unresolved


@dataclass(frozen=True)
class RatioAnswer:
    """The token ratio against batch size."""

    target_loss: float
    read: str
    rows: tuple[RatioRow, ...]  # by batch
    # the larger critical batch of both, None where it lies beyond all batches; the middle batch
    # without a critical batch
    trend_from_batch_tokens: float | None
    trend: Direction | None  # of R from there on; None with fewer than two settled batches
    exponent: float | None  # R ~ B^exponent
    exponent_low: float | None
    exponent_high: float | None
    p_falling: float | None  # small values speak against `nondecreasing`
    note: str  # the reason why there are no rows; empty with rows

    @classmethod
    def without_rows(cls, target_loss: float, read: str, note: str) -> Self:
        """An answer without rows, with the reason."""
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
