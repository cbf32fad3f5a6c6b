"""Tokens and steps to a loss at each batch size, with intervals from a few seeds.

    log T(B, seed) = log T_L(B) + error

The error has one variance for all batches of an optimizer and a loss: two or three seeds of one
batch say little about their spread, all batches together say enough. T_L(B) is a geometric mean
over seeds. Its 90 % interval is that of Student's t, with the pooled variance over the number of
seeds, and one degree of freedom for every seed after a batch's first.

A batch is *settled* if all of its runs, those that diverged aside, reached the loss: settled
batches determine the variance and, elsewhere, the fits. If a run of a batch was censored, the batch
has only a bound: its interval has no upper end. If no batch has two seeds, the error is unknown,
and intervals run from 0 to inf.

Parts: `Readings`, runs in a table of batches and seeds · `Pooled`, means and their common variance
· `tokens_at` -> an `AtBatch` for each.
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
    # [batch, seed]: nan without a run, inf if the run diverged, a bound if it was censored
    # or early
    log_tokens: Array
    outcome: NDArray[np.int8]  # [batch, seed], arbitrary without a run

    @classmethod
    def of(
        cls, batch_tokens: NDArray[np.integer], seeds: NDArray[np.integer], crossings: Crossings
    ) -> "Readings":
        """The table of some runs, given batch and seed of each. Raises InvalidInput if two runs
        have the same batch and seed."""
        batches, row = np.unique(batch_tokens, return_inverse=True)
        every, column = np.unique(seeds, return_inverse=True)
        if len(np.unique(row * len(every) + column)) < len(row):
            raise InvalidInput.of(
                "seeds", "two runs have the same batch and seed; keep one of them"
            )
        log_tokens = np.full((len(batches), len(every)), np.nan)
        outcome = np.full(log_tokens.shape, TargetOutcome.CENSORED, dtype=np.int8)
        log_tokens[row, column], outcome[row, column] = (
            np.log(np.maximum(crossings.tokens, 1)),
            crossings.outcome,
        )
        return cls(batches.astype(np.float64), every, log_tokens, outcome)

    def count(self, outcome: TargetOutcome) -> NDArray[np.int64]:
        """Number of runs of each batch with this outcome."""
        counts: NDArray[np.int64] = ((self.outcome == outcome) & ~np.isnan(self.log_tokens)).sum(
            axis=1
        )
        return counts

    @cached_property
    def settled(self) -> Array:
        """Log tokens of the runs that reached the loss, in batches without bounds; nan elsewhere:
        [batch, seed]."""
        bounded = self.count(TargetOutcome.CENSORED) + self.count(TargetOutcome.EARLY) > 0
        return np.where(
            (self.outcome == TargetOutcome.REACHED) & ~bounded[:, None], self.log_tokens, np.nan
        )


@dataclass(frozen=True, eq=False)
class Pooled:
    """Rows of numbers, of different lengths, with a common variance."""

    means: Array  # [row], nan if the row is empty
    counts: Array  # [row]
    squares: float  # sum of the squared differences from the means
    dof: int

    @classmethod
    def of(cls, values: Array) -> "Pooled":
        """Pool values [row, seed], nan where there is none."""
        known = np.isfinite(values)
        counts = known.sum(axis=1)
        means = np.where(
            counts > 0, np.where(known, values, 0).sum(axis=1) / np.maximum(counts, 1), np.nan
        )
        squares = float(
            np.where(known, values - means[:, None], 0).ravel()
            @ np.where(known, values - means[:, None], 0).ravel()
        )
        return cls(means, counts.astype(np.float64), squares, int((counts - 1).clip(0).sum()))

    def half_width(self, runs: float) -> float:
        """Half-width of the 90 % interval of a mean of so many runs."""
        return half_width(self.squares / self.dof / runs, self.dof) if self.dof else math.inf


def half_width(variance: float, dof: int) -> float:
    """Half-width of a 90 % interval, from an estimate's variance and its degrees of freedom; inf
    without any."""
    return float(stdtrit(dof, QUANTILE)) * math.sqrt(variance) if dof > 0 else math.inf


def exponential(log: Estimate) -> Estimate:
    """The exponential of an estimate and of its interval."""
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
        """True if this is an estimate rather than a bound."""
        return self.reached > 0 and self.censored + self.early == 0

    @property
    def tokens(self) -> Estimate:
        """T_L(B)."""
        return exponential(self.log_tokens)

    @property
    def steps(self) -> Estimate:
        """S_L(B) = T_L(B) / B."""
        return Estimate(
            *(x / self.batch_tokens for x in (self.tokens.value, self.tokens.low, self.tokens.high))
        )


def tokens_at(readings: Readings) -> tuple[AtBatch, ...]:
    """T_L(B) of every batch that was run, with its interval."""
    pooled = Pooled.of(readings.settled)
    every = [
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
        readings.batch_tokens, readings.log_tokens, *every, strict=True
    ):
        known = logs[np.isfinite(logs)]
        mean = float(known.mean()) if len(known) else math.inf
        half = pooled.half_width(len(known)) if len(known) else 0.0
        low, high = -math.inf if early else mean - half, math.inf if censored else mean + half
        rows.append(
            AtBatch(float(batch), Estimate(mean, low, high), reached, censored, early, diverged)
        )
    return tuple(rows)
