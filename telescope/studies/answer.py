"""What does a telescoping study answer, and how sure is it?

Drawn from the trials at any moment. The learning rate decides a ladder's verdict, in this order: **unbracketed**, its optimum lies at a
border that may not or could not be moved; **unresolved**, a limit was reached, its 90 % interval at the target is wider than half an
octave to each side, or its optimum moved by more than 0.4 octave between the two widest levels; **resolved** otherwise. The other
hyperparameters are held to tolerances of equal loss cost, and called flat where the worst point of their interval costs next to nothing.

`paper` has no noise model of its own: its value is the last argmin, as published; its interval and verdict are those of the pooled
model on the same runs, the interval widened to hold the argmin and half a step of its grid to each side.
"""

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

from telescope.flops import parameters
from telescope.optimizer import describe
from telescope.statistics import Estimate, scaling_fit
from telescope.studies import blocks, edges, robust
from telescope.studies.ladder import AxisName, argmin, pool, pooled_fit
from telescope.studies.levels import around_argmin, cost, drift, level_report
from telescope.studies.pooled import Fit, at_target
from telescope.studies.question import Range
from telescope.studies.report import Hyperparameter, LadderReport, Report, Status, Verdict, digits, from_estimate
from telescope.studies.telescoping import Progress, Telescope, progress
from telescope.trial import Trial

groups = lru_cache(maxsize=256)(describe)  # a running job is asked for its report again and again

LR_HALF_WIDTH = 0.5  # octaves
LR_MOVE = 0.4  # octaves between the two widest levels
FLAT_COST = 0.2  # % of the loss


def answer(study: Telescope, trials: Sequence[Trial], ended: str = "") -> Report:
    """The answer that these trials amount to; `ended` is a reason for which no more will come."""
    found = [progress(study, ladder, trials) for ladder in study.ladders()]
    ladders = tuple(ladder_report(study, one, ended) for one in found)
    best = best_ladder(ladders)
    final = bool(ended) or all(one.ended for one in found)
    if best is None:
        return Report(final, "unresolved", ended or "no level is finished yet", None, ladders)
    return Report(final, best.verdict, best.reason, best.optimizer, ladders)


def best_ladder(ladders: Sequence[LadderReport]) -> LadderReport | None:
    """The lowest loss at the optimum of the widest level that all unrefused ladders have finished."""
    running = [ladder for ladder in ladders if ladder.verdict != "refused" and ladder.hyperparameters]
    common = min((len(ladder.levels) for ladder in running), default=0)
    losses = [(ladder.levels[common - 1].loss, i) for i, ladder in enumerate(running) if common]
    return running[min(losses)[1]] if losses else None


def ladder_report(study: Telescope, found: Progress, ended: str) -> LadderReport:
    """One ladder's answer so far."""
    ladder = found.ladder
    fit = pooled_fit(ladder, found.done)
    levels = tuple(level_report(study, found, fit, level) for level in range(blocks.top_level(found.done) + 1 if found.done else 0))
    hyperparameters = target_values(study, found, fit) if found.done else {}
    verdict, reason = verdict_of(found, fit, hyperparameters, ended)
    values = {name: h.value for name, h in hyperparameters.items()}
    target = study.spec(ladder.optimizer, ladder.target_width, values) if values else None
    sizes = [parameters(study.model.at(level.width), study.data.vocab_size) for level in levels]
    losses = [level.loss for level in levels]
    return LadderReport(
        optimizer=ladder.optimizer,
        verdict=verdict,
        reason=reason,
        hyperparameters=hyperparameters,
        parameter_groups=groups(target.model, study.data.vocab_size, target.optimizer) if target else (),
        levels=levels,
        drift=drift(fit, len(levels)) if fit else None,
        scaling_fit=scaling_fit(sizes, losses) if all(map(math.isfinite, losses)) else None,
        cost=cost(study, found),
    )


def target_values(study: Telescope, found: Progress, fit: Fit | None) -> dict[AxisName, Hyperparameter]:
    """Every hyperparameter of the ladder: swept ones with their intervals, fixed ones as they are."""
    ladder = found.ladder
    tolerances = dict(zip(ladder.fitted, blocks.tolerances(fit), strict=True)) if fit else {}
    tolerances[0] = LR_HALF_WIDTH
    at_border = borders_of(study, found, fit)
    result: dict[AxisName, Hyperparameter] = {}
    for i, estimate in sorted(target_estimates(study, found).items()):
        axis = ladder.axes[i]
        tolerance = float(tolerances[i]) if i in ladder.fitted and i in tolerances else None
        status: Status = "resolved"
        if not axis.fitted:
            status = "swept"
        elif i > 0 and fit is not None and is_flat(fit, ladder.fitted.index(i), estimate):
            status = "flat"
        elif i in at_border or not axis.allows(estimate.value):
            status = "unbracketed"
        elif fit is None or tolerance is None or estimate.half_width > tolerance:
            status = "unresolved"
        result[axis.name] = Hyperparameter(
            value=from_estimate(estimate.value),
            low=from_estimate(estimate.low),
            high=from_estimate(estimate.high),
            resolved=status == "resolved",
            status=status,
            half_width=digits(estimate.half_width),
            tolerance=digits(tolerance) if tolerance is not None else None,
        )
    return result | fixed_values(study, found)


