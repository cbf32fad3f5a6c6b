"""Where does the uncertainty at the target come from, how far will the optimum still move, and why did the ladder stop where it did?

Every source of error in one budget. The pooled model's covariance under one drift law is C = C G C + C P C: what the runs' errors
contribute, run by run, and what the priors leave open, parameter by parameter. Averaging the laws adds the variance between them. The
parts are exact and add up in variance. A value that is a grid's point (an argmin) adds that of its mesh, or the square of its distance
from the fitted optimum where that is more. A `per_level` value has terms of its own: one law, which only levels that contradict it blame.

Parts: `error_budgets` of all estimators · `error_budget` of the pooled model, `error_budget_per_level` · `shifts`, drift as a/n against
a/sqrt(n) and a constant step per doubling, by the pooled model whatever the estimator · `climb`.
"""

import math
from collections.abc import Mapping

import numpy as np

from telescope.statistics.estimates import Array, mixture
from telescope.studies.telescoping.answer.wording import climb_words
from telescope.studies.telescoping.axes import SCALES, AxisName
from telescope.studies.telescoping.evidence import Climb, ErrorBudget, Hyperparameter, Shift, digits
from telescope.studies.telescoping.fold.estimates import last_step
from telescope.studies.telescoping.fold.progress import Progress
from telescope.studies.telescoping.ladder import per_level
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, pool
from telescope.studies.telescoping.ladder.pooled import LAWS, Fit, Laws, laws_at_target
from telescope.studies.telescoping.reasons import ClimbEnd, Value, carried
from telescope.studies.telescoping.schedules import blocks, robust

LAW_NAMES = {0.0: "a/n", 0.47: "a/sqrt(n)", 1.0: "constant per doubling"}
FINITE_WIDTH = ("x", "drift", "phi", "e")  # parameters of the drift; the others are of the bowl's form
REMEDIES = {
    "seed_noise": "more blocks of seeds, or runs that are longer or of larger batches",
    "bowl_form": "more blocks at the base width, which pin the bowl's shape",
    "finite_width": "more blocks at the widest level, or one doubling more (model.calibration_width)",
    "law": "one doubling more (model.calibration_width), which tells the drift laws apart",
    "mesh": "a finer grid, or estimator: pooled, which fits",
}
REMEDIES_PER_LEVEL = REMEDIES | {
    "bowl_form": "estimator: pooled, whose bowl may be skewed",
    "law": "estimator: pooled, which weighs three drift laws",
}


def laws_of(ladder: Ladder, done: tuple[Done, ...]) -> Laws | None:
    """The fits under each drift law of some stages; None where nothing can be fitted."""
    runs = pool(ladder, done) if done and 0 in ladder.fitted else ()
    return laws_at_target(runs, ladder.layout) if runs else None


def error_budgets(estimator: str, found: Progress, laws: Laws, values: Mapping[AxisName, Hyperparameter]) -> dict[AxisName, ErrorBudget]:
    """All sources of error of every fitted hyperparameter, by the study's estimator; one that `per_level` cannot tell has none."""
    ladder, done = found.ladder, found.done
    if estimator == "per_level":
        return {ladder.axes[i].name: error_budget_per_level(one) for i, one in per_level.at_target(ladder, done).items()}
    fitted = laws.weights @ np.array([law.theta for law in laws.fits])
    budgets: dict[AxisName, ErrorBudget] = {}
    for j, i in enumerate(ladder.fitted):
        name, mesh = ladder.axes[i].name, 0.0
        if estimator == "argmin":
            mesh = max(last_step(done, i) / math.sqrt(12), abs(SCALES[name].octaves(values[name].value) - float(fitted[j])))
        budgets[name] = error_budget(laws, j, mesh)
    return budgets


def error_budget(laws: Laws, axis: int, mesh: float) -> ErrorBudget:
    """The parts of one fitted hyperparameter's uncertainty at the target; `mesh` is how far off a grid's point is, 0 where fitted."""
    parts = np.array([within(law, laws.precision, axis) for law in laws.fits])
    means = np.array([law.theta[axis] for law in laws.fits])
    noise, form, drift = laws.weights @ parts
    between = float(laws.weights @ (means - laws.weights @ means) ** 2)
    return summed({"seed_noise": noise, "bowl_form": form, "finite_width": drift, "law": between, "mesh": mesh**2}, REMEDIES)


