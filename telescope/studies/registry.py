"""Which studies are there, and how do they travel as documents?

One dict from `kind` to what a kind of study consists of. `parse` turns a user's document (JSON or YAML, already loaded) into a validated
study or refuses it with every problem, each naming its field and a remedy; `to_document` is its inverse. `resolved` fills in what only
the data can tell.
"""

import dataclasses
import json
import math
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from telescope.errors import InvalidInput, Problem, nearest
from telescope.studies import compute_time, telescoping
from telescope.studies.compute_time import bill
from telescope.studies.compute_time import checks as compute_time_checks
from telescope.studies.telescoping import checks as telescoping_checks
from telescope.studies.telescoping import preview as telescoping_preview
from telescope.studies.telescoping.pace import Machine

AnyStudy = telescoping.Telescope | compute_time.ComputeTime


@dataclass(frozen=True)
class Kind:
    """What a kind of study consists of."""

    study: type[Any]
    checked: Callable[[Any], Any]
    """The study, or InvalidInput with everything that is wrong with it."""
    preview: Callable[[Any, Machine | None], Any]
    """What it would run and cost."""


STUDIES: dict[str, Kind] = {
    "telescope": Kind(telescoping.Telescope, telescoping_checks.checked, telescoping_preview.preview),
    "compute_time": Kind(compute_time.ComputeTime, compute_time_checks.checked, bill.preview),
}


def parse(document: object) -> AnyStudy:
    """The study that a document describes; InvalidInput with all its problems otherwise."""
    if not isinstance(document, dict):
        raise InvalidInput.of("", f"must be a mapping with a `kind`, one of {', '.join(STUDIES)}", document)
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in STUDIES:
        raise InvalidInput.of("kind", f"must be one of: {', '.join(STUDIES)}{nearest(str(kind), list(STUDIES))}", kind)
    try:
        unfit = tuple(not_plain(document, ""))
    except RecursionError:
        raise InvalidInput.of("", "nests its fields too deeply for a job") from None
    if unfit:
        raise InvalidInput.because(unfit)
    study_type = STUDIES[kind].study
    try:
        study = TypeAdapter(study_type).validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        raise InvalidInput.because(tuple(_problems(study_type, error))) from error
    checked: AnyStudy = STUDIES[kind].checked(study)
    return checked


def resolved(study: AnyStudy) -> AnyStudy:
    """The study with its corpus found, hashed and counted; InvalidInput where it is missing or too short."""
    from telescope.data import check_length, resolve

    data = resolve(study.data)
    check_length(data, max(study.batches))
    return replace(study, data=data)


def preview(study: AnyStudy, machine: Machine | None = None) -> Any:
    """What a study would run and cost."""
    return STUDIES[study.kind].preview(study, machine)


def to_document(study: AnyStudy) -> dict[str, Any]:
    """The document that parses to this study."""
    document = json.loads(TypeAdapter(type(study)).dump_json(study))
    assert isinstance(document, dict)
    return document


def report_document(report: Any) -> dict[str, Any]:
    """A report, or a preview, as JSON would hold it; infinite numbers become null."""
    document = json.loads(TypeAdapter(type(report)).dump_json(report))
    assert isinstance(document, dict)
    return document


def not_plain(value: object, path: str) -> Iterator[Problem]:
    """Everything in a document that JSON cannot hold."""
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, str):
                yield from not_plain(item, f"{path}.{key}".lstrip("."))
            else:
                yield Problem(path, "keys must be text; quote it", repr(key))
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from not_plain(item, f"{path}.{i}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(path, "must be a finite number", str(value))
    elif not isinstance(value, (str, int, float, bool, type(None))):
        yield Problem(path, "must be text, a number, true, false, null, a list or a mapping", repr(value))


def _problems(study_type: type, error: ValidationError) -> Iterator[Problem]:
    """Pydantic's complaints, one per field: those about the branches of a union become one, or give way to what lies deeper."""
    found: dict[str, list[Problem]] = {}
    for detail in error.errors(include_url=False):
        problem = _problem(study_type, detail)
        found.setdefault(problem.field, []).append(problem)
    for field, said in found.items():
        if not any(other.startswith(f"{field}.") for other in found if field):
            yield replace(said[0], message="; or: ".join(dict.fromkeys(problem.message for problem in said)))


def _problem(study_type: type, detail: Any) -> Problem:
    """One of pydantic's complaints in our words: the path without its union branches, and the nearest name for an unknown key."""
    names, fields, hint = [], field_types(study_type), study_type
    for part in detail["loc"]:
        if isinstance(part, int):
            names.append(str(part))
        elif part in fields or (part is detail["loc"][-1] and detail["type"] in ("unexpected_keyword_argument", "missing")):
            names.append(part)
            hint = fields.get(part, hint)
            deeper = field_types(hint)
            fields = deeper if part in fields else fields
    path, value = ".".join(names), detail.get("input")
    if detail["type"] == "unexpected_keyword_argument":
        return Problem(path, f"unknown key{nearest(names[-1], list(fields))}", value)
    if detail["type"] == "missing":
        return Problem(path, "is missing; give it")
    if detail["type"] == "dataclass_type":
        expected = f"must be a block of fields such as {', '.join(list(field_types(hint))[:3])}"
        return Problem(path, expected if value is not None else f"{expected}; it is empty", value)
    if detail["type"] == "bool_type":
        return Problem(path, "must be a boolean; use true or false", value)
    return Problem(path, str(detail["msg"]).removeprefix("Value error, "), value)


def field_types(hint: Any) -> dict[str, Any]:
    """Names and types of the fields of a dataclass, or of the dataclasses in a union; empty for anything else."""
    if get_origin(hint) in (Union, types.UnionType):
        return {name: found for member in get_args(hint) for name, found in field_types(member).items()}
    if not dataclasses.is_dataclass(hint):
        return {}
    hints = get_type_hints(hint)
    return {f.name: hints[f.name] for f in dataclasses.fields(hint)}
