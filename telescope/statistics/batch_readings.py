"""Tokens and steps to a loss at each batch size, with intervals from a few seeds.

    log T(B, seed) = log T_L(B) + error

T(B, seed) is the number of tokens that the run with batch size B and this seed needed to reach the
loss L. T_L(B) is estimated by the geometric mean over the seeds whose runs did not diverge. The
error has one variance for all batch sizes of an optimizer and a loss, because two or three seeds of
one batch size say little about the spread, whereas all batch sizes together say enough. The 90 %
interval of log T_L(B) is a Student t interval. Its variance is the pooled variance divided by the
number of these seeds; each settled batch size adds its number of such seeds minus one to the
degrees of freedom.

A batch size is *settled* if at least one of its runs reached the loss, and none was censored or
early. The variance, and the fits of other modules, are computed from settled batch sizes only. The
interval has no upper end if a run was censored, and no lower end if a run was early. If no settled
batch size has two seeds, the error is unknown, and intervals run from 0 to inf.

Parts: `Readings`, a table of runs by batch size and seed · `Pooled`, the mean of each batch size
and the common variance · `tokens_at`, an `AtBatch` for each batch size.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from telescope.errors import InvalidInput
from telescope.statistics.estimates import QUANTILE, Array, Estimate
from telescope.statistics.tokens_to_loss import Crossings, TargetOutcome


@dataclass(frozen=True, eq=False)
class Readings:
    """The runs of one optimizer to one target loss."""

    batch_tokens: Array  # [batch], rising
    seeds: NDArray[np.int64]  # [seed]
    # [batch, seed]: nan without a run, inf if the run diverged, a bound if the run was censored or
    # early
    log_tokens: Array
    outcome: NDArray[np.int8]  # [batch, seed], arbitrary without a run

    @classmethod
    def of(
        cls, batch_tokens: NDArray[np.integer], seeds: NDArray[np.integer], crossings: Crossings
    ) -> "Readings":
        """The table of runs, from the batch size, the seed and the crossing of each run. Raises
        InvalidInput if two runs have the same batch size and seed."""
        table_batches, row = np.unique(batch_tokens, return_inverse=True)
        table_seeds, column = np.unique(seeds, return_inverse=True)
        if len(np.unique(row * len(table_seeds) + column)) < len(row):
            raise InvalidInput.of(
                "seeds", "two runs have the same batch and seed; keep one of them"
            )
        log_tokens = np.full((len(table_batches), len(table_seeds)), np.nan)
        outcome = np.full(log_tokens.shape, TargetOutcome.CENSORED, dtype=np.int8)
        log_tokens[row, column] = np.log(np.maximum(crossings.tokens, 1))
        outcome[row, column] = crossings.outcome
        return cls(table_batches.astype(np.float64), table_seeds, log_tokens, outcome)

    def count(self, outcome: TargetOutcome) -> NDArray[np.int64]:
        """Number of runs with this outcome, [batch]."""
        matches = (self.outcome == outcome) & ~np.isnan(self.log_tokens)
        counts: NDArray[np.int64] = matches.sum(axis=1)
        return counts

    @cached_property
    def settled(self) -> Array:
        """Log tokens of the runs that reached the loss at settled batch sizes, nan elsewhere;
        [batch, seed]."""
        bounded = self.count(TargetOutcome.CENSORED) + self.count(TargetOutcome.EARLY) > 0
        settled = (self.outcome == TargetOutcome.REACHED) & ~bounded[:, None]
        return np.where(settled, self.log_tokens, np.nan)


@dataclass(frozen=True, eq=False)
class Pooled:
    """Rows of numbers, of different lengths, with a common variance."""

    means: Array  # [row], nan if the row is empty
    counts: Array  # [row], number of values
    squares: float  # sum of the squared differences of all values from the means of their rows
    dof: int  # degrees of freedom of `squares`

    @classmethod
    def of(cls, values: Array) -> "Pooled":
        """Pool values [row, seed]; missing values are nan."""
        present = np.isfinite(values)
        counts = present.sum(axis=1)
        sums = np.where(present, values, 0).sum(axis=1)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        residuals = np.where(present, values - means[:, None], 0).ravel()
        dof = int((counts - 1).clip(0).sum())
        return cls(means, counts.astype(np.float64), float(residuals @ residuals), dof)

    def half_width(self, runs: float) -> float:
        """Half-width of the 90 % interval of the mean of `runs` runs; inf if no row has two
        values."""
        return half_width(self.squares / self.dof / runs, self.dof) if self.dof else math.inf


def half_width(variance: float, dof: int) -> float:
    """Half-width of the 90 % interval of an estimate with this variance, which has `dof` degrees of
    freedom; inf with 0 degrees of freedom."""
    return float(stdtrit(dof, QUANTILE)) * math.sqrt(variance) if dof > 0 else math.inf


def exponential(log: Estimate) -> Estimate:
    """The exponential of an estimate and of both ends of its interval."""
    return Estimate(*(float(np.exp(x)) for x in (log.value, log.low, log.high)))


@dataclass(frozen=True)
class AtBatch:
    """Tokens to a loss at one batch size."""

    batch_tokens: float
    log_tokens: Estimate  # inf if all runs diverged
    reached: int  # number of runs with each outcome
    censored: int
    early: int
    diverged: int

    @property
    def settled(self) -> bool:
        """True if the tokens are an estimate: neither a bound nor inf."""
        return self.reached > 0 and self.censored + self.early == 0

    @property
    def tokens(self) -> Estimate:
        """T_L(B)."""
        return exponential(self.log_tokens)

    @property
    def steps(self) -> Estimate:
        """S_L(B) = T_L(B) / B."""
        tokens, batch = self.tokens, self.batch_tokens
        return Estimate(tokens.value / batch, tokens.low / batch, tokens.high / batch)


def tokens_at(readings: Readings) -> tuple[AtBatch, ...]:
    """T_L(B) of every batch size that was run, with its interval; ascending by batch size."""
    pooled = Pooled.of(readings.settled)
    counts = [
        readings.count(outcome).tolist()
        for outcome in (
            TargetOutcome.REACHED,
            TargetOutcome.CENSORED,
            TargetOutcome.EARLY,
            TargetOutcome.DIVERGED,
        )
    ]
    rows = []
    for batch, logs, reached, censored, early, diverged in zip(
        readings.batch_tokens, readings.log_tokens, *counts, strict=True
    ):
        finite = logs[np.isfinite(logs)]
        mean = float(finite.mean()) if len(finite) else math.inf
        half = pooled.half_width(len(finite)) if len(finite) else 0.0
        low = -math.inf if early else mean - half
        high = math.inf if censored else mean + half
        log_tokens = Estimate(mean, low, high)
        rows.append(AtBatch(float(batch), log_tokens, reached, censored, early, diverged))
    return tuple(rows)
