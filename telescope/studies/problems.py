"""Conversion of pydantic's errors about a document to problems. Each problem names a field of the
document and, in most cases, its value and a remedy."""

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
    """The problems that an error states about a document, one per field. Several errors about one
    field, such as one error for each type that the field may have, are merged. The problem of a
    field is left out if a field inside it has a problem, too."""
    by_field: dict[str, list[Problem]] = {}
    for detail in error.errors(include_url=False):
        for problem in _problems(question_type, detail):
            by_field.setdefault(problem.field, []).append(problem)
    for field, problems in by_field.items():
        if not any(deeper.startswith(f"{field}.") for deeper in by_field if field):
            messages = dict.fromkeys(problem.message for problem in problems)
            yield replace(problems[0], message="; or: ".join(messages))


def _problems(question_type: type, detail: Any) -> Iterator[Problem]:
    """The problems that a pydantic error states. If fields contradict each other, a single error
    states one problem for each of these fields."""
    path, fields, hint = _resolved_path(question_type, detail)
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, Inconsistent):
        yield from (under(path, problem) for problem in cause.problems)
    else:
        yield _problem(detail, path, fields, hint)


def _problem(detail: Any, path: str, fields: dict[str, Any], hint: Any) -> Problem:
    """A pydantic error as a problem. The path of the problem has only names of fields and positions
    in lists. For an unknown key, the message suggests a known name that is similar, if there is
    one."""
    value = detail.get("input")
    match detail["type"]:
        case "unexpected_keyword_argument":
            name = str(detail["loc"][-1])
            return Problem(path, f"unknown key{closest_name_hint(name, list(fields))}", value)
        case "union_tag_invalid":  # in a model: its field `family` selects its type
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
    """The path of an error, the types of the fields of the mapping that contains the error, and the
    type at the end of the path. Pydantic's path also names the branches of unions; these names are
    left out."""
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
            # the part is a family, which selects the type of a model
            fields = field_types(members[0])
    return ".".join(names), fields, hint


def field_types(hint: Any) -> dict[str, Any]:
    """The types of the fields of a dataclass, by the field's name. For a union, the fields of all
    its dataclasses; for a tuple, the fields of its first element. Empty for any other type."""
    if get_origin(hint) is tuple:
        return field_types(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        members = [field_types(member) for member in get_args(hint)]
        return {name: field_type for member in members for name, field_type in member.items()}
    if not dataclasses.is_dataclass(hint):
        return {}
    hints = get_type_hints(hint)
    return {field.name: hints[field.name] for field in dataclasses.fields(hint)}
