"""How does one job compare architectures, or texts?

`sweep_over` names variants of the job's `model` block, or of its `data` block. Each variant is a question of its own: the same study with
that block alone, and with an equal share of the limits that are counted over all ladders. So its ladders plan the trials that a job of
that architecture or text would plan, digests included, and neither waits for the others.

In a document an entry says only what it has otherwise than the block (a null goes back to the default); what is parsed is the whole
block, by the block's own type. Two functions lead there and back. What was found in a text, its hash and the size of its vocabulary, is
never taken over from the block: it stands in each entry.

Parts: `Variant`, `variants`, `variant_of` a run · `expanded`, `condensed`, documents · `as_given`, their problems.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from telescope.errors import Problem
from telescope.studies.telescoping.question.models import AnyLadder, LadderWidths
from telescope.studies.telescoping.question.parts import Limits, NamedData, NamedModel
from telescope.studies.telescoping.question.question import Question
from telescope.trials.data import ORIGIN, DataSpec
from telescope.trials.model import AnyModel, family
from telescope.trials.presets import without_preset
from telescope.trials.spec import TrialSpec

FIELD = "sweep_over"
VARIED = ("model", "data")  # the blocks that may be
FOUND = ("content", "vocab_size")  # of data: filled in from the text


@dataclass(frozen=True)
class Variant:
    """One architecture or one text of a study over several."""

    name: str  # empty where there are no others
    question: Question  # of this one alone
    differs: Mapping[str, Any]  # the fields that it has otherwise than the block it varies, as a document has them


@lru_cache(maxsize=256)
def variants(question: Question) -> tuple[Variant, ...]:
    """Those of a study; the study itself where it compares none."""
    if question.sweep_over is None:
        return (Variant("", question, {}),)
    entries = question.sweep_over.entries
    alone = replace(question, sweep_over=None, limits=shared(question.limits, len(entries)))
    return tuple(Variant(one.name, with_block(alone, one), own_fields(one, question)) for one in entries)


def with_block(question: Question, one: NamedModel | NamedData) -> Question:
    """The study of this architecture, or of this text."""
    changed: dict[str, Any] = {one.part: one.whole}
    return replace(question, **changed)


def own_fields(one: NamedModel | NamedData, question: Question) -> dict[str, Any]:
    """What an entry has otherwise than the block that it varies."""
    differing = otherwise(plain(one.whole), plain(getattr(question, one.part)))
    return {name: value for name, value in differing.items() if name not in FOUND}


def shared(limits: Limits, among: int) -> Limits:
    """An equal share of what is counted over all ladders."""
    flops = None if limits.max_flops is None else limits.max_flops / among
    return replace(limits, max_trials=max(1, limits.max_trials // among), max_flops=flops)


def variant_of(question: Question, spec: TrialSpec) -> str:
    """The name of the variant that plans such a run; empty where the study has none."""
    named = (
        one for one in variants(question) if one.name and builds(one.question.model, spec.model) and reads(one.question.data, spec.data)
    )
    return next((one.name for one in named), "")


def builds(model: AnyLadder, spec: AnyModel) -> bool:
    """Whether a model is one of an architecture's, at some width."""
    try:
        return spec in (model.at(spec.width), model.target)
    except ValueError:  # it cannot be that wide
        return False


def reads(data: DataSpec, spec: DataSpec) -> bool:
    """Whether data are the same, wherever equal tokens come from."""
    return replace(spec, **{name: getattr(data, name) for name in ORIGIN}) == data


# Documents


def expanded(document: dict[str, Any]) -> dict[str, Any]:
    """The document with a whole block in every entry of `sweep_over`; what has not its shape stays, to be refused as it is."""
    asked = document.get(FIELD)
    if not isinstance(asked, dict):
        return document
    made = {part: [_whole(one, part, document.get(part)) for one in asked[part]] for part in VARIED if isinstance(asked.get(part), list)}
    return document | {FIELD: asked | made}


def condensed(document: dict[str, Any]) -> dict[str, Any]:
    """The inverse: every entry with its name and what differs."""
    asked = document.get(FIELD)
    if not asked:
        return document
    made = {
        part: [{"name": one["name"]} | otherwise(one[part], inherited(one[part], document[part], part)) for one in asked[part]]
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


def otherwise(whole: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Any]:
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
    asked = expanded(document).get(FIELD) or {}
    return [document.get("data", {}), *(one["data"] for one in asked.get("data") or ())]


def plain(block: AnyLadder | DataSpec) -> dict[str, Any]:
    """A block as a document has it."""
    found: dict[str, Any] = TypeAdapter(type(block)).dump_python(block, mode="json")
    return found


def texts(question: Question) -> dict[str, DataSpec]:
    """The data that the runs of a study read, by the field that names them."""
    swept = question.sweep_over.data if question.sweep_over else None
    return {"data": question.data} if swept is None else {f"{FIELD}.data.{i}": one.data for i, one in enumerate(swept)}


def with_texts(question: Question, found: Iterable[DataSpec]) -> Question:
    """The study with other data in their places."""
    if question.sweep_over is None or question.sweep_over.data is None:
        (data,) = found
        return replace(question, data=data)
    entries = tuple(replace(one, data=data) for one, data in zip(question.sweep_over.data, found, strict=True))
    return replace(question, sweep_over=replace(question.sweep_over, data=entries))


def with_models(question: Question, seen: Callable[[AnyLadder, str], AnyLadder]) -> Question:
    """The study with each of its models as it is seen, by the field that names it."""
    question = replace(question, model=seen(question.model, "model"))
    if question.sweep_over is None or question.sweep_over.model is None:
        return question
    entries = tuple(replace(one, model=seen(one.model, f"{FIELD}.model.{i}")) for i, one in enumerate(question.sweep_over.model))
    return replace(question, sweep_over=replace(question.sweep_over, model=entries))
