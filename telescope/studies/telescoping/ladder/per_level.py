"""The optimum of each width by itself, and its extrapolation to the target.

This is the plain alternative to the pooled model. Per level, a quadratic in octaves is fitted by
least squares to the runs around the lowest point, with a free height per seed; through three points
it is the textbook parabola. The vertices are carried to the target by weighted least squares of
x*(n) = x* - a/n, which through two levels is Richardson's extrapolation. The interval takes the law
as known; the deviation of the bowl from a parabola enters as a bias shared by all levels.

Parts: `Vertex` · `vertex` of a level · `vertices` of all levels · `noise` · `Carried`, with the
parts of its error · `level_optimum`, `carried_to_target`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from telescope.statistics.estimates import QUANTILE, Array, Estimate
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, Outcome, argmin, outcomes
from telescope.studies.telescoping.ladder.pooled import NOISE, NOISE_DOF

# octaves to each side of the lowest run; bowls are skewed, so wide parabolas are biased
REACH = 1.5
WIDEN = (1.0, 1.5, 2.25, 3.4, 5.0)  # factors of REACH, until there are enough runs
BIAS = 0.15  # octaves (sd) by which a skewed bowl shifts a parabola's vertex, equal at all levels
DRIFT_SD = 1.5  # octaves from the base to the target, a priori; used with a single level


@dataclass(frozen=True, eq=False)
class Vertex:
    """The optimum of a level on the axes that it determines, in octaves, and its covariance in
    units of sigma^2.
    """

    x: Mapping[int, float]
    covariance: Array  # [axis, axis], sigma in % of the loss
    squares: float  # of the residuals, %^2
    dof: int

    def variance(self, axis: int) -> float:
        """The variance of an axis, in units of sigma^2."""
        i = list(self.x).index(axis)
        return float(self.covariance[i, i])


@dataclass(frozen=True)
class Carried:
    """The optimum of an axis at the target, and its sources of error as variances in octaves^2."""

    value: float
    noise: float  # of the runs
    drift: float  # open where only a single level is known
    misfit: float  # by which the levels disagree with the law beyond their errors
    dof: float

    @property
    def variance(self) -> float:
        """The total variance, including the parabola's bias."""
        return self.noise + self.drift + self.misfit + BIAS**2

    @property
    def estimate(self) -> Estimate:
        """The optimum with its interval."""
        return around(self.value, float(stdtrit(self.dof, QUANTILE)) * math.sqrt(self.variance))


def vertex(ladder: Ladder, done: Sequence[Done], level: int) -> Vertex | None:
    """The optimum of a level; None where the learning rate has none within the values tried.

    An axis whose vertex lies outside the values tried, or that has fewer than three values, is held
    at its best value; so is the last axis, repeatedly, while the quadratic has no minimum.
    """
    found = outcomes(done, level)
    axes = [i for i in ladder.fitted if len({o.point.x[i] for o in found}) > 2]
    while 0 in axes and any(o.finite for o in found):
        fit = quadratic(found, axes)
        outside = (
            [
                i
                for i, x in fit.x.items()
                if not min(o.point.x[i] for o in found) < x < max(o.point.x[i] for o in found)
            ]
            if fit
            else axes[-1:]
        )
        if not outside:
            return fit
        axes = [i for i in axes if i not in outside]
    return None


def quadratic(found: Sequence[Outcome], axes: Sequence[int]) -> Vertex | None:
    """The vertex of the quadratic around the lowest point, learning rate first; None where it has
    no minimum, or too few runs.
    """
    best = argmin(found)
    near = nearest_runs(found, best, axes)
    if near is None:
        return None
    k, lowest = len(axes), min(o.loss for o in near)
    u = np.array([[o.point.x[i] - best[i] for i in axes] for o in near])
    z = np.array([100 * (o.loss / lowest - 1) for o in near])
    seeds = sorted({o.point.seed for o in near})
    heights = np.array([[o.point.seed == seed for seed in seeds] for o in near], dtype=np.float64)
    design = np.hstack([u, u**2, u[:, :1] * u[:, 1:], heights])
    theta, _, rank, _ = np.linalg.lstsq(design, z, rcond=1e-9)
    x = lowest_at(theta, k)
    moved = [lowest_at(theta + 1e-6 * row, k) for row in np.eye(len(theta))]
    if rank < design.shape[1] or x is None or any(m is None for m in moved):
        return None
    gradient = np.array([(m - x) / 1e-6 for m in moved if m is not None])
    residual = z - design @ theta
    return Vertex(
        x={i: best[i] + float(v) for i, v in zip(axes, x, strict=True)},
        covariance=(gradient.T @ np.linalg.inv(design.T @ design) @ gradient).astype(np.float64),
        squares=float(residual @ residual),
        dof=len(z) - design.shape[1],
    )