def target_estimates(study: Telescope, found: Progress) -> dict[int, Estimate]:
    """Per axis in octaves; an axis that was only swept has its best value and no width."""
    ladder = found.ladder
    pooled = at_target(pool(ladder, found.done), ladder.levels, ladder.doublings) if pooled_fit(ladder, found.done) else None
    estimates = dict(zip(ladder.fitted, pooled, strict=True)) if pooled else {}
    best = argmin(found.done[0 if study.schedule == "robust" else -1].outcomes)
    for i, x in enumerate(best):
        if study.schedule == "paper":
            estimates[i] = around_argmin(found.done, i, x, estimates.get(i))
        elif i not in estimates:
            estimates[i] = Estimate(x, x, x)
    return estimates


def fixed_values(study: Telescope, found: Progress) -> dict[AxisName, Hyperparameter]:
    """What the user held fixed."""
    swept = {axis.name for axis in found.ladder.axes}
    held: dict[AxisName, float] = {}
    if not isinstance(study.search.weight_decay, Range):
        held["weight_decay"] = study.search.weight_decay
    if found.ladder.optimizer == "muon" and "adamw_lr_ratio" not in swept:
        held["adamw_lr_ratio"] = study.adamw_lr_ratio
    return {name: Hyperparameter(value, value, value, False, "fixed", 0.0, None) for name, value in held.items()}


def is_flat(fit: Fit, index: int, estimate: Estimate) -> bool:
    """Whether the worst point of the interval costs less than 0.2 % of the loss, or than one standard error of a seed."""
    worst = max(estimate.high - estimate.value, estimate.value - estimate.low)
    return fit.curvature * float(fit.ratios[index]) * worst**2 < max(FLAT_COST, fit.sigma)


def borders_of(study: Telescope, found: Progress, fit: Fit | None) -> tuple[int, ...]:
    """The axes whose optimum lies at a border, at the base or at the top level."""
    ladder = found.ladder
    if study.schedule == "paper":
        return tuple(i for stage in found.done for i, _ in edges.paper_edges(stage.outcomes))
    at_base = tuple(i for i, _ in edges.edges(ladder, found.done))
    return at_base + (blocks.off_centre(ladder, found.done, fit) if fit else ())


def verdict_of(found: Progress, fit: Fit | None, values: dict[AxisName, Hyperparameter], ended: str) -> tuple[Verdict, str]:
    """Verdict and reason, by the learning rate; see the module's text for the order."""
    if not values:
        return "unresolved", ended or found.limit or "running: the base grid is not finished"
    if ended or found.limit:
        return "unresolved", ended or found.limit
    lr = values["lr"]
    interval = f"the 90 % interval of lr at the target is +-{lr.half_width:.2f} octave"
    if not found.ended:
        return "unresolved", f"running: so far {interval}"
    if lr.status == "unbracketed":
        return "unbracketed", f"the optimum of lr lies at the border of what was, or may be, tried: about {lr.value:.3g}"
    if fit is None:
        return "unresolved", "no noise model: fewer than 3 learning rates, or no finite loss at the base width"
    if lr.half_width > LR_HALF_WIDTH:
        return "unresolved", f"interval: {interval}, wider than +-{LR_HALF_WIDTH}; {remedy(found, fit)}"
    move = last_move(found, fit)
    if abs(move) > LR_MOVE:
        reason = f"drifting: the optimum of lr moved {move:+.2f} octave between the two widest levels; check the parametrisation"
        return "unresolved", f"{reason}, or calibrate on wider models"
    return "resolved", f"{interval}, and its optimum moved {move:+.2f} octave between the two widest levels"


def last_move(found: Progress, fit: Fit) -> float:
    """Octaves that the learning rate's optimum moved between the two widest levels; 0 with one level."""
    top = blocks.top_level(found.done)
    return float(fit.optima[top, 0] - fit.optima[top - 1, 0]) if top else 0.0


def remedy(found: Progress, fit: Fit) -> str:
    """What would suffice, by the greedy rule's own forecast."""
    ladder = found.ladder
    if ladder.levels == 1 and ladder.doublings:
        return "one width cannot bound the drift; raise calibration_width"
    total = robust.spent(ladder, found.done)
    for count, (level, covariance) in enumerate(itertools.islice(blocks.greedy(ladder, found.done, fit, math.inf), 30), start=1):
        total += blocks.block_cost(ladder, level)
        if blocks.enough(fit, covariance):
            return f"about {count} more blocks of seeds would do: set limits.max_base_runs to {math.ceil(total)}"
    return "more seeds will hardly mend it; train longer, with larger batches, or calibrate on wider models"
