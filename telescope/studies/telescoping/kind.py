"""The types and functions of studies with `kind: telescope`, collected in `KIND`.

A *ladder* is the search of one optimizer over growing widths. A *variant* is one of the
architectures or texts that a study compares; it has one ladder per optimizer. A *stage* is a set of
runs that a ladder plans together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from telescope.studies.kind import CheckedLadder, Kind, Plan
from telescope.studies.telescoping.answer.answer import answer
from telescope.studies.telescoping.checks.checks import problems
from telescope.studies.telescoping.fold.ladders import coordinate_design, each_ladder
from telescope.studies.telescoping.fold.progress import ladder_progress
from telescope.studies.telescoping.forecast.preview import Preview, preview
from telescope.studies.telescoping.question import documents, variants
from telescope.studies.telescoping.question.models import AnyLadderModel
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.report import Report
from telescope.trials.outcome import Trial


def plan(question: Question, trials: Sequence[Trial]) -> Plan:
    """The missing runs of each ladder's current stage, and whether all ladders have ended."""
    ladders = [
        (variant, ladder_progress(variant.question, ladder, trials))
        for variant, ladder in each_ladder(question)
    ]
    missing = tuple(
        replace(planned, label=replace(planned.label, variant=variant.name))
        for variant, progress in ladders
        for planned in progress.missing
    )
    return Plan(missing, all(progress.ended for _, progress in ladders))


def models(question: Question) -> tuple[AnyLadderModel, ...]:
    """The model of each variant."""
    return tuple(variant.question.model for variant in variants.variants(question))


def checked_ladders(question: Question) -> Iterator[CheckedLadder]:
    """Every ladder, with the design of its coordinate check."""
    for variant, ladder in each_ladder(question):
        yield CheckedLadder(
            ladder.optimizer, variant.name, coordinate_design(variant.question, ladder)
        )


KIND = Kind(
    name="telescope",
    question=Question,
    report=Report,
    preview=Preview,
    problems=problems,
    plan=plan,
    answer=answer,
    forecast=preview,
    expected_flops=lambda forecast: forecast.flops.expected,
    models=models,
    ladders=checked_ladders,
    texts=variants.texts,
    with_texts=variants.with_texts,
    with_models=variants.with_models,
    variant_of=variants.variant_of,
    expand=documents.expand,
    collapse=documents.collapse,
    as_given=documents.in_user_terms,
)
