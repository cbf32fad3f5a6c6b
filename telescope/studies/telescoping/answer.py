"""What does a telescoping study answer, and how sure is it?

Drawn from the trials at any moment; the rules of the verdict are in `verdict`, and what variants amount to together in `comparison`.

The estimator is a named choice: `pooled`, the model over all levels; `per_level`, a quadratic per level and its vertices carried on by
a/n; `argmin`, the last level's best point, as published and by default under `paper`. An argmin has no interval of its own: it is given
that of the pooled model on the same runs, widened to hold it and half a step of its grid to each side. Where there is no such model the
verdict is unresolved. The tests for borders and drifting are the same for all three.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

from telescope.flops import parameters
from telescope.optimizer import describe
from telescope.statistics import Estimate, scaling_fit
from telescope.studies.telescoping import blocks, edges, paper, per_level, validation
from telescope.studies.telescoping.axes import AxisName
from telescope.studies.telescoping.budget import climb, error_budgets, laws_of, shifts
from telescope.studies.telescoping.comparison import best_ladder, together
from telescope.studies.telescoping.importance import explained, ped_anova
from telescope.studies.telescoping.ladder import Done, Ladder, argmin, outcomes, pool, pooled_fit
from telescope.studies.telescoping.late import late_report
from telescope.studies.telescoping.levels import around_argmin, chosen, cost, drift, level_report
from telescope.studies.telescoping.pairing import as_checked, assumptions, pairing
from telescope.studies.telescoping.pooled import Fit, at_target
from telescope.studies.telescoping.question import Range
from telescope.studies.telescoping.remedy import remedy
from telescope.studies.telescoping.report import (
    Cost,
    Hyperparameter,
    LadderReport,
    Method,
    Report,
    Validation,
    digits,
)
from telescope.studies.telescoping.study import Progress, Telescope, progress
from telescope.studies.telescoping.transfer import transfer
from telescope.studies.telescoping.variants import Variant
from telescope.studies.telescoping.verdict import DRIFTING, judged_values, verdict_of
from telescope.trial import Trial

groups = lru_cache(maxsize=256)(describe)  # a running job is asked for its report again and again


def answer(study: Telescope, trials: Sequence[Trial], ended: str = "") -> Report:
    """The answer that these trials amount to; `ended` is a reason for which no more will come."""
    reports = [variant_report(variant, trials, ended) for variant in study.variants]
    return together(study, reports) if study.sweep_over else reports[0]


def variant_report(variant: Variant, trials: Sequence[Trial], ended: str) -> Report:
    """The answer of one architecture on one text: that of its best ladder."""
    found = [progress(variant.study, ladder, trials) for ladder in variant.study.ladders()]
    ladders = tuple(ladder_report(variant, one, ended) for one in found)
    best = best_ladder(ladders)
    final = bool(ended) or all(one.ended for one in found)
    if best is None and all(ladder.verdict == "refused" for ladder in ladders):
        return Report(final, "refused", "; ".join(dict.fromkeys(ladder.reason for ladder in ladders)), None, ladders)
    if best is None:
        lost = next((ladder for ladder in ladders if ladder.verdict == "unbracketed"), None) if final else None
        verdict, reason = (lost.verdict, lost.reason) if lost else ("unresolved", ended or "no level is finished yet")
        return Report(final, verdict, reason, None, ladders)
    return Report(final, best.verdict, best.reason, best.optimizer, ladders)


def ladder_report(variant: Variant, found: Progress, ended: str) -> LadderReport:
    """One ladder's answer so far."""
    study, ladder = variant.study, found.ladder
    fit = pooled_fit(ladder, found.done)
    levels = tuple(level_report(study, found, fit, level) for level in range(blocks.top_level(found.done) + 1 if found.done else 0))
    hyperparameters = target_values(study, found, fit) if lowest_of(found.done) else {}
    borders = "; ".join(f"width {level.width}, {level.edge}" for level in levels if level.edge)
    verdict, reason = verdict_of(found, fit, hyperparameters, borders, ended)
    bill = cost(study, found)
    checked = checked_at_target(study, found, fit, bill)
    if checked and checked.contradicted and found.ended and not (ended or found.limit):
        verdict, reason = "unresolved", validation.contradiction(checked)
        hyperparameters |= {"lr": validation.overruled(hyperparameters["lr"], checked)}
    values = {name: h.value for name, h in hyperparameters.items()}
    target = study.target(ladder.optimizer, values) if values else None
    sizes = [parameters(study.model.at(level.width), study.data.vocab_size, study.data.context) for level in levels]
    losses = [level.loss for level in levels]
    laws = laws_of(ladder, found.done)
    moves = shifts(laws, len(levels) - 1) if laws else ()
    return LadderReport(
        optimizer=ladder.optimizer,
        verdict=verdict,
        reason=reason,
        hyperparameters=hyperparameters,
        parameter_groups=groups(target.model, study.data.vocab_size, target.optimizer, study.data.context) if target else (),
        pairing=as_checked(pairing(study, ladder.optimizer), found.check.report),
        assumptions=assumptions(study, ladder.optimizer),
        levels=levels,
        drift=drift(fit, len(levels)) if fit else None,
        scaling_fit=scaling_fit(sizes, losses) if all(map(math.isfinite, losses)) else None,
        cost=bill,
        shifts=moves,
        error_budget=error_budgets(study.estimated_by, found, laws, hyperparameters) if laws else {},
        climb=climb(found, fit, moves),
        transfer=transfer(study, found, laws, levels, hyperparameters["lr"]) if laws else None,
        validation=checked,
        coordinates=found.check.report,
        late=late_report(found),
        remedy=remedy(found, fit, bill, reason.startswith(DRIFTING)) if fit and found.ended and verdict == "unresolved" else None,
        method=method_of(study, ladder),
        importance={name: digits(share) for name, share in ped_anova(ladder, found.done).items()} if found.done else {},
        explained={name: digits(share) for name, share in explained(ladder, found.done, fit).items()} if fit else {},
        variant=variant.name,
        differs=dict(variant.differs),
    )