def error_budget_per_level(one: per_level.Carried) -> ErrorBudget:
    """The same of a vertex that was carried to the target."""
    variances = {"seed_noise": one.noise, "bowl_form": per_level.BIAS**2, "finite_width": one.drift, "law": one.misfit, "mesh": 0.0}
    return summed(variances, REMEDIES_PER_LEVEL)


def summed(variances: Mapping[str, float], remedies: Mapping[str, str]) -> ErrorBudget:
    """The budget of these variances, in octaves^2."""
    dominant = max(variances, key=lambda name: variances[name])
    sds = {name: digits(math.sqrt(variance)) for name, variance in variances.items()}
    return ErrorBudget(**sds, total=digits(math.sqrt(sum(variances.values()))), dominant=dominant, remedy=remedies[dominant])


def within(law: Fit, precision: Array, axis: int) -> tuple[float, float, float]:
    """Variance at the target under one law, from seed noise, from the bowl's form and from the drift that the data leave open."""
    sample, at, column = law.sample, law.layout.slots, law.covariance[:, axis]
    heights, slopes = sample.linearised(law.layout, law.theta)
    variance = sample.variance(heights, law.sigma)
    influence = (sample.centred(slopes, 1 / variance) @ column) / variance  # octaves at the target per % of a run's loss
    noise = law.sigma**2 * float(np.sum(influence**2))
    beyond = float((variance - law.sigma**2) @ influence**2)
    left_open: Array = precision * column**2
    drift = float(sum(left_open[at[name]].sum() for name in FINITE_WIDTH))
    return noise, beyond + float(left_open.sum()) - drift, drift


def shifts(laws: Laws, top: int) -> tuple[Shift, ...]:
    """How far lr's optimum is expected to move from the widest level run to the target: averaged, then by each law."""
    moves, sds = [], []
    for law in laws.fits:
        gradient = -law.optima_gradient[top, 0]
        gradient[0] += 1.0  # x_T of the learning rate
        moves.append(float(law.theta[0] - law.optima[top, 0]))
        sds.append(law.sd_of(gradient))
    quantile = laws.fits[0].quantile
    mean = mixture(np.array(moves), np.array(sds), laws.weights, laws.fits[0].dof)
    names = [LAW_NAMES.get(phi, f"phi {phi:g}") for phi, _ in LAWS]
    found = [Shift("averaged", 1.0, digits(mean.value), digits(mean.low), digits(mean.high))]
    for name, weight, move, sd in zip(names, laws.weights, moves, sds, strict=True):
        found.append(Shift(name, digits(float(weight)), digits(move), digits(move - quantile * sd), digits(move + quantile * sd)))
    return tuple(found)


def climb(found: Progress, fit: Fit | None, moves: tuple[Shift, ...]) -> Climb | None:
    """At which width the ladder stopped, and why."""
    if not found.done:
        return None
    ladder, top = found.ladder, blocks.top_level(found.done)
    width, widest = ladder.widths[top], ladder.widths[-1]
    if not found.ended:
        return climbed(width, ClimbEnd.RUNNING)
    if found.limit:
        return climbed(width, ClimbEnd.LIMIT, limit=str(found.limit))
    if top == ladder.levels - 1:
        return climbed(width, ClimbEnd.CALIBRATION_WIDTH)
    if not ladder.has_budget:
        return climbed(width, ClimbEnd.RULE, calibration_width=widest)
    if fit is None:
        return climbed(width, ClimbEnd.NO_FIT, calibration_width=widest)
    if blocks.enough(fit, fit.covariance, blocks.needed(ladder, found.done, fit)):
        average = moves[0]
        move = {"octaves": average.octaves, "low": average.low, "high": average.high}
        return climbed(width, ClimbEnd.TOLERANCE, calibration_width=widest, **move)
    return climbed(
        width,
        ClimbEnd.BUDGET,
        calibration_width=widest,
        next_width=ladder.widths[top + 1],
        next_cost=blocks.block_cost(ladder, top + 1),
        left=max(0.0, ladder.max_base_runs - robust.spent(ladder, found.done)),
        max_base_runs=ladder.max_base_runs,
    )


def climbed(width: int, why: ClimbEnd, **values: Value) -> Climb:
    """The end of a climb with the values that belong to it, and its words."""
    return Climb(width, why, climb_words(width, why, values), carried(why, values))
