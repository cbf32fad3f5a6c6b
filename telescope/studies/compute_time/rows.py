"""What does the compute-time study answer to a target loss, row by row?

Three tables, each computed for any target loss from the curves of the finished runs. Rows are flat, so that JSON, CSV and a printed table
say the same; an infinite number is None. Intervals are 90 % ones over seeds.

Parts: `FrontierRow`, `FrontierAnswer` · `BatchRow`, `BatchSummary`, `BatchAnswer` · `RatioRow`, `RatioAnswer`.
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
    """One optimizer at one batch on so many devices."""

    optimizer: OptimizerName
    batch_tokens: int
    devices: int
    hours: float | None  # None where every run diverged
    hours_low: float | None
    hours_high: float | None  # None where the interval has no end
    step_seconds: float
    origin: Origin  # of the step's time
    share_of_peak: float | None  # MFU; None where the device's peak is not known
    censored: bool  # a run did not reach the loss: hours are a lower bound, and not on the frontier
    early: bool  # a run was below the loss at its first point: hours are an upper bound, and not on the frontier
    diverged: int  # runs that take no part
    on_frontier: bool  # no other row of this optimizer needs at most its devices and its hours

    @property
    def bound(self) -> bool:
        """Whether hours are no estimate."""
        return self.censored or self.early


@dataclass(frozen=True)
class FrontierAnswer:
    """Hours against devices to a loss."""

    target_loss: float
    read: str  # how the loss was read, in words
    rows: tuple[FrontierRow, ...]  # by optimizer, devices, batch
    dominance: Dominance | None  # of AdamW's curve (first) and Muon's (second), where both have device counts in common
    model: str  # of step times that were not measured, in words; empty where all were


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
    reached: int  # runs of each fate
    censored: int
    early: int
    diverged: int
    on_frontier: bool  # no other batch of this optimizer needs at most its tokens and its steps
    lr: float
    weight_decay: float
    source: Source  # of lr and weight decay


@dataclass(frozen=True)
class CriticalBatch:
    """Up to which batch tokens stay the same, by one form; an end that the batches do not hold is None."""

    form: Literal["piecewise", "smooth"]
    batch_tokens: float | None
    low: float | None
    high: float | None
    fewest_tokens: float
    residual_percent: float
    p_of_misfit: float | None  # small where the form does not hold
    slope: float | None  # of log steps beyond the critical batch, by the piecewise form
    left_out_low: float | None  # least and greatest critical batch with one batch left out
    left_out_high: float | None


@dataclass(frozen=True)
class BatchSummary:
    """What the batches of one optimizer amount to."""

    optimizer: OptimizerName
    token_optimal_batch: float | None  # the largest that needs at most 2 % more than the fewest tokens; None: beyond all that were run
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
    """AdamW over Muon at one batch: above 1 where Muon needs less."""

    batch_tokens: int
    ratio: float | None  # R_L(B), in tokens
    ratio_low: float | None
    ratio_high: float | None
    flops_ratio: float | None  # the same with each optimizer's own FLOPs counted
    hours_ratio: float | None  # the same in measured hours on one worker; None where they were not measured
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
    trend_from_batch_tokens: float | None  # the larger critical batch of both, None beyond all; the middle batch where there is none
    trend: Direction | None  # of R from there on; None with fewer than two settled batches
    exponent: float | None  # R ~ B^exponent
    exponent_low: float | None
    exponent_high: float | None
    p_falling: float | None  # small speaks against `nondecreasing`
    note: str  # why there are no rows, where there are none

    @classmethod
    def without_rows(cls, target_loss: float, read: str, note: str) -> Self:
        """An answer that says why it has no rows."""
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