def nearest_runs(
    found: Sequence[Outcome], best: Sequence[float], axes: Sequence[int]
) -> list[Outcome] | None:
    """The finite runs around the lowest point, at its values on all other axes, within the fewest
    octaves that hold enough runs for a quadratic.
    """
    k = len(axes)
    others = [i for i in range(len(best)) if i not in axes]
    line = [o for o in found if o.finite and all(o.point.x[i] == best[i] for i in others)]
    gaps = {
        i: max(
            (
                min((abs(x - best[i]) for x in side), default=0.0)
                for side in neighbouring_values(line, best, i)
            ),
            default=0.0,
        )
        for i in axes
    }
    for factor in WIDEN:
        near = [
            o
            for o in line
            if all(abs(o.point.x[i] - best[i]) <= max(REACH, gaps[i]) * factor + 1e-9 for i in axes)
        ]
        values = [len({o.point.x[i] for o in near}) for i in axes]
        if len({o.point.x for o in near}) >= 4 * k - 1 and min(values) > 2:
            return near
    return None


def neighbouring_values(
    line: Sequence[Outcome], best: Sequence[float], axis: int
) -> tuple[list[float], list[float]]:
    """The values of an axis below and above the best."""
    values = [o.point.x[axis] for o in line]
    return [x for x in values if x < best[axis]], [x for x in values if x > best[axis]]


def lowest_at(theta: Array, k: int) -> Array | None:
    """The minimum of a quadratic with these coefficients, from its centre; None where it has
    none.
    """
    slope, hessian = theta[:k], np.diag(2 * theta[k : 2 * k])
    hessian[0, 1:] = hessian[1:, 0] = theta[2 * k : 3 * k - 1]
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        return None
    return -np.linalg.solve(hessian, slope).astype(np.float64)


def vertices(ladder: Ladder, done: Sequence[Done]) -> dict[int, Vertex]:
    """The vertices by level, for levels that have one."""
    levels = sorted({o.point.level for stage in done for o in stage.outcomes})
    return {level: found for level in levels if (found := vertex(ladder, done, level))}


def noise(found: Mapping[int, Vertex]) -> tuple[float, float]:
    """Sigma in % of the loss, pooled over all levels under the pooled model's prior, and its
    degrees of freedom.
    """
    dof = NOISE_DOF + sum(one.dof for one in found.values())
    return math.sqrt((NOISE_DOF * NOISE**2 + sum(one.squares for one in found.values())) / dof), dof


def level_optimum(found: Mapping[int, Vertex], level: int) -> dict[int, Estimate]:
    """The optimum of a level, per axis."""
    sigma, dof = noise(found)
    t = float(stdtrit(dof, QUANTILE))
    one = found.get(level)
    return (
        {
            i: around(x, t * math.hypot(sigma * math.sqrt(one.variance(i)), BIAS))
            for i, x in one.x.items()
        }
        if one
        else {}
    )


def level_optima_at_target(ladder: Ladder, done: Sequence[Done]) -> dict[int, Carried]:
    """The fitted axes that some level determines, carried to the target."""
    found = vertices(ladder, done)
    known = {i: {level: one for level, one in found.items() if i in one.x} for i in ladder.fitted}
    return {i: _at_target(ladder, levels, i, noise(found)) for i, levels in known.items() if levels}


def carried_to_target(ladder: Ladder, done: Sequence[Done]) -> dict[int, Estimate]:
    """The estimate of each fitted axis at the target; an axis that no level determines gets its
    last lowest point and the whole range.
    """
    found, axes = level_optima_at_target(ladder, done), ladder.axes
    best = argmin(outcomes(done, max(o.point.level for stage in done for o in stage.outcomes)))
    return {
        i: found[i].estimate
        if i in found
        else Estimate(best[i], min(axes[i].low, best[i]), max(axes[i].high, best[i]))
        for i in ladder.fitted
    }


def _at_target(
    ladder: Ladder, known: Mapping[int, Vertex], axis: int, noise: tuple[float, float]
) -> Carried:
    """Weighted least squares of x* - a/n, with wider intervals where the levels deviate from it by
    more than their errors.
    """
    sigma, dof = noise
    # 0 at the target
    w = np.array([2.0 ** -ladder.heights[level] - 2.0**-ladder.doublings for level in known])
    x = np.array([one.x[axis] for one in known.values()])
    variance = sigma**2 * np.array([one.variance(axis) for one in known.values()])
    if len(known) == 1:
        open_drift = DRIFT_SD * float(w[0]) / (1 - 2.0**-ladder.doublings) if w[0] else 0.0
        return Carried(float(x[0]), float(variance[0]), open_drift**2, 0.0, dof)
    design = np.stack([np.ones_like(w), w], axis=1)
    precision = (design.T / variance) @ design
    theta = np.linalg.solve(precision, design.T @ (x / variance))
    misfit = float(np.sum((x - design @ theta) ** 2 / variance)) / max(len(x) - 2, 1)
    error = float(np.linalg.inv(precision)[0, 0])
    return Carried(float(theta[0]), error, 0.0, error * max(misfit - 1, 0.0), dof)


def around(x: float, half: float) -> Estimate:
    """An estimate with the same half-width to each side."""
    return Estimate(x, x - half, x + half)
