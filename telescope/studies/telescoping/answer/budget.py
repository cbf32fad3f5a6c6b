"""The error budget at the target, the expected shift of the optimum, and the end of the climb.

A *ladder* is the search of one optimizer over growing widths, its *levels*. The ladder *climbs*
from level to level; `ClimbEnd` lists the reasons why a climb ends. Each swept hyperparameter is an
*axis*. The *pooled model* is a statistical model that describes the losses of all levels by one
*bowl* around an optimum. The optimum shifts with width according to a *drift law*. The pooled model
is fitted under three drift laws, and the results are averaged.

The *error budget* splits the variance of an estimated optimum by source. It starts from the
covariance of the pooled model's parameters under one drift law:

    C = (G + P)^-1 = C G C + C P C
    C   the covariance
    G   the information in the runs
    P   the precision of the priors

The term C G C is a sum over the runs. One part of this sum is due to the noise of the runs; this
part is the source `seed_noise`. The rest of the sum belongs to the source `bowl_form`. The term
C P C is a sum over the parameters. The summands of the parameters FINITE_WIDTH are the source
`finite_width`; all other summands belong to `bowl_form`. Averaging over the drift laws adds the
source `law`, the variance between the laws.

The estimator `argmin` returns a point of a grid, so its budget has the further source `mesh`. The
standard deviation of this source is the larger of two distances:

- the distance between neighbouring grid points, divided by sqrt(12)
- the distance from the returned point to the fitted optimum

The estimator `per_level` extrapolates the optima of single levels by one drift law. The source
`law` is then above 0 only if the levels deviate from this law by more than their errors explain.

The schedule `robust` adds runs in *blocks*. A block is a set of runs with one seed around an
expected optimum. The schedule `paper` has no blocks, so some of its remedies differ.
"""

import math
from collections.abc import Mapping

import numpy as np

from telescope.statistics.estimates import Array, mixture
from telescope.studies.telescoping.answer.wording import climb_words
from telescope.studies.telescoping.axes import SCALES, AxisName
from telescope.studies.telescoping.evidence import Climb, ErrorBudget, Hyperparameter, Shift, digits
from telescope.studies.telescoping.fold.estimates import last_step
from telescope.studies.telescoping.fold.progress import LadderProgress
from telescope.studies.telescoping.ladder import per_level
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, pool
from telescope.studies.telescoping.ladder.pooled import LAWS, Fit, Laws, laws_at_target
from telescope.studies.telescoping.reasons import ClimbEnd, Value, code_values
from telescope.studies.telescoping.schedules import blocks, robust

# names of the drift laws by their parameter phi (`ladder.bowl`); n: width, a: a constant
LAW_NAMES = {0.0: "a/n", 0.47: "a/sqrt(n)", 1.0: "constant per doubling"}
# parameters that determine the optimum at each width (`ladder.bowl`); all other parameters describe
# the form of the bowl
FINITE_WIDTH = ("x", "drift", "phi", "e")
REMEDIES = {
    "seed_noise": "more blocks of runs, longer runs, or larger batches (up to the final run's)",
    "bowl_form": "more blocks at the base width, which determine the bowl's shape",
    "finite_width": (
        "more blocks at the widest level, or another doubling of the width (raise limits or "
        "model.calibration_width)"
    ),
    "law": (
        "another doubling of the width (raise limits or model.calibration_width), which tells the "
        "drift laws apart"
    ),
    "mesh": "a finer grid, or estimator: pooled, which fits the optimum",
}
# remedies under `schedule: paper`, as far as they differ
REMEDIES_OF_GRIDS = {
    "seed_noise": "more seeds, longer runs, or larger batches (up to the final run's)",
    "bowl_form": "more points at the base width, which determine the bowl's shape",
    "finite_width": (
        "more seeds, or another doubling of the width (raise limits, paper.nc or "
        "model.calibration_width)"
    ),
    "law": (
        "another doubling of the width (raise limits, paper.nc or model.calibration_width), which "
        "tells the drift laws apart"
    ),
}
# remedies for the estimator `per_level`, as far as they differ
REMEDIES_PER_LEVEL = {
    "bowl_form": "estimator: pooled, which fits a skewed bowl",
    "law": "estimator: pooled, which averages three drift laws",
}


