"""Variants: the architectures or texts that a job compares.

`sweep_over` names variants of the job's `model` block or of its `data` block. Each variant is a
separate question: the same study with only that block, and with an equal share of the limits that
count over all ladders. So its ladders plan the same trials as a job of that architecture or text,
digests included, and none waits for the others.

Parts: `Variant`, `variants`, `variant_of` a run · `texts`, `with_texts`, `with_models`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from telescope.studies.telescoping.question.documents import FIELD, FOUND, block_difference
from telescope.studies.telescoping.question.models import AnyLadder
from telescope.studies.telescoping.question.parts import Limits, NamedData, NamedModel
from telescope.studies.telescoping.question.question import Question
from telescope.trials.data import ORIGIN, DataSpec
from telescope.trials.model import AnyModel
from telescope.trials.spec import TrialSpec


@dataclass(frozen=True)
class Variant:
    """An architecture or text of a study over several."""

    name: str  # empty where the study compares none
    question: Question  # of this variant alone
    differs: Mapping[str, Any]  # the fields that differ from the job's block, as in a document


@lru_cache(maxsize=256)
def variants(question: Question) -> tuple[Variant, ...]:
    """The variants of a study; the study itself where it compares none."""
    if question.sweep_over is None:
        return (Variant("", question, {}),)
    entries = question.sweep_over.entries
    alone = replace(question, sweep_over=None, limits=shared(question.limits, len(entries)))
    return tuple(
        Variant(one.name, with_block(alone, one), own_fields(one, question)) for one in entries
    )


def with_block(question: Question, one: NamedModel | NamedData) -> Question:
    """The study of an architecture or text."""
    changed: dict[str, Any] = {one.part: one.whole}
    return replace(question, **changed)


def own_fields(one: NamedModel | NamedData, question: Question) -> dict[str, Any]:
    """The fields of an entry that differ from the job's block."""
    differing = block_difference(as_document(one.whole), as_document(getattr(question, one.part)))
    return {name: value for name, value in differing.items() if name not in FOUND}


def shared(limits: Limits, among: int) -> Limits:
    """The limits with an equal share of those that count over all ladders."""
    flops = None if limits.max_flops is None else limits.max_flops / among
    return replace(limits, max_trials=max(1, limits.max_trials // among), max_flops=flops)


def variant_of(question: Question, spec: TrialSpec) -> str:
    """The name of the variant that plans a run; empty where the study compares none."""
    named = (
        one
        for one in variants(question)
        if one.name
        and builds_at_some_width(one.question.model, spec.model)
        and reads(one.question.data, spec.data)
    )
    return next((one.name for one in named), "")


def builds_at_some_width(model: AnyLadder, spec: AnyModel) -> bool:
    """Whether a model is an architecture's at some width."""
    try:
        return spec in (model.at(spec.width), model.target)
    except ValueError:  # the architecture has no such width
        return False


def reads(data: DataSpec, spec: DataSpec) -> bool:
    """Whether data are the same, whatever the origin of equal tokens."""
    return replace(spec, **{name: getattr(data, name) for name in ORIGIN}) == data


def as_document(block: AnyLadder | DataSpec) -> dict[str, Any]:
    """A block as in a document."""
    found: dict[str, Any] = TypeAdapter(type(block)).dump_python(block, mode="json")
    return found


def texts(question: Question) -> dict[str, DataSpec]:
    """The data that the runs of a study read, by the field that names them."""
    swept = question.sweep_over.data if question.sweep_over else None
    return (
        {"data": question.data}
        if swept is None
        else {f"{FIELD}.data.{i}": one.data for i, one in enumerate(swept)}
    )


def with_texts(question: Question, found: Iterable[DataSpec]) -> Question:
    """The study with its data replaced, in the order of `texts`."""
    if question.sweep_over is None or question.sweep_over.data is None:
        (data,) = found
        return replace(question, data=data)
    entries = tuple(
        replace(one, data=data) for one, data in zip(question.sweep_over.data, found, strict=True)
    )
    return replace(question, sweep_over=replace(question.sweep_over, data=entries))


def with_models(question: Question, seen: Callable[[AnyLadder, str], AnyLadder]) -> Question:
    """The study with each model replaced by `seen` of the model and its field."""
    question = replace(question, model=seen(question.model, "model"))
    if question.sweep_over is None or question.sweep_over.model is None:
        return question
    entries = tuple(
        replace(one, model=seen(one.model, f"{FIELD}.model.{i}"))
        for i, one in enumerate(question.sweep_over.model)
    )
    return replace(question, sweep_over=replace(question.sweep_over, model=entries))
