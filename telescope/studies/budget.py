"""Where does the uncertainty at the target come from, how far will the optimum still move, and why did the ladder stop where it did?

Every source of error in one budget. The pooled model's covariance under one drift law is C = C G C + C P C: what the runs' errors
contribute, run by run, and what the priors leave open, parameter by parameter. Averaging the laws adds the variance between them; a
value that is a grid's point (an argmin) adds that of its mesh. The parts are exact and add up in variance.

Parts: `error_budget` · `shifts`, drift as a/n against a/sqrt(n) and a constant step per doubling · `climb`.
"""

import math

import numpy as np

from telescope.statistics import Array, mixture
from telescope.studies import blocks, robust
from telescope.studies.axes import AxisName
from telescope.studies.ladder import Done, Ladder, pool
from telescope.studies.levels import last_step
from telescope.studies.pooled import LAWS, Fit, Laws, laws_at_target
from telescope.studies.report import Climb, ErrorBudget, Shift, digits
from telescope.studies.telescoping import Progress

LAW_NAMES = {0.0: "a/n", 0.47: "a/sqrt(n)", 1.0: "constant per doubling"}
FINITE_WIDTH = ("x", "drift", "phi", "e")  # parameters of the drift; the others are of the bowl's form
REMEDIES = {
    "seed_noise": "more blocks of seeds, or runs that are longer or of larger batches",
    "bowl_form": "more blocks at the base width, which pin the bowl's shape",
    "finite_width": "more blocks at the widest level, or one doubling more (model.calibration_width)",
    "law": "one doubling more (model.calibration_width), which tells the drift laws apart",
    "mesh": "a finer grid, or schedule: robust, which fits",
}


def laws_of(ladder: Ladder, done: tuple[Done, ...]) -> Laws | None:
    """The fits under each drift law of some stages; None where nothing can be fitted."""
    runs = pool(ladder, done) if done and 0 in ladder.fitted else ()
    return laws_at_target(runs, ladder.levels, ladder.doublings, ladder.heights) if runs else None


def error_budgets(estimator: str, found: Progress, laws: Laws) -> dict[AxisName, ErrorBudget]:
    """All sources of error of every fitted hyperparameter; an argmin is a point of the last grid."""
    ladder = found.ladder
    steps = [last_step(found.done, i) if estimator == "argmin" else 0.0 for i in ladder.fitted]
    return {ladder.axes[i].name: error_budget(laws, j, step) for j, (i, step) in enumerate(zip(ladder.fitted, steps, strict=True))}


def error_budget(laws: Laws, axis: int, step: float) -> ErrorBudget:
    """The parts of one fitted hyperparameter's uncertainty at the target; `step` is the mesh that its value lies on, 0 where fitted."""
    parts = np.array([within(law, laws.precision, axis) for law in laws.fits])
    means = np.array([law.theta[axis] for law in laws.fits])
    noise, form, drift = laws.weights @ parts
    between = float(laws.weights @ (means - laws.weights @ means) ** 2)
    variances = {"seed_noise": noise, "bowl_form": form, "finite_width": drift, "law": between, "mesh": step**2 / 12}
    dominant = max(variances, key=lambda name: variances[name])
    sds = {name: digits(math.sqrt(variance)) for name, variance in variances.items()}
    return ErrorBudget(**sds, total=digits(math.sqrt(sum(variances.values()))), dominant=dominant, remedy=REMEDIES[dominant])


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
        return Climb(width, "running", f"at width {width} so far")
    if found.limit:
        return Climb(width, "limit", f"stopped at width {width} by {found.limit}")
    if top == ladder.levels - 1:
        return Climb(width, "calibration_width", f"rose to calibration_width {width}")
    stopped = f"stopped at width {width}, below calibration_width {widest}"
    if math.isinf(ladder.max_base_runs):
        return Climb(width, "rule", f"{stopped}, by paper.edge: fail or paper.nc: stop_when_flat")
    if fit is None:
        return Climb(width, "no_fit", f"{stopped}: nothing there could be fitted")
    if blocks.enough(fit, fit.covariance):
        likely = f"{moves[0].octaves:+.2f} octave from there to the target ({moves[0].low:+.2f} to {moves[0].high:+.2f})"
        move = f"lr is expected to move {likely}"
        return Climb(width, "tolerance", f"{stopped}: {move}, and a wider level would not change the answer beyond the tolerance")
    left = max(0.0, ladder.max_base_runs - robust.spent(ladder, found.done))
    next_one = f"a block at width {ladder.widths[top + 1]} costs {blocks.block_cost(ladder, top + 1):.0f} base runs"
    return Climb(width, "budget", f"{stopped}: {next_one}, and {left:.0f} of {ladder.max_base_runs:.0f} are left")
