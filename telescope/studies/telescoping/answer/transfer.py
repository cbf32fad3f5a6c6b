"""The transfer of the optimum from width to width, and the cost of missing it.

The pooled bowl predicts all figures, since the wide model is not trained with the
wrong hyperparameters:

- `copying`: the regret of training with the optimum of the smallest width, with an interval by
  draws from the posterior of bowl and drift
- `lr_interval_cost`: the cost at the ends of the learning rate's interval
- `loss_at_target`: the expected loss at the target
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

DRAWS = 600  # of the parameters, divided among the laws
# relative compute per relative loss: 2 % of the loss cost about 40 % of compute (arXiv 2512.05620)
COMPUTE_PER_LOSS = 1 / 0.05


def transfer(
    question: Question,
    progress: LadderProgress,
    laws: Laws,
    levels: Sequence[LevelReport],
    lr: Hyperparameter,
) -> Transfer:
    """The transfer of a ladder, from its fits, its levels and the reported learning rate."""
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
    """The regret of training each wider level and the target at `x`, the optimum of the smallest
    width in octaves of the fitted axes.
    """
    thetas = draws(laws)
    regrets = [
        copied(height(laws, thetas, level, x), width)
        for level, width in list(enumerate(widths))[1:]
    ]
    if target_width != widths[-1]:
        regrets.append(copied(height(laws, parameters_at_target(laws, thetas), 0, x), target_width))
    return tuple(regrets)


def copied(regrets: Array, width: int) -> Copying:
    """The median and the 90 % interval of a width's regrets [draw], in % of the loss."""
    low, median, high = np.quantile(regrets, [1 - QUANTILE, 0.5, QUANTILE]).tolist()
    return Copying(
        width, digits(median), digits(low), digits(high), digits(median * COMPUTE_PER_LOSS)
    )


def draws(laws: Laws) -> Array:
    """Parameters [draw, parameter] drawn from the Student t distribution around each law's fit, in
    proportion to the law's probability.
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


def parameters_at_target(laws: Laws, thetas: Array) -> Array:
    """The same draws with the target in the place of the base width: without drift, and with the
    level's height `d` and offset `e` drawn from their priors.
    """
    slots, at_target, rng = laws.fits[0].layout.slots, thetas.copy(), np.random.default_rng(1)
    at_target[:, slots["drift"]] = 0.0
    for name in ("d", "e"):
        sd = laws.precision[slots[name]] ** -0.5
        at_target[:, slots[name]] = sd * rng.standard_normal((len(thetas), len(sd)))
    return at_target


def height(laws: Laws, thetas: Array, level: int, x: Sequence[float]) -> Array:
    """The height [draw] of a point in the bowl of a level, in % of the loss."""
    point = np.array([x], dtype=np.float64)
    heights: Array = bowl(laws.fits[0].layout, thetas, np.array([level]), point)[:, 0]
    return heights


def lr_interval_cost(laws: Laws, low: float, high: float) -> Interval:
    """The cost in % of the loss at the two ends (octaves) of lr's interval at the target, with the
    other hyperparameters at their optimum, by the bowl averaged over the laws.
    """
    layout = laws.fits[0].layout
    theta = laws.weights @ np.array([law.theta for law in laws.fits])
    for name in ("drift", "d", "e"):
        theta[layout.slots[name]] = 0.0
    rest = theta[layout.slots["x"]][1:]
    ends = np.array([[low, *rest], [high, *rest]])
    below, above = bowl(layout, theta, np.array([0, 0]), ends).tolist()
    return Interval(digits(below), digits(above))


def floor_errors(fit: Fit, levels: int) -> tuple[float, ...]:
    """The standard error of each level's fitted floor, in % of the loss. Its two sources are the
    difference between blocks and the uncertainty of the bowl.
    """
    sample = fit.sample
    heights, slopes = sample.linearised(fit.layout, fit.theta)
    weights = 1 / sample.variance(heights, fit.sigma)
    c = sample.block_means(sample.z - heights, weights)
    gradients = sample.block_means(slopes, weights)
    members = [sample.member[sample.level == level].any(axis=0) for level in range(levels)]
    squares = sum(float(np.sum((c[m] - c[m].mean()) ** 2)) for m in members if m.any())
    spare = sum(max(int(m.sum()) - 1, 0) for m in members)
    # sigma^2 counts as one more block
    between = (fit.sigma**2 + squares) / (1 + spare)
    return tuple(
        math.sqrt(between / int(m.sum()) + fit.sd_of(gradients[m].mean(axis=0)) ** 2)
        if m.any()
        else math.inf
        for m in members
    )


def loss_at_target(
    fit: Fit, sizes: Sequence[float], losses: Sequence[float], size: float
) -> Interval | None:
    """The loss at the target by a power law through the levels' losses, given the numbers of
    parameters of the levels and of the target; None with fewer than three levels.
    """
    if len(losses) < 3 or not all(map(math.isfinite, losses)):
        return None
    errors = [
        loss * error / 100
        for loss, error in zip(losses, floor_errors(fit, len(losses)), strict=True)
    ]
    loss = loss_at(size, sizes, losses, errors)
    return Interval(digits(loss.low), digits(loss.high)) if loss else None
