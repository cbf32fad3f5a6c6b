"""The report of a telescoping study, from its trials at any moment.

The rules of the verdict are in `verdict`, its wording in `wording`, and the report over variants in
`comparison`. The estimator is a named choice (`fold.estimates`): `pooled`, the model over all
levels; `per_level`, a quadratic per level with vertices extrapolated by a/n; `argmin`, the last
level's best point, as published and by default under `paper`. The tests for borders and drift are
the same for all three.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

from telescope.optim.groups import describe_groups
from telescope.statistics.estimates import ScalingFit, scaling_fit
from telescope.studies.kind import Ended
from telescope.studies.ranges import Range
from telescope.studies.telescoping.answer import validation
from telescope.studies.telescoping.answer.budget import climb_end, error_budgets, laws_of, shifts
from telescope.studies.telescoping.answer.comparison import best_ladder, together
from telescope.studies.telescoping.answer.importance import explained, ped_anova
from telescope.studies.telescoping.answer.late import late_report
from telescope.studies.telescoping.answer.levels import cost, drift, level_report
from telescope.studies.telescoping.answer.remedy import remedy
from telescope.studies.telescoping.answer.transfer import transfer
from telescope.studies.telescoping.answer.verdict import judged_values, stopped_by, verdict_of
from telescope.studies.telescoping.answer.wording import words
from telescope.studies.telescoping.axes import AxisName
from telescope.studies.telescoping.evidence import (
    Cost,
    Hyperparameter,
    LevelReport,
    Method,
    Validation,
    digits,
)
from telescope.studies.telescoping.fold.estimates import lowest_of, target_estimates
from telescope.studies.telescoping.fold.ladders import all_ladders
from telescope.studies.telescoping.fold.progress import LadderProgress, progress
from telescope.studies.telescoping.fold.specs import target_spec
from telescope.studies.telescoping.ladder.ladder import Ladder, pooled_fit
from telescope.studies.telescoping.ladder.pooled import Fit
from telescope.studies.telescoping.question.pairing import as_checked, assumptions, pairing
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.question.variants import Variant, variants
from telescope.studies.telescoping.reasons import Border, Code, Reason, ReasonPart
from telescope.studies.telescoping.report import LadderReport, Report
from telescope.studies.telescoping.schedules import blocks, edges, paper
from telescope.studies.telescoping.schedules.places import OptimumPlace, axes_at
from telescope.train.flops import parameters
from telescope.trials.outcome import Trial

groups = lru_cache(maxsize=256)(
    describe_groups
)  # the report of a running job is computed repeatedly


def answer(question: Question, trials: Sequence[Trial], ended: Ended | None = None) -> Report:
    """The report on these trials; `ended` gives the reason why no more will come."""
    reports = [variant_report(variant, trials, ended) for variant in variants(question)]
    return together(question, reports) if question.sweep_over else reports[0]


def variant_report(variant: Variant, trials: Sequence[Trial], ended: Ended | None) -> Report:
    """The report on one architecture and one text: that of its best ladder."""
    found = [progress(variant.question, ladder, trials) for ladder in all_ladders(variant.question)]
    ladders = tuple(ladder_report(variant, one, ended) for one in found)
    best = best_ladder(ladders)
    final = ended is not None or all(one.ended for one in found)
    if best is None and all(ladder.verdict == "refused" for ladder in ladders):
        because = Reason.of(
            Code.OF_LADDERS,
            parts=tuple(
                dict.fromkeys(ReasonPart(ladder.because) for ladder in ladders if ladder.because)
            ),
        )
        return Report(final, "refused", words(because), None, ladders, because=because)
    if (
        best is None
        and final
        and (lost := next((ladder for ladder in ladders if ladder.verdict == "unbracketed"), None))
    ):
        return Report(final, lost.verdict, lost.reason, None, ladders, because=lost.because)
    if best is None:
        because = stopped_by(ended) if ended else Reason.of(Code.NOTHING_FINISHED)
        return Report(final, "unresolved", words(because), None, ladders, because=because)
    return Report(final, best.verdict, best.reason, best.optimizer, ladders, because=best.because)


def ladder_report(variant: Variant, found: LadderProgress, ended: Ended | None) -> LadderReport:
    """The report on a ladder so far."""
    question, ladder = variant.question, found.ladder
    fit = pooled_fit(ladder, found.done)
    levels = tuple(
        level_report(question, found, fit, level)
        for level in range(blocks.top_level(found.done) + 1 if found.done else 0)
    )
    hyperparameters = target_values(question, found, fit) if lowest_of(found.done) else {}
    borders = tuple(Border(level.width, level.edges) for level in levels if level.edges)
    verdict, because = verdict_of(found, fit, hyperparameters, borders, ended)
    bill = cost(question, found)
    checked = checked_at_target(question, found, fit, bill)
    if checked and checked.contradicted and found.ended and not (ended or found.limit):
        verdict, because = "unresolved", validation.contradiction(checked)
        hyperparameters |= {"lr": validation.overruled(hyperparameters["lr"], checked)}
    values = {name: h.value for name, h in hyperparameters.items()}
    target = target_spec(question, ladder.optimizer, values) if values else None
    laws = laws_of(ladder, found.done)
    moves = shifts(laws, len(levels) - 1) if laws else ()
    return LadderReport(
        optimizer=ladder.optimizer,
        verdict=verdict,
        reason=words(because),
        hyperparameters=hyperparameters,
        parameter_groups=groups(
            target.model, question.data.vocab_size, target.optimizer, question.data.context
        )
        if target
        else (),
        pairing=as_checked(pairing(question, ladder.optimizer), found.check.report),
        assumptions=assumptions(question, ladder.optimizer),
        levels=levels,
        drift=drift(fit, len(levels)) if fit else None,
        scaling_fit=scaling_of(question, levels),
        cost=bill,
        shifts=moves,
        error_budget=error_budgets(question.estimated_by, found, laws, hyperparameters)
        if laws
        else {},
        climb=climb_end(found, fit, moves),
        transfer=transfer(question, found, laws, levels, hyperparameters["lr"]) if laws else None,
        validation=checked,
        coordinates=found.check.report,
        late=late_report(found),
        remedy=remedy(found, fit, bill, because.code is Code.DRIFTING)
        if fit and found.ended and verdict == "unresolved"
        else None,
        method=method_of(question, ladder),
        importance={name: digits(share) for name, share in ped_anova(ladder, found.done).items()}
        if found.done
        else {},
        explained={
            name: digits(share) for name, share in explained(ladder, found.done, fit).items()
        }
        if fit
        else {},
        variant=variant.name,
        differs=dict(variant.differs),
        because=because,
    )


def scaling_of(question: Question, levels: Sequence[LevelReport]) -> ScalingFit | None:
    """The fit of the loss at each width's optimum against parameters; None where a width has no
    loss.
    """
    sizes = [
        parameters(question.model.at(level.width), question.data.vocab_size, question.data.context)
        for level in levels
    ]
    losses = [level.loss for level in levels]
    return scaling_fit(sizes, losses) if all(map(math.isfinite, losses)) else None


def method_of(question: Question, ladder: Ladder) -> Method:
    """The rules by which the ladder's runs are chosen and evaluated."""
    if question.schedule == "robust":
        return Method("robust", question.estimated_by)
    options, literal = paper.paper_method(ladder, question.paper)
    options |= {"lr_convention": question.optimizer_options.lr_convention}
    return Method(
        "paper", question.estimated_by, options, literal and question.estimated_by == "argmin"
    )


