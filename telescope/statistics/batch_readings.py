"""Tokens and steps to a target loss at each batch size, with intervals from a few seeds.

    log T(B, seed) = log T_L(B) + error

T(B, seed) is the number of tokens that the run with batch size B and this seed needed to reach the
loss L. T_L(B) is the number of tokens that a run with batch size B typically needs. The estimate of
T_L(B) is the geometric mean over the runs that did not diverge.

A run is *censored* if it ended before it reached the loss, without diverging; its tokens are a
lower bound. A run is *early* if it was at or below the loss at its first point already; its tokens
are an upper bound. A batch size is *settled* if at least one of its runs reached the loss and none
is censored or early.

The variance of the error is assumed to be the same at all batch sizes, because two or three seeds
are too few to estimate a variance for each batch size. This *pooled* variance is estimated from the
differences between seeds at the settled batch sizes. A settled batch size with n runs that reached
the loss adds n - 1 degrees of freedom.

The 90 % interval of log T_L(B) is a Student t interval. The variance of the estimate is the pooled
variance divided by the number of runs in the mean. If a run at the batch size is censored, the
interval has no upper end. If a run is early, the interval has no lower end. If no settled batch
size has two runs that reached the loss, the variance is unknown, and intervals of T_L(B) run from 0
to inf. If all runs at a batch size diverged, T_L(B) and both ends of its interval are inf.

Parts: `Readings`, the runs by batch size and seed · `Pooled`, means and the pooled variance ·
`AtBatch`, the tokens and steps at one batch size · `tokens_at`, an `AtBatch` for each batch size.
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
    """The tokens that the runs of one optimizer needed to reach one target loss."""

    batch_tokens: Array  # [batch], batch sizes in tokens, ascending
    seeds: NDArray[np.int64]  # [seed]
    # [batch, seed]: nan if there is no run, inf if the run diverged, a bound if the run was
    # censored or early
    log_tokens: Array
    outcome: NDArray[np.int8]  # [batch, seed], a `TargetOutcome`; meaningless if there is no run

    @classmethod
    def of(
        cls, batch_tokens: NDArray[np.integer], seeds: NDArray[np.integer], crossings: Crossings
    ) -> "Readings":
        """The readings of runs. The arguments give the batch size, the seed and the crossing of
        each run. Raises InvalidInput if two runs have the same batch size and seed."""
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
        """Number of runs with this outcome at each batch size, [batch]."""
        matches = (self.outcome == outcome) & ~np.isnan(self.log_tokens)
        counts: NDArray[np.int64] = matches.sum(axis=1)
        return counts

    @cached_property
    def settled(self) -> Array:
        """Log tokens [batch, seed] of the runs at settled batch sizes that reached the loss; nan
        for other runs."""
        bounded = self.count(TargetOutcome.CENSORED) + self.count(TargetOutcome.EARLY) > 0
        settled = (self.outcome == TargetOutcome.REACHED) & ~bounded[:, None]
        return np.where(settled, self.log_tokens, np.nan)


@dataclass(frozen=True, eq=False)
class Pooled:
    """The means of several rows of numbers, and the variance within rows, pooled over all rows.
    Rows may have different lengths. Here, a row has the log tokens of the runs at a batch size."""

    means: Array  # [row], nan if the row is empty
    counts: Array  # [row], number of values
    squares: float  # sum of the squared differences between values and the means of their rows
    dof: int  # degrees of freedom of `squares`: the sum of (length - 1) over nonempty rows

    @classmethod
    def of(cls, values: Array) -> "Pooled":
        """Pool the finite values of an array [row, seed]. Other values count as missing."""
        present = np.isfinite(values)
        counts = present.sum(axis=1)
        sums = np.where(present, values, 0).sum(axis=1)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        residuals = np.where(present, values - means[:, None], 0).ravel()
        dof = int((counts - 1).clip(0).sum())
        return cls(means, counts.astype(np.float64), float(residuals @ residuals), dof)

    def half_width(self, runs: float) -> float:
        """Half-width of the 90 % interval of the mean of `runs` values; inf if no row has two
        values."""
        return half_width(self.squares / self.dof / runs, self.dof) if self.dof else math.inf


def half_width(variance: float, dof: int) -> float:
    """Half-width of the 90 % interval of an estimate, from its variance and the degrees of freedom
    of this variance; inf with 0 degrees of freedom."""
    return float(stdtrit(dof, QUANTILE)) * math.sqrt(variance) if dof > 0 else math.inf


def exponential(log: Estimate) -> Estimate:
    """The exponential of an estimate and of both ends of its interval."""
    return Estimate(*(float(np.exp(x)) for x in (log.value, log.low, log.high)))


@dataclass(frozen=True)
class AtBatch:
    """The tokens that one optimizer needs to reach the target loss at one batch size."""

    batch_tokens: float
    log_tokens: Estimate  # inf if all runs diverged
    reached: int  # number of runs that reached the loss; the next fields count the other outcomes
    censored: int
    early: int
    diverged: int

    @property
    def settled(self) -> bool:
        """True if a run reached the loss and no run gives a bound."""
        return self.reached > 0 and self.censored + self.early == 0

    @property
    def tokens(self) -> Estimate:
        """Tokens to the loss, T_L(B)."""
        return exponential(self.log_tokens)

    @property
    def steps(self) -> Estimate:
        """Steps to the loss, T_L(B) / B."""
        tokens, batch = self.tokens, self.batch_tokens
        return Estimate(tokens.value / batch, tokens.low / batch, tokens.high / batch)


def tokens_at(readings: Readings) -> tuple[AtBatch, ...]:
    """T_L(B) with an interval, for each batch size of the readings; ascending by batch size."""
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
