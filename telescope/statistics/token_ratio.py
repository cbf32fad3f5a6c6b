"""The ratio of the tokens that two optimizers need at each batch size, and its trend.

    R_L(B) = T_first / T_second      gap = T_first - T_second

T_first and T_second are the numbers of tokens that the optimizers need to reach the loss L at batch
size B. R is the ratio of equation 2 of arXiv 2505.02222, with AdamW as the first optimizer and Muon
as the second.

A *pair* consists of a run of each optimizer with the same batch size and seed. Both runs see the
same data in the same order, so they share part of their noise, and this part cancels in the ratio.
The log tokens of a pair have a 2 x 2 covariance (optimizer x optimizer). The covariance is assumed
to be the same at all batch sizes, and is estimated from all pairs together. The variances of log R,
of the gap (to first order) and of the trend follow from the covariance. The 90 % intervals of these
quantities are Student t intervals.

The *trend* is the exponent of R ~ B^exponent, fitted by least squares over the larger batch sizes.
These begin at the larger of the two critical batches; an optimizer's critical batch is the batch
size beyond which its tokens rise (`telescope.statistics.critical_batch`). An advantage of the
second optimizer lasts if R is above 1 and does not fall at these batch sizes (section 2.4 of arXiv
2505.02222). The interval of the trend covers only differences between seeds. It does not cover how
well the learning rate is tuned at a batch size, since an optimizer's runs with the same batch size
share one learning rate.

There are pairs only at batch sizes that are *settled* for both optimizers: at least one run of the
optimizer reached the loss, and the tokens of no run are only a bound
(`telescope.statistics.batch_readings`). At a batch size without pairs, the ratio is computed from
the tokens of the two optimizers, with an interval that may be open. If all runs of an optimizer
diverged at a batch size, there is no ratio.

Parts: `Pairs` · `ratios`, a `RatioAt` for each batch size · `trend`, a `Trend`.
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
    """Statistics of the pairs of two optimizers' runs. Two runs form a pair if both reached the
    loss, and if their batch size is settled for both optimizers."""

    batch_tokens: Array  # [batch], the batch sizes with at least one pair, ascending
    means: Array  # [batch, optimizer], mean log tokens of the pairs
    counts: Array  # [batch], number of pairs
    covariance: Array  # [optimizer, optimizer], covariance of the log tokens of a pair
    dof: int  # degrees of freedom of the covariance; if it is 0, the covariance is unknown

    @classmethod
    def of(cls, first: Readings, second: Readings) -> "Pairs":
        """The pairs in two optimizers' readings."""
        batches, first_rows, second_rows = np.intersect1d(
            first.batch_tokens, second.batch_tokens, return_indices=True
        )
        _, first_seeds, second_seeds = np.intersect1d(
            first.seeds, second.seeds, return_indices=True
        )
        both = np.stack(
            [
                first.settled[np.ix_(first_rows, first_seeds)],
                second.settled[np.ix_(second_rows, second_seeds)],
            ],
            axis=-1,
        )
        paired = np.isfinite(both[..., 0]) & np.isfinite(both[..., 1])
        batch_has_pair = paired.any(axis=1)
        both, paired = both[batch_has_pair], paired[batch_has_pair]
        counts = paired.sum(axis=1)
        means = np.where(paired[..., None], both, 0).sum(axis=1) / counts[:, None]
        residuals = (both - means[:, None])[paired]
        dof = int((counts - 1).sum())
        covariance = residuals.T @ residuals / max(dof, 1)
        return cls(batches[batch_has_pair], means, counts.astype(np.float64), covariance, dof)

    def half_width(self, gradient: Array, information: float) -> float:
        """Half-width of the 90 % interval of a quantity, from its gradient with respect to both
        optimizers' log tokens. The variance is divided by `information`: for a mean, the number of
        pairs; for a slope, the weighted sum of squares of the centred log batch sizes."""
        return half_width(float(gradient @ self.covariance @ gradient) / information, self.dof)


LOG_RATIO = np.array([1.0, -1.0])  # gradient of log R with respect to (first, second) log tokens


class Standing(StrEnum):
    """Whether the second optimizer needs fewer tokens than the first (ahead) or more (behind). The
    standing is unresolved if the interval of the ratio contains 1."""

    AHEAD = "ahead"
    BEHIND = "behind"
    UNRESOLVED = "unresolved"


