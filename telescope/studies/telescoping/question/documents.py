"""Variants in a document, written as differences from the job's own block.

An entry of `sweep_over` holds only the fields that differ from the block (null restores the
default), as in a merge patch (RFC 7396); the parser sees the whole block, by the block's own type.
`expand` and `collapse` convert between the two. A text's hash and vocabulary size are never
inherited from the block; each entry has its own.

Parts: `expand`, `collapse` documents · `as_given`, their problems · `data_blocks`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from telescope.errors import Problem
from telescope.studies.telescoping.question.models import LadderWidths
from telescope.trials.model import family
from telescope.trials.presets import without_preset

FIELD = "sweep_over"
VARIED = ("model", "data")  # the blocks that may vary
FOUND = ("content", "vocab_size")  # of data: filled in from the text


def expand(document: dict[str, Any]) -> dict[str, Any]:
    """The document with a whole block in every entry of `sweep_over`; malformed entries stay, to be
    refused unchanged.
    """
    asked = document.get(FIELD)
    if not isinstance(asked, dict):
        return document
    made = {
        part: [_whole(one, part, document.get(part)) for one in asked[part]]
        for part in VARIED
        if isinstance(asked.get(part), list)
    }
    return document | {FIELD: asked | made}


def collapse(document: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `expand`: every entry with its name and its differences."""
    asked = document.get(FIELD)
    if not asked:
        return document
    made = {
        part: [
            {"name": one["name"]}
            | block_difference(one[part], inherited(one[part], document[part], part))
            for one in asked[part]
        ]
        for part in VARIED
        if asked.get(part)
    }
    return document | {FIELD: asked | made}


def inherited(whole: Mapping[str, Any], block: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """The fields that an entry inherits: the job's block, or, for another model family or preset,
    its widths alone.
    """
    if part == "model" and any(whole.get(name) != block.get(name) for name in ("family", "preset")):
        return {name: block[name] for name in LadderWidths.__dataclass_fields__}
    return block


def _whole(entry: Any, part: str, block: Any) -> Any:
    """A named block: the job's own, with an entry's differences applied."""
    if not isinstance(entry, dict):
        return entry
    own = (
        {name: value for name, value in block.items() if name not in FOUND}
        if isinstance(block, dict)
        else {}
    )
    said = {name: value for name, value in entry.items() if name != "name"}
    if part == "model" and family(own | said) != family(own):
        # of another kind nothing else is meant
        own = {name: own[name] for name in LadderWidths.__dataclass_fields__ if name in own}
    elif part == "model" and "preset" in said:
        own = without_preset(own)
    whole = {
        name: value for name, value in (own | said).items() if value is not None or name not in said
    }
    return ({"name": entry["name"]} if "name" in entry else {}) | {part: whole}


def block_difference(whole: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Any]:
    """The differences from a block that an entry must hold to give this one."""
    return {
        name: value
        for name, value in whole.items()
        if (value if name in FOUND else block.get(name, ...) != value)
    }


def as_given(problems: Iterable[Problem], document: dict[str, Any]) -> tuple[Problem, ...]:
    """The problems of an expanded document as problems of the user's document; a problem of an
    inherited field is reported on the block alone.
    """
    found = {problem.field: problem for problem in problems}
    return tuple(problem for one in found.values() for problem in _as_given(one, document, found))


def _as_given(
    problem: Problem, document: dict[str, Any], others: Mapping[str, Problem]
) -> Iterator[Problem]:
    match problem.field.split("."):
        case ["sweep_over", ("model" | "data") as part, number, inner, *names] if inner == part:
            said = document[FIELD][part][int(number)]
            if not names or names[0] in said or ".".join([part, *names]) not in others:
                yield replace(problem, field=".".join([FIELD, part, number, *names]))
        case ["sweep_over", ("model" | "data") as part, number] if not isinstance(
            document[FIELD][part][int(number)], dict
        ):
            yield replace(
                problem,
                message=f"must be a mapping of a name and the fields that differ from {part}",
            )
        case _:
            yield problem


def data_blocks(document: dict[str, Any]) -> list[dict[str, Any]]:
    """All data of a study's document, as whole blocks."""
    asked = expand(document).get(FIELD) or {}
    return [document.get("data", {}), *(one["data"] for one in asked.get("data") or ())]
