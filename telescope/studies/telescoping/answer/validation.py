"""The validation of a ladder's answer by real runs at the target width.

A *ladder* is the search of one optimizer over growing widths. Its answer includes a learning rate
for the target width. `schedules.validation` plans runs at the target, with this learning rate and
with lower and higher ones. The ladder does not use the seeds of these runs, so the runs are
independent evidence.

The *pooled model* describes the losses at all widths of a ladder by one *bowl*, a skewed parabola
around the optimum. Here, a bowl is fitted to the runs at the target as a function of the learning
rate alone, with a free height per seed. The curvature, the skew and the noise of the ladder's fit
serve as priors. The prior on the optimum is flat. The bowl has few parameters, so its posterior is
summed over a grid of parameters. The intervals of the optimum and of the regret run from the 5 %
point of the posterior to the 95 % point.

The *regret* is the loss at the reported learning rate minus the loss at the optimum, in % of the
latter. If the optimum's interval contains the reported learning rate, the runs show no better
learning rate. In this case, the interval of the regret begins at 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from telescope.statistics.estimates import QUANTILE, Array, Estimate
from telescope.studies.telescoping.evidence import (
    Hyperparameter,
    Interval,
    Validation,
    digits,
    from_estimate,
)
from telescope.studies.telescoping.ladder.bowl import ParameterSlots, skewed
from telescope.studies.telescoping.ladder.ladder import (
    Done,
    Ladder,
    Outcome,
    outcomes,
    seed_means,
    seed_noise,
)
from telescope.studies.telescoping.ladder.pooled import NOISE, NOISE_DOF, Fit
from telescope.studies.telescoping.ladder.sample import ETA
from telescope.studies.telescoping.reasons import Code, Reason
from telescope.studies.telescoping.schedules.validation import SEEDS, open_end

# largest number of degrees of freedom of the ladder's noise, when it serves as a prior
NOISE_WORTH = 6.0
BEYOND = 3.0  # largest distance, in octaves, of an optimum from the range of learning rates tried
MESH = 1 / 64  # octaves between neighbouring optima in the posterior's grid
SETTLED = 0.5  # largest half-width, in octaves, of a settled optimum's interval


@dataclass(frozen=True)
class Shape:
    """Priors on the form of the bowl at the target."""

    log_a: float  # mean of the log curvature, which has a normal prior
    log_a_sd: float
    skew: float  # mean of the skew, which has a normal prior
    skew_sd: float
    sigma: float  # noise of a run, in % of the loss
    dof: float  # degrees of freedom of sigma

    @classmethod
    def of(cls, fit: Fit | None) -> "Shape":
        """The priors from the ladder's fit. Without a fit, the priors of the pooled model.

        The variance of the log curvature includes the prior variance of its deviation at a single
        width.
        """
        layout = fit.layout if fit else ParameterSlots(1, (0.0,), 0.0)
        mean, precision = layout.prior([0.0] * layout.axes)
        theta, variance = (fit.theta, np.diag(fit.covariance)) if fit else (mean, 1 / precision)
        log_a, skew, width_effect = (layout.slots[name].start for name in ("log_a", "skew", "d"))
        return cls(
            float(theta[log_a]),
            math.sqrt(float(variance[log_a] + 1 / precision[width_effect])),
            float(theta[skew]),
            math.sqrt(float(variance[skew])),
            fit.sigma if fit else NOISE,
            min(fit.dof, NOISE_WORTH) if fit else NOISE_DOF,
        )


@dataclass(frozen=True)
class Posterior:
    """Posterior estimates from the runs at the target."""

    optimum: Estimate  # the optimum of lr, in octaves
    regret: Estimate  # the regret of the reported lr, in % of the loss


def posterior(results: Sequence[Outcome], reported: float, shape: Shape) -> Posterior | None:
    """The posterior from the outcomes of the runs at the target. `reported` is the learning rate
    that the ladder reports, in octaves. None if fewer than two learning rates have finite losses.

    The posterior is summed over a grid of optima, curvatures and skews. The noise and the heights
    of the seeds are integrated out.
    """
    finite = [o for o in results if o.finite]
    x, loss = np.array([o.point.x[0] for o in finite]), np.array([o.loss for o in finite])
    if len(set(x)) < 2:
        return None
    z = 100 * (loss / loss.min() - 1)
    diverged = [o.point.x[0] for o in results if not o.finite]
    lowest_diverged = min((rate for rate in diverged if rate > x.max()), default=math.inf)
    # the arrays below have the dimensions [optimum, curvature, skew]; arrays over the runs have a
    # further, last dimension [run]
    highest = min(x.max() + BEYOND, lowest_diverged)  # the highest optimum in the grid
    optima = np.arange(x.min() - BEYOND, highest, MESH)[:, None, None]
    curvature = np.exp(shape.log_a + shape.log_a_sd * normal_nodes(15))[:, None]
    skew = np.maximum(shape.skew + shape.skew_sd * normal_nodes(5), 0.0)
    heights = curvature[..., None] * skewed(x - optima[..., None], skew[:, None])
    seeds = np.array([o.point.seed for o in finite])
    log_weights = log_likelihood(z, heights, seeds, shape)
    weights = np.exp(log_weights - log_weights.max())
    regret = curvature * skewed(reported - optima, skew)
    return Posterior(
        weighted_estimate(np.broadcast_to(optima, weights.shape), weights),
        weighted_estimate(regret, weights),
    )


def log_likelihood(z: Array, heights: Array, seeds: Array, shape: Shape) -> Array:
    """The log likelihood [...] of each bowl, up to a constant. `z` [run] holds the losses of the
    runs, in % above the lowest loss. `heights` [..., run] holds the heights of the bowls at these
    runs. The losses of each seed have a free offset.

    The noise `shape.sigma` is an estimate with `shape.dof` degrees of freedom, so the likelihood is
    a Student t distribution.
    """
    w = 1 / (1 + (ETA * np.maximum(heights, z) / shape.sigma) ** 2)
    r, total = z - heights, np.log(w).sum(-1) / 2
    squares = np.zeros(total.shape)
    distinct_seeds = sorted(set(seeds.tolist()))
    for seed in distinct_seeds:
        seed_weights, seed_residuals = w[..., seeds == seed], r[..., seeds == seed]
        mass = seed_weights.sum(-1)
        mean = (seed_weights * seed_residuals).sum(-1) / mass
        squares += (seed_weights * (seed_residuals - mean[..., None]) ** 2).sum(-1)
        total -= np.log(mass) / 2
    result: Array = total - (shape.dof + len(z) - len(distinct_seeds)) / 2 * np.log(
        shape.dof * shape.sigma**2 + squares
    )
    return result


def normal_nodes(count: int) -> Array:
    """The standard normal quantiles at the centres of `count` equal parts of probability."""
    nodes: Array = ndtri((np.arange(count) + 0.5) / count)
    return nodes


def weighted_estimate(values: Array, weights: Array) -> Estimate:
    """The weighted median of values, with the interval from the 5 % point to the 95 % point."""
    order = np.argsort(values, axis=None)
    below = np.cumsum(weights.reshape(-1)[order])
    low, middle, high = np.searchsorted(below, np.array([1 - QUANTILE, 0.5, QUANTILE]) * below[-1])
    flat = values.reshape(-1)[order]
    return Estimate(float(flat[middle]), float(flat[low]), float(flat[high]))


def validate_ladder(
    ladder: Ladder, fit: Fit | None, stated: Estimate, done: Sequence[Done], flops: float
) -> Validation | None:
    """The validation of the ladder's learning rate by the finished stages at the target (`done`).
    `stated` is this learning rate in octaves, with the ladder's interval. `flops` is the number of
    FLOPs spent on these stages. None if no such stage has finished.
    """
    if not done:
        return None
    results, rate = outcomes(done), ladder.axes[0].clip(stated.value)
    measured = posterior(results, rate, Shape.of(fit))
    loss = next(mean for x, mean in seed_means(results).items() if x[0] == rate)
    noise, finite = seed_noise(results), math.isfinite(loss)
    best, regret = (measured.optimum, measured.regret) if measured else (None, None)
    if best and regret and best.low <= rate <= best.high:
        regret = replace(regret, low=0.0)
    loss_error = None
    if finite and noise is not None:
        loss_error = digits(loss * noise / 100 / math.sqrt(len(SEEDS)))
    return Validation(
        width=ladder.target_width,
        trials=len(results),
        diverged=sum(not o.finite for o in results),
        flops=flops,
        lr=from_estimate(stated.value),
        stated=Interval(from_estimate(stated.low), from_estimate(stated.high)),
        loss=digits(loss) if finite else None,
        loss_error=loss_error,
        seed_noise=digits(noise) if noise is not None else None,
        optimum=from_estimate(best.value) if best else None,
        interval=Interval(from_estimate(best.low), from_estimate(best.high)) if best else None,
        regret=digits(regret.value) if regret else None,
        regret_interval=Interval(digits(regret.low), digits(regret.high)) if regret else None,
        held=stated.low <= best.value <= stated.high if best else None,
        contradicted=best is not None and (best.high < stated.low or best.low > stated.high),
        settled=best is not None and open_end(done) is None and best.half_width <= SETTLED,
    )


def contradiction(validation: Validation) -> Reason:
    """The reason for the verdict if the runs at the target contradict the ladder's answer."""
    assert validation.interval is not None
    assert validation.regret is not None
    return Reason.of(
        Code.CONTRADICTED,
        width=validation.width,
        optimum=validation.optimum,
        low=validation.interval.low,
        high=validation.interval.high,
        lr=validation.lr,
        stated_low=validation.stated.low,
        stated_high=validation.stated.high,
        regret=validation.regret,
        settled=validation.settled,
    )


def overruled(reported: Hyperparameter, validation: Validation) -> Hyperparameter:
    """The learning rate to report if the runs at the target contradict the ladder.

    The result is the optimum of these runs if they settle it (`Validation.settled`). Otherwise it
    is the ladder's value, `reported`. In both cases, the status is unresolved.
    """
    if not validation.settled or validation.optimum is None or validation.interval is None:
        return replace(reported, resolved=False, status="unresolved")
    low, high = validation.interval.low, validation.interval.high
    half = digits(math.log2(high / low) / 2)
    return replace(
        reported,
        value=validation.optimum,
        low=low,
        high=high,
        half_width=half,
        resolved=False,
        status="unresolved",
    )
