"""The tokens after which each run reached a target loss.

Smoothing rule, `moving mean, twice`: a point of the smoothed curve is the mean loss of SMOOTHED
recorded points, placed at the mean of their log tokens, so that a window cut short by an end does
not shift it; the same is then repeated. If loss is a straight line in log tokens, that is exact. It
is less exact the wider the window in log tokens, and points are evenly spaced in tokens: so near a
run's beginning windows have fewer points, those within an eighth of the tokens so far on either
side. Noise of single points is divided by about sqrt(1.5 SMOOTHED), and two smoothed neighbours
hardly ever change order.

Reading rule, `first sustained crossing`: the first smoothed point at or below the target that is
followed by none above it within the next SMOOTHED points. The tokens lie on the line, in log
tokens, between that point and the previous one, which is above the target; nothing is extrapolated
(the reference, arXiv 2505.02222, section 2.4, specifies neither rule). A run that did not reach the
target is censored: it would have taken more tokens than it was trained for. It is kept, since
leaving it out would favour the optimizer whose runs were shorter.

Parts: `LossCurves` · `smoothed` · `Smoothed.crossings` -> `Crossings`, with a `TargetOutcome` for
each run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from telescope.statistics.estimates import Array

SMOOTHED = 11  # of about 200 points in a curve
REACH = 8  # a window extends to either side by one point for each REACH points since the beginning
ROWS = 256  # curves smoothed at a time, as many as a processor's cache holds


class TargetOutcome(IntEnum):
    """Outcome of a run with respect to a target loss; an integer, so that thousands of outcomes
    form one array."""

    REACHED = 0
    CENSORED = 1
    DIVERGED = 2
    EARLY = 3

    @property
    def meaning(self) -> str:
        """One sentence for users."""
        return MEANING[self]


MEANING = {
    TargetOutcome.REACHED: "It reached the target, after these tokens.",
    TargetOutcome.CENSORED: "It did not reach the target in these tokens, all that it was trained for.",
    TargetOutcome.DIVERGED: "It diverged before it reached the target: no number of tokens would do.",
    TargetOutcome.EARLY: (
        "It was below the target at its first point already: it reached it within these tokens."
    ),
}


@dataclass(frozen=True, eq=False)
class LossCurves:
    """Loss against tokens of many runs; the values beyond a run's last point are arbitrary."""

    tokens: NDArray[np.floating]  # [run, point], rising
    loss: NDArray[np.floating]  # [run, point]
    points: NDArray[np.int64]  # [run], number of points that are recorded and finite
    diverged: NDArray[np.bool_]  # [run]

    @classmethod
    def of(
        cls, runs: Sequence[tuple[Sequence[float], Sequence[float]]], diverged: Sequence[bool] = ()
    ) -> "LossCurves":
        """Curves from (tokens, losses) of each run; a run with a loss that is not finite diverged
        there, whatever `diverged` contains."""
        lengths = [len(tokens) for tokens, _ in runs]
        width = max([1, *lengths])
        tokens, loss = np.ones((len(runs), width)), np.zeros((len(runs), width), dtype=np.float32)
        for row, (at, values) in enumerate(runs):
            tokens[row, : len(at)], loss[row, : len(at)] = at, values
        return cls.recorded(
            tokens,
            loss,
            np.array(lengths, dtype=np.int64),
            np.array(diverged or [False] * len(runs), dtype=bool),
        )

    @classmethod
    def recorded(
        cls,
        tokens: NDArray[np.floating],
        loss: NDArray[np.floating],
        points: NDArray[np.int64],
        diverged: NDArray[np.bool_],
    ) -> "LossCurves":
        """Curves from arrays as recorded: cut at the first loss that is not finite, where the run
        diverged."""
        lost = ~np.isfinite(loss)
        finite = np.where(lost.any(axis=1), lost.argmax(axis=1), loss.shape[1])
        return cls(tokens, loss, np.minimum(points, finite), diverged | (finite < points))

    @property
    def trained_tokens(self) -> Array:
        """Tokens at the last point of each run; 0 if it has none."""
        last = np.take_along_axis(self.tokens, np.maximum(self.points - 1, 0)[:, None], axis=1)[
            :, 0
        ]
        return np.where(self.points > 0, last, 0).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Crossings:
    """Tokens to a loss of each run, and their meaning (`TargetOutcome`); inf if the run diverged."""

    tokens: Array  # [run]
    outcome: NDArray[np.int8]  # [run]


