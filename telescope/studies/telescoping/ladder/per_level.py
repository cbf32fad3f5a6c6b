"""The optimum of each width from the runs of that width, and its extrapolation to the target.

This estimator is a simple alternative to the *pooled model*, a single model of the runs of all
widths. A *ladder* searches the hyperparameters of one optimizer at increasing widths, its *levels*.
An *axis* is one of these hyperparameters, in octaves (factors of 2). At each level, a quadratic is
fitted by least squares to the runs around the point of lowest mean loss. Each seed has its own
constant term in this quadratic. The minimum of the quadratic is the level's *vertex*.

The vertices are extrapolated to the target by weighted least squares, under the law

    x*(n) = x*(inf) - a/n

    x*(n)   the optimum at width n, in octaves
    x*(inf) the optimum at infinite width
    a       a constant

With two levels this is Richardson's extrapolation. With three levels or more, the interval at the
target widens if the vertices deviate from the law by more than their errors. The interval also
allows for a bias that is the same at all levels: the loss is skewed around its optimum, and a
quadratic is not.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from telescope.statistics.estimates import QUANTILE, Array, Estimate
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, Outcome, argmin, outcomes
from telescope.studies.telescoping.ladder.pooled import NOISE, NOISE_DOF

# A quadratic is fitted to the runs in a range of each axis. The range extends this number of
# octaves to each side of the point of lowest mean loss, or more, so that it includes the next value
# on each side. Since the loss is skewed around its optimum, a wider range would bias the vertex.
REACH = 1.5
# factors by which the range is multiplied, tried in turn until the range holds enough runs
WIDEN = (1.0, 1.5, 2.25, 3.4, 5.0)
# standard deviation, in octaves, of the vertex's bias due to the skew of the loss; the bias is the
# same at all levels
BIAS = 0.15
# If only one level has a vertex, the drift is unknown. This is the prior standard deviation of the
# optimum's drift from the base width to the target, in octaves.
DRIFT_SD = 1.5


@dataclass(frozen=True, eq=False)
class Vertex:
    """The optimum of a level, on those axes on which the level's runs determine an optimum."""

    x: Mapping[int, float]  # octaves by axis
    # [axis, axis], in octaves^2 per sigma^2; sigma is the noise of a run, in % of the loss
    covariance: Array
    squares: float  # sum of the squared residuals, in (% of the loss)^2
    dof: int  # degrees of freedom of the residuals

    def variance(self, axis: int) -> float:
        """The variance of the optimum on an axis, in octaves^2 per sigma^2."""
        i = list(self.x).index(axis)
        return float(self.covariance[i, i])


@dataclass(frozen=True)
class Carried:
    """The optimum of an axis at the target. `noise`, `drift` and `misfit` are variances, in
    octaves^2.
    """

    value: float  # in octaves
    noise: float  # due to the noise of the runs
    drift: float  # due to the unknown drift, if only one level has a vertex
    misfit: float  # due to deviations from the law a/n beyond the errors of the vertices
    dof: float  # degrees of freedom of the noise

    @property
    def variance(self) -> float:
        """The total variance in octaves^2, including that of the bias due to the skewed loss."""
        return self.noise + self.drift + self.misfit + BIAS**2

    @property
    def estimate(self) -> Estimate:
        """The optimum with its interval."""
        return around(self.value, float(stdtrit(self.dof, QUANTILE)) * math.sqrt(self.variance))


def vertex(ladder: Ladder, done: Sequence[Done], level: int) -> Vertex | None:
    """The optimum of a level. `None` if the runs determine no optimum of the learning rate between
    the values tried.

    On some axes, only the runs at the value of the best point are fitted; these axes are *held*.
    Held are merely swept axes (those with fewer than three values in the base grid), axes with
    fewer than three values at this level, and axes on which the vertex lies outside the values
    tried. If no quadratic with a minimum can be fitted, the last axis that is not yet held is held
    too. The fit is repeated after each change.
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
    """The axes on which the vertex does not lie between the lowest and the highest value tried."""
    outside = []
    for i, x in optimum.x.items():
        tried = [o.point.x[i] for o in results]
        if not min(tried) < x < max(tried):
            outside.append(i)
    return outside


def quadratic(results: Sequence[Outcome], axes: Sequence[int]) -> Vertex | None:
    """The vertex of the quadratic in `axes`, fitted to the runs around the point of lowest mean
    loss. The learning rate comes first in `axes`. `None` if there are too few runs
    (`nearest_runs`), if the runs do not determine the quadratic, or if it has no minimum.
    """
    best = argmin(results)
    near = nearest_runs(results, best, axes)
    if near is None:
        return None
    k, lowest = len(axes), min(o.loss for o in near)
    u = np.array([[o.point.x[i] - best[i] for i in axes] for o in near])  # octaves from `best`
    z = np.array([100 * (o.loss / lowest - 1) for o in near])  # excess over the lowest loss, in %
    seeds = sorted({o.point.seed for o in near})
    constants = np.array([[o.point.seed == seed for seed in seeds] for o in near], dtype=np.float64)
    design = np.hstack([u, u**2, u[:, :1] * u[:, 1:], constants])
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
    """The finite runs that a quadratic in `axes` is fitted to.

    These runs have the value of `best` on each axis that is not in `axes`. On `axes`, they lie in a
    range around `best`: the smallest of the ranges by REACH and WIDEN that holds enough runs. For k
    axes, 4k - 1 distinct points with at least three values on each of `axes` are enough. `None` if
    even the widest range holds too few.
    """
    k = len(axes)
    held = [i for i in range(len(best)) if i not in axes]
    runs = [o for o in results if o.finite and all(o.point.x[i] == best[i] for i in held)]
    reach = [
        max(REACH, *(distance_to_next(xs, best[i]) for xs in neighbouring_values(runs, best, i)))
        for i in axes
    ]
    for factor in WIDEN:
        near = [
            o
            for o in runs
            if all(
                abs(o.point.x[i] - best[i]) <= octaves * factor + 1e-9
                for i, octaves in zip(axes, reach, strict=True)
            )
        ]
        counts = [len({o.point.x[i] for o in near}) for i in axes]
        if len({o.point.x for o in near}) >= 4 * k - 1 and min(counts) > 2:
            return near
    return None


def neighbouring_values(
    runs: Sequence[Outcome], best: Sequence[float], axis: int
) -> tuple[list[float], list[float]]:
    """Two lists: the runs' values on an axis below the value in `best`, and those above."""
    values = [o.point.x[axis] for o in runs]
    return [x for x in values if x < best[axis]], [x for x in values if x > best[axis]]


