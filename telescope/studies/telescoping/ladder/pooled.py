"""The pooled model: one statistical model of the losses at all widths.

A *ladder* searches the hyperparameters of one optimizer at increasing widths, its *levels*. Around
its optimum, the loss of a level has the form of a skewed bowl f (`bowl`), whose shape is nearly the
same at all levels. A *drift law* states how the optimum moves with width. A *block* consists of the
runs of one level and seed, such as the runs of the base grid. Each block has its own constant c in
the loss. Let x be the position of a run on the fitted axes (hyperparameters), in octaves. The model
describes z, the excess of a loss over the lowest loss of its level, in %:

    z = 100 (loss / lowest loss of the level - 1) = c_block + f_level(x) + error
    variance of the error = sigma^2 + (ETA max(f, z))^2

Here sigma is the noise of a run, in % of the loss. The term with the constant ETA (`sample`) gives
less weight to points high up the bowl. The model is fitted by Levenberg-Marquardt under priors,
which determine the parameters that the runs leave open. The estimate at the target is averaged over
three drift laws, so that its interval includes the uncertainty about the law. Diverged runs take no
part in the fit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.special import stdtrit

from telescope.statistics.estimates import QUANTILE, Array, Estimate, mixture
from telescope.studies.telescoping.ladder.bowl import ParameterSlots, bowl, saturated
from telescope.studies.telescoping.ladder.sample import ETA, FittedRun, Sample

NOISE = 0.15  # prior scale of sigma, in % of the loss
NOISE_DOF = 2.0  # degrees of freedom of the prior of sigma
# (phi, prior probability) of three drift laws (`bowl`): the optimum moves as a/n, nearly as
# a/sqrt(n), or by a constant shift per doubling of n; n is the width, and a is a constant
LAWS = ((0.0, 0.5), (0.47, 0.3), (1.0, 0.2))
NEGLIGIBLE = 1e-10  # expected decrease, relative to 1 + objective, below which a fit has converged


def minimise(
    sample: Sample, layout: ParameterSlots, theta: Array, weights: Array, prior: tuple[Array, Array]
) -> Array:
    """The parameters that minimise the objective

        1/2 sum w r^2 + 1/2 sum precision (theta - mean)^2

    r are the residuals, centred within each block, and w are the `weights` of the runs. `prior` is
    the pair (mean, precision). The method is Levenberg-Marquardt, starting from `theta`.
    """
    mean, precision = prior

    def objective(at: Array) -> float:
        r = sample.centred(sample.z - bowl(layout, at, sample.level, sample.x), weights)
        return float(weights @ r**2 + precision @ (at - mean) ** 2) / 2

    damping, current = 1e-3, objective(theta)
    for _ in range(60):
        f, J = sample.linearised(layout, theta)
        r, J = sample.centred(sample.z - f, weights), sample.centred(J, weights)
        gradient = J.T @ (weights * r) - precision * (theta - mean)
        information = (J.T * weights) @ J + np.diag(precision)
        diagonal = np.diag(np.diag(information))
        while True:
            step = np.linalg.solve(information + damping * diagonal, gradient)
            gain = float(gradient @ step) / 2  # lower bound of the expected decrease
            if gain < NEGLIGIBLE * (1 + current):
                return theta
            objective_after = objective(theta + step)
            if objective_after <= current:
                break
            damping *= 5
        theta, current, damping = theta + step, objective_after, max(damping / 10, 1e-9)
    return theta


@dataclass(frozen=True, eq=False)
class Fit:
    """The pooled model with its parameters fitted."""

    layout: ParameterSlots
    sample: Sample
    theta: Array  # [parameter]
    covariance: Array  # [parameter, parameter]
    sigma: float  # noise of a run, in % of the loss
    dof: float  # degrees of freedom of sigma

    @property
    def curvature(self) -> float:
        """The curvature A along the learning rate, in % of the loss per octave^2."""
        return float(np.exp(self.theta[self.layout.slots["log_a"]][0]))

    @property
    def ratios(self) -> Array:
        """The curvatures [axis], divided by the curvature along the learning rate."""
        return np.concatenate([[1.0], np.exp(self.theta[self.layout.slots["log_r"]])])

    @cached_property
    def optima(self) -> Array:
        """The optima x*_i: [level, axis]."""
        return self.layout.optima(self.theta)

    @cached_property
    def optima_gradient(self) -> Array:
        """The derivatives [level, axis, parameter] of the optima with respect to the parameters."""
        step = 1e-6
        moved = self.layout.optima(self.theta + step * np.eye(self.layout.size))
        return np.moveaxis((moved - self.optima) / step, 0, -1)

    def floor(self, level: int) -> float | None:
        """The fitted loss at a level's optimum, averaged over the level's blocks. `None` if the
        level has no run in the fit.

        The lowest measured loss, by contrast, depends on the number of runs and on their distance
        from the optimum.
        """
        sample = self.sample
        blocks = sample.member[sample.level == level].any(axis=0)
        if not blocks.any():
            return None
        heights = bowl(self.layout, self.theta, sample.level, sample.x)
        c = sample.block_means(sample.z - heights, 1 / sample.variance(heights, self.sigma))
        return float(sample.best[level] * (1 + c[blocks].mean() / 100))

    def cost(self, axis: int, octaves: float) -> float:
        """The cost, in % of the loss, of a value off the optimum on a fitted axis other than the
        learning rate. `octaves` is the value minus the optimum, in octaves.
        """
        u, layout = np.array(octaves, dtype=np.float64), self.layout
        if axis in layout.saturating:
            u = saturated(u, self.theta[layout.slots["knee"].start + layout.saturating.index(axis)])
        return self.curvature * float(self.ratios[axis] * u**2)

    def surprise(self, axis: int) -> float:
        """How far the mean loss of a group of runs lies below the bowl, in standard errors. The
        result is the largest such distance over the groups, or 0 if there is no group.

        The runs are grouped by their signed distance from the optimum along an axis, rounded down
        to whole octaves. Groups of fewer than three runs are left out. A large result suggests that
        the bowl has the wrong form; noise alone rarely produces a large result.
        """
        sample = self.sample
        heights = bowl(self.layout, self.theta, sample.level, sample.x)
        weights = 1 / sample.variance(heights, self.sigma)
        residuals = sample.centred(sample.z - heights, weights)
        octave = np.floor(sample.x[:, axis] - self.optima[sample.level, axis])
        groups = [octave == value for value in np.unique(octave)]
        surprises = [
            -float(weights[g] @ residuals[g]) / math.sqrt(weights[g].sum())
            for g in groups
            if g.sum() >= 3
        ]
        return max(surprises, default=0.0)

    def sd_of(self, gradient: Array) -> float:
        """The standard deviation of a quantity with this `gradient` [parameter], which holds its
        derivatives with respect to the parameters.
        """
        return float(np.sqrt(gradient @ self.covariance @ gradient))

    @property
    def quantile(self) -> float:
        """Half the length of a 90 % interval, in standard deviations."""
        return float(stdtrit(self.dof, QUANTILE))

    def target_half_widths(self, covariance: Array | None = None) -> Array:
        """Half the length [axis] of the 90 % interval at the target, in octaves. `covariance` is
        that of the parameters, by default this fit's own.
        """
        used = self.covariance if covariance is None else covariance
        return self.quantile * np.sqrt(np.diag(used)[self.layout.slots["x"]])

    def information(self, level: int, points: Array) -> Array:
        """The matrix that one more block at a level would add to the inverse covariance of the
        parameters. `points` [run, axis] are the positions of the block's runs, in octaves.
        """
        runs = [FittedRun(level, tuple(point), 0, 1.0) for point in points]
        new_block = Sample.of(runs)
        f, J = new_block.linearised(self.layout, self.theta)
        weights = 1 / (self.sigma**2 + (ETA * f) ** 2)
        J = new_block.centred(J, weights)
        return (J.T * weights) @ J


@dataclass(frozen=True, eq=False)
class Start:
    """The starting point of a fit."""

    theta: Array
    sigma: float
    free: bool  # whether sigma is estimated together with theta


def solve(
    sample: Sample, layout: ParameterSlots, start: Start, prior: tuple[Array, Array], rounds: int
) -> Fit:
    """The fit after at most `rounds` rounds of minimisation. Each round updates the weights of the
    runs. If `start.free` is true, each round also updates sigma.
    """
    theta, sigma, free = start.theta, start.sigma, start.free
    dof, blocks = NOISE_DOF + 1, sample.member.shape[1]
    for _ in range(rounds):
        weights = 1 / sample.variance(bowl(layout, theta, sample.level, sample.x), sigma)
        theta = minimise(sample, layout, theta, weights, prior)
        f, J = sample.linearised(layout, theta)
        weights = 1 / sample.variance(f, sigma)
        r, J = sample.centred(sample.z - f, weights), sample.centred(J, weights)
        information: Array = (J.T * weights) @ J
        covariance = np.linalg.inv(information + np.diag(prior[1])).astype(np.float64)
        residual_dof = len(r) - blocks - float(np.sum(information * covariance))
        dof = NOISE_DOF + max(residual_dof, 1.0)
        # points high up the bowl carry little information on sigma
        clean_weights = (sigma**2 * weights) ** 2
        clean_dof = NOISE_DOF + max(residual_dof * float(clean_weights.mean()), 1.0)
        new_sigma = np.sqrt((NOISE_DOF * NOISE**2 + float(clean_weights @ r**2)) / clean_dof)
        converged = abs(new_sigma / sigma - 1) < 0.02
        sigma = float(new_sigma) if free else sigma
        if free and converged:
            break
    return Fit(layout, sample, theta, covariance, sigma, dof)


def lowest_point(runs: Sequence[FittedRun]) -> tuple[float, ...]:
    """The position of the run with the lowest loss at the base width, on the fitted axes."""
    return min((run for run in runs if run.level == 0), key=lambda run: (run.loss, run.x)).x


@lru_cache(maxsize=4096)
def fit(runs: tuple[FittedRun, ...], layout: ParameterSlots) -> Fit | None:
    """The pooled model of these runs. `None` without a run at the base width. All losses must be
    finite. The runs should be sorted, since the cache does not recognise the same runs in another
    order.
    """
    if not any(run.level == 0 for run in runs):
        return None
    prior = layout.prior(near=lowest_point(runs))
    return solve(Sample.of(runs), layout, Start(prior[0].copy(), 0.3, free=True), prior, rounds=8)


@dataclass(frozen=True, eq=False)
class Laws:
    """The fit under each drift law in LAWS, and the posterior probability of each law."""

    fits: tuple[Fit, ...]
    weights: Array  # [law], posterior probabilities
    precision: Array  # [parameter], precision of the priors, the same for every law


@lru_cache(maxsize=4096)
def laws_at_target(runs: tuple[FittedRun, ...], layout: ParameterSlots) -> Laws | None:
    """The fits that `pooled_at_target` averages. `None` without a run at the base width."""
    pooled = fit(runs, layout)
    if pooled is None:
        return None
    sample, sigma = pooled.sample, pooled.sigma
    fits, log_weights = [], []
    for phi, probability in LAWS:
        prior = layout.prior(lowest_point(runs), phi, phi_sd=1e-4)
        law = solve(sample, layout, Start(pooled.theta, sigma, free=False), prior, rounds=3)
        f = bowl(layout, law.theta, sample.level, sample.x)
        variance = sample.variance(f, sigma)
        r = sample.centred(sample.z - f, 1 / variance)
        objective = float(np.sum(r**2 / variance) + prior[1] @ (law.theta - prior[0]) ** 2) / 2
        evidence = (
            -objective - np.log(variance).sum() / 2 + np.linalg.slogdet(law.covariance)[1] / 2
        )
        fits.append(law)
        log_weights.append(np.log(probability) + evidence)
    weights = np.exp(np.array(log_weights) - max(log_weights))
    weights /= weights.sum()
    return Laws(tuple(fits), weights, prior[1])


@lru_cache(maxsize=4096)
def pooled_at_target(
    runs: tuple[FittedRun, ...], layout: ParameterSlots
) -> tuple[Estimate, ...] | None:
    """The estimate of each fitted axis at the target, in octaves. `None` without a run at the base
    width.

    Estimates are averaged over the drift laws by posterior probability. The learning rate is then
    lowered by half the product of the bowl's skew and the estimate's variance, but not below its
    interval. In a skewed bowl, this approximately minimises the expected loss. The interval does
    not change.
    """
    pooled, laws = fit(runs, layout), laws_at_target(runs, layout)
    if pooled is None or laws is None:
        return None
    skew = float(pooled.theta[pooled.layout.slots["skew"]][0])
    return tuple(
        mixture(
            np.array([law.theta[axis] for law in laws.fits]),
            np.array([np.sqrt(law.covariance[axis, axis]) for law in laws.fits]),
            laws.weights,
            pooled.dof,
            lowered=skew if axis == 0 else 0.0,
        )
        for axis in range(pooled.layout.axes)
    )
