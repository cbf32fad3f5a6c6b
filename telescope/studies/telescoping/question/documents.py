"""Variants in a document, which are written by what they have otherwise than the job's own block.

An entry of `sweep_over` says only what it has otherwise than the block (a null goes back to the default), as in a merge patch (RFC 7396);
what is parsed is the whole block, by the block's own type. Two functions lead there and back. What was found in a text, its hash and the
size of its vocabulary, is never taken over from the block: it stands in each entry.

Parts: `expand`, `collapse`, documents · `as_given`, their problems · `data_blocks`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from telescope.errors import Problem
from telescope.studies.telescoping.question.models import LadderWidths
from telescope.trials.model import family
from telescope.trials.presets import without_preset

FIELD = "sweep_over"
VARIED = ("model", "data")  # the blocks that may be
FOUND = ("content", "vocab_size")  # of data: filled in from the text


def expand(document: dict[str, Any]) -> dict[str, Any]:
    """The document with a whole block in every entry of `sweep_over`; what has not its shape stays, to be refused as it is."""
    asked = document.get(FIELD)
    if not isinstance(asked, dict):
        return document
    made = {part: [_whole(one, part, document.get(part)) for one in asked[part]] for part in VARIED if isinstance(asked.get(part), list)}
    return document | {FIELD: asked | made}


def collapse(document: dict[str, Any]) -> dict[str, Any]:
    """The inverse: every entry with its name and what differs."""
    asked = document.get(FIELD)
    if not asked:
        return document
    made = {
        part: [{"name": one["name"]} | difference(one[part], inherited(one[part], document[part], part)) for one in asked[part]]
        for part in VARIED
        if asked.get(part)
    }
    return document | {FIELD: asked | made}


def inherited(whole: Mapping[str, Any], block: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """What an entry need not say: the job's block, or, of another kind of model or under another preset, its widths alone."""
    if part == "model" and any(whole.get(name) != block.get(name) for name in ("family", "preset")):
        return {name: block[name] for name in LadderWidths.__dataclass_fields__}
    return block


def _whole(entry: Any, part: str, block: Any) -> Any:
    """A named block: the job's own, with what an entry says of it."""
    if not isinstance(entry, dict):
        return entry
    own = {name: value for name, value in block.items() if name not in FOUND} if isinstance(block, dict) else {}
    said = {name: value for name, value in entry.items() if name != "name"}
    if part == "model" and family(own | said) != family(own):
        own = {name: own[name] for name in LadderWidths.__dataclass_fields__ if name in own}  # of another kind nothing else is meant
    elif part == "model" and "preset" in said:
        own = without_preset(own)
    whole = {name: value for name, value in (own | said).items() if value is not None or name not in said}
    return ({"name": entry["name"]} if "name" in entry else {}) | {part: whole}


def difference(whole: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Any]:
    """What an entry has to say of a block to be this one."""
    return {name: value for name, value in whole.items() if (value if name in FOUND else block.get(name, ...) != value)}


def as_given(problems: Iterable[Problem], document: dict[str, Any]) -> tuple[Problem, ...]:
    """The problems of an expanded document as those of the document itself: what is wrong with a block is said of the block alone."""
    found = {problem.field: problem for problem in problems}
    return tuple(problem for one in found.values() for problem in _as_given(one, document, found))


def _as_given(problem: Problem, document: dict[str, Any], others: Mapping[str, Problem]) -> Iterator[Problem]:
    match problem.field.split("."):
        case ["sweep_over", ("model" | "data") as part, number, inner, *names] if inner == part:
            said = document[FIELD][part][int(number)]
            if not names or names[0] in said or ".".join([part, *names]) not in others:
                yield replace(problem, field=".".join([FIELD, part, number, *names]))
        case ["sweep_over", ("model" | "data") as part, number] if not isinstance(document[FIELD][part][int(number)], dict):
            yield replace(problem, message=f"must be a name and the fields that it has otherwise than {part}")
        case _:
            yield problem


def data_blocks(document: dict[str, Any]) -> list[dict[str, Any]]:
    """All data that a study's document names, as whole blocks."""
    asked = expand(document).get(FIELD) or {}
    return [document.get("data", {}), *(one["data"] for one in asked.get("data") or ())]
