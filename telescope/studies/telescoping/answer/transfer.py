"""The transfer of the optimum from width to width, and the excess loss off the optimum.

A *ladder* is the search of one optimizer over growing widths, its *levels*. Each swept
hyperparameter is an *axis*. The pooled model, a statistical model, describes the losses of all
levels by one *bowl* around an optimum. This optimum drifts with width; the pooled model is fitted
under three laws of the drift, the *drift laws*.

This module predicts three figures, which need no extra runs:

- `copying`: the *regret* at each wider width. The regret is the excess loss of a run with the
  optimum of the smallest width. The pooled model predicts the regret. The interval of the regret
  comes from random draws of the pooled model's parameters from their posterior.
- `lr_interval_cost`: the excess loss at the target, at each end of the learning rate's interval.
  The pooled model predicts this loss.
- `loss_at_target`: the interval of the loss at the target. A power law in the number of parameters
  predicts this loss.
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

DRAWS = 600  # number of draws of the pooled model's parameters, under all drift laws together
# relative change of compute, divided by the relative change of loss that it causes: 40 % more
# compute lowers the loss by 2 % (arXiv 2512.05620)
COMPUTE_PER_LOSS = 1 / 0.05


def transfer(
    question: Question,
    progress: LadderProgress,
    laws: Laws,
    levels: Sequence[LevelReport],
    lr: Hyperparameter,
) -> Transfer:
    """The three figures of a ladder, from the fit under each drift law (`laws`), the reports on the
    levels, and the reported learning rate `lr`.
    """
    ladder, fit = progress.ladder, laws.fits[0]
    base_best = argmin(outcomes(progress.done, 0))
    base_optimum = (
        [base_best[i] for i in ladder.fitted]
        if question.estimated_by == "argmin"
        else fit.optima[0].tolist()
    )
    models = [*map(question.model.at, ladder.widths[: len(levels)]), question.model.target]
    sizes = [parameters(model, question.data.vocab_size, question.data.context) for model in models]
    return Transfer(
        copying=copying(laws, base_optimum, ladder.widths[: len(levels)], ladder.target_width),
        lr_interval_cost=lr_interval_cost(laws, math.log2(lr.low), math.log2(lr.high)),
        loss_at_target=loss_at_target(fit, sizes[:-1], [level.loss for level in levels], sizes[-1]),
    )


def copying(
    laws: Laws, x: Sequence[float], widths: Sequence[int], target_width: int
) -> tuple[Copying, ...]:
    """The regret of `x` at each of `widths` but the first, and at the target width unless it is the
    last of `widths`. `x` is the optimum of the first width, in octaves by fitted axis. A *fitted*
    axis has three values or more.
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
    """The summary of a width's regrets [draw], which are in % of the loss."""
    low, median, high = np.quantile(regrets, [1 - QUANTILE, 0.5, QUANTILE]).tolist()
    return Copying(
        width, digits(median), digits(low), digits(high), digits(median * COMPUTE_PER_LOSS)
    )


def draws(laws: Laws) -> Array:
    """Draws [draw, parameter] of the pooled model's parameters. Under each drift law, the draws
    follow a Student t distribution around the fit. Their number is DRAWS times the law's
    probability, rounded.
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
    """The draws `thetas`, changed so that level 0 stands for the target. The drift is set to 0. Two
    deviations of a level are drawn anew from their priors (`ladder.bowl`): `d`, that of the log
    curvature, and `e`, that of the optimum.
    """
    slots, at_target, rng = laws.fits[0].layout.slots, thetas.copy(), np.random.default_rng(1)
    at_target[:, slots["drift"]] = 0.0
    for name in ("d", "e"):
        sd = laws.precision[slots[name]] ** -0.5
        at_target[:, slots[name]] = sd * rng.standard_normal((len(thetas), len(sd)))
    return at_target


def height(laws: Laws, thetas: Array, level: int, x: Sequence[float]) -> Array:
    """The height [draw] of the point `x` above the bottom of a level's bowl, in % of the loss."""
    point = np.array([x], dtype=np.float64)
    heights: Array = bowl(laws.fits[0].layout, thetas, np.array([level]), point)[:, 0]
    return heights


def lr_interval_cost(laws: Laws, low: float, high: float) -> Interval:
    """The excess loss at the target, in % of the loss, at two learning rates: `low` and `high`, in
    octaves.

    All other fitted hyperparameters are at their optimum. The bowl's parameters are averaged over
    the drift laws.
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
    """The standard error of the loss at each level's optimum, in % of the loss. The error is
    infinite for a level without runs in the fit.

    The standard error combines two errors: the scatter between *blocks*, and the uncertainty of the
    bowl. A block consists of the runs of one seed at a level.
    """
    sample = fit.sample
    heights, derivatives = sample.linearised(fit.layout, fit.theta)
    weights = 1 / sample.variance(heights, fit.sigma)
    residuals = sample.block_means(sample.z - heights, weights)  # [block]
    gradients = sample.block_means(derivatives, weights)  # [block, parameter]
    # for each level, a mask [block] of its blocks
    masks = [sample.member[sample.level == level].any(axis=0) for level in range(levels)]
    squares = sum(
        float(np.sum((residuals[m] - residuals[m].mean()) ** 2)) for m in masks if m.any()
    )
    dof = sum(max(int(m.sum()) - 1, 0) for m in masks)
    # sigma^2, the variance of a run's noise, enters as a prior with one degree of freedom
    block_variance = (fit.sigma**2 + squares) / (1 + dof)
    return tuple(
        math.sqrt(block_variance / int(m.sum()) + fit.sd_of(gradients[m].mean(axis=0)) ** 2)
        if m.any()
        else math.inf
        for m in masks
    )


def loss_at_target(
    fit: Fit, sizes: Sequence[float], losses: Sequence[float], size: float
) -> Interval | None:
    """The interval of the loss at the target, by a power law in the number of parameters. `sizes`
    are the numbers of parameters at the levels, and `size` is the number at the target.

    None if there are fewer than three levels, if a loss is infinite, or if no power law fits.
    """
    if len(losses) < 3 or not all(map(math.isfinite, losses)):
        return None
    errors = [
        loss * error / 100
        for loss, error in zip(losses, optimum_loss_errors(fit, len(losses)), strict=True)
    ]
    loss = loss_at(size, sizes, losses, errors)
    return Interval(digits(loss.low), digits(loss.high)) if loss else None
