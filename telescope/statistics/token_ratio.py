"""How many times the tokens of one optimizer does another need at each batch size, and does that
fall as batches grow?

    R_L(B) = T_first / T_second  (arXiv 2505.02222, equation 2; first AdamW, second Muon)      gap = T_first - T_second

Runs are paired by seed, since runs of one seed see the same data in the same order and so share
part of their noise; where they share none, pairing costs a little width and nothing else. The
residuals of both log tokens have one 2 x 2 covariance, pooled over batches; R, the gap (to first
order) and the trend take their variance from it, and Student's t for their 90 % intervals.

A ratio above 1 that does not fall beyond the critical batch of both is what makes an advantage last
(section 2.4): the trend is the exponent of R ~ B^exponent over the batches from there on, by least
squares; under the piecewise law it is s_first - s_second. Only the noise of seeds is in its
interval: how well each batch's learning rate was tuned is part of what is compared.

At a batch where a run of either was censored there is a bound, made of both intervals of
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
        """Whatever two optimizers' readings have in common."""
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
        """Of the 90 % interval of what has these derivatives by the mean log tokens of both."""
        return half_width(float(gradient @ self.covariance @ gradient) / pairs, self.dof)


LOG_RATIO = np.array([1.0, -1.0])  # derivatives of log R by the log tokens of both


class Standing(StrEnum):
    """How the second optimizer does beside the first, by an interval that excludes the contrary or
    does not."""

    AHEAD = "ahead"
    BEHIND = "behind"
    UNRESOLVED = "unresolved"


@dataclass(frozen=True)
class RatioAt:
    """Both optimizers at one batch."""

    batch_tokens: float
    ratio: Estimate  # R
    gap_tokens: Estimate
    pairs: int  # of runs with the same seed; 0 where this is a bound

    @property
    def standing(self) -> Standing:
        """Of the second: ahead where all of the interval of R lies above 1."""
        return (
            Standing.AHEAD
            if self.ratio.low > 1
            else Standing.BEHIND
            if self.ratio.high < 1
            else Standing.UNRESOLVED
        )


def ratios(first: Readings, second: Readings) -> tuple[RatioAt, ...]:
    """R and the gap at every batch that both were run at, those left out at which one of them only
    diverged."""
    pairs, found = Pairs.of(first, second), dict[float, RatioAt]()
    for batch, logs, count in zip(pairs.batch_tokens, pairs.means, pairs.counts, strict=True):
        log, tokens = float(LOG_RATIO @ logs), np.exp(logs)
        half, gap = pairs.half_width(LOG_RATIO, count), float(LOG_RATIO @ tokens)
        gap_half = pairs.half_width(LOG_RATIO * tokens, count)
        ratio = exponential(Estimate(log, log - half, log + half))
        found[float(batch)] = RatioAt(
            float(batch), ratio, Estimate(gap, gap - gap_half, gap + gap_half), int(count)
        )
    theirs = {one.batch_tokens: one for one in tokens_at(second)}
    for mine in tokens_at(first):
        other = theirs.get(mine.batch_tokens)
        if (
            other
            and mine.batch_tokens not in found
            and math.isfinite(mine.log_tokens.value)
            and math.isfinite(other.log_tokens.value)
        ):
            found[mine.batch_tokens] = bound(mine, other)
    return tuple(found[batch] for batch in sorted(found))


def bound(first: AtBatch, second: AtBatch) -> RatioAt:
    """All that is possible given either interval."""
    (a, b), (t, u) = (first.log_tokens, second.log_tokens), (first.tokens, second.tokens)
    ratio = exponential(Estimate(a.value - b.value, a.low - b.high, a.high - b.low))
    return RatioAt(
        first.batch_tokens,
        ratio,
        Estimate(t.value - u.value, t.low - u.high, t.high - u.low),
        pairs=0,
    )


class Direction(StrEnum):
    """What R does as batches grow, by the interval of its exponent."""

    RISING = "rising"
    FALLING = "falling"
    UNRESOLVED = "unresolved"


@dataclass(frozen=True)
class Trend:
    """R ~ B^exponent over some batches."""

    exponent: Estimate
    # chance of an exponent as low as this one if R did not fall: small speaks against
    # `nondecreasing`
    p_falling: float
    batches: int

    @property
    def direction(self) -> Direction:
        """Rising or falling where the interval excludes 0."""
        low, high = self.exponent.low, self.exponent.high
        return (
            Direction.RISING if low > 0 else Direction.FALLING if high < 0 else Direction.UNRESOLVED
        )


def trend(first: Readings, second: Readings, from_batch_tokens: float) -> Trend | None:
    """Of R from a batch on, the larger critical one of both; None with fewer than two settled
    batches there."""
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
