"""Which studies are there, and how do they travel as documents?

One dict from `kind` to what a kind of study consists of. `parse` turns a user's document (JSON or YAML, already loaded) into a validated
study or refuses it with every problem, each naming its field and a remedy; `to_document` is its inverse. `resolved` fills in what only
the data can tell.
"""

import dataclasses
import json
import math
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from telescope.errors import InvalidInput, Problem, nearest
from telescope.spec import DataSpec
from telescope.studies import compute_time, telescoping
from telescope.studies.compute_time import bill
from telescope.studies.compute_time import checks as compute_time_checks
from telescope.studies.telescoping import checks as telescoping_checks
from telescope.studies.telescoping import preview as telescoping_preview
from telescope.studies.telescoping import variants
from telescope.studies.telescoping.pace import Machine
from telescope.studies.telescoping.question import LadderModule

AnyStudy = telescoping.Telescope | compute_time.ComputeTime


FAMILIES = ("transformer", "module")


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
        study = TypeAdapter(study_type).validate_json(json.dumps(variants.expanded(document)), strict=True)
    except ValidationError as error:
        raise InvalidInput.because(variants.as_given(_problems(study_type, error), document)) from error
    checked: AnyStudy = STUDIES[kind].checked(study)
    return checked


def texts(study: AnyStudy) -> dict[str, DataSpec]:
    """The data that the trials of a study read, by the field that names them."""
    return variants.texts(study) if isinstance(study, telescoping.Telescope) else {"data": study.data}


def resolved(study: AnyStudy) -> AnyStudy:
    """The study with its corpora found, hashed and counted, and the code of users' models hashed; InvalidInput where one will not do."""
    found, problems = list[DataSpec](), list[Problem]()
    for field, data in texts(study).items():
        try:
            found.append(_found(data, max(study.batches)))
        except InvalidInput as error:
            problems += [replace(one, field=re.sub(r"^data\b", field, one.field)) for one in error.problems]
    if problems:
        raise InvalidInput.because(tuple(problems))
    if isinstance(study, telescoping.Telescope):
        largest = max(data.vocab_size for data in found)
        seen = variants.with_models(variants.with_texts(study, found), lambda model, field: resolved_model(model, largest, field))
        return telescoping_checks.checked(seen)  # again: two names may be those of one text
    return replace(study, data=found[0])


def _found(data: DataSpec, batch_tokens: int) -> DataSpec:
    from telescope.data import check_length, resolve

    found = resolve(data)
    check_length(found, batch_tokens)
    return found


def resolved_model(model: Any, vocab_size: int, field: str) -> Any:
    """A user's model with the hash of its code, once it is seen to take tokens of this vocabulary; any other as it is."""
    try:
        return _resolved_model(model, vocab_size) if isinstance(model, LadderModule) else model
    except InvalidInput as error:
        raise InvalidInput.because(tuple(replace(one, field=re.sub(r"^model\b", field, one.field)) for one in error.problems)) from error


def _resolved_model(model: LadderModule, vocab_size: int) -> LadderModule:
    from telescope import factory, module

    found = factory.content(model.factory)
    if factory.content.__wrapped__(model.factory) != found:
        message = "its code has changed since this process imported it; start telescope anew"
        raise InvalidInput.of("model.factory", message, model.factory)
    resolved = replace(model, content=found)
    module.check_vocabulary(resolved.at(resolved.base_width), vocab_size)
    return resolved


def preview(study: AnyStudy, machine: Machine | None = None) -> Any:
    """What a study would run and cost."""
    return STUDIES[study.kind].preview(study, machine)


def to_document(study: AnyStudy) -> dict[str, Any]:
    """The document that parses to this study."""
    document = json.loads(TypeAdapter(type(study)).dump_json(study))
    assert isinstance(document, dict)
    return variants.condensed(document)


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
        elif members := [one for one in get_args(hint) if part in get_args(field_types(one).get("family"))]:
            fields = field_types(members[0])  # of a model, the family says which
    path, value = ".".join(names), detail.get("input")
    if detail["type"] == "unexpected_keyword_argument":
        return Problem(path, f"unknown key{nearest(names[-1], list(fields))}", value)
    if detail["type"] == "union_tag_invalid":  # of a model, the one union that a field of its own tells apart
        tag = detail["ctx"]["tag"]
        return Problem(f"{path}.family", f"must be one of: {', '.join(FAMILIES)}{nearest(tag, list(FAMILIES))}", tag)
    if detail["type"] == "missing":
        return Problem(path, "is missing; give it")
    if detail["type"] == "dataclass_type":
        expected = f"must be a block of fields such as {', '.join(list(field_types(hint))[:3])}"
        return Problem(path, expected if value is not None else f"{expected}; it is empty", value)
    if detail["type"] == "bool_type":
        return Problem(path, "must be a boolean; use true or false", value)
    return Problem(path, str(detail["msg"]).removeprefix("Value error, "), value)


def field_types(hint: Any) -> dict[str, Any]:
    """Names and types of the fields of a dataclass, or of the dataclasses in a union or a tuple; empty for anything else."""
    if get_origin(hint) is tuple:
        return field_types(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return {name: found for member in get_args(hint) for name, found in field_types(member).items()}
    if not dataclasses.is_dataclass(hint):
        return {}
    hints = get_type_hints(hint)
    return {f.name: hints[f.name] for f in dataclasses.fields(hint)}
