"""Variants: the architectures or corpora that a job compares.

`sweep_over` lists variants of the job's `model` section or of its `data` section. Each variant
becomes a separate question: the same study, with the variant's section in place of the job's. The
limits on trials and FLOPs are divided equally among the variants.

A job on one variant alone, with the variant's share of these limits, would plan the same trials. A
*ladder* searches the hyperparameters of one optimizer at increasing widths. The ladders of all
variants run side by side, and do not wait for each other.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from telescope.studies.telescoping.question.documents import (
    COMPUTED_FIELDS,
    SWEEP_OVER,
    section_difference,
)
from telescope.studies.telescoping.question.models import AnyLadderModel
from telescope.studies.telescoping.question.parts import Limits, NamedData, NamedModel
from telescope.studies.telescoping.question.question import Question
from telescope.trials.data import ORIGIN, AnyData, DataSpec
from telescope.trials.model import AnyModel
from telescope.trials.spec import TrialSpec


@dataclass(frozen=True)
class Variant:
    """An architecture or corpus that a study compares with others, or the only one of a study
    without `sweep_over`.
    """

    name: str  # empty without `sweep_over`
    question: Question  # the study of this variant, without `sweep_over`
    # the fields that differ from the job's section, in document form
    differing_fields: Mapping[str, Any]


@lru_cache(maxsize=256)
def variants(question: Question) -> tuple[Variant, ...]:
    """The variants of a study. Without `sweep_over`, there is a single variant, without a name."""
    if question.sweep_over is None:
        return (Variant("", question, {}),)
    entries = question.sweep_over.entries
    limits = share_of(question.limits, len(entries))
    unswept = replace(question, sweep_over=None, limits=limits)
    return tuple(
        Variant(entry.name, with_section(unswept, entry), own_fields(entry, question))
        for entry in entries
    )


def with_section(question: Question, entry: NamedModel | NamedData) -> Question:
    """The question with its `model` or `data` section replaced by the section of the entry."""
    changes: dict[str, Any] = {entry.part: entry.replacement}
    return replace(question, **changes)


def own_fields(entry: NamedModel | NamedData, question: Question) -> dict[str, Any]:
    """The fields of an entry that differ from the job's section. COMPUTED_FIELDS are left out."""
    section = getattr(question, entry.part)
    fields = section_difference(as_document(entry.replacement), as_document(section))
    return {name: value for name, value in fields.items() if name not in COMPUTED_FIELDS}


def share_of(limits: Limits, variants: int) -> Limits:
    """The limits of one variant, if there are this many `variants`: an equal share of max_trials
    and of max_flops, and all other limits unchanged. The share of max_trials is at least 1.
    """
    flops = None if limits.max_flops is None else limits.max_flops / variants
    return replace(limits, max_trials=max(1, limits.max_trials // variants), max_flops=flops)


def variant_of(question: Question, spec: TrialSpec) -> str:
    """The name of the first variant that matches a run's model and tokens. Empty if the job has no
    `sweep_over`, or if no variant matches.
    """
    matching = (
        variant
        for variant in variants(question)
        if variant.name
        and builds_at_some_width(variant.question.model, spec.model)
        and gives_same_tokens(variant.question.data, spec.data)
    )
    return next((variant.name for variant in matching), "")


def builds_at_some_width(model: AnyLadderModel, spec: AnyModel) -> bool:
    """Whether `spec` is `model` at some width, or the target of `model`, which may have another
    depth.
    """
    try:
        return spec in (model.at(spec.width), model.target)
    except ValueError:  # the architecture has no such width
        return False


def gives_same_tokens(data: DataSpec, other: AnyData) -> bool:
    """Whether two specifications give the same tokens. They may name the corpus and the tokenizer
    differently.
    """
    if not isinstance(other, DataSpec):
        return False
    return replace(other, **{name: getattr(data, name) for name in ORIGIN}) == data


def as_document(section: AnyLadderModel | DataSpec) -> dict[str, Any]:
    """The section in document form."""
    document: dict[str, Any] = TypeAdapter(type(section)).dump_python(section, mode="json")
    return document


def texts(question: Question) -> dict[str, DataSpec]:
    """The data that a study's runs read, by field of the document."""
    entries = question.sweep_over.data if question.sweep_over else None
    return (
        {"data": question.data}
        if entries is None
        else {f"{SWEEP_OVER}.data.{i}": entry.data for i, entry in enumerate(entries)}
    )


def with_texts(question: Question, data_specs: Iterable[DataSpec]) -> Question:
    """The question with other data. `data_specs` is in the order of the values of `texts`."""
    if question.sweep_over is None or question.sweep_over.data is None:
        (data,) = data_specs
        return replace(question, data=data)
    entries = tuple(
        replace(entry, data=data)
        for entry, data in zip(question.sweep_over.data, data_specs, strict=True)
    )
    return replace(question, sweep_over=replace(question.sweep_over, data=entries))


def with_models(
    question: Question, replacement: Callable[[AnyLadderModel, str], AnyLadderModel]
) -> Question:
    """The question with each model replaced by `replacement(model, field)`, where `field` is the
    model's field in the document.
    """
    question = replace(question, model=replacement(question.model, "model"))
    if question.sweep_over is None or question.sweep_over.model is None:
        return question
    entries = tuple(
        replace(entry, model=replacement(entry.model, f"{SWEEP_OVER}.model.{i}"))
        for i, entry in enumerate(question.sweep_over.model)
    )
    return replace(question, sweep_over=replace(question.sweep_over, model=entries))