def distance_to_next(values: Sequence[float], best: float) -> float:
    """Octaves from `best` to the nearest of `values`; 0 if `values` is empty."""
    return min((abs(x - best) for x in values), default=0.0)


def lowest_at(theta: Array, k: int) -> Array | None:
    """The position [axis] of the minimum of a quadratic in k axes. `theta` holds first the k linear
    coefficients, then the k quadratic coefficients, then the k - 1 coefficients of the products of
    the first axis with the other axes. `None` if the quadratic has no minimum.
    """
    slope, hessian = theta[:k], np.diag(2 * theta[k : 2 * k])
    hessian[0, 1:] = hessian[1:, 0] = theta[2 * k : 3 * k - 1]
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        return None
    return -np.linalg.solve(hessian, slope).astype(np.float64)


def vertices(ladder: Ladder, done: Sequence[Done]) -> dict[int, Vertex]:
    """The vertices, by level. Levels without a vertex are left out."""
    levels = sorted({o.point.level for stage in done for o in stage.outcomes})
    by_level = {level: vertex(ladder, done, level) for level in levels}
    return {level: optimum for level, optimum in by_level.items() if optimum}


def noise(level_vertices: Mapping[int, Vertex]) -> tuple[float, float]:
    """The noise sigma of a run, in % of the loss, and the degrees of freedom of sigma. Sigma is
    estimated from the residuals of all levels, with the same prior of sigma as in the pooled model.
    """
    fits = level_vertices.values()
    dof = NOISE_DOF + sum(fit.dof for fit in fits)
    return math.sqrt((NOISE_DOF * NOISE**2 + sum(fit.squares for fit in fits)) / dof), dof


def level_optimum(level_vertices: Mapping[int, Vertex], level: int) -> dict[int, Estimate]:
    """The optimum of a level by axis, in octaves. Empty if the level has no vertex."""
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
    """The optimum at the target, by axis. The result holds the fitted axes on which at least one
    level has a vertex.
    """
    by_level = vertices(ladder, done)
    sigma_and_dof = noise(by_level)
    carried: dict[int, Carried] = {}
    for i in ladder.fitted:
        with_axis = {level: optimum for level, optimum in by_level.items() if i in optimum.x}
        if with_axis:
            carried[i] = _at_target(ladder, with_axis, i, sigma_and_dof)
    return carried


def carried_to_target(ladder: Ladder, done: Sequence[Done]) -> dict[int, Estimate]:
    """The estimate of each fitted axis at the target, in octaves. An axis on which no level has a
    vertex gets its best value at the widest level so far. The interval of this axis is the user's
    range, extended to the best value if needed.
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
    ladder: Ladder,
    level_vertices: Mapping[int, Vertex],
    axis: int,
    sigma_and_dof: tuple[float, float],
) -> Carried:
    """The optimum of an axis at the target.

    With two vertices or more, the optimum follows from weighted least squares under the law a/n.
    The variance of the optimum is larger if the vertices deviate from the law by more than their
    errors. With a single vertex, the optimum at the target equals this vertex, and the unknown
    drift is a source of error.
    """
    sigma, dof = sigma_and_dof
    # 1/width of each level minus 1/width of the target, in units of 1/base width
    w = np.array(
        [2.0 ** -ladder.level_doublings[level] - 2.0**-ladder.doublings for level in level_vertices]
    )
    x = np.array([fit.x[axis] for fit in level_vertices.values()])
    variance = sigma**2 * np.array([fit.variance(axis) for fit in level_vertices.values()])
    if len(level_vertices) == 1:
        drift_sd = DRIFT_SD * float(w[0]) / (1 - 2.0**-ladder.doublings) if w[0] else 0.0
        return Carried(float(x[0]), float(variance[0]), drift_sd**2, 0.0, dof)
    design = np.stack([np.ones_like(w), w], axis=1)
    precision = (design.T / variance) @ design
    theta = np.linalg.solve(precision, design.T @ (x / variance))
    chi_square_per_dof = float(np.sum((x - design @ theta) ** 2 / variance)) / max(len(x) - 2, 1)
    error = float(np.linalg.inv(precision)[0, 0])  # a variance
    misfit = error * max(chi_square_per_dof - 1, 0.0)
    return Carried(float(theta[0]), error, 0.0, misfit, dof)


def around(x: float, half: float) -> Estimate:
    """The estimate `x`, with an interval that extends `half` octaves to each side."""
    return Estimate(x, x - half, x + half)
