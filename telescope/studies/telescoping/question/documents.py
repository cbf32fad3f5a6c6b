"""Variants in a document, written as differences from the job's `model` or `data` section.

In the user's document, an entry of `sweep_over` holds only the fields that differ from this
section, as in a merge patch (RFC 7396); null restores a default. The parser needs a complete
section in every entry. `expand` and `collapse` convert between the two forms. An entry never
inherits the hash and the vocabulary size of a corpus.

Parts: `expand`, `collapse` · `in_user_terms`, problems in terms of the user's document ·
`data_sections`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from telescope.errors import Problem
from telescope.studies.telescoping.question.models import LadderWidths
from telescope.trials.model import family
from telescope.trials.presets import without_preset

SWEEP_OVER = "sweep_over"
VARIED = ("model", "data")  # the sections that may vary
FROM_TEXT = ("content", "vocab_size")  # the fields of `data` that are computed from the corpus


def expand(document: dict[str, Any]) -> dict[str, Any]:
    """The document with a complete section in every entry of `sweep_over`. Malformed entries are
    left unchanged, so that the parser refuses them.
    """
    sweep = document.get(SWEEP_OVER)
    if not isinstance(sweep, dict):
        return document
    sections = {
        part: [_complete(entry, part, document.get(part)) for entry in sweep[part]]
        for part in VARIED
        if isinstance(sweep.get(part), list)
    }
    return document | {SWEEP_OVER: sweep | sections}


def collapse(document: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `expand`: the document with only a name and differences in every entry."""
    sweep = document.get(SWEEP_OVER)
    if not sweep:
        return document
    entries = {
        part: [
            {"name": entry["name"]}
            | section_difference(entry[part], inherited(entry[part], document[part], part))
            for entry in sweep[part]
        ]
        for part in VARIED
        if sweep.get(part)
    }
    return document | {SWEEP_OVER: sweep | entries}


def inherited(own: Mapping[str, Any], section: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """The fields of the job's section that `collapse` does not repeat in an entry with section
    `own` if they are equal: all of them, or only the widths if the entry has another model family
    or preset.
    """
    if part == "model" and any(own.get(name) != section.get(name) for name in ("family", "preset")):
        return {name: section[name] for name in LadderWidths.__dataclass_fields__}
    return section


def _complete(entry: Any, part: str, section: Any) -> Any:
    """The entry with a complete section: the job's section, changed by the entry's differences."""
    if not isinstance(entry, dict):
        return entry
    base = section if isinstance(section, dict) else {}
    base = {name: value for name, value in base.items() if name not in FROM_TEXT}
    changes = {name: value for name, value in entry.items() if name != "name"}
    if part == "model" and family(base | changes) != family(base):
        # an entry of another family inherits only the widths
        base = {name: base[name] for name in LadderWidths.__dataclass_fields__ if name in base}
    elif part == "model" and "preset" in changes:
        base = without_preset(base)
    complete = {
        name: value
        for name, value in (base | changes).items()
        if value is not None or name not in changes
    }
    return ({"name": entry["name"]} if "name" in entry else {}) | {part: complete}


def section_difference(own: Mapping[str, Any], section: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `own` that differ from another section, and those FROM_TEXT that are set."""
    return {
        name: value
        for name, value in own.items()
        if (value if name in FROM_TEXT else section.get(name, ...) != value)
    }


def in_user_terms(problems: Iterable[Problem], document: dict[str, Any]) -> tuple[Problem, ...]:
    """The problems of an expanded document, at most one per field, in terms of the user's document;
    a problem of an inherited field is reported once, for the job's section.
    """
    by_field = {problem.field: problem for problem in problems}
    located = (_in_user_document(problem, document, by_field) for problem in by_field.values())
    return tuple(problem for problem in located if problem)


def _in_user_document(
    problem: Problem, document: dict[str, Any], by_field: Mapping[str, Problem]
) -> Problem | None:
    """The problem with its field in the user's document; None if it is a problem of an inherited
    field that the job's section has too.
    """
    match problem.field.split("."):
        case ["sweep_over", ("model" | "data") as part, number, inner, *names] if inner == part:
            entry = document[SWEEP_OVER][part][int(number)]
            inherited_field = names and names[0] not in entry
            if inherited_field and ".".join([part, *names]) in by_field:
                return None
            return replace(problem, field=".".join([SWEEP_OVER, part, number, *names]))
        case ["sweep_over", ("model" | "data") as part, number] if not isinstance(
            document[SWEEP_OVER][part][int(number)], dict
        ):
            message = f"must be a mapping: a name, and the fields that differ from {part}"
            return replace(problem, message=message)
        case _:
            return problem


def data_sections(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The complete `data` sections of a document: the job's own, then one per entry."""
    sweep = expand(document).get(SWEEP_OVER) or {}
    return [document.get("data", {}), *(entry["data"] for entry in sweep.get("data") or ())]