def method_of(study: Telescope, ladder: Ladder) -> Method:
    """By which rules the ladder's runs are chosen and read."""
    if study.schedule == "robust":
        return Method("robust", study.estimated_by)
    options, literal = paper.method(ladder, study.paper)
    options |= {"lr_convention": study.optimizer_options.lr_convention}
    return Method("paper", study.estimated_by, options, literal and study.estimated_by == "argmin")


def checked_at_target(study: Telescope, found: Progress, fit: Fit | None, bill: Cost) -> Validation | None:
    """What the runs at the target say of the ladder's learning rate, once there are any."""
    if not found.validation or bill.validation is None:
        return None
    stated = target_estimates(study, found.ladder, found.done)[0]
    return validation.assess(found.ladder, fit, stated, found.validation, bill.validation.flops)


def target_values(study: Telescope, found: Progress, fit: Fit | None) -> dict[AxisName, Hyperparameter]:
    """Every hyperparameter of the ladder: swept ones with their intervals, fixed ones as they are."""
    swept = judged_values(found.ladder, fit, target_estimates(study, found.ladder, found.done), borders_of(study, found, fit))
    return swept | fixed_values(study, found)


def target_estimates(study: Telescope, ladder: Ladder, done: Sequence[Done]) -> dict[int, Estimate]:
    """Per axis in octaves, by the study's estimator; an axis that was only swept has its best value and no width."""
    pooled = pooled_estimates(ladder, done)
    top = max((o.point.level for o in outcomes(done) if o.finite), default=0)
    if study.estimated_by == "argmin":
        best = chosen(study, ladder, done, top)
        return {i: around_argmin(done, i, x, pooled.get(i)) for i, x in enumerate(best)}
    best = (lowest_of(done) or done[0].outcomes[0].point.x) if study.schedule == "robust" else chosen(study, ladder, done, top)
    fitted = per_level.carried(ladder, done) if study.estimated_by == "per_level" else pooled
    return {i: Estimate(x, x, x) for i, x in enumerate(best)} | fitted


def lowest_of(done: Sequence[Done]) -> tuple[float, ...] | None:
    """The lowest point of the first stage of which a run did not diverge; None where there is no such stage."""
    return next((argmin(stage.outcomes) for stage in done if any(o.finite for o in stage.outcomes)), None)


def pooled_estimates(ladder: Ladder, done: Sequence[Done]) -> dict[int, Estimate]:
    """The pooled model's answer at the target, in octaves per fitted axis."""
    if pooled_fit(ladder, done) is None:
        return {}
    found = at_target(pool(ladder, done), ladder.layout)
    return dict(zip(ladder.fitted, found, strict=True)) if found else {}


def fixed_values(study: Telescope, found: Progress) -> dict[AxisName, Hyperparameter]:
    """What the user held fixed."""
    swept = {axis.name for axis in found.ladder.axes}
    held: dict[AxisName, float] = {}
    if not isinstance(study.search.weight_decay, Range):
        held["weight_decay"] = study.search.weight_decay
    if found.ladder.optimizer == "muon" and "adamw_lr_ratio" not in swept:
        held["adamw_lr_ratio"] = study.adamw_lr_ratio
    return {name: Hyperparameter(value, value, value, False, "fixed", 0.0, None) for name, value in held.items()}


def borders_of(study: Telescope, found: Progress, fit: Fit | None) -> tuple[int, ...]:
    """The axes whose optimum lies at a border, at the base or at the top level."""
    ladder = found.ladder
    if study.schedule == "paper":
        levels = range(blocks.top_level(found.done) + 1)
        return tuple(i for level in levels for i, _ in paper.edges(ladder, found.done, level, study.paper, fit))
    at_base = tuple(i for i, _ in edges.edges(ladder, found.done))
    return at_base + (blocks.off_centre(ladder, found.done, fit) if fit else ())
