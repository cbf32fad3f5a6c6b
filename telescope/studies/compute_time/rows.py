"""The rows of the three tables that answer a target loss.

The tables are computed for any target loss from the curves of the finished runs. Rows are flat, so
that JSON, CSV and a printed table have the same fields; an infinite number is None. Intervals are
90 % intervals over seeds.

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
    hours: float | None  # None if every run diverged
    hours_low: float | None
    hours_high: float | None  # None if the interval is open
    step_seconds: float
    origin: Origin  # of the step time
    share_of_peak: float | None  # MFU; None if the device's peak is not known
    censored: bool  # a run did not reach the loss: hours are a lower bound, and not on the frontier
    # a run was below the loss at its first point: hours are an upper bound, and not on the frontier
    early: bool
    diverged: int  # number of runs that diverged, which are left out
    on_frontier: bool  # no other row of this optimizer dominates it in devices and hours

    @property
    def bound(self) -> bool:
        """True if hours are a bound rather than an estimate."""
        return self.censored or self.early


@dataclass(frozen=True)
class FrontierAnswer:
    """Hours against devices to a loss."""

    target_loss: float
    read: str  # how the loss was read off the runs, as text
    rows: tuple[FrontierRow, ...]  # by optimizer, devices, batch
    # of AdamW's curve (first) and Muon's (second); None if they have no device counts in common
    dominance: Dominance | None
    model: str  # the assumptions of modelled step times, as text


@dataclass(frozen=True)
class BatchRow:
    """Tokens and steps of one optimizer at one batch."""

    optimizer: OptimizerName
    batch_tokens: int
    tokens: float | None  # T_L(B), a bound if a run is censored or early; None if all runs diverged
    tokens_low: float | None
    tokens_high: float | None
    steps: float | None  # S_L(B)
    steps_low: float | None
    steps_high: float | None
    reached: int  # number of runs with each outcome
    censored: int
    early: int
    diverged: int
    on_frontier: bool  # no other batch of this optimizer dominates it in tokens and steps
    lr: float
    weight_decay: float
    source: Source  # of lr and weight decay


@dataclass(frozen=True)
class CriticalBatch:
    """The critical batch, up to which tokens stay constant, by one form of the law. A batch beyond
    the batches that were run is None.
    """

    form: Literal["piecewise", "smooth"]
    batch_tokens: float | None
    low: float | None
    high: float | None
    fewest_tokens: float
    residual_percent: float
    p_of_misfit: float | None  # small if the form does not fit
    slope: float | None  # of log steps beyond the critical batch; None for the smooth form
    left_out_low: float | None  # least and greatest critical batch with one batch left out
    left_out_high: float | None


@dataclass(frozen=True)
class BatchSummary:
    """The summary of an optimizer's batches."""

    optimizer: OptimizerName
    # the largest batch that needs at most 2 % more than the fewest tokens; None if it lies beyond
    # the batches that were run
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
    """AdamW's cost over Muon's at a batch; ratios are above 1 if Muon needs less."""

    batch_tokens: int
    ratio: float | None  # R_L(B), of tokens
    ratio_low: float | None
    ratio_high: float | None
    flops_ratio: float | None  # of FLOPs, the optimizers' own included
    hours_ratio: float | None  # of measured hours on one worker; None if they were not measured
    gap_tokens: float | None  # AdamW's tokens minus Muon's
    gap_low: float | None
    gap_high: float | None
    pairs: int  # pairs of runs with the same seed; 0 if the row is a bound
    muon: Standing  # in tokens


@dataclass(frozen=True)
class RatioAnswer:
    """The token ratio against batch size."""

    target_loss: float
    read: str
    rows: tuple[RatioRow, ...]  # by batch
    # the larger of both critical batches, None if it lies beyond the batches that were run; without
    # a critical batch, the middle batch
    trend_from_batch_tokens: float | None
    trend: Direction | None  # of R from that batch on; None with fewer than two settled batches
    exponent: float | None  # R ~ B^exponent
    exponent_low: float | None
    exponent_high: float | None
    p_falling: float | None  # small values speak against a ratio that does not fall
    note: str  # why there are no rows; empty if there are rows

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
