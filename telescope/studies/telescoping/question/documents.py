"""Variants in a document, written as differences from the job's `model` or `data` section.

A *variant* is one of the architectures or corpora that a job compares; each has an entry in
`sweep_over`. In the user's document, an entry holds a name and only the fields that differ from the
job's section. The entry inherits other fields from the job's section (`_complete`), but never those
that telescope computes (COMPUTED_FIELDS). A value in an entry replaces the job's value as a whole,
even if it is a mapping. The value null removes a field, so that its default or the preset applies.

The parser needs a complete section in every entry. `expand` completes the entries, and `collapse`
reduces them to their differences.
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
# fields that telescope computes: the hash of the data or of the code of a user's model, and the
# size of the vocabulary
COMPUTED_FIELDS = ("content", "vocab_size")


def expand(document: dict[str, Any]) -> dict[str, Any]:
    """The document with a complete section in every entry of `sweep_over`. An entry that is not a
    mapping stays unchanged, and the parser then refuses it.
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
    """The document with only a name and the differences in every entry of `sweep_over`. The entries
    in `document` must have complete sections.
    """
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
    """The fields of the job's `section` with which `collapse` compares an entry's complete section
    (`own`). `part` is the name of the section.

    If `part` is `model` and the family or the preset of `own` differs from that of `section`, the
    result holds only the widths. Otherwise the result is the whole section.
    """
    if part == "model" and any(own.get(name) != section.get(name) for name in ("family", "preset")):
        return {name: section[name] for name in LadderWidths.__dataclass_fields__}
    return section


def _complete(entry: Any, part: str, section: Any) -> Any:
    """The entry with a complete section: the job's section, changed by the entry's differences.

    An entry of another model family inherits only the widths. If an entry of the same family has
    the field `preset`, it inherits the fields that no preset has (such as the widths), and the
    fields that the job sets differently from its own preset. If the job has no preset, the latter
    are the fields that differ from their defaults.
    """
    if not isinstance(entry, dict):
        return entry
    base = section if isinstance(section, dict) else {}
    base = {name: value for name, value in base.items() if name not in COMPUTED_FIELDS}
    changes = {name: value for name, value in entry.items() if name != "name"}
    if part == "model" and family(base | changes) != family(base):
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
    """The fields of `own` that differ from `section`. A field in COMPUTED_FIELDS is instead
    included if its value is neither empty nor 0.
    """
    return {
        name: value
        for name, value in own.items()
        if (value if name in COMPUTED_FIELDS else section.get(name, ...) != value)
    }


def in_user_terms(problems: Iterable[Problem], document: dict[str, Any]) -> tuple[Problem, ...]:
    """The problems of an expanded document, with the field names of the user's `document`. Of
    several problems in one field, only the last is kept. A problem in an inherited field is left
    out if the job's section has a problem in the same field.
    """
    by_field = {problem.field: problem for problem in problems}
    located = (_in_user_document(problem, document, by_field) for problem in by_field.values())
    return tuple(problem for problem in located if problem)


def _in_user_document(
    problem: Problem, document: dict[str, Any], by_field: Mapping[str, Problem]
) -> Problem | None:
    """The problem, with the field name of the user's `document`. If an entry of `sweep_over` is not
    a mapping, its problem gets another message. None if the field is inherited and the job's
    section has a problem in the same field.
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
            message = f"must be a mapping with a name and the fields that differ from {part}"
            return replace(problem, message=message)
        case _:
            return problem


def data_sections(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The complete `data` sections of the document of any kind of job: the job's own sections, then
    the section of each entry in `sweep_over`.
    """
    sweep = expand(document).get(SWEEP_OVER) or {}
    own = document.get("data", {})
    own_sections = own if isinstance(own, list) else [own]  # a grokking job may have several
    return [*own_sections, *(entry["data"] for entry in sweep.get("data") or ())]