def laws_of(ladder: Ladder, done: tuple[Done, ...]) -> Laws | None:
    """The pooled model under each drift law, fitted to the runs of the stages `done`. None if the
    learning rate has fewer than three values, or if the `pool` holds no run at the base width.
    """
    runs = pool(ladder, done) if done and 0 in ladder.fitted else ()
    return laws_at_target(runs, ladder.layout) if runs else None


def error_budgets(
    estimator: str, progress: LadderProgress, laws: Laws, values: Mapping[AxisName, Hyperparameter]
) -> dict[AxisName, ErrorBudget]:
    """The error budgets of the *fitted* hyperparameters, which have three values or more. If the
    estimator is `per_level`, hyperparameters for which no level has an optimum are left out.
    """
    ladder, done = progress.ladder, progress.done
    remedies = REMEDIES if ladder.has_budget else REMEDIES | REMEDIES_OF_GRIDS
    if estimator == "per_level":
        return {
            ladder.axes[i].name: error_budget_per_level(carried, remedies | REMEDIES_PER_LEVEL)
            for i, carried in per_level.level_optima_at_target(ladder, done).items()
        }
    mean_theta = laws.weights @ np.array([law.theta for law in laws.fits])
    budgets: dict[AxisName, ErrorBudget] = {}
    for j, i in enumerate(ladder.fitted):
        name, mesh = ladder.axes[i].name, 0.0
        if estimator == "argmin":
            mesh = max(
                last_step(done, i) / math.sqrt(12),
                abs(SCALES[name].octaves(values[name].value) - float(mean_theta[j])),
            )
        budgets[name] = error_budget(laws, j, mesh, remedies)
    return budgets


def error_budget(
    laws: Laws, axis: int, mesh: float, remedies: Mapping[str, str] = REMEDIES
) -> ErrorBudget:
    """The error budget at the target by the pooled model. `axis` is an index among the fitted axes.
    `mesh` is the standard deviation of the source `mesh`, in octaves.
    """
    variances = np.array([within(law, laws.precision, axis) for law in laws.fits])
    means = np.array([law.theta[axis] for law in laws.fits])
    noise, form, drift = laws.weights @ variances
    between = float(laws.weights @ (means - laws.weights @ means) ** 2)
    return summed(
        {
            "seed_noise": noise,
            "bowl_form": form,
            "finite_width": drift,
            "law": between,
            "mesh": mesh**2,
        },
        remedies,
    )


def error_budget_per_level(carried: per_level.Carried, remedies: Mapping[str, str]) -> ErrorBudget:
    """The error budget of an optimum at the target by the estimator `per_level`."""
    variances = {
        "seed_noise": carried.noise,
        "bowl_form": per_level.BIAS**2,
        "finite_width": carried.drift,
        "law": carried.misfit,
        "mesh": 0.0,
    }
    return summed(variances, remedies)


def summed(variances: Mapping[str, float], remedies: Mapping[str, str]) -> ErrorBudget:
    """The error budget from the variance of each source, in octaves^2. `remedies` states for each
    source how to reduce its variance.
    """
    dominant = max(variances, key=lambda name: variances[name])
    sds = {name: digits(math.sqrt(variance)) for name, variance in variances.items()}
    return ErrorBudget(
        **sds,
        total=digits(math.sqrt(sum(variances.values()))),
        dominant=dominant,
        remedy=remedies[dominant],
    )


