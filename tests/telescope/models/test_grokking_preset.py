"""The model of the public code for arXiv 2504.16041: its size, positions and initial values."""

import math
from dataclasses import fields
from typing import Any

import pytest
import torch
from scipy import stats
from torch import nn

from telescope.models.transformer import Transformer, initialise
from telescope.train.flops import parameters
from telescope.trials.architecture import Architecture
from telescope.trials.model import ModelSpec
from telescope.trials.presets import PRESETS
from tests.telescope.small import ADAMW

PUBLIC = {field.name: getattr(PRESETS["grokking"], field.name) for field in fields(Architecture)}
VOCABULARY = 99  # numbers below 97, the operation and =


def public(width: int = 128, **options: Any) -> ModelSpec:
    """The public shape, whose one head is as wide as the model."""
    return ModelSpec(**PUBLIC | {"head_dim": width, "width": width, "base_width": width} | options)


def test_the_public_shape_has_550_272_parameters() -> None:
    spec = public()
    model = Transformer(spec, VOCABULARY, 4, "standard")
    assert sum(parameter.numel() for parameter in model.parameters()) == 550_272
    assert parameters(spec, VOCABULARY, 4) == 550_272
    assert (spec.heads, spec.hidden, spec.depth, spec.rope_base) == (1, 512, 2, 1e6)
    assert spec == public(positions="rotary", mlp="gated", norm="rms", tied_embeddings=False)
    assert model.blocks[0].feed_forward.activation is nn.functional.silu


def logits(model: Transformer, *questions: list[int]) -> torch.Tensor:
    with torch.no_grad(), model.evaluating():
        result: torch.Tensor = model(torch.tensor(questions))[:, -1]
    return result


def drawn(seed: int = 0, **options: Any) -> Transformer:
    model = Transformer(public(**options), VOCABULARY, 4, "standard")
    initialise(model, ADAMW, seed)
    return model


def test_with_one_head_rotary_positions_tell_the_order_of_the_operands() -> None:
    ab, ba = [5, 97, 60, 98], [60, 97, 5, 98]
    depth_1 = {"initial_values": "torch", "depth": 1, "width": 32}
    rotary = logits(drawn(**depth_1), ab, ba)
    assert float((rotary[0] - rotary[1]).abs().max()) > 1e-3
    # one block sees earlier tokens as a set unless positions are rotated
    none = logits(drawn(**depth_1, positions="none", rope_base=10_000.0), ab, ba)
    torch.testing.assert_close(none[0], none[1])


def test_dropout_adds_no_parameters() -> None:
    assert parameters(public(dropout=0.2), VOCABULARY, 4) == 550_272


def torchs_own(name: str, parameter: nn.Parameter) -> torch.Tensor:
    """The values that torch's own layer draws for a parameter of this shape."""
    rows, columns = parameter.shape
    torch.manual_seed(1)
    layer = nn.Embedding(rows, columns) if name == "embedding.weight" else nn.Linear(columns, rows)
    return layer.weight.detach()


def test_torch_initial_values_have_the_law_of_torchs_own_layers() -> None:
    model = drawn(initial_values="torch")
    matrices = {n: p.detach() for n, p in model.named_parameters() if p.ndim == 2}
    assert len(matrices) == 2 * 7 + 2
    with torch.random.fork_rng(devices=()):
        own = {name: torchs_own(name, parameter) for name, parameter in matrices.items()}
    for name, values in matrices.items():
        test = stats.ks_2samp(values.flatten().numpy(), own[name].flatten().numpy())
        assert test.pvalue > 1e-3, name
        bound = 1 / math.sqrt(values.shape[1])
        if name == "embedding.weight":
            assert float(values.std()) == pytest.approx(1, abs=0.03)
            assert float(values.abs().max()) > 3
        else:
            assert 0.99 * bound < float(values.abs().max()) <= bound
            assert float(values.std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)
    vectors = [p for p in model.parameters() if p.ndim == 1]
    assert len(vectors) == 5
    assert all(bool((vector == 1).all()) for vector in vectors)


def test_torch_initial_values_depend_on_the_seed_and_the_global_generator_stays() -> None:
    state = torch.get_rng_state()
    first, same, other = (drawn(seed, initial_values="torch", width=32) for seed in (3, 3, 4))
    name = "blocks.0.feed_forward.up.weight"
    assert torch.equal(first.get_parameter(name), same.get_parameter(name))
    assert not torch.equal(first.get_parameter(name), other.get_parameter(name))
    torch.set_rng_state(state)


def test_scaled_initial_values_are_telescopes_own() -> None:
    model = drawn()
    assert model.head is not None
    assert not model.head.weight.any()
    assert float(model.embedding.weight.detach().std()) == pytest.approx(0.5, rel=0.03)
