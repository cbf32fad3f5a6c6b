"""The `Kind` value of grokking studies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from telescope.studies.grokking.answer import answer
from telescope.studies.grokking.bill import GrokkingForecast, preview
from telescope.studies.grokking.checks import problems
from telescope.studies.grokking.fold import progress
from telescope.studies.grokking.question import Question
from telescope.studies.grokking.reasons import CellName
from telescope.studies.grokking.report import GrokkingReport
from telescope.studies.grokking.runs import cells_of, table_of
from telescope.studies.grokking.wording import cell_title
from telescope.studies.kind import Kind, Plan
from telescope.trials.data import AnyData
from telescope.trials.outcome import Trial
from telescope.trials.spec import TrialSpec


def plan(question: Question, trials: Sequence[Trial]) -> Plan:
    missing = progress(question, trials).missing
    return Plan(missing, done=not missing)


def texts(question: Question) -> Mapping[str, AnyData]:
    """The tables, keyed by the field of the document that holds each."""
    return question.tables_by_field


def with_texts(question: Question, tables: Sequence[Any]) -> Question:
    """The question with other tables."""
    data = tuple(tables) if isinstance(question.data, tuple) else tables[0]
    return replace(question, data=data)


def with_models(question: Question, replacement: Callable[[Any, str], Any]) -> Question:
    """The question with its model replaced."""
    return replace(question, model=replacement(question.model, "model"))


def variant_of(question: Question, spec: TrialSpec) -> str:
    """The cell that a trial belongs to, as text; empty if the study has one cell."""
    if len(cells_of(question)) == 1:
        return ""
    return cell_title(CellName(task=table_of(spec).title, softmax=spec.softmax))


KIND = Kind(
    name="grokking",
    question=Question,
    report=GrokkingReport,
    preview=GrokkingForecast,
    problems=problems,
    plan=plan,
    answer=answer,
    forecast=preview,
    expected_flops=lambda forecast: forecast.flops.expected,
    conclusive=frozenset({"faster", "slower", "not_told_apart", "depends"}),
    texts=texts,
    with_texts=with_texts,
    with_models=with_models,
    variant_of=variant_of,
)
