"""Presets: a name for many fields, which does not change a trial's digest."""

from dataclasses import fields, replace
from typing import Any

import pytest

from surfaces.bowls import document
from telescope.studies.registry import parse, to_document
from telescope.studies.telescoping.question.models import LadderModel
from telescope.trials.architecture import Architecture
from telescope.trials.presets import PRESETS, PresetName, without_preset
from tests.telescope.studies.compute_time import laws

WIDTHS = {"base_width": 32, "calibration_width": 64, "target_width": 128}


def job(**model: object) -> dict[str, Any]:
    """The document of a telescoping job with this model block."""
    return document() | {"model": WIDTHS | model}


@pytest.mark.parametrize(
    "name", sorted(set(PRESETS) - {"grokking"})
)  # whose heads are wider than the job
def test_a_preset_is_the_fields_that_it_stands_for(name: PresetName) -> None:
    values = {field.name: getattr(PRESETS[name], field.name) for field in fields(Architecture)}
    by_name, by_fields = parse(job(preset=name)), parse(job(**values))
    assert by_name.question.model == replace(by_fields.question.model, preset=name)
    assert [spec.digest for spec in by_name.plan([]).start] == [
        spec.digest for spec in by_fields.plan([]).start
    ]
    stored = to_document(by_name)
    assert stored["model"]["preset"] == name
    assert parse(stored) == by_name
    by_name, by_fields = (
        parse(laws.document(model={"width": 32, **model})) for model in ({"preset": name}, values)
    )
    assert by_name.question.model.spec == by_fields.question.model.spec
    assert parse(to_document(by_name)) == by_name


def test_fields_of_a_job_take_precedence_over_its_preset() -> None:
    own = {"qk_norm": False, "query_heads_per_kv": 2, "depth": 3, "mlp": "gated"}
    model = parse(job(preset="gemma-like", **own)).question.model
    gemma = PRESETS["gemma-like"]
    assert {name: getattr(model, name) for name in own} == own
    assert model.tied_embeddings == gemma.tied_embeddings is True
    assert model.norm == gemma.norm == "rms"
    assert LadderModel(**WIDTHS, preset="gemma-like", **own) == model  # type: ignore[arg-type]


def test_a_field_of_a_preset_that_has_no_meaning_in_a_job_is_left_out() -> None:
    model = LadderModel(
        preset="grokking",
        positions="learned",
        base_width=128,
        calibration_width=128,
        target_width=256,
    )
    assert model.rope_base == Architecture().rope_base != PRESETS["grokking"].rope_base


def test_presets_differ_and_none_is_the_default() -> None:
    assert len({*PRESETS.values(), Architecture()}) == len(PRESETS) + 1


def test_without_its_preset_a_block_keeps_the_fields_that_differ_from_it() -> None:
    own = {"depth": 3, "query_heads_per_kv": 2, **WIDTHS}
    stored = to_document(parse(job(preset="llama-like", **own)))["model"]
    assert without_preset(stored) == own | {"target_depth": None}
    assert without_preset(job(mlp="gelu", depth=2)["model"]) == WIDTHS | {"mlp": "gelu"}