def checked_at_target(
    question: Question, found: LadderProgress, fit: Fit | None, bill: Cost
) -> Validation | None:
    """The validation by the runs at the target, once there are any."""
    if not found.validation or bill.validation is None:
        return None
    stated = target_estimates(question, found.ladder, found.done)[0]
    return validation.validate_ladder(
        found.ladder, fit, stated, found.validation, bill.validation.flops
    )


def target_values(
    question: Question, found: LadderProgress, fit: Fit | None
) -> dict[AxisName, Hyperparameter]:
    """Every hyperparameter of the ladder: swept ones with their intervals, fixed ones unchanged."""
    swept = judged_values(
        found.ladder,
        fit,
        target_estimates(question, found.ladder, found.done),
        borders_of(question, found, fit),
    )
    return swept | fixed_values(question, found)


def borders_of(question: Question, found: LadderProgress, fit: Fit | None) -> tuple[int, ...]:
    """The axes whose optimum lies at a border, at the base or at the top level."""
    ladder = found.ladder
    if question.schedule == "paper":
        levels = range(blocks.top_level(found.done) + 1)
        return tuple(
            i
            for level in levels
            for i, _ in paper.reported_edges(ladder, found.done, level, question.paper, fit)
        )
    at_base = axes_at(edges.base_places(ladder, found.done), OptimumPlace.AT_BORDER)
    return at_base + (
        axes_at(blocks.top_places(ladder, found.done, fit), OptimumPlace.OUTSIDE_BLOCK)
        if fit
        else ()
    )


def fixed_values(question: Question, found: LadderProgress) -> dict[AxisName, Hyperparameter]:
    """The hyperparameters that the question holds fixed."""
    swept = {axis.name for axis in found.ladder.axes}
    held: dict[AxisName, float] = {}
    if not isinstance(question.search.weight_decay, Range):
        held["weight_decay"] = question.search.weight_decay
    if found.ladder.optimizer == "muon" and "adamw_lr_ratio" not in swept:
        held["adamw_lr_ratio"] = question.adamw_lr_ratio
    return {
        name: Hyperparameter(value, value, value, False, "fixed", 0.0, None)
        for name, value in held.items()
    }
