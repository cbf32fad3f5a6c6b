"""The kinds of study, and the conversion between studies and documents.

`KINDS` contains the kinds by name. `parse` turns a user's document, loaded from JSON or YAML, into
a validated study, or raises InvalidInput with the problems of the document. `to_document` turns a
study into a document. `resolved` adds facts to a study, such as the hashes of its data and of
users' models.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from telescope.data.algorithmic import resolve_table
from telescope.data.batches import check_length, resolve
from telescope.errors import InvalidInput, Problem, json_problems, similar_name_hint
from telescope.studies.compute_time.kind import KIND as COMPUTE_TIME
from telescope.studies.forecast.pace import Machine
from telescope.studies.grokking.kind import KIND as GROKKING
from telescope.studies.kind import AnyStudy, Kind
from telescope.studies.problems import typed_problems
from telescope.studies.telescoping.kind import KIND as TELESCOPING
from telescope.trials.data import AnyData
from telescope.trials.table import TableSpec

KINDS: dict[str, Kind[Any, Any, Any]] = {
    kind.name: kind for kind in (TELESCOPING, COMPUTE_TIME, GROKKING)
}


def parse(document: object) -> AnyStudy:
    """The study that a document describes. Raises InvalidInput if the document is invalid."""
    names = ", ".join(KINDS)
    if not isinstance(document, dict):
        raise InvalidInput.of("", f"must be a mapping with a `kind`, one of {names}", document)
    name = document.get("kind")
    if not isinstance(name, str) or name not in KINDS:
        hint = similar_name_hint(str(name), KINDS)
        raise InvalidInput.of("kind", f"must be one of: {names}{hint}", name)
    try:
        problems = tuple(json_problems(document, ""))
    except RecursionError:
        raise InvalidInput.of("", "nests its fields too deeply for a job; nest them less") from None
    if problems:
        raise InvalidInput.because(problems)
    kind = KINDS[name]
    expanded = json.dumps(kind.expand(document))
    try:
        question = TypeAdapter(kind.question).validate_json(expanded, strict=True)
    except ValidationError as error:
        problems = kind.as_given(typed_problems(kind.question, error), document)
        raise InvalidInput.because(problems) from error
    return kind.of(kind.check(question))


def texts(study: AnyStudy) -> Mapping[str, AnyData]:
    """The data that the trials of a study read, keyed by the field of the document that names the
    data."""
    return study.kind.texts(study.question)


def resolved(study: AnyStudy) -> AnyStudy:
    """The study with two additions: the location, hash and size of its corpora and tables, and the
    hash of the code of users' models.

    Raises InvalidInput if data or a model cannot be used, or if the question fails its check.
    """
    kind, question = study.kind, study.question
    corpora, problems = list[AnyData](), list[Problem]()
    for field, data in kind.texts(question).items():
        try:
            corpora.append(resolved_data(data, max(question.batches, default=0)))
        except InvalidInput as error:
            problems += [problem.moved("data", field) for problem in error.problems]
    if problems:
        raise InvalidInput.because(tuple(problems))
    vocab_size = max(data.vocab_size for data in corpora)
    question = kind.with_models(
        kind.with_texts(question, corpora),
        lambda model, field: resolved_model(model, vocab_size, field),
    )
    # checked again, since two names may denote the same corpus
    return kind.of(kind.check(question))


def resolved_data(data: AnyData, batch_tokens: int) -> AnyData:
    """The data with their location, hash and size.

    Raises InvalidInput if a table has problems (`resolve_table`), or if a corpus cannot be read or
    is too short (`check_length`).
    """
    if isinstance(data, TableSpec):
        return resolve_table(data)
    corpus = resolve(data)
    check_length(corpus, batch_tokens)
    return corpus


def resolved_model(model: Any, vocab_size: int, field: str) -> Any:
    """A model, with the hash of its code if it is a user's model. Raises InvalidInput if the code
    has changed since it was imported, or if the model cannot be used with this vocabulary size."""
    try:
        return model.pinned(vocab_size)
    except InvalidInput as error:
        problems = tuple(problem.moved("model", field) for problem in error.problems)
        raise InvalidInput.because(problems) from error


def preview(study: AnyStudy, machine: Machine | None = None) -> Any:
    """The expected trials and cost of a study."""
    return study.preview(machine)


def is_conclusive(kind: str, report: Mapping[str, Any]) -> bool:
    """True if a report, as a JSON document, is final and its verdict answers the question."""
    answers = KINDS[kind].conclusive if kind in KINDS else ("resolved",)
    return bool(report["final"]) and report["verdict"] in answers


def to_document(study: AnyStudy) -> dict[str, Any]:
    """The document that parses to this study."""
    document = json.loads(TypeAdapter(study.kind.question).dump_json(study.question))
    assert isinstance(document, dict)
    return study.kind.collapse(document)


def report_document(report: Any) -> dict[str, Any]:
    """A report or a preview as a JSON document. Infinite numbers and nan become null."""
    document = json.loads(TypeAdapter(type(report)).dump_json(report))
    assert isinstance(document, dict)
    return document
