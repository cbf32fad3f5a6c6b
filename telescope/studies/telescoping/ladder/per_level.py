"""Where is the optimum of one width by itself, and where do those of several lead?

The plain alternative to the pooled model. Per level a quadratic in octaves is fitted by least squares to the runs around the lowest
one, with a free height per seed; through three points it is the parabola of the textbooks. The vertices are carried to the target by
weighted least squares of x*(n) = x* - a/n, which through two levels is Richardson's extrapolation. The law is taken as known: that it is
an assumption is not in the interval; that the bowl is no parabola is, as a bias of all levels alike.

Parts: `Vertex` · `vertex` of a level · `vertices` of all · `noise` · `Carried`, with its error's parts · `at_level`, `carried`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from telescope.statistics.estimates import QUANTILE, Array, Estimate
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, Outcome, argmin, outcomes
from telescope.studies.telescoping.ladder.pooled import NOISE, NOISE_DOF

REACH = 1.5  # octaves to each side of the lowest run: bowls are skewed, and wide parabolas biased
WIDEN = (1.0, 1.5, 2.25, 3.4, 5.0)  # times that, until there are runs enough
BIAS = 0.15  # octaves (sd) by which a skewed bowl moves the vertex of a parabola, at all levels alike
DRIFT_SD = 1.5  # octaves from the base to the target, a priori: what one level alone leaves open


@dataclass(frozen=True, eq=False)
class Vertex:
    """The optimum of one level on the axes that it can tell, in octaves, and its covariance in units of sigma^2."""

    x: Mapping[int, float]
    covariance: Array  # [axis, axis], sigma in % of the loss
    squares: float  # of the residuals, %^2
    dof: int

    def variance(self, axis: int) -> float:
        """Of one axis, in units of sigma^2."""
        i = list(self.x).index(axis)
        return float(self.covariance[i, i])


@dataclass(frozen=True)
class Carried:
    """The optimum of one axis at the target, and what makes it uncertain, as variances in octaves^2."""

    value: float
    noise: float  # of the runs
    drift: float  # what one level alone leaves open
    misfit: float  # by which the levels disagree with the law beyond their errors
    dof: float

    @property
    def variance(self) -> float:
        """All of it, the parabola's bias included."""
        return self.noise + self.drift + self.misfit + BIAS**2

    @property
    def estimate(self) -> Estimate:
        """With its interval."""
        return around(self.value, float(stdtrit(self.dof, QUANTILE)) * math.sqrt(self.variance))


def vertex(ladder: Ladder, done: Sequence[Done], level: int) -> Vertex | None:
    """The optimum of a level; None where the learning rate has none within what was tried.

    An axis whose vertex lies outside of what was tried, or that has fewer than three values, is held at its best value; so is the last
    one, again and again, where there is no bowl in all of them.
    """
    found = outcomes(done, level)
    axes = [i for i in ladder.fitted if len({o.point.x[i] for o in found}) > 2]
    while 0 in axes and any(o.finite for o in found):
        fit = quadratic(found, axes)
        outside = (
            [i for i, x in fit.x.items() if not min(o.point.x[i] for o in found) < x < max(o.point.x[i] for o in found)]
            if fit
            else axes[-1:]
        )
        if not outside:
            return fit
        axes = [i for i in axes if i not in outside]
    return None


def quadratic(found: Sequence[Outcome], axes: Sequence[int]) -> Vertex | None:
    """The vertex of the quadratic around the lowest point, learning rate first; None where it has none, or too few runs."""
    best = argmin(found)
    near = nearest(found, best, axes)
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


def nearest(found: Sequence[Outcome], best: Sequence[float], axes: Sequence[int]) -> list[Outcome] | None:
    """The finite runs around the lowest point, at its values on all other axes: as few octaves as hold enough for a quadratic."""
    k = len(axes)
    others = [i for i in range(len(best)) if i not in axes]
    line = [o for o in found if o.finite and all(o.point.x[i] == best[i] for i in others)]
    gaps = {i: max((min((abs(x - best[i]) for x in side), default=0.0) for side in sides(line, best, i)), default=0.0) for i in axes}
    for factor in WIDEN:
        near = [o for o in line if all(abs(o.point.x[i] - best[i]) <= max(REACH, gaps[i]) * factor + 1e-9 for i in axes)]
        values = [len({o.point.x[i] for o in near}) for i in axes]
        if len({o.point.x for o in near}) >= 4 * k - 1 and min(values) > 2:
            return near
    return None


def sides(line: Sequence[Outcome], best: Sequence[float], axis: int) -> tuple[list[float], list[float]]:
    """The values of an axis below the best one, and above."""
    values = [o.point.x[axis] for o in line]
    return [x for x in values if x < best[axis]], [x for x in values if x > best[axis]]


def lowest_at(theta: Array, k: int) -> Array | None:
    """Where a quadratic of these coefficients is lowest, from where it was centred; None where it is no bowl."""
    slope, hessian = theta[:k], np.diag(2 * theta[k : 2 * k])
    hessian[0, 1:] = hessian[1:, 0] = theta[2 * k : 3 * k - 1]
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        return None
    return -np.linalg.solve(hessian, slope).astype(np.float64)


def vertices(ladder: Ladder, done: Sequence[Done]) -> dict[int, Vertex]:
    """The levels that have one."""
    levels = sorted({o.point.level for stage in done for o in stage.outcomes})
    return {level: found for level in levels if (found := vertex(ladder, done, level))}


def noise(found: Mapping[int, Vertex]) -> tuple[float, float]:
    """Sigma in % of the loss, pooled over all levels and under the pooled model's prior, and the number of observations it is worth."""
    dof = NOISE_DOF + sum(one.dof for one in found.values())
    return math.sqrt((NOISE_DOF * NOISE**2 + sum(one.squares for one in found.values())) / dof), dof


def at_level(found: Mapping[int, Vertex], level: int) -> dict[int, Estimate]:
    """The optimum of one level, per axis."""
    sigma, dof = noise(found)
    t = float(stdtrit(dof, QUANTILE))
    one = found.get(level)
    return {i: around(x, t * math.hypot(sigma * math.sqrt(one.variance(i)), BIAS)) for i, x in one.x.items()} if one else {}


def at_target(ladder: Ladder, done: Sequence[Done]) -> dict[int, Carried]:
    """The fitted axes that some level can tell, at the target."""
    found = vertices(ladder, done)
    known = {i: {level: one for level, one in found.items() if i in one.x} for i in ladder.fitted}
    return {i: _at_target(ladder, levels, i, noise(found)) for i, levels in known.items() if levels}


def carried(ladder: Ladder, done: Sequence[Done]) -> dict[int, Estimate]:
    """Each fitted axis at the target; one that no level can tell has its last lowest point and the whole range."""
    found, axes = at_target(ladder, done), ladder.axes
    best = argmin(outcomes(done, max(o.point.level for stage in done for o in stage.outcomes)))
    return {
        i: found[i].estimate if i in found else Estimate(best[i], min(axes[i].low, best[i]), max(axes[i].high, best[i]))
        for i in ladder.fitted
    }


def _at_target(ladder: Ladder, known: Mapping[int, Vertex], axis: int, noise: tuple[float, float]) -> Carried:
    """Weighted least squares of x* - a/n, the intervals widened where the levels disagree with it by more than their errors."""
    sigma, dof = noise
    w = np.array([2.0 ** -ladder.heights[level] - 2.0**-ladder.doublings for level in known])  # 0 at the target
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
    """A number with the same width to each side."""
    return Estimate(x, x - half, x + half)
