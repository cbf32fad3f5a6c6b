"""Presets: a name for many fields, of which a trial knows nothing."""

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


def asked(**model: object) -> dict[str, Any]:
    return document() | {"model": WIDTHS | model}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_the_fields_that_it_stands_for(name: PresetName) -> None:
    said = {field.name: getattr(PRESETS[name], field.name) for field in fields(Architecture)}
    preset, spelt = parse(asked(preset=name)), parse(asked(**said))
    assert preset.question.model == replace(spelt.question.model, preset=name)
    assert [spec.digest for spec in preset.plan([]).start] == [
        spec.digest for spec in spelt.plan([]).start
    ]
    stored = to_document(preset)
    assert stored["model"]["preset"] == name
    assert parse(stored) == preset
    ours, theirs = (
        parse(laws.document(model={"width": 32, **model})) for model in ({"preset": name}, said)
    )
    assert ours.question.model.spec == theirs.question.model.spec
    assert parse(to_document(ours)) == ours


def test_what_a_job_says_wins_over_its_preset() -> None:
    said = {
        "preset": "gemma-like",
        "qk_norm": False,
        "query_heads_per_kv": 2,
        "depth": 3,
        "mlp": "gated",
    }
    model = parse(asked(**said)).question.model
    gemma = PRESETS["gemma-like"]
    assert (model.qk_norm, model.query_heads_per_kv, model.depth, model.mlp) == (
        False,
        2,
        3,
        "gated",
    )
    assert (
        (model.tied_embeddings, model.norm) == (gemma.tied_embeddings, gemma.norm) == (True, "rms")
    )
    assert LadderModel(**WIDTHS, **said) == model  # type: ignore[arg-type]


def test_presets_differ_and_none_is_the_default() -> None:
    assert len({*PRESETS.values(), Architecture()}) == len(PRESETS) + 1


def test_what_a_block_says_beside_its_preset_is_what_the_preset_would_not_fill_in() -> None:
    said = {"depth": 3, "query_heads_per_kv": 2, **WIDTHS}
    stored = to_document(parse(asked(preset="llama-like", **said)))["model"]
    assert without_preset(stored) == said | {"target_depth": None}
    assert without_preset(asked(mlp="gelu", depth=2)["model"]) == WIDTHS | {"mlp": "gelu"}