def within(law: Fit, precision: Array, axis: int) -> tuple[float, float, float]:
    """The variances of the sources `seed_noise`, `bowl_form` and `finite_width` for an axis at the
    target under one drift law, in octaves^2.
    """
    sample, slots, column = law.sample, law.layout.slots, law.covariance[:, axis]
    heights, derivatives = sample.linearised(law.layout, law.theta)
    variance = sample.variance(heights, law.sigma)
    # [run]: shift of the optimum at the target, in octaves, if the run's loss rises by 1 %
    influence = (sample.centred(derivatives, 1 / variance) @ column) / variance
    noise = law.sigma**2 * float(np.sum(influence**2))
    form_of_runs = float((variance - law.sigma**2) @ influence**2)
    prior_terms: Array = precision * column**2
    drift = float(sum(prior_terms[slots[name]].sum() for name in FINITE_WIDTH))
    return noise, form_of_runs + float(prior_terms.sum()) - drift, drift


def shifts(laws: Laws, top: int) -> tuple[Shift, ...]:
    """The expected shift of the learning rate's optimum from the level `top`, the widest so far, to
    the target. The first entry is averaged over the drift laws. The further entries are the shifts
    under the single laws.
    """
    moves, sds = [], []
    for law in laws.fits:
        gradient = -law.optima_gradient[top, 0]
        gradient[0] += 1.0  # parameter 0 is the optimum of the learning rate at the target
        moves.append(float(law.theta[0] - law.optima[top, 0]))
        sds.append(law.sd_of(gradient))
    quantile = laws.fits[0].quantile
    mean = mixture(np.array(moves), np.array(sds), laws.weights, laws.fits[0].dof)
    names = [LAW_NAMES.get(phi, f"phi {phi:g}") for phi, _ in LAWS]
    result = [Shift("averaged", 1.0, digits(mean.value), digits(mean.low), digits(mean.high))]
    for name, weight, move, sd in zip(names, laws.weights, moves, sds, strict=True):
        low, high = digits(move - quantile * sd), digits(move + quantile * sd)
        result.append(Shift(name, digits(float(weight)), digits(move), low, high))
    return tuple(result)


def climb_end(
    progress: LadderProgress, fit: Fit | None, lr_shifts: tuple[Shift, ...]
) -> Climb | None:
    """The widest width that the ladder has reached, and why it stopped there. If the ladder needs
    more runs, the reason is `ClimbEnd.RUNNING`, even if the job has been stopped. None before the
    first stage of the search has ended.
    """
    if not progress.done:
        return None
    ladder, top = progress.ladder, blocks.top_level(progress.done)
    width, widest = ladder.widths[top], ladder.widths[-1]
    if not progress.ended:
        return climbed(width, ClimbEnd.RUNNING)
    if progress.limit:
        return climbed(width, ClimbEnd.LIMIT, limit=str(progress.limit))
    if top == ladder.levels - 1:
        return climbed(width, ClimbEnd.CALIBRATION_WIDTH)
    if not ladder.has_budget:
        return climbed(width, ClimbEnd.RULE, calibration_width=widest)
    if fit is None:
        return climbed(width, ClimbEnd.NO_FIT, calibration_width=widest)
    if top >= robust.last_owed(ladder) and robust.walled_off(ladder, progress.done, fit):
        return climbed(width, ClimbEnd.WALL, calibration_width=widest)
    if blocks.enough(fit, fit.covariance, blocks.needed(ladder, progress.done, fit)):
        average = lr_shifts[0]
        move = {"octaves": average.octaves, "low": average.low, "high": average.high}
        return climbed(width, ClimbEnd.TOLERANCE, calibration_width=widest, **move)
    return climbed(
        width,
        ClimbEnd.BUDGET,
        calibration_width=widest,
        next_width=ladder.widths[top + 1],
        next_cost=blocks.block_cost(ladder, top + 1),
        left=max(0.0, ladder.max_base_runs - robust.spent(ladder, progress.done)),
        max_base_runs=ladder.max_base_runs,
    )


def climbed(width: int, why: ClimbEnd, **values: Value) -> Climb:
    """The end of a climb, with the values and the text of its reason."""
    return Climb(width, why, climb_words(width, why, values), code_values(why, values))
