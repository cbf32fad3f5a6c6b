"""Variants in a document, written as differences from the job's own block.

In the user's document, an entry of `sweep_over` holds only the fields that differ from the block,
as in a merge patch (RFC 7396); null restores a default. The parser reads complete blocks. `expand`
and `collapse` convert between the two forms. A text's hash and vocabulary size are never inherited
from the block; each entry has its own.

Parts: `expand`, `collapse` · `as_given`, problems in terms of the user's document · `data_blocks`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from telescope.errors import Problem
from telescope.studies.telescoping.question.models import LadderWidths
from telescope.trials.model import family
from telescope.trials.presets import without_preset

FIELD = "sweep_over"
VARIED = ("model", "data")  # the blocks that may vary
FROM_TEXT = ("content", "vocab_size")  # fields of `data` that are computed from the text


def expand(document: dict[str, Any]) -> dict[str, Any]:
    """The document with a complete block in every entry of `sweep_over`. Malformed entries stay as
    they are, for the parser to refuse.
    """
    sweep = document.get(FIELD)
    if not isinstance(sweep, dict):
        return document
    blocks = {
        part: [_complete(entry, part, document.get(part)) for entry in sweep[part]]
        for part in VARIED
        if isinstance(sweep.get(part), list)
    }
    return document | {FIELD: sweep | blocks}


def collapse(document: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `expand`: the document with the name and the differences of every entry."""
    sweep = document.get(FIELD)
    if not sweep:
        return document
    entries = {
        part: [
            {"name": entry["name"]}
            | block_difference(entry[part], inherited(entry[part], document[part], part))
            for entry in sweep[part]
        ]
        for part in VARIED
        if sweep.get(part)
    }
    return document | {FIELD: sweep | entries}


def inherited(own: Mapping[str, Any], block: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """The fields that an entry with block `own` inherits: all fields of the job's block, or its
    widths alone where the entry has another model family or preset.
    """
    if part == "model" and any(own.get(name) != block.get(name) for name in ("family", "preset")):
        return {name: block[name] for name in LadderWidths.__dataclass_fields__}
    return block


def _complete(entry: Any, part: str, block: Any) -> Any:
    """A named block: the job's own block with the differences of an entry applied."""
    if not isinstance(entry, dict):
        return entry
    base = block if isinstance(block, dict) else {}
    base = {name: value for name, value in base.items() if name not in FROM_TEXT}
    changes = {name: value for name, value in entry.items() if name != "name"}
    if part == "model" and family(base | changes) != family(base):
        # another family shares only the widths
        base = {name: base[name] for name in LadderWidths.__dataclass_fields__ if name in base}
    elif part == "model" and "preset" in changes:
        base = without_preset(base)
    complete = {
        name: value
        for name, value in (base | changes).items()
        if value is not None or name not in changes
    }
    return ({"name": entry["name"]} if "name" in entry else {}) | {part: complete}


def block_difference(own: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `own` that differ from a block: what an entry must hold."""
    return {
        name: value
        for name, value in own.items()
        if (value if name in FROM_TEXT else block.get(name, ...) != value)
    }


def as_given(problems: Iterable[Problem], document: dict[str, Any]) -> tuple[Problem, ...]:
    """The problems of an expanded document, in terms of the user's document; the problem of an
    inherited field is reported on the block alone.
    """
    by_field = {problem.field: problem for problem in problems}
    located = (_in_user_document(problem, document, by_field) for problem in by_field.values())
    return tuple(problem for problem in located if problem)


def _in_user_document(
    problem: Problem, document: dict[str, Any], by_field: Mapping[str, Problem]
) -> Problem | None:
    """The problem with its field in the user's document; None where the block has the same one."""
    match problem.field.split("."):
        case ["sweep_over", ("model" | "data") as part, number, inner, *names] if inner == part:
            entry = document[FIELD][part][int(number)]
            inherited_field = names and names[0] not in entry
            if inherited_field and ".".join([part, *names]) in by_field:
                return None
            return replace(problem, field=".".join([FIELD, part, number, *names]))
        case ["sweep_over", ("model" | "data") as part, number] if not isinstance(
            document[FIELD][part][int(number)], dict
        ):
            message = f"must be a mapping of a name and the fields that differ from {part}"
            return replace(problem, message=message)
        case _:
            return problem


def data_blocks(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The complete `data` blocks of a document: the job's own, then one per entry."""
    sweep = expand(document).get(FIELD) or {}
    return [document.get("data", {}), *(entry["data"] for entry in sweep.get("data") or ())]
