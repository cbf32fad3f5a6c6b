"""The report of a telescoping study, from the trials that have finished so far.

A *ladder* is the search of one optimizer over growing widths. Each width is a *level* of the
ladder, and each swept hyperparameter is an *axis*. If the study compares architectures or texts,
each of them is a *variant* and has ladders of its own. Runs that are planned together form a
*stage*.

A *question* is the user's document in checked form. It selects the estimator of the optimum at the
target width (`fold.estimates`):

- `pooled` fits one statistical model, the *pooled model*, to the losses of all levels. It is the
  default under `schedule: robust`.
- `per_level` fits a quadratic to the losses of each level near the best point. It extrapolates the
  minima to the target, and assumes that the optimum shifts in proportion to 1/width.
- `argmin` takes the best point at the widest level that has a finite loss. It follows arXiv
  2505.02222, and is the default under `schedule: paper`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from telescope.optim.groups import ParameterGroup, describe_groups
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
    Verdict,
    digits,
)
from telescope.studies.telescoping.fold.estimates import lowest_of, target_estimates
from telescope.studies.telescoping.fold.ladders import all_ladders
from telescope.studies.telescoping.fold.progress import LadderProgress, ladder_progress
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
from telescope.trials.types import OptimizerName

# cached, since the report on a running job is computed many times
cached_groups = lru_cache(maxsize=256)(describe_groups)


def answer(question: Question, trials: Sequence[Trial], ended: Ended | None = None) -> Report:
    """The report on these trials. `ended` states why the study ended early, if it did."""
    reports = [variant_report(variant, trials, ended) for variant in variants(question)]
    return together(question, reports) if question.sweep_over else reports[0]


def variant_report(variant: Variant, trials: Sequence[Trial], ended: Ended | None) -> Report:
    """The report on one variant, with the verdict of its best ladder.

    If no ladder is comparable (`comparison`), there is no best ladder. The verdict is then refused
    if all ladders are refused. It is unbracketed if the report is final and a ladder is
    unbracketed. Otherwise it is unresolved.
    """
    question = variant.question
    all_progress = [ladder_progress(question, ladder, trials) for ladder in all_ladders(question)]
    ladders = tuple(ladder_report(variant, progress, ended) for progress in all_progress)
    best = best_ladder(ladders)
    final = ended is not None or all(progress.ended for progress in all_progress)
    if best:
        return report_of(best, final, ladders, best.optimizer)
    if all(ladder.verdict == "refused" for ladder in ladders):
        parts = dict.fromkeys(ReasonPart(ladder.because) for ladder in ladders if ladder.because)
        because = Reason.of(Code.OF_LADDERS, parts=tuple(parts))
        return Report(final, "refused", words(because), None, ladders, because=because)
    verdicts = ("unbracketed",) if ended else ("unbracketed", "unresolved")
    decisive = [ladder for verdict in verdicts for ladder in ladders if ladder.verdict == verdict]
    if final and decisive:
        return report_of(decisive[0], final, ladders, None)
    because = stopped_by(ended) if ended else Reason.of(Code.NOTHING_FINISHED)
    return Report(final, "unresolved", words(because), None, ladders, because=because)


def report_of(
    ladder: LadderReport, final: bool, ladders: tuple[LadderReport, ...], best: OptimizerName | None
) -> Report:
    """The report on a variant, with the verdict and the reason of `ladder`."""
    return Report(final, ladder.verdict, ladder.reason, best, ladders, because=ladder.because)


def ladder_report(variant: Variant, progress: LadderProgress, ended: Ended | None) -> LadderReport:
    """The report on a ladder so far."""
    question, ladder, done = variant.question, progress.ladder, progress.done
    fit, laws = pooled_fit(ladder, done), laws_of(ladder, done)
    top = blocks.top_level(done) if done else -1
    levels = tuple(level_report(question, progress, fit, level) for level in range(top + 1))
    bill = cost(question, progress)
    result = ladder_conclusion(question, progress, ended, Evidence(fit, levels, bill))
    values, because = result.hyperparameters, result.because
    lr_shifts = shifts(laws, top) if laws else ()
    return LadderReport(
        optimizer=ladder.optimizer,
        verdict=result.verdict,
        reason=words(because),
        hyperparameters=values,
        parameter_groups=groups_at_target(question, ladder, values) if values else (),
        pairing=as_checked(pairing(question, ladder.optimizer), progress.check.report),
        assumptions=assumptions(question, ladder.optimizer),
        levels=levels,
        drift=drift(fit, len(levels)) if fit else None,
        scaling_fit=scaling_of(question, levels),
        cost=bill,
        shifts=lr_shifts,
        error_budget=error_budgets(question.estimated_by, progress, laws, values) if laws else {},
        climb=climb_end(progress, fit, lr_shifts),
        transfer=transfer(question, progress, laws, levels, values["lr"]) if laws else None,
        validation=result.validation,
        coordinates=progress.check.report,
        late=late_report(progress),
        remedy=remedy(progress, fit, bill, because.code is Code.DRIFTING)
        if fit and progress.ended and result.verdict == "unresolved"
        else None,
        method=method_of(question, ladder),
        importance=rounded(ped_anova(ladder, done)) if done else {},
        explained=rounded(explained(ladder, done, fit)) if fit else {},
        variant=variant.name,
        differs=dict(variant.differing_fields),
        because=because,
    )


@dataclass(frozen=True)
class Evidence:
    """Results that the conclusion of a ladder is based on."""

    fit: Fit | None  # the pooled model; None if it cannot be fitted
    levels: tuple[LevelReport, ...]
    cost: Cost


@dataclass(frozen=True)
class Conclusion:
    """A ladder's verdict, with its reason, and the answer at the target width."""

    verdict: Verdict
    because: Reason
    hyperparameters: dict[AxisName, Hyperparameter]  # at the target; empty without a finite loss
    validation: Validation | None  # of the learning rate, by runs at the target


