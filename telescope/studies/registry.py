"""The kinds of study, and the conversion between studies and documents.

`KINDS` has a line per kind. `parse` turns a user's document (JSON or YAML, already loaded) into a
validated study, or refuses it with every problem, each naming its field and a remedy;
`to_document` is its inverse. `resolved` fills in what only the data and the code can provide.
"""

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from telescope.data.batches import check_length, resolve
from telescope.errors import InvalidInput, Problem, closest_name_hint, json_problems
from telescope.studies.compute_time.kind import KIND as COMPUTE_TIME
from telescope.studies.forecast.pace import Machine
from telescope.studies.kind import AnyStudy, Kind
from telescope.studies.problems import typed_problems
from telescope.studies.telescoping.kind import KIND as TELESCOPING
from telescope.trials.data import DataSpec

KINDS: dict[str, Kind[Any, Any, Any]] = {kind.name: kind for kind in (TELESCOPING, COMPUTE_TIME)}


def parse(document: object) -> AnyStudy:
    """The study that a document describes. Raises InvalidInput with all problems of the
    document.
    """
    if not isinstance(document, dict):
        raise InvalidInput.of(
            "", f"must be a mapping with a `kind`, one of {', '.join(KINDS)}", document
        )
    name = document.get("kind")
    if not isinstance(name, str) or name not in KINDS:
        raise InvalidInput.of(
            "kind",
            f"must be one of: {', '.join(KINDS)}{closest_name_hint(str(name), list(KINDS))}",
            name,
        )
    try:
        unfit = tuple(json_problems(document, ""))
    except RecursionError:
        raise InvalidInput.of("", "nests its fields too deeply for a job") from None
    if unfit:
        raise InvalidInput.because(unfit)
    kind = KINDS[name]
    try:
        question = TypeAdapter(kind.question).validate_json(
            json.dumps(kind.expand(document)), strict=True
        )
    except ValidationError as error:
        raise InvalidInput.because(
            kind.as_given(typed_problems(kind.question, error), document)
        ) from error
    return kind.of(kind.check(question))


def texts(study: AnyStudy) -> dict[str, DataSpec]:
    """The data that the trials of a study read, by field."""
    return study.kind.texts(study.question)


def resolved(study: AnyStudy) -> AnyStudy:
    """The study with its corpora located, hashed and counted, and the code of users' models hashed.

    Raises InvalidInput where a corpus or model is unusable.
    """
    kind, question = study.kind, study.question
    found, problems = list[DataSpec](), list[Problem]()
    for field, data in kind.texts(question).items():
        try:
            found.append(_found(data, max(question.batches)))
        except InvalidInput as error:
            problems += [one.moved("data", field) for one in error.problems]
    if problems:
        raise InvalidInput.because(tuple(problems))
    largest = max(data.vocab_size for data in found)
    seen = kind.with_models(
        kind.with_texts(question, found), lambda model, field: resolved_model(model, largest, field)
    )
    return kind.of(kind.check(seen))  # again, since two names may denote the same text


def _found(data: DataSpec, batch_tokens: int) -> DataSpec:
    found = resolve(data)
    check_length(found, batch_tokens)
    return found


def resolved_model(model: Any, vocab_size: int, field: str) -> Any:
    """A model with the hash of its code, checked to accept tokens of this vocabulary."""
    try:
        return model.resolved(vocab_size)
    except InvalidInput as error:
        raise InvalidInput.because(
            tuple(one.moved("model", field) for one in error.problems)
        ) from error


def preview(study: AnyStudy, machine: Machine | None = None) -> Any:
    """The expected runs and cost of a study."""
    return study.preview(machine)


def to_document(study: AnyStudy) -> dict[str, Any]:
    """The document that parses to this study."""
    document = json.loads(TypeAdapter(study.kind.question).dump_json(study.question))
    assert isinstance(document, dict)
    return study.kind.collapse(document)


def report_document(report: Any) -> dict[str, Any]:
    """A report or a preview as a JSON document; infinite numbers become null."""
    document = json.loads(TypeAdapter(type(report)).dump_json(report))
    assert isinstance(document, dict)
    return document
