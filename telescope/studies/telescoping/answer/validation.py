"""The validation of a ladder's answer by real runs at the target width.

The runs are those of `schedules.validation`; their seeds are none of the ladder's, so the evidence
is independent of its answer. The bowl of `pooled` along the learning rate alone is fitted to them,
a free height per seed, with the ladder's curvature, skew and noise as priors and no prior on the
position of the optimum. Four parameters are few enough to sum the posterior over a grid instead of
approximating it. Intervals run from its 5 % to its 95 % point; the regret's interval begins at 0
where the optimum's interval contains the reported learning rate, since then nothing better is
proven.

Parts: `Shape`, the bowl's form known from the ladder · `posterior` -> `Posterior` ·
`validate_ladder` -> `Validation` · `contradiction`, `overruled`.
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

NOISE_WORTH = 6.0  # observations at most that the ladder's noise counts for at another width
BEYOND, MESH = 3.0, 1 / 64  # octaves: range of optima outside the runs, and step of the grid
SETTLED = 0.5  # octaves of half-width up to which the runs at the target settle the optimum


@dataclass(frozen=True)
class Shape:
    """Priors on the bowl at the target: normal log curvature and skew, and the noise (% of the
    loss) with its degrees of freedom.
    """

    log_a: float
    log_a_sd: float
    skew: float
    skew_sd: float
    sigma: float
    dof: float

    @classmethod
    def of(cls, fit: Fit | None) -> "Shape":
        """Priors from the ladder's fit, the curvature less certain by its spread between widths;
        without a fit, the model's own priors.
        """
        layout = fit.layout if fit else ParameterSlots(1, (0.0,), 0.0)
        mean, precision = layout.prior([0.0] * layout.axes)
        theta, variance = (fit.theta, np.diag(fit.covariance)) if fit else (mean, 1 / precision)
        log_a, skew, level = (layout.slots[name].start for name in ("log_a", "skew", "d"))
        return cls(
            float(theta[log_a]),
            math.sqrt(float(variance[log_a] + 1 / precision[level])),
            float(theta[skew]),
            math.sqrt(float(variance[skew])),
            fit.sigma if fit else NOISE,
            min(fit.dof, NOISE_WORTH) if fit else NOISE_DOF,
        )


@dataclass(frozen=True)
class Posterior:
    """Posterior estimates of the optimum (octaves) and of the regret (% of the loss) of the
    reported learning rate.
    """

    optimum: Estimate
    regret: Estimate


def posterior(found: Sequence[Outcome], handed_out: float, shape: Shape) -> Posterior | None:
    """The posterior summed over optimum, curvature and skew, with noise and heights integrated out;
    None where fewer than two rates have finite losses.
    """
    finite = [o for o in found if o.finite]
    x, loss = np.array([o.point.x[0] for o in finite]), np.array([o.loss for o in finite])
    if len(set(x)) < 2:
        return None
    z = 100 * (loss / loss.min() - 1)
    cliff = min(
        (o.point.x[0] for o in found if not o.finite and o.point.x[0] > x.max()), default=math.inf
    )
    optima = np.arange(x.min() - BEYOND, min(x.max() + BEYOND, cliff), MESH)[:, None, None]
    curvature = np.exp(shape.log_a + shape.log_a_sd * normal_nodes(15))[:, None]
    skew = np.maximum(shape.skew + shape.skew_sd * normal_nodes(5), 0.0)
    # [optimum, curvature, skew, run]
    heights = curvature[..., None] * skewed(x - optima[..., None], skew[:, None])
    seeds = np.array([o.point.seed for o in finite])
    log_weights = log_likelihood(z, heights, seeds, shape)
    weights = np.exp(log_weights - log_weights.max())
    regret = curvature * skewed(handed_out - optima, skew)
    return Posterior(
        weighted_estimate(np.broadcast_to(optima, weights.shape), weights),
        weighted_estimate(regret, weights),
    )


def log_likelihood(z: Array, heights: Array, seeds: Array, shape: Shape) -> Array:
    """Log likelihood of every bowl: Student's t, since the noise is known with `shape.dof` degrees
    of freedom; a free height per seed.
    """
    w = 1 / (1 + (ETA * np.maximum(heights, z) / shape.sigma) ** 2)
    r, total = z - heights, np.log(w).sum(-1) / 2
    squares = np.zeros(total.shape)
    blocks = sorted(set(seeds.tolist()))
    for seed in blocks:
        mine, ours = w[..., seeds == seed], r[..., seeds == seed]
        mass = mine.sum(-1)
        mean = (mine * ours).sum(-1) / mass
        squares += (mine * (ours - mean[..., None]) ** 2).sum(-1)
        total -= np.log(mass) / 2
    result: Array = total - (shape.dof + len(z) - len(blocks)) / 2 * np.log(
        shape.dof * shape.sigma**2 + squares
    )
    return result


def normal_nodes(count: int) -> Array:
    """Standard normal values of equal weight."""
    nodes: Array = ndtri((np.arange(count) + 0.5) / count)
    return nodes


def weighted_estimate(values: Array, weights: Array) -> Estimate:
    """Median and 5-95 % points of weighted values."""
    order = np.argsort(values, axis=None)
    below = np.cumsum(weights.reshape(-1)[order])
    low, middle, high = np.searchsorted(below, np.array([1 - QUANTILE, 0.5, QUANTILE]) * below[-1])
    flat = values.reshape(-1)[order]
    return Estimate(float(flat[middle]), float(flat[low]), float(flat[high]))


def validate_ladder(
    ladder: Ladder, fit: Fit | None, stated: Estimate, done: Sequence[Done], flops: float
) -> Validation | None:
    """The validation of the ladder's learning rate (octaves) by the finished runs at the target;
    None before there are any.
    """
    if not done:
        return None
    found, rate = outcomes(done), ladder.axes[0].clip(stated.value)
    believed = posterior(found, rate, Shape.of(fit))
    loss = next(mean for x, mean in seed_means(found).items() if x[0] == rate)
    noise, known = seed_noise(found), math.isfinite(loss)
    best, regret = (believed.optimum, believed.regret) if believed else (None, None)
    if best and regret and best.low <= rate <= best.high:
        regret = replace(regret, low=0.0)
    return Validation(
        width=ladder.target_width,
        trials=len(found),
        diverged=sum(not o.finite for o in found),
        flops=flops,
        lr=from_estimate(stated.value),
        stated=Interval(from_estimate(stated.low), from_estimate(stated.high)),
        loss=digits(loss) if known else None,
        loss_error=digits(loss * noise / 100 / math.sqrt(len(SEEDS)))
        if known and noise is not None
        else None,
        seed_noise=digits(noise) if noise is not None else None,
        optimum=from_estimate(best.value) if best else None,
        interval=Interval(from_estimate(best.low), from_estimate(best.high)) if best else None,
        regret=digits(regret.value) if regret else None,
        regret_interval=Interval(digits(regret.low), digits(regret.high)) if regret else None,
        held=stated.low <= best.value <= stated.high if best else None,
        contradicted=best is not None and (best.high < stated.low or best.low > stated.high),
        settled=best is not None and open_end(done) is None and best.half_width <= SETTLED,
    )


def contradiction(found: Validation) -> Reason:
    """The reason of a contradicted answer."""
    assert found.interval is not None
    assert found.regret is not None
    return Reason.of(
        Code.CONTRADICTED,
        width=found.width,
        optimum=found.optimum,
        low=found.interval.low,
        high=found.interval.high,
        lr=found.lr,
        stated_low=found.stated.low,
        stated_high=found.stated.high,
        regret=found.regret,
        settled=found.settled,
    )


def overruled(ladders: Hyperparameter, found: Validation) -> Hyperparameter:
    """The learning rate to report where the runs at the target contradict the ladder's: their
    optimum, if they settle one.
    """
    if not found.settled or found.optimum is None or found.interval is None:
        return replace(ladders, resolved=False, status="unresolved")
    low, high = found.interval.low, found.interval.high
    half = digits(math.log2(high / low) / 2)
    return replace(
        ladders,
        value=found.optimum,
        low=low,
        high=high,
        half_width=half,
        resolved=False,
        status="unresolved",
    )