@dataclass(frozen=True)
class RatioAt:
    """The ratio of two optimizers' tokens at one batch size."""

    batch_tokens: float
    ratio: Estimate  # tokens of the first optimizer divided by those of the second, R
    gap_tokens: Estimate  # tokens of the first optimizer minus those of the second
    pairs: int  # number of pairs; if it is 0, `bound` computed the ratio and the gap

    @property
    def standing(self) -> Standing:
        """Standing of the second optimizer: ahead if the whole interval of R lies above 1, behind
        if the whole interval lies below 1."""
        if self.ratio.low > 1:
            return Standing.AHEAD
        return Standing.BEHIND if self.ratio.high < 1 else Standing.UNRESOLVED


def ratios(first: Readings, second: Readings) -> tuple[RatioAt, ...]:
    """R and the gap at the batch sizes at which both optimizers have a run that did not diverge,
    ascending by batch size."""
    pairs, at_batch = Pairs.of(first, second), dict[float, RatioAt]()
    for batch, logs, count in zip(pairs.batch_tokens, pairs.means, pairs.counts, strict=True):
        log, tokens = float(LOG_RATIO @ logs), np.exp(logs)
        half, gap = pairs.half_width(LOG_RATIO, count), float(LOG_RATIO @ tokens)
        gap_half = pairs.half_width(LOG_RATIO * tokens, count)
        ratio = exponential(Estimate(log, log - half, log + half))
        at_batch[float(batch)] = RatioAt(
            float(batch), ratio, Estimate(gap, gap - gap_half, gap + gap_half), int(count)
        )
    second_by_batch = {reading.batch_tokens: reading for reading in tokens_at(second)}
    for first_reading in tokens_at(first):
        batch_tokens = first_reading.batch_tokens
        second_reading = second_by_batch.get(batch_tokens)
        if (
            second_reading
            and batch_tokens not in at_batch
            and math.isfinite(first_reading.log_tokens.value)
            and math.isfinite(second_reading.log_tokens.value)
        ):
            at_batch[batch_tokens] = bound(first_reading, second_reading)
    return tuple(at_batch[batch] for batch in sorted(at_batch))


def bound(first: AtBatch, second: AtBatch) -> RatioAt:
    """R and the gap at a batch size without pairs. An end of their intervals combines opposite ends
    of the intervals of the two optimizers' tokens."""
    (a, b), (t, u) = (first.log_tokens, second.log_tokens), (first.tokens, second.tokens)
    ratio = exponential(Estimate(a.value - b.value, a.low - b.high, a.high - b.low))
    gap = Estimate(t.value - u.value, t.low - u.high, t.high - u.low)
    return RatioAt(first.batch_tokens, ratio, gap, pairs=0)


class Direction(StrEnum):
    """Whether R rises or falls as the batch size grows. The direction is unresolved if the interval
    of the exponent contains 0."""

    RISING = "rising"
    FALLING = "falling"
    UNRESOLVED = "unresolved"


@dataclass(frozen=True)
class Trend:
    """The fit of R ~ B^exponent over several batch sizes."""

    exponent: Estimate
    # Probability of an exponent this low or lower if the true exponent is 0. A small value speaks
    # for a falling R. If the noise is unknown or zero, `p_falling` is 0 for an exponent below 0,
    # and otherwise 1.
    p_falling: float
    batches: int  # number of batch sizes

    @property
    def direction(self) -> Direction:
        """The direction in which R changes, from the interval of the exponent."""
        if self.exponent.low > 0:
            return Direction.RISING
        return Direction.FALLING if self.exponent.high < 0 else Direction.UNRESOLVED


def trend(first: Readings, second: Readings, from_batch_tokens: float) -> Trend | None:
    """The trend of R over the batch sizes of at least `from_batch_tokens`. None if fewer than two
    of these batch sizes have pairs."""
    pairs = Pairs.of(first, second)
    selected = pairs.batch_tokens >= from_batch_tokens
    if selected.sum() < 2:
        return None
    y, counts = (pairs.means @ LOG_RATIO)[selected], pairs.counts[selected]
    x = np.log(pairs.batch_tokens[selected])
    x = x - counts @ x / counts.sum()
    information = float(counts @ x**2)
    exponent, half = float((counts * x) @ y) / information, pairs.half_width(LOG_RATIO, information)
    variance = float(LOG_RATIO @ pairs.covariance @ LOG_RATIO) / information
    p = (
        float(stdtr(pairs.dof, exponent / math.sqrt(variance)))
        if pairs.dof and variance > 0
        else float(exponent >= 0)
    )
    return Trend(Estimate(exponent, exponent - half, exponent + half), p, int(selected.sum()))
