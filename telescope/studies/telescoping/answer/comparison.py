"""The answers of several ladders, and of several variants, side by side.

A *ladder* is the search of one optimizer over growing widths, its *levels*. A *variant* is one of
the architectures or texts that a study compares; it has one ladder per optimizer.

A ladder is *comparable* unless it is refused (ended by a failed coordinate check) or has no
hyperparameters. Comparable ladders that train on the same data are compared by their loss at the
optimum of one level: the widest level that all of them have reached. Models of equal width may
differ in parameters and FLOPs, so the report states both. Losses on different texts, or under
different tokenizers, are not comparable, so a study that compares texts has no best variant.

The verdict on a study over variants is the worst of the verdicts on its variants. From worst to
best, the verdicts are refused, unbracketed, unresolved, resolved. The study's reason names the
variants with the worst verdict.

Optima at the target are compared in octaves, for every two comparable ladders of one optimizer.
The two ladders have no run in common, so the errors of the two optima are taken as independent, and
add in quadrature. But both ladders use the same seeds, and the same priors on the drift of the
optimum with width. Errors from these sources partly cancel in the difference of the optima. The
interval of the difference is therefore too wide rather than too narrow.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

from telescope.statistics.estimates import Estimate, difference
from telescope.studies.telescoping.answer.wording import words
from telescope.studies.telescoping.axes import SCALES, AxisName
from telescope.studies.telescoping.evidence import Hyperparameter, Verdict, digits
from telescope.studies.telescoping.fold.ladders import each_ladder
from telescope.studies.telescoping.ladder.ladder import Ladder
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.question.variants import Variant, variants
from telescope.studies.telescoping.reasons import Code, Reason, ReasonPart
from telescope.studies.telescoping.report import (
    Compared,
    Difference,
    LadderReport,
    Report,
    VariantComparison,
    VariantReport,
)
from telescope.train.flops import parameters
from telescope.trials.types import OptimizerName

WORST_FIRST: tuple[Verdict, ...] = ("refused", "unbracketed", "unresolved", "resolved")
REMARKS = {
    "model": (
        "architectures are compared by their loss at equal width; "
        "their numbers of parameters and FLOPs may differ"
    ),
    "data": (
        "losses of different texts are not comparable: "
        "each text has its own best optimizer, and no text is the best"
    ),
}


def together(question: Question, reports: Sequence[Report]) -> Report:
    """The report of a study over variants, from the report of each variant."""
    assert question.sweep_over is not None
    ladders = tuple(ladder for report in reports for ladder in report.ladders)
    answers = tuple(
        VariantReport(variant.name, report.verdict, report.reason, report.best, report.because)
        for variant, report in zip(variants(question), reports, strict=True)
    )
    verdict, because = worst(answers)
    best = best_ladder(ladders) if question.sweep_over.section == "model" else None
    return Report(
        final=all(report.final for report in reports),
        verdict=verdict,
        reason=words(because),
        best=best.optimizer if best else None,
        ladders=ladders,
        best_variant=best.variant if best else "",
        variants=answers,
        comparison=compared(question, ladders),
        because=because,
    )


def worst(variants: Sequence[VariantReport]) -> tuple[Verdict, Reason]:
    """The worst verdict, and the reasons of all variants with this verdict."""
    verdict = min((variant.verdict for variant in variants), key=WORST_FIRST.index)
    parts = tuple(
        ReasonPart(variant.because, variant=variant.name)
        for variant in variants
        if variant.verdict == verdict and variant.because
    )
    return verdict, Reason.of(Code.OF_LADDERS, parts=parts)


def best_ladder(ladders: Sequence[LadderReport]) -> LadderReport | None:
    """The ladder with the lowest loss at the optimum of the `common_level`. None if no ladder is
    `comparable`.
    """
    level = common_level(ladders)
    if level is None:
        return None
    return min(comparable(ladders), key=lambda ladder: ladder.levels[level].loss)


def comparable(ladders: Sequence[LadderReport]) -> list[LadderReport]:
    """The ladders that are not refused and that have hyperparameters."""
    return [ladder for ladder in ladders if ladder.verdict != "refused" and ladder.hyperparameters]


def common_level(ladders: Sequence[LadderReport]) -> int | None:
    """The widest level that all comparable ladders have reached. None without such ladders."""
    level_counts = [len(ladder.levels) for ladder in comparable(ladders)]
    return min(level_counts) - 1 if level_counts else None


def compared(question: Question, ladders: Sequence[LadderReport]) -> VariantComparison:
    """The comparison of the variants, from the reports on all ladders so far."""
    assert question.sweep_over is not None
    level, section = common_level(ladders), question.sweep_over.section
    return VariantComparison(
        over=section,
        width=None if level is None else question.model.widths[level],
        rows=tuple(
            ladder_row(variant, ladder, report, level)
            for (variant, ladder), report in zip(each_ladder(question), ladders, strict=True)
        ),
        differences=tuple(variant_differences(ladders)),
        remark=REMARKS[section],
    )


def ladder_row(
    variant: Variant, ladder: Ladder, report: LadderReport, level: int | None
) -> Compared:
    """A ladder's row in the comparison. Parameters and FLOPs are those of a run at `level`, and the
    loss is that at the level's optimum. All three are None if `level` is None or if the ladder is
    not comparable. The loss is also None if it is infinite.
    """
    question = variant.question
    values = report.hyperparameters if report.verdict != "refused" else {}
    size, flops, loss = None, None, None
    if level is not None and values:
        model = question.model.at(report.levels[level].width)
        size = parameters(model, question.data.vocab_size, question.data.context)
        flops = ladder.base_flops * ladder.costs[level]
        loss = report.levels[level].loss
    return Compared(
        variant=variant.name,
        optimizer=report.optimizer,
        verdict=report.verdict,
        lr=values.get("lr"),
        weight_decay=values.get("weight_decay"),
        drift=report.drift,
        parameters=size,
        flops=flops,
        loss=loss if loss is not None and math.isfinite(loss) else None,
    )


def variant_differences(ladders: Sequence[LadderReport]) -> Iterator[Difference]:
    """The differences between the optima of every two comparable ladders of one optimizer. There is
    one difference for each hyperparameter with a `hyperparameter_estimate` in both ladders.
    """
    for first, second in itertools.combinations(comparable(ladders), 2):
        if first.optimizer != second.optimizer:
            continue
        for name in first.hyperparameters:
            a, b = (
                hyperparameter_estimate(name, ladder.hyperparameters.get(name))
                for ladder in (first, second)
            )
            if a and b:
                variants = (first.variant, second.variant)
                yield rounded_difference(first.optimizer, name, variants, difference(b, a))


def rounded_difference(
    optimizer: OptimizerName, name: AxisName, variants: tuple[str, str], estimate: Estimate
) -> Difference:
    """The difference between the optima of two variants, rounded for the report."""
    value, low, high = digits(estimate.value), digits(estimate.low), digits(estimate.high)
    return Difference(optimizer, name, *variants, value, low, high, low <= 0 <= high)


def hyperparameter_estimate(name: AxisName, at_target: Hyperparameter | None) -> Estimate | None:
    """The estimate of a hyperparameter at the target, in octaves. None if the ladder does not have
    this hyperparameter, or if its value was not fitted, is unbracketed or has no interval.
    """
    if at_target is None or at_target.status in ("swept", "fixed", "unbracketed"):
        return None
    if not at_target.has_interval:
        return None
    octaves = SCALES[name].octaves
    low, high = sorted((octaves(at_target.low), octaves(at_target.high)))
    return Estimate(octaves(at_target.value), low, high)
