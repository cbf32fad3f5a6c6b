"""The ratio of the tokens that two optimizers need at each batch size, and its trend.

    R_L(B) = T_first / T_second      gap = T_first - T_second

(arXiv 2505.02222, equation 2; first AdamW, second Muon.)

Runs are paired by seed, since runs with one seed see the same data in the same order and so share
part of their noise; if they share none, pairing costs a little width and nothing else. The
residuals of both log tokens have one 2 x 2 covariance, pooled over batches; R, the gap (to first
order) and the trend take their variance from it, and Student's t for their 90 % intervals.

An advantage lasts if the ratio is above 1 and does not fall beyond the critical batch of both
(section 2.4). The trend is the exponent of R ~ B^exponent over the batches from there on, by least
squares; under the piecewise law it is s_first - s_second. Its interval contains only the noise of
seeds: how well the learning rate was tuned at each batch is part of the comparison.

At a batch where a run of either was censored there is a bound, computed from both intervals of
`telescope.statistics.batch_readings`.

Parts: `Pairs` · `ratios` -> a `RatioAt` per batch · `trend` -> `Trend`.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.special import stdtr

from telescope.statistics.batch_readings import (
    AtBatch,
    Readings,
    exponential,
    half_width,
    tokens_at,
)
from telescope.statistics.estimates import Array, Estimate


@dataclass(frozen=True, eq=False)
class Pairs:
    """Log tokens of both optimizers at the batches and seeds at which both are settled."""

    batch_tokens: Array  # [batch]
    means: Array  # [batch, optimizer], over the pairs
    counts: Array  # [batch], pairs
    covariance: Array  # [optimizer, optimizer], of one pair
    dof: int

    @classmethod
    def of(cls, first: Readings, second: Readings) -> "Pairs":
        """The pairs of two optimizers' readings."""
        batches, rows, their_rows = np.intersect1d(
            first.batch_tokens, second.batch_tokens, return_indices=True
        )
        _, seeds, their_seeds = np.intersect1d(first.seeds, second.seeds, return_indices=True)
        both = np.stack(
            [first.settled[np.ix_(rows, seeds)], second.settled[np.ix_(their_rows, their_seeds)]],
            axis=-1,
        )
        known = np.isfinite(both[..., 0]) & np.isfinite(both[..., 1])
        kept = known.any(axis=1)
        both, known, counts = both[kept], known[kept], known[kept].sum(axis=1)
        means = np.where(known[..., None], both, 0).sum(axis=1) / counts[:, None]
        residuals = (both - means[:, None])[known]
        dof = int((counts - 1).sum())
        return cls(
            batches[kept],
            means,
            counts.astype(np.float64),
            residuals.T @ residuals / max(dof, 1),
            dof,
        )

    def half_width(self, gradient: Array, pairs: float) -> float:
        """Half-width of the 90 % interval of a quantity with these derivatives by the mean log
        tokens of both."""
        return half_width(float(gradient @ self.covariance @ gradient) / pairs, self.dof)


LOG_RATIO = np.array([1.0, -1.0])  # derivatives of log R by the log tokens of both


class Standing(StrEnum):
    """The second optimizer against the first: decided if the interval excludes the contrary."""

    AHEAD = "ahead"
    BEHIND = "behind"
    UNRESOLVED = "unresolved"


@dataclass(frozen=True)
class RatioAt:
    """The ratio of both optimizers at one batch."""

    batch_tokens: float
    ratio: Estimate  # R
    gap_tokens: Estimate
    pairs: int  # runs with the same seed; 0 if this is a bound

    @property
    def standing(self) -> Standing:
        """Standing of the second: ahead if the whole interval of R lies above 1."""
        return (
            Standing.AHEAD
            if self.ratio.low > 1
            else Standing.BEHIND
            if self.ratio.high < 1
            else Standing.UNRESOLVED
        )


def ratios(first: Readings, second: Readings) -> tuple[RatioAt, ...]:
    """R and the gap at every batch at which both were run, except where only one of them diverged
    in all runs."""
    pairs, at_batch = Pairs.of(first, second), dict[float, RatioAt]()
    for batch, logs, count in zip(pairs.batch_tokens, pairs.means, pairs.counts, strict=True):
        log, tokens = float(LOG_RATIO @ logs), np.exp(logs)
        half, gap = pairs.half_width(LOG_RATIO, count), float(LOG_RATIO @ tokens)
        gap_half = pairs.half_width(LOG_RATIO * tokens, count)
        ratio = exponential(Estimate(log, log - half, log + half))
        at_batch[float(batch)] = RatioAt(
            float(batch), ratio, Estimate(gap, gap - gap_half, gap + gap_half), int(count)
        )
    theirs = {one.batch_tokens: one for one in tokens_at(second)}
    for mine in tokens_at(first):
        other = theirs.get(mine.batch_tokens)
        if (
            other
            and mine.batch_tokens not in at_batch
            and math.isfinite(mine.log_tokens.value)
            and math.isfinite(other.log_tokens.value)
        ):
            at_batch[mine.batch_tokens] = intersection(mine, other)
    return tuple(at_batch[batch] for batch in sorted(at_batch))


def intersection(first: AtBatch, second: AtBatch) -> RatioAt:
    """The interval that both intervals allow."""
    (a, b), (t, u) = (first.log_tokens, second.log_tokens), (first.tokens, second.tokens)
    ratio = exponential(Estimate(a.value - b.value, a.low - b.high, a.high - b.low))
    return RatioAt(
        first.batch_tokens,
        ratio,
        Estimate(t.value - u.value, t.low - u.high, t.high - u.low),
        pairs=0,
    )


class Direction(StrEnum):
    """Direction of R as batches grow, from the interval of its exponent."""

    RISING = "rising"
    FALLING = "falling"
    UNRESOLVED = "unresolved"


@dataclass(frozen=True)
class Trend:
    """R ~ B^exponent over some batches."""

    exponent: Estimate
    # p-value of an exponent this low if R does not fall: small values contradict
    # `nondecreasing`
    p_falling: float
    batches: int

    @property
    def direction(self) -> Direction:
        """Rising or falling if the interval excludes 0."""
        low, high = self.exponent.low, self.exponent.high
        return (
            Direction.RISING if low > 0 else Direction.FALLING if high < 0 else Direction.UNRESOLVED
        )


def trend(first: Readings, second: Readings, from_batch_tokens: float) -> Trend | None:
    """The trend of R from a batch on, the larger critical batch of both; None with fewer than two
    settled batches there."""
    pairs = Pairs.of(first, second)
    past = pairs.batch_tokens >= from_batch_tokens
    if past.sum() < 2:
        return None
    x, y, counts = (
        np.log(pairs.batch_tokens[past]),
        (pairs.means @ LOG_RATIO)[past],
        pairs.counts[past],
    )
    x = x - counts @ x / counts.sum()
    information = float(counts @ x**2)
    exponent, half = float((counts * x) @ y) / information, pairs.half_width(LOG_RATIO, information)
    variance = float(LOG_RATIO @ pairs.covariance @ LOG_RATIO) / information
    p = (
        float(stdtr(pairs.dof, exponent / math.sqrt(variance)))
        if pairs.dof and variance > 0
        else float(exponent >= 0)
    )
    return Trend(Estimate(exponent, exponent - half, exponent + half), p, int(past.sum()))
