"""The number of tokens after which a run reached a target loss.

A measured loss curve is noisy, so it is smoothed first, and then read at the target loss. The
analysis follows section 2.4 of arXiv 2505.02222. The paper does not specify how to smooth or read a
curve, so this module has its own rules.

The smoothing rule is a moving mean. A window consists of a recorded point and the points around it,
up to SMOOTHED points in all. The smoothed curve has one point for each window: the mean loss at the
mean log tokens of the window. The smoothed curve is then smoothed again in the same way. If the
loss is linear in log tokens, smoothing does not change it. Recorded points are evenly spaced in
tokens, so they are far apart in log tokens near the beginning of a run. Windows near the beginning
therefore have fewer points: a window extends to either side by at most an eighth of the tokens
trained so far. Full windows divide the noise of single points by about sqrt(1.5 SMOOTHED).

The reading rule is the first sustained crossing. A run reaches the target at the first smoothed
point that begins a row of SMOOTHED points at or below the target. If fewer points remain, all of
them must be at or below the target. The tokens are interpolated between this point and the previous
point, linearly in log tokens. Nothing is extrapolated:

- If this point is the first point of the curve, the run is *early*. The run needed at most the
  tokens of this point.
- If a run diverged before it reached the target, its number of tokens is infinite.
- If a run neither reached the target nor diverged, the run is *censored*. The run would have needed
  more tokens than it was trained on.

SMOOTHED is the default of the argument `window` of `smoothed`. Both rules use this argument.

Parts: `LossCurves`, the input · `smoothed`, the smoothing rule · `Smoothed.crossings`, the reading
rule · `Crossings`, the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from telescope.statistics.estimates import Array

SMOOTHED = 11  # number of points in a full window
REACH = 8  # a window extends to either side by at most 1/REACH of the number of points so far
ROWS = 256  # number of curves that are smoothed together; chosen to fit into a processor's cache


class TargetOutcome(IntEnum):
    """Outcome of a run with respect to a target loss. Outcomes are integers, so that an array can
    hold thousands of them."""

    REACHED = 0
    CENSORED = 1
    DIVERGED = 2
    EARLY = 3

    @property
    def meaning(self) -> str:
        """The outcome as a sentence for users."""
        return MEANING[self]


MEANING = {
    TargetOutcome.REACHED: "The run reached the target, after these tokens.",
    TargetOutcome.CENSORED: "The run ended after these tokens, without reaching the target.",
    TargetOutcome.DIVERGED: (
        "The run diverged before it reached the target, so its number of tokens is infinite."
    ),
    TargetOutcome.EARLY: (
        "The run was at or below the target at its first point. It needed at most these tokens."
    ),
}


@dataclass(frozen=True, eq=False)
class LossCurves:
    """The loss curves of many runs: loss against tokens. Array elements beyond a run's last point
    are meaningless."""

    tokens: NDArray[np.floating]  # [run, point], ascending
    loss: NDArray[np.floating]  # [run, point]
    # [run], number of recorded points before the first infinite or nan loss
    points: NDArray[np.int64]
    diverged: NDArray[np.bool_]  # [run]

    @classmethod
    def of(
        cls, runs: Sequence[tuple[Sequence[float], Sequence[float]]], diverged: Sequence[bool] = ()
    ) -> "LossCurves":
        """Curves from the tokens and losses of each run. A run counts as diverged if `diverged`
        says so, or if it has a loss that is not finite. The curve ends before the first loss that
        is not finite."""
        lengths = [len(tokens) for tokens, _ in runs]
        width = max([1, *lengths])
        tokens, loss = np.ones((len(runs), width)), np.zeros((len(runs), width), dtype=np.float32)
        for row, (run_tokens, run_losses) in enumerate(runs):
            tokens[row, : len(run_tokens)] = run_tokens
            loss[row, : len(run_tokens)] = run_losses
        points = np.array(lengths, dtype=np.int64)
        return cls.recorded(
            tokens, loss, points, np.array(diverged or [False] * len(runs), dtype=bool)
        )

    @classmethod
    def recorded(
        cls,
        tokens: NDArray[np.floating],
        loss: NDArray[np.floating],
        points: NDArray[np.int64],
        diverged: NDArray[np.bool_],
    ) -> "LossCurves":
        """Curves from arrays of recorded points. A run counts as diverged if `diverged` says so, or
        if it has a loss that is not finite. The curve ends before the first loss that is not
        finite."""
        infinite = ~np.isfinite(loss)
        finite_points = np.where(infinite.any(axis=1), infinite.argmax(axis=1), loss.shape[1])
        diverged = diverged | (finite_points < points)
        return cls(tokens, loss, np.minimum(points, finite_points), diverged)

    @property
    def trained_tokens(self) -> Array:
        """Tokens at the last point of each run, 0 for a run without points; [run]."""
        last_index = np.maximum(self.points - 1, 0)[:, None]
        last = np.take_along_axis(self.tokens, last_index, axis=1)[:, 0]
        return np.where(self.points > 0, last, 0).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Crossings:
    """The tokens that runs needed to reach a target loss, and the outcomes of the runs."""

    # [run]; inf for a run that diverged before it reached the target, the tokens of the last point
    # for a censored run, the tokens of the first point for an early run
    tokens: Array
    outcome: NDArray[np.int8]  # [run], a `TargetOutcome`


@dataclass(frozen=True, eq=False)
class Smoothed:
    """Smoothed curves, which `crossings` reads at any target loss."""

    curves: LossCurves
    log_tokens: NDArray[np.floating]  # [run, point]
    loss: NDArray[np.floating]  # [run, point]
    window: int  # number of points in a full window

    def crossings(self, target_loss: float) -> Crossings:
        """Apply the reading rule to the smoothed curves."""
        points, width = self.curves.points, self.loss.shape[1]
        above = (self.loss > target_loss) & (np.arange(width) < points[:, None])
        # number of points above the target that precede each point
        count_above = np.zeros((len(above), width + self.window), dtype=np.int32)
        np.cumsum(above, axis=1, dtype=np.int32, out=count_above[:, 1 : width + 1])
        count_above[:, width + 1 :] = count_above[:, width, None]
        stays = count_above[:, self.window :] == count_above[:, :width]
        first = stays.argmax(axis=1)  # points after a run's last one are not above the target
        reached = stays.any(axis=1) & (first < points)
        outcome = np.full(len(points), TargetOutcome.CENSORED, dtype=np.int8)
        outcome[self.curves.diverged] = TargetOutcome.DIVERGED
        outcome[reached & (first > 0)] = TargetOutcome.REACHED
        outcome[reached & (first == 0)] = TargetOutcome.EARLY
        tokens = np.where(outcome == TargetOutcome.DIVERGED, np.inf, self.curves.trained_tokens)
        early = outcome == TargetOutcome.EARLY
        tokens[early] = np.exp(self.log_tokens[early, 0])
        rows = np.flatnonzero(outcome == TargetOutcome.REACHED)
        tokens[rows] = np.exp(self.log_crossing(rows, first[rows], target_loss))
        return Crossings(tokens, outcome)

    def log_crossing(
        self, rows: NDArray[np.int64], points: NDArray[np.int64], target_loss: float
    ) -> Array:
        """Log tokens [row] at which the curves at the indices `rows` cross the target. `points` has
        the index of the first point after each crossing. The crossing lies on the straight line
        from the previous point to this point."""
        (x0, x1), (y0, y1) = (
            (values[rows, points - 1].astype(np.float64), values[rows, points].astype(np.float64))
            for values in (self.log_tokens, self.loss)
        )
        crossing: Array = x0 + (x1 - x0) * (y0 - target_loss) / (y0 - y1)
        return crossing


def smoothed(curves: LossCurves, window: int = SMOOTHED) -> Smoothed:
    """Smooth curves by the smoothing rule. `window` is the number of points in a full window, an
    odd number. With a window of 1 point, the curves stay as they are."""
    runs, width = curves.loss.shape
    log_tokens, loss = np.empty((runs, width)), np.empty((runs, width))
    for first in range(0, runs, ROWS):
        rows = slice(first, first + ROWS)
        recorded = np.arange(width) < curves.points[rows, None]
        # weight of each point of a window in the mean
        share = recorded / np.maximum(moving_sums(recorded.astype(np.float64), window), 1)
        x = np.log(np.where(recorded, curves.tokens[rows], 1))
        y = np.where(recorded, curves.loss[rows], 0)
        for _ in range(2):
            x, y = moving_sums(x, window) * share, moving_sums(y, window) * share
        log_tokens[rows], loss[rows] = x, y
    return Smoothed(curves, log_tokens, loss, window)


def moving_sums(values: Array, window: int) -> Array:
    """Sums of values over the window around each point; values and sums are [run, point]. A window
    has `window` points, or fewer near the beginning and the end of the array."""
    width = values.shape[1]
    index = np.arange(width)
    half = np.minimum(window // 2, (index + 1) // REACH)
    before = np.zeros((len(values), width + 1))  # sum of the values before each point
    np.cumsum(values, axis=1, out=before[:, 1:])
    result: Array = before[:, np.minimum(index + half + 1, width)] - before[:, index - half]
    return result
