"""The transfer of the optimum from width to width, and the cost of missing it.

No model is trained just to measure these figures, so they are predicted: the first two by the
pooled bowl, the last by a power law.

- `copying`: the regret of training wider models with the optimum of the smallest width, with an
  interval from posterior draws of bowl and drift
- `lr_interval_cost`: the cost at the ends of the learning rate's interval
- `loss_at_target`: the interval of the loss at the target
"""

import math
from collections.abc import Sequence

import numpy as np

from telescope.statistics.estimates import QUANTILE, Array, loss_at
from telescope.studies.telescoping.evidence import (
    Copying,
    Hyperparameter,
    Interval,
    LevelReport,
    Transfer,
    digits,
)
from telescope.studies.telescoping.fold.progress import LadderProgress
from telescope.studies.telescoping.ladder.bowl import bowl
from telescope.studies.telescoping.ladder.ladder import argmin, outcomes
from telescope.studies.telescoping.ladder.pooled import Fit, Laws
from telescope.studies.telescoping.question.question import Question
from telescope.train.flops import parameters

DRAWS = 600  # draws of a fit's parameters, over all laws
# relative compute per relative loss: a 2 % lower loss takes 40 % more compute (arXiv 2512.05620)
COMPUTE_PER_LOSS = 1 / 0.05


def transfer(
    question: Question,
    progress: LadderProgress,
    laws: Laws,
    levels: Sequence[LevelReport],
    lr: Hyperparameter,
) -> Transfer:
    """The transfer of a ladder's optimum, from the fit under each law, the levels' losses, and the
    reported learning rate.
    """
    ladder, fit = progress.ladder, laws.fits[0]
    best = argmin(outcomes(progress.done, 0))
    smallest = (
        [best[i] for i in ladder.fitted]
        if question.estimated_by == "argmin"
        else fit.optima[0].tolist()
    )
    models = [*map(question.model.at, ladder.widths[: len(levels)]), question.model.target]
    sizes = [parameters(model, question.data.vocab_size, question.data.context) for model in models]
    return Transfer(
        copying=copying(laws, smallest, ladder.widths[: len(levels)], ladder.target_width),
        lr_interval_cost=lr_interval_cost(laws, math.log2(lr.low), math.log2(lr.high)),
        loss_at_target=loss_at_target(fit, sizes[:-1], [level.loss for level in levels], sizes[-1]),
    )


def copying(
    laws: Laws, x: Sequence[float], widths: Sequence[int], target_width: int
) -> tuple[Copying, ...]:
    """The regret of training at each wider width and at the target with `x`, the optimum of the
    smallest width in octaves of the fitted axes.
    """
    thetas = draws(laws)
    regrets = [
        regret_summary(height(laws, thetas, level, x), width)
        for level, width in list(enumerate(widths))[1:]
    ]
    if target_width != widths[-1]:
        regrets.append(
            regret_summary(height(laws, draws_at_target(laws, thetas), 0, x), target_width)
        )
    return tuple(regrets)


def regret_summary(regrets: Array, width: int) -> Copying:
    """The median and the 90 % interval of a width's regrets [draw], in % of the loss."""
    low, median, high = np.quantile(regrets, [1 - QUANTILE, 0.5, QUANTILE]).tolist()
    return Copying(
        width, digits(median), digits(low), digits(high), digits(median * COMPUTE_PER_LOSS)
    )


def draws(laws: Laws) -> Array:
    """Draws [draw, parameter] of the pooled model's parameters, from a Student t distribution
    around each law's fit. The number of draws of a law is proportional to its probability.
    """
    rng, parts = np.random.default_rng(0), []
    for law, weight in zip(laws.fits, laws.weights, strict=True):
        count = round(DRAWS * float(weight))
        normal = (
            rng.standard_normal((count, law.layout.size)) @ np.linalg.cholesky(law.covariance).T
        )
        scale = np.sqrt(law.dof / rng.chisquare(law.dof, count))
        parts.append(law.theta + normal * scale[:, None])
    result: Array = np.concatenate(parts)
    return result


def draws_at_target(laws: Laws, thetas: Array) -> Array:
    """The same draws with the target as level 0: without drift, and with `d` (log
    curvature) and `e` (offset) of that level drawn from their priors; see `ladder.bowl`.
    """
    slots, at_target, rng = laws.fits[0].layout.slots, thetas.copy(), np.random.default_rng(1)
    at_target[:, slots["drift"]] = 0.0
    for name in ("d", "e"):
        sd = laws.precision[slots[name]] ** -0.5
        at_target[:, slots[name]] = sd * rng.standard_normal((len(thetas), len(sd)))
    return at_target


def height(laws: Laws, thetas: Array, level: int, x: Sequence[float]) -> Array:
    """The height [draw] of a point above the bottom of a level's bowl, in % of the loss."""
    point = np.array([x], dtype=np.float64)
    heights: Array = bowl(laws.fits[0].layout, thetas, np.array([level]), point)[:, 0]
    return heights


def lr_interval_cost(laws: Laws, low: float, high: float) -> Interval:
    """The cost at the target, in % of the loss, of the learning rates `low` and `high` (octaves).

    All other hyperparameters are at their optimum; the bowl is averaged over the laws.
    """
    layout = laws.fits[0].layout
    theta = laws.weights @ np.array([law.theta for law in laws.fits])
    for name in ("drift", "d", "e"):
        theta[layout.slots[name]] = 0.0
    other_optima = theta[layout.slots["x"]][1:]
    ends = np.array([[low, *other_optima], [high, *other_optima]])
    low_cost, high_cost = bowl(layout, theta, np.array([0, 0]), ends).tolist()
    return Interval(digits(low_cost), digits(high_cost))


def optimum_loss_errors(fit: Fit, levels: int) -> tuple[float, ...]:
    """The standard error of the loss at each level's optimum, in %; infinite for a level without
    finite losses. It combines the differences between blocks and the uncertainty of the bowl.
    """
    sample = fit.sample
    heights, slopes = sample.linearised(fit.layout, fit.theta)
    weights = 1 / sample.variance(heights, fit.sigma)
    residuals = sample.block_means(sample.z - heights, weights)  # [block]
    gradients = sample.block_means(slopes, weights)
    members = [sample.member[sample.level == level].any(axis=0) for level in range(levels)]
    squares = sum(
        float(np.sum((residuals[m] - residuals[m].mean()) ** 2)) for m in members if m.any()
    )
    dof = sum(max(int(m.sum()) - 1, 0) for m in members)
    # sigma^2 as a prior of one degree of freedom
    block_variance = (fit.sigma**2 + squares) / (1 + dof)
    return tuple(
        math.sqrt(block_variance / int(m.sum()) + fit.sd_of(gradients[m].mean(axis=0)) ** 2)
        if m.any()
        else math.inf
        for m in members
    )


def loss_at_target(
    fit: Fit, sizes: Sequence[float], losses: Sequence[float], size: float
) -> Interval | None:
    """The interval of the loss at the target, by a power law in the number of parameters: `sizes`
    of the levels, `size` of the target. None with fewer than three levels, with an infinite loss,
    or if no power law fits.
    """
    if len(losses) < 3 or not all(map(math.isfinite, losses)):
        return None
    errors = [
        loss * error / 100
        for loss, error in zip(losses, optimum_loss_errors(fit, len(losses)), strict=True)
    ]
    loss = loss_at(size, sizes, losses, errors)
    return Interval(digits(loss.low), digits(loss.high)) if loss else None