@dataclass(frozen=True, eq=False)
class Smoothed:
    """Curves without most of their noise: computed once, read at any number of targets."""

    curves: LossCurves
    log_tokens: NDArray[np.floating]  # [run, point]
    loss: NDArray[np.floating]  # [run, point]
    window: int

    def crossings(self, target_loss: float) -> Crossings:
        """The first place at which each run reached the target and stayed below it."""
        points, width = self.curves.points, self.loss.shape[1]
        above = (self.loss > target_loss) & (np.arange(width) < points[:, None])
        # points above the target before each point
        past = np.zeros((len(above), width + self.window), dtype=np.int32)
        np.cumsum(above, axis=1, dtype=np.int32, out=past[:, 1 : width + 1])
        past[:, width + 1 :] = past[:, width, None]
        stays = past[:, self.window :] == past[:, :width]
        at = stays.argmax(axis=1)  # beyond a run's last point nothing is above the target
        reached = stays.any(axis=1) & (at < points)
        outcome = np.where(
            reached,
            np.where(at > 0, TargetOutcome.REACHED, TargetOutcome.EARLY),
            TargetOutcome.CENSORED,
        )
        outcome = np.where(~reached & self.curves.diverged, TargetOutcome.DIVERGED, outcome).astype(
            np.int8
        )
        tokens = np.where(outcome == TargetOutcome.DIVERGED, np.inf, self.curves.trained_tokens)
        early = outcome == TargetOutcome.EARLY
        tokens[early] = np.exp(self.log_tokens[early, 0])
        rows = np.flatnonzero(outcome == TargetOutcome.REACHED)
        tokens[rows] = np.exp(self.between(rows, at[rows], target_loss))
        return Crossings(tokens, outcome)

    def between(self, rows: NDArray[np.int64], at: NDArray[np.int64], target_loss: float) -> Array:
        """Log tokens where the line from the previous point meets the target."""
        (x0, x1), (y0, y1) = (
            (of[rows, at - 1].astype(np.float64), of[rows, at].astype(np.float64))
            for of in (self.log_tokens, self.loss)
        )
        crossing: Array = x0 + (x1 - x0) * (y0 - target_loss) / (y0 - y1)
        return crossing


def smoothed(curves: LossCurves, window: int = SMOOTHED) -> Smoothed:
    """Curves under the smoothing rule, over at most `window` points (an odd number); 1 leaves them
    unchanged."""
    runs, width = curves.loss.shape
    log_tokens, loss = np.empty((runs, width)), np.empty((runs, width))
    for first in range(0, runs, ROWS):
        rows = slice(first, first + ROWS)
        known = np.arange(width) < curves.points[rows, None]
        # of each point in its own mean
        share = known / np.maximum(moving_sums(known.astype(np.float64), window), 1)
        x, y = (
            np.log(np.where(known, curves.tokens[rows], 1)),
            np.where(known, curves.loss[rows], 0),
        )
        for _ in range(2):
            x, y = moving_sums(x, window) * share, moving_sums(y, window) * share
        log_tokens[rows], loss[rows] = x, y
    return Smoothed(curves, log_tokens, loss, window)


def moving_sums(values: Array, window: int) -> Array:
    """Sums over `window` points around each point, fewer near the beginning and at the end: [run,
    point] -> [run, point]."""
    width = values.shape[1]
    at = np.arange(width)
    half = np.minimum(window // 2, (at + 1) // REACH)
    before = np.zeros((len(values), width + 1))  # sums of all points before each
    np.cumsum(values, axis=1, out=before[:, 1:])
    result: Array = before[:, np.minimum(at + half + 1, width)] - before[:, at - half]
    return result