def ladder_conclusion(
    question: Question, progress: LadderProgress, ended: Ended | None, evidence: Evidence
) -> Conclusion:
    """The conclusion of a ladder.

    If the ladder is complete and the runs at the target contradict its learning rate, the verdict
    is unresolved, and `validation.overruled` returns the learning rate to report.
    """
    fit = evidence.fit
    values = target_values(question, progress, fit) if lowest_of(progress.done) else {}
    borders = tuple(Border(level.width, level.edges) for level in evidence.levels if level.edges)
    verdict, because = verdict_of(progress, fit, values, borders, ended)
    at_target = checked_at_target(question, progress, fit, evidence.cost)
    complete = progress.ended and not (ended or progress.limit)
    if at_target and at_target.contradicted and complete:
        verdict, because = "unresolved", validation.contradiction(at_target)
        values |= {"lr": validation.overruled(values["lr"], at_target)}
    return Conclusion(verdict, because, values, at_target)


def groups_at_target(
    question: Question, ladder: Ladder, hyperparameters: Mapping[AxisName, Hyperparameter]
) -> tuple[ParameterGroup, ...]:
    """The parameter groups of the final run, each with its hyperparameters."""
    values = {name: hyperparameter.value for name, hyperparameter in hyperparameters.items()}
    spec = target_spec(question, ladder.optimizer, values)
    return cached_groups(
        spec.model, question.data.vocab_size, spec.optimizer, question.data.context
    )


def rounded(shares: Mapping[AxisName, float]) -> dict[AxisName, float]:
    """The shares by axis, rounded to six significant digits."""
    return {name: digits(share) for name, share in shares.items()}


def scaling_of(question: Question, levels: Sequence[LevelReport]) -> ScalingFit | None:
    """The power law of the loss in the model's number of parameters, fitted to the levels
    (`LevelReport.loss`). None if a level has no finite loss, if there are fewer than three levels,
    or if no such law can be fitted.
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
    options, is_literal = paper.paper_method(ladder, question.paper)
    options |= {"lr_convention": question.optimizer_options.lr_convention}
    return Method(
        "paper", question.estimated_by, options, is_literal and question.estimated_by == "argmin"
    )


def checked_at_target(
    question: Question, progress: LadderProgress, fit: Fit | None, bill: Cost
) -> Validation | None:
    """The validation of the ladder's learning rate by runs at the target. None until the first
    stage of these runs has ended.
    """
    if not progress.validation or bill.validation is None:
        return None
    stated = target_estimates(question, progress.ladder, progress.done)[0]
    return validation.validate_ladder(
        progress.ladder, fit, stated, progress.validation, bill.validation.flops
    )


def target_values(
    question: Question, progress: LadderProgress, fit: Fit | None
) -> dict[AxisName, Hyperparameter]:
    """The hyperparameters at the target: first the swept ones, then the fixed ones."""
    swept = judged_values(
        progress.ladder,
        fit,
        target_estimates(question, progress.ladder, progress.done),
        borders_of(question, progress, fit),
    )
    return swept | fixed_values(question, progress)


def borders_of(question: Question, progress: LadderProgress, fit: Fit | None) -> tuple[int, ...]:
    """The indices of the axes on which the optimum lies at a border of the values tried.

    Under `paper`, these are the axes on which at least one level has an optimum at a border
    (`paper.reported_edges`). Under `robust`, only two levels count: the base width, and the widest
    level reached. At the latter, the values tried are those of the last *block*, a set of runs with
    one seed around the expected optimum.
    """
    ladder = progress.ladder
    if question.schedule == "paper":
        levels = range(blocks.top_level(progress.done) + 1)
        return tuple(
            i
            for level in levels
            for i, _ in paper.reported_edges(ladder, progress.done, level, question.paper, fit)
        )
    at_base = axes_at(edges.base_places(ladder, progress.done), OptimumPlace.AT_BORDER)
    return at_base + (
        axes_at(blocks.top_places(ladder, progress.done, fit), OptimumPlace.OUTSIDE_BLOCK)
        if fit
        else ()
    )


def fixed_values(question: Question, progress: LadderProgress) -> dict[AxisName, Hyperparameter]:
    """The hyperparameters at the target that the study holds fixed. These are weight decay and, for
    Muon, `adamw_lr_ratio`, unless they are swept.
    """
    swept = {axis.name for axis in progress.ladder.axes}
    values: dict[AxisName, float] = {}
    if not isinstance(question.search.weight_decay, Range):
        values["weight_decay"] = question.search.weight_decay
    if progress.ladder.optimizer == "muon" and "adamw_lr_ratio" not in swept:
        values["adamw_lr_ratio"] = question.adamw_lr_ratio
    return {
        name: Hyperparameter(value, value, value, False, "fixed", 0.0, None)
        for name, value in values.items()
    }
