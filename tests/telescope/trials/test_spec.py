"""Digests of specs, and specs that are refused because they cannot be built."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from telescope.trials.data import DataSpec
from telescope.trials.horizon import Branch, HorizonSpec
from telescope.trials.identity import canonical_json
from telescope.trials.lattice import from_octaves, snap
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.spec import TrialSpec

SPEC = TrialSpec(
    model=ModelSpec(width=64, base_width=32),
    optimizer=OptimizerSpec(name="muon", lr=0.02, weight_decay=0.1),
    data=DataSpec(corpus="python-stdlib", content="abc", vocab_size=256),
    horizon=HorizonSpec(steps=10, batch_tokens=256),
)


def test_the_digest_survives_a_round_trip_through_json_and_is_stable() -> None:
    restored = TypeAdapter(TrialSpec).validate_json(canonical_json(SPEC))
    assert restored == SPEC
    assert restored.digest == SPEC.digest
    assert SPEC.digest == "89d6481d4e5a6b4d4cb29457b95e10b1"


def test_digests_are_those_from_before_architectures_had_more_fields() -> None:
    model = ModelSpec(
        width=64,
        base_width=32,
        depth=3,
        query_heads_per_kv=2,
        qk_norm=True,
        mlp="gelu",
        tied_embeddings=True,
    )
    adamw = OptimizerSpec(name="adamw", lr=0.01, weight_decay=0.0)
    assert SPEC.digest == "89d6481d4e5a6b4d4cb29457b95e10b1"
    assert replace(SPEC, model=model, optimizer=adamw).digest == "65f40d726ed1fe5ccd148a23719e4355"


@pytest.mark.parametrize(
    "changed",
    [
        replace(SPEC, seed=1),
        replace(SPEC, data=replace(SPEC.data, content="abd")),
        replace(SPEC, optimizer=replace(SPEC.optimizer, lr=0.020000000001)),
        replace(SPEC, model=replace(SPEC.model, width=128)),
    ],
)
def test_any_change_is_another_trial(changed: TrialSpec) -> None:
    assert changed.digest != SPEC.digest


def test_names_of_sources_do_not_change_the_digest_of_known_content() -> None:
    moved = replace(SPEC.data, corpus="/elsewhere", tokenizer="/elsewhere/tokenizer.json")
    assert replace(SPEC, data=moved).digest == SPEC.digest
    unread = replace(SPEC, data=replace(SPEC.data, content=""))
    unread_moved = replace(unread, data=replace(unread.data, corpus="/elsewhere"))
    assert unread_moved.digest != unread.digest, "its content is unknown"
    assert replace(SPEC, data=replace(SPEC.data, validation_fraction=0.2)).digest != SPEC.digest


MODELS: list[dict[str, Any]] = [
    {"norm": "layer"},
    {"positions": "learned"},
    {"attention": "mla"},
    {"attention": "mla", "kv_rank_ratio": 0.5},
    {"attention": "mla", "rotary_dim": 4},
]
OPTIONS: list[dict[str, Any]] = [
    {"qk_clip": 100.0},
    {"qk_clip": 100.0, "qk_clip_alpha": 0.25},
    {"measure_max_logit": True},
]


def test_fields_that_were_added_later_change_a_digest_unless_they_have_their_defaults() -> None:
    horizon = replace(SPEC.horizon, evaluate_every=5)
    specs = [
        replace(SPEC, branch=Branch(trunk=SPEC.digest, step=5)),
        replace(SPEC, branch=Branch(trunk=SPEC.digest, step=6)),
        replace(SPEC, kept_steps=(5,)),
        replace(SPEC, horizon=horizon),
        replace(SPEC, horizon=replace(horizon, stop_below_loss=3.0)),
        *(replace(SPEC, model=replace(SPEC.model, **fields)) for fields in MODELS),
        *(replace(SPEC, optimizer=replace(SPEC.optimizer, **fields)) for fields in OPTIONS),
    ]
    assert len({spec.digest for spec in (SPEC, *specs)}) == 1 + len(specs)
    for spec in specs:
        assert TypeAdapter(TrialSpec).validate_json(canonical_json(spec)).digest == spec.digest


@given(st.floats(-20, 20))
def test_planned_values_lie_on_the_lattice_and_ignore_the_last_bits(octaves: float) -> None:
    lattice = snap(octaves)
    assert abs(lattice - octaves) <= 1 / 128 + 1e-12
    assert lattice * 64 == round(lattice * 64)
    assert from_octaves(lattice + 1e-13) == from_octaves(lattice)
    assert from_octaves(lattice) == pytest.approx(2.0**lattice, rel=1e-11)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ModelSpec(width=40, base_width=32), "40 is not divisible"),
        (
            lambda: ModelSpec(width=64, base_width=32, query_heads_per_kv=3),
            "multiple of 48, such as 48",
        ),
        (lambda: ModelSpec(width=64, base_width=32, mlp_ratio=2.71), "not a whole number"),
        (
            lambda: ModelSpec(width=64, base_width=32, attention="mla", kv_rank_ratio=0.2),
            "use kv_rank_ratio 0.203",
        ),
        (
            lambda: ModelSpec(width=96, base_width=48, attention="mla", kv_rank_ratio=0.333333),
            "for this width, use kv_rank_ratio 0.333333333333 ",
        ),
        (
            lambda: ModelSpec(width=64, base_width=32, attention="mla", query_heads_per_kv=2),
            "query_heads_per_kv: .* leave it at 1",
        ),
        (
            lambda: ModelSpec(width=64, base_width=32, attention="mla", positions="learned"),
            "positions: .* use positions: rotary",
        ),
        (
            lambda: ModelSpec(width=64, base_width=32, attention="mla", qk_norm=True),
            "qk_norm: .* use qk_norm: false",
        ),
        (
            lambda: ModelSpec(width=64, base_width=32, attention="mla", rotary_dim=3),
            "rotary_dim\n.* multiple of 2",
        ),
        (
            lambda: ModelSpec(width=60, base_width=60, attention="mla", head_dim=6),
            "rotary_dim: is half of head_dim 6 by default.* rotary_dim: 4",
        ),
        (
            lambda: ModelSpec(width=64, base_width=32, rotary_dim=4),
            "rotary_dim: has no meaning with attention: heads.* use attention: mla",
        ),
        (
            lambda: ModelSpec(width=64, base_width=32, kv_rank_ratio=0.5),
            "kv_rank_ratio: has no meaning with attention: heads",
        ),
        (
            lambda: ModelSpec(width=64, base_width=32, positions="learned", rope_base=5e5),
            "rope_base: has no meaning with positions: learned",
        ),
        (lambda: HorizonSpec(steps=1, batch_tokens=512, micro_batch_tokens=100), "does not divide"),
        (
            lambda: replace(SPEC, horizon=HorizonSpec(steps=1, batch_tokens=32)),
            "smaller than one context of 64",
        ),
        (lambda: replace(SPEC, horizon=HorizonSpec(steps=1, batch_tokens=100)), "use 64 or 128"),
        (lambda: OptimizerSpec(name="muon", lr=float("nan"), weight_decay=0.1), "finite"),
        (lambda: OptimizerSpec(name="sgd", lr=0.1, weight_decay=0.1), "'muon' or 'adamw'"),
        (lambda: replace(SPEC, branch=Branch(trunk="0" * 32, step=10)), "branch off earlier, or"),
        (
            lambda: HorizonSpec(steps=10, batch_tokens=256, stop_below_loss=3.0),
            "give evaluate_every, too, or leave out stop_below_loss",
        ),
        (
            lambda: replace(SPEC, measure="time", horizon=HorizonSpec(steps=6, batch_tokens=256)),
            "give 7 or more",
        ),
        (lambda: DataSpec(corpus="x", tokeniser="bytes"), "tokeniser"),
    ],
)
def test_a_spec_that_cannot_be_built_is_refused_with_the_reason(build, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValidationError, match=words):
        build()
