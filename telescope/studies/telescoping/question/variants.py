"""Variants: the architectures or texts that a job compares.

`sweep_over` names variants of the job's `model` block or of its `data` block. Each variant is a
separate question: the same study with that block alone, and with an equal share of the limits that
count over all ladders. Its ladders therefore plan the same trials, with the same digests, as a job
of that architecture or text alone, and no ladder waits for another.

Parts: `Variant`, `variants` · `variant_of`, the variant of a run · `texts`, `with_texts`,
`with_models`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from telescope.studies.telescoping.question.documents import FIELD, FROM_TEXT, block_difference
from telescope.studies.telescoping.question.models import AnyLadder
from telescope.studies.telescoping.question.parts import Limits, NamedData, NamedModel
from telescope.studies.telescoping.question.question import Question
from telescope.trials.data import ORIGIN, DataSpec
from telescope.trials.model import AnyModel
from telescope.trials.spec import TrialSpec


@dataclass(frozen=True)
class Variant:
    """An architecture or text that a study compares with others."""

    name: str  # empty where the study compares none
    question: Question  # about this variant alone
    differs: Mapping[str, Any]  # the fields that differ from the job's block, as in a document


@lru_cache(maxsize=256)
def variants(question: Question) -> tuple[Variant, ...]:
    """The variants of a study; a single nameless one where it compares none."""
    if question.sweep_over is None:
        return (Variant("", question, {}),)
    entries = question.sweep_over.entries
    alone = replace(question, sweep_over=None, limits=shared(question.limits, len(entries)))
    return tuple(
        Variant(entry.name, with_block(alone, entry), own_fields(entry, question))
        for entry in entries
    )


def with_block(question: Question, entry: NamedModel | NamedData) -> Question:
    """The question with its block replaced by an entry's."""
    changes: dict[str, Any] = {entry.part: entry.replacement}
    return replace(question, **changes)


def own_fields(entry: NamedModel | NamedData, question: Question) -> dict[str, Any]:
    """The fields of an entry that differ from the job's block."""
    block = getattr(question, entry.part)
    differing = block_difference(as_document(entry.replacement), as_document(block))
    return {name: value for name, value in differing.items() if name not in FROM_TEXT}


def shared(limits: Limits, variants: int) -> Limits:
    """The limits of one variant: an equal share of the limits that count over all ladders."""
    flops = None if limits.max_flops is None else limits.max_flops / variants
    return replace(limits, max_trials=max(1, limits.max_trials // variants), max_flops=flops)


def variant_of(question: Question, spec: TrialSpec) -> str:
    """The name of the variant that plans a run; empty where the study compares none."""
    builders = (
        variant
        for variant in variants(question)
        if variant.name
        and builds_at_some_width(variant.question.model, spec.model)
        and reads(variant.question.data, spec.data)
    )
    return next((variant.name for variant in builders), "")


def builds_at_some_width(model: AnyLadder, spec: AnyModel) -> bool:
    """Whether an architecture gives this model at some width."""
    try:
        return spec in (model.at(spec.width), model.target)
    except ValueError:  # the architecture has no such width
        return False


def reads(data: DataSpec, spec: DataSpec) -> bool:
    """Whether two specifications give the same tokens, whatever their origin."""
    return replace(spec, **{name: getattr(data, name) for name in ORIGIN}) == data


def as_document(block: AnyLadder | DataSpec) -> dict[str, Any]:
    """The block in the form of a document."""
    document: dict[str, Any] = TypeAdapter(type(block)).dump_python(block, mode="json")
    return document


def texts(question: Question) -> dict[str, DataSpec]:
    """The data that the runs of a study read, by the field of the document that names them."""
    entries = question.sweep_over.data if question.sweep_over else None
    return (
        {"data": question.data}
        if entries is None
        else {f"{FIELD}.data.{i}": entry.data for i, entry in enumerate(entries)}
    )


def with_texts(question: Question, data_specs: Iterable[DataSpec]) -> Question:
    """The question with its data replaced, in the order of `texts`."""
    if question.sweep_over is None or question.sweep_over.data is None:
        (data,) = data_specs
        return replace(question, data=data)
    entries = tuple(
        replace(entry, data=data)
        for entry, data in zip(question.sweep_over.data, data_specs, strict=True)
    )
    return replace(question, sweep_over=replace(question.sweep_over, data=entries))


def with_models(question: Question, changed: Callable[[AnyLadder, str], AnyLadder]) -> Question:
    """The question with each model replaced by `changed(model, field)`."""
    question = replace(question, model=changed(question.model, "model"))
    if question.sweep_over is None or question.sweep_over.model is None:
        return question
    entries = tuple(
        replace(entry, model=changed(entry.model, f"{FIELD}.model.{i}"))
        for i, entry in enumerate(question.sweep_over.model)
    )
    return replace(question, sweep_over=replace(question.sweep_over, model=entries))
