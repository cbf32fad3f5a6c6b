"""Conversion of pydantic's validation errors to telescope's problems (telescope.errors.Problem)."""

import dataclasses
import types
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import ValidationError

from telescope.errors import Problem, closest_name_hint, similar_name_hint, under
from telescope.models.build import FAMILIES
from telescope.trials.types import Inconsistent


def typed_problems(question_type: type, error: ValidationError) -> Iterator[Problem]:
    """The problems of a document, one per field. `question_type` is the type that the document
    should have.

    Errors about the same field are merged. Pydantic gives several errors for a field of a union
    type. A section of the document has no problem of its own if a field in the section has one."""
    by_field: dict[str, list[Problem]] = {}
    for detail in error.errors(include_url=False):
        for problem in _problems(question_type, detail):
            by_field.setdefault(problem.field, []).append(problem)
    for field, problems in by_field.items():
        if not any(deeper.startswith(f"{field}.") for deeper in by_field if field):
            messages = dict.fromkeys(problem.message for problem in problems)
            yield replace(problems[0], message="; or: ".join(messages))


def _problems(question_type: type, detail: Any) -> Iterator[Problem]:
    """The problems that a pydantic error states. `detail` is an entry of `error.errors()`. An
    `Inconsistent` error may state several problems."""
    path, fields, hint = _resolved_path(question_type, detail)
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, Inconsistent):
        yield from (under(path, problem) for problem in cause.problems)
    else:
        yield _problem(detail, path, fields, hint)


def _problem(detail: Any, path: str, fields: dict[str, Any], hint: Any) -> Problem:
    """A pydantic error as a problem. Common errors get a message of telescope's own.

    `path`, `fields` and `hint` are the results of `_resolved_path`."""
    value = detail.get("input")
    match detail["type"]:
        case "unexpected_keyword_argument":
            name = str(detail["loc"][-1])
            return Problem(path, f"unknown key{closest_name_hint(name, list(fields))}", value)
        case "union_tag_invalid":  # the field `family` selects the type of a model
            tag = detail["ctx"]["tag"]
            message = f"must be one of: {', '.join(FAMILIES)}{similar_name_hint(tag, FAMILIES)}"
            return Problem(f"{path}.family", message, tag)
        case "missing":
            return Problem(path, "is missing; give it")
        case "dataclass_type":
            names = ", ".join(list(field_types(hint))[:3])
            message = f"must be a mapping with fields such as {names}"
            return Problem(path, message if value is not None else f"{message}; it is empty", value)
        case "tuple_type":
            return Problem(path, "must be a list", value)
        case "too_short":
            least = detail["ctx"]["min_length"]
            return Problem(path, f"must have at least {least} item{'s' * (least != 1)}", value)
        case "bool_type":
            return Problem(path, "must be a boolean; use true or false", value)
    return Problem(path, str(detail["msg"]).removeprefix("Value error, "), value)


def _resolved_path(question_type: type, detail: Any) -> tuple[str, dict[str, Any], Any]:
    """Three facts about the place of an error:

    - the dotted path of the field. Pydantic's path also names members of unions, which are left out
    - for an unknown key, the fields that the mapping may have, with their types
    - the type at the end of the path
    """
    names, fields, hint = [], field_types(question_type), question_type
    for part in detail["loc"]:
        if isinstance(part, int):
            names.append(str(part))
        elif part in fields or (
            part is detail["loc"][-1]
            and detail["type"] in ("unexpected_keyword_argument", "missing")
        ):
            names.append(part)
            hint = fields.get(part, hint)
            deeper = field_types(hint)
            fields = deeper if part in fields else fields
        elif members := [
            member
            for member in get_args(hint)
            if part in get_args(field_types(member).get("family"))
        ]:
            # the part is the name of a family of models
            fields = field_types(members[0])
    return ".".join(names), fields, hint


def field_types(hint: Any) -> dict[str, Any]:
    """The types of the fields of a dataclass, keyed by name. For a union, the result has the fields
    of its members; for a tuple, those of the first element. Empty for any other type."""
    if get_origin(hint) is tuple:
        return field_types(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        members = [field_types(member) for member in get_args(hint)]
        return {name: field_type for member in members for name, field_type in member.items()}
    if not dataclasses.is_dataclass(hint):
        return {}
    hints = get_type_hints(hint)
    return {field.name: hints[field.name] for field in dataclasses.fields(hint)}
