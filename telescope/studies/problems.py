"""Problems of documents: pydantic's errors, with a field, a value and a remedy."""

import dataclasses
import types
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import ValidationError

from telescope.errors import Problem, closest_name_hint
from telescope.models.build import FAMILIES


def typed_problems(study_type: type, error: ValidationError) -> Iterator[Problem]:
    """Pydantic's errors, one per field: those of a union's branches become one, or give way to
    errors of deeper fields.
    """
    found: dict[str, list[Problem]] = {}
    for detail in error.errors(include_url=False):
        problem = _problem(study_type, detail)
        found.setdefault(problem.field, []).append(problem)
    for field, said in found.items():
        if not any(other.startswith(f"{field}.") for other in found if field):
            yield replace(
                said[0], message="; or: ".join(dict.fromkeys(problem.message for problem in said))
            )


def _problem(study_type: type, detail: Any) -> Problem:
    """A pydantic error in our words: the path without union branches, and the nearest name for an
    unknown key.
    """
    names, fields, hint = [], field_types(study_type), study_type
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
            one for one in get_args(hint) if part in get_args(field_types(one).get("family"))
        ]:
            fields = field_types(members[0])  # a model's family selects the branch
    path, value = ".".join(names), detail.get("input")
    if detail["type"] == "unexpected_keyword_argument":
        return Problem(path, f"unknown key{closest_name_hint(names[-1], list(fields))}", value)
    if detail["type"] == "union_tag_invalid":  # a model, the only union discriminated by a field
        tag = detail["ctx"]["tag"]
        return Problem(
            f"{path}.family",
            f"must be one of: {', '.join(FAMILIES)}{closest_name_hint(tag, list(FAMILIES))}",
            tag,
        )
    if detail["type"] == "missing":
        return Problem(path, "is missing; give it")
    if detail["type"] == "dataclass_type":
        expected = f"must be a block of fields such as {', '.join(list(field_types(hint))[:3])}"
        return Problem(path, expected if value is not None else f"{expected}; it is empty", value)
    if detail["type"] == "bool_type":
        return Problem(path, "must be a boolean; use true or false", value)
    return Problem(path, str(detail["msg"]).removeprefix("Value error, "), value)


def field_types(hint: Any) -> dict[str, Any]:
    """Names and types of the fields of a dataclass, or of the dataclasses in a union or a tuple;
    empty for anything else.
    """
    if get_origin(hint) is tuple:
        return field_types(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return {
            name: found for member in get_args(hint) for name, found in field_types(member).items()
        }
    if not dataclasses.is_dataclass(hint):
        return {}
    hints = get_type_hints(hint)
    return {f.name: hints[f.name] for f in dataclasses.fields(hint)}
