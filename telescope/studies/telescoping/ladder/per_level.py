"""The optimum of each width by itself, and its extrapolation to the target.

This is the simple alternative to the pooled model. For each level, a quadratic in octaves is fitted
by least squares to the runs around the lowest point, with a free height per seed; through three
points it is the textbook parabola. The vertices are extrapolated to the target by weighted least
squares of x*(n) = x* - a/n, which through two levels is Richardson's extrapolation. The interval
takes this law as certain; the deviation of the bowl from a parabola enters as a bias shared by all
levels.

Parts: `Vertex`, `vertex`, `vertices` · `noise` · `Carried`, an extrapolated optimum with the parts
of its error · `level_optimum`, `carried_to_target`.
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
DRIFT_SD = 1.5  # octaves from the base to the target, a priori; used with a single vertex


@dataclass(frozen=True, eq=False)
class Vertex:
    """The optimum of a level on the axes that its runs determine."""

    x: Mapping[int, float]  # octaves by axis
    covariance: Array  # [axis, axis] in units of sigma^2, where sigma is the noise in % of the loss
    squares: float  # sum of the squared residuals, in (% of the loss)^2
    dof: int

    def variance(self, axis: int) -> float:
        """The variance of the optimum on an axis, in units of sigma^2."""
        i = list(self.x).index(axis)
        return float(self.covariance[i, i])


@dataclass(frozen=True)
class Carried:
    """The optimum of an axis at the target, and its sources of error as variances in octaves^2."""

    value: float
    noise: float  # due to the noise of the runs
    drift: float  # due to the unknown drift, where only one level has a vertex
    misfit: float  # due to deviations of the levels from the law beyond their errors
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
    """The optimum of a level; None where no learning rate within the values tried is one.

    An axis is held at its best value if it has fewer than three values, or if its vertex lies
    outside the values tried. While the quadratic has no minimum, the last axis is held too, one
    after the other.
    """
    results = outcomes(done, level)
    axes = [i for i in ladder.fitted if len({o.point.x[i] for o in results}) > 2]
    while 0 in axes and any(o.finite for o in results):
        fit = quadratic(results, axes)
        outside = axes_outside(fit, results) if fit else axes[-1:]
        if not outside:
            return fit
        axes = [i for i in axes if i not in outside]
    return None


def axes_outside(optimum: Vertex, results: Sequence[Outcome]) -> list[int]:
    """The axes on which a vertex does not lie between the values tried."""
    outside = []
    for i, x in optimum.x.items():
        tried = [o.point.x[i] for o in results]
        if not min(tried) < x < max(tried):
            outside.append(i)
    return outside


def quadratic(results: Sequence[Outcome], axes: Sequence[int]) -> Vertex | None:
    """The vertex of the quadratic around the lowest point, learning rate first; None where it has
    no minimum, or too few runs.
    """
    best = argmin(results)
    near = nearest_runs(results, best, axes)
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
    shifted = [lowest_at(theta + 1e-6 * row, k) for row in np.eye(len(theta))]
    if rank < design.shape[1] or x is None or any(m is None for m in shifted):
        return None
    gradient = np.array([(m - x) / 1e-6 for m in shifted if m is not None])
    residual = z - design @ theta
    return Vertex(
        x={i: best[i] + float(v) for i, v in zip(axes, x, strict=True)},
        covariance=(gradient.T @ np.linalg.inv(design.T @ design) @ gradient).astype(np.float64),
        squares=float(residual @ residual),
        dof=len(z) - design.shape[1],
    )


def nearest_runs(
    results: Sequence[Outcome], best: Sequence[float], axes: Sequence[int]
) -> list[Outcome] | None:
    """The finite runs around the lowest point, within the fewest octaves that hold enough runs for
    a quadratic on `axes`; on all other axes they have the lowest point's values. None where there
    are too few.
    """
    k = len(axes)
    held = [i for i in range(len(best)) if i not in axes]
    line = [o for o in results if o.finite and all(o.point.x[i] == best[i] for i in held)]
    reach = [
        max(
            REACH, *(distance_to_next(side, best[i]) for side in neighbouring_values(line, best, i))
        )
        for i in axes
    ]
    for factor in WIDEN:
        near = [
            o
            for o in line
            if all(
                abs(o.point.x[i] - best[i]) <= octaves * factor + 1e-9
                for i, octaves in zip(axes, reach, strict=True)
            )
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


def distance_to_next(values: Sequence[float], best: float) -> float:
    """Octaves from the best value to the nearest of some others; 0 without any."""
    return min((abs(x - best) for x in values), default=0.0)


def lowest_at(theta: Array, k: int) -> Array | None:
    """The minimum [axis] of a quadratic in k axes with these coefficients, relative to its centre;
    None where it has none.
    """
    slope, hessian = theta[:k], np.diag(2 * theta[k : 2 * k])
    hessian[0, 1:] = hessian[1:, 0] = theta[2 * k : 3 * k - 1]
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        return None
    return -np.linalg.solve(hessian, slope).astype(np.float64)


def vertices(ladder: Ladder, done: Sequence[Done]) -> dict[int, Vertex]:
    """The vertices by level, for levels that have one."""
    levels = sorted({o.point.level for stage in done for o in stage.outcomes})
    by_level = {level: vertex(ladder, done, level) for level in levels}
    return {level: optimum for level, optimum in by_level.items() if optimum}


def noise(level_vertices: Mapping[int, Vertex]) -> tuple[float, float]:
    """Sigma in % of the loss, pooled over all levels under the pooled model's prior, and its
    degrees of freedom.
    """
    fits = level_vertices.values()
    dof = NOISE_DOF + sum(fit.dof for fit in fits)
    return math.sqrt((NOISE_DOF * NOISE**2 + sum(fit.squares for fit in fits)) / dof), dof


def level_optimum(level_vertices: Mapping[int, Vertex], level: int) -> dict[int, Estimate]:
    """The optimum of a level by axis, in octaves; empty where the level has no vertex."""
    if level not in level_vertices:
        return {}
    sigma, dof = noise(level_vertices)
    t = float(stdtrit(dof, QUANTILE))
    optimum = level_vertices[level]
    return {
        i: around(x, t * math.hypot(sigma * math.sqrt(optimum.variance(i)), BIAS))
        for i, x in optimum.x.items()
    }


def level_optima_at_target(ladder: Ladder, done: Sequence[Done]) -> dict[int, Carried]:
    """The optima at the target, for the fitted axes on which some level has a vertex."""
    by_level = vertices(ladder, done)
    sigma_and_dof = noise(by_level)
    carried: dict[int, Carried] = {}
    for i in ladder.fitted:
        with_axis = {level: optimum for level, optimum in by_level.items() if i in optimum.x}
        if with_axis:
            carried[i] = _at_target(ladder, with_axis, i, sigma_and_dof)
    return carried


def carried_to_target(ladder: Ladder, done: Sequence[Done]) -> dict[int, Estimate]:
    """The estimate of each fitted axis at the target. An axis for which no level has a vertex gets
    the lowest point of the widest level, with the whole range as its interval.
    """
    optima, axes = level_optima_at_target(ladder, done), ladder.axes
    best = argmin(outcomes(done, max(o.point.level for stage in done for o in stage.outcomes)))
    return {
        i: optima[i].estimate
        if i in optima
        else Estimate(best[i], min(axes[i].low, best[i]), max(axes[i].high, best[i]))
        for i in ladder.fitted
    }


def _at_target(
    ladder: Ladder, level_vertices: Mapping[int, Vertex], axis: int, noise: tuple[float, float]
) -> Carried:
    """The optimum of an axis by weighted least squares of x* - a/n; its variance is larger where
    the levels deviate from this law by more than their errors.
    """
    sigma, dof = noise
    # the regressor of a; it is 0 at the target
    w = np.array(
        [2.0 ** -ladder.heights[level] - 2.0**-ladder.doublings for level in level_vertices]
    )
    x = np.array([fit.x[axis] for fit in level_vertices.values()])
    variance = sigma**2 * np.array([fit.variance(axis) for fit in level_vertices.values()])
    if len(level_vertices) == 1:
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
