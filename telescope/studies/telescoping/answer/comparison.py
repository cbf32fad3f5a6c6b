"""The answers of several ladders, and of several variants, side by side.

Optimizers of one variant, and architectures trained on the same data, are compared by their loss at
the optimum of the widest level that all ladders have finished; refused ladders and ladders without
hyperparameters are left out. Equal width is neither equal parameters nor equal FLOPs, so the report
states parameters and FLOPs too. Losses on different corpora, or under different tokenizers, are not
comparable; a study that compares data has no best variant.

A study over variants needs the answer of every variant, so its verdict is the worst verdict of any
variant, and its reason names the variants with this verdict. From worst to best, verdicts are
refused, unbracketed, unresolved, resolved.

Optima at the target are compared in octaves, for every two variants with the same optimizer. The
two ladders share no runs, so their errors add in quadrature. The ladders share seeds and priors on
the drift law, so the interval of the difference is too wide rather than too narrow.

Parts: `together`, the report over variants · `worst`, the verdict of that report · `best_ladder` ·
`compared`, the comparison, made of `ladder_row` and `variant_differences`.
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
        "compared by their loss at equal width, which is neither equal parameters nor equal FLOPs"
    ),
    "data": (
        "losses of different texts are not comparable: "
        "each text has its own best optimizer, and no text is the best"
    ),
}


def together(question: Question, reports: Sequence[Report]) -> Report:
    """The report of a study over variants, from the reports of the variants."""
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
    """The ladder with the lowest loss at the optimum of the widest level that all comparable
    ladders have finished; None if there is no such level.
    """
    level = common_level(ladders)
    if level is None:
        return None
    return min(comparable(ladders), key=lambda ladder: ladder.levels[level].loss)


def comparable(ladders: Sequence[LadderReport]) -> list[LadderReport]:
    """The ladders that are not refused and have hyperparameters."""
    return [ladder for ladder in ladders if ladder.verdict != "refused" and ladder.hyperparameters]


def common_level(ladders: Sequence[LadderReport]) -> int | None:
    """The widest level that all comparable ladders have finished; None without such ladders."""
    finished = [len(ladder.levels) for ladder in comparable(ladders)]
    return min(finished) - 1 if finished else None


def compared(question: Question, ladders: Sequence[LadderReport]) -> VariantComparison:
    """The comparison of the variants so far."""
    assert question.sweep_over is not None
    level, block = common_level(ladders), question.sweep_over.section
    return VariantComparison(
        over=block,
        width=None if level is None else question.model.widths[level],
        rows=tuple(
            ladder_row(variant, run, report, level)
            for (variant, run), report in zip(each_ladder(question), ladders, strict=True)
        ),
        differences=tuple(variant_differences(ladders)),
        remark=REMARKS[block],
    )


def ladder_row(
    variant: Variant, ladder: Ladder, report: LadderReport, level: int | None
) -> Compared:
    """A ladder's row in the comparison. Parameters, FLOPs and loss are at `level`; they are None
    without a level, or if the ladder is refused or has no hyperparameters. An infinite loss is
    None, too.
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
    """The differences between every two variants with the same optimizer, for each hyperparameter
    that has an interval in both ladders.
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
    """A hyperparameter's estimate in octaves; None if it was not fitted, lies at a border or has no
    interval.
    """
    if at_target is None or at_target.status in ("swept", "fixed", "unbracketed"):
        return None
    if not at_target.has_interval:
        return None
    octaves = SCALES[name].octaves
    low, high = sorted((octaves(at_target.low), octaves(at_target.high)))
    return Estimate(octaves(at_target.value), low, high)
