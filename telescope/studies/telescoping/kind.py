"""`kind: telescope` as a value: the question, its checks, its fold, its answer and its forecast."""

from collections.abc import Sequence
from dataclasses import replace

from telescope.studies.kind import Kind, Plan
from telescope.studies.telescoping.answer.answer import answer
from telescope.studies.telescoping.checks import checked
from telescope.studies.telescoping.fold.ladders import each_ladder
from telescope.studies.telescoping.fold.progress import progress
from telescope.studies.telescoping.forecast.preview import Preview, preview
from telescope.studies.telescoping.question import variants
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.report import Report
from telescope.trials.outcome import Trial


def plan(question: Question, trials: Sequence[Trial]) -> Plan:
    """The runs that the current stage of each ladder still lacks."""
    ladders = [(variant, progress(variant.question, ladder, trials)) for variant, ladder in each_ladder(question)]
    planned = tuple(replace(one, label=replace(one.label, variant=variant.name)) for variant, ladder in ladders for one in ladder.missing)
    return Plan(planned, all(ladder.ended for _, ladder in ladders))


KIND = Kind(
    name="telescope",
    question=Question,
    report=Report,
    preview=Preview,
    check=checked,
    plan=plan,
    answer=answer,
    forecast=preview,
    texts=variants.texts,
    with_texts=variants.with_texts,
    with_models=variants.with_models,
    variant_of=variants.variant_of,
    expand=variants.expanded,
    collapse=variants.condensed,
    as_given=variants.as_given,
)
