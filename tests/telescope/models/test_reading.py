"""The roles of a user's parameters are read off the model, or refused by name with a remedy."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from telescope.errors import InvalidInput
from telescope.models.classification import ParameterReading
from telescope.models.reading import infer
from telescope.parametrisation.layout import MatrixLayout
from telescope.parametrisation.roles import Role
from telescope.trials.identity import canonical_json
from telescope.trials.model import ModuleSpec
from tests.telescope import awkward

E, H, R, V = Role.EMBEDDING, Role.HIDDEN, Role.READOUT, Role.VECTOR
WIDTHS = (64, 128)  # the vocabulary is 64, too, so all matrices are square at the first width
ENDS = {"table.weight": E, "out.weight": R}

READ: dict[Callable[[int], nn.Module], dict[str, Role]] = {
    awkward.plain: ENDS | {"middle.weight": H, "middle.bias": V},
    awkward.tied: {
        "table.weight": E,
        "middle.0.weight": H,
        "middle.0.bias": V,
        "middle.2.weight": H,
        "middle.2.bias": V,
    },
    awkward.tied_by_hand: {"table.weight": E, "middle.weight": H, "middle.bias": V},
    awkward.transposed: ENDS
    | {f"middle.{i}.{name}": role for i in (0, 1) for name, role in (("weight", H), ("bias", V))},
    awkward.fused: ENDS | {"middle.qkv.weight": H, "middle.output.weight": H},
    awkward.experts: ENDS | {"middle.router.weight": R, "middle.up": H, "middle.down": H},
    awkward.experts_by_einsum: ENDS | {"middle.router.weight": R, "middle.up": H, "middle.down": H},
    awkward.routed_experts: ENDS
    | {"middle.router.weight": R, "middle.experts.0.weight": H, "middle.experts.1.weight": H},
    awkward.convolved: ENDS
    | {
        "middle.mixing.weight": H,
        "middle.mixing.bias": V,
        "middle.depthwise.weight": E,
        "middle.depthwise.bias": V,
    },
    awkward.positioned: ENDS
    | {
        "middle.positions": E,
        "middle.norm.weight": V,
        "middle.norm.bias": V,
        "middle.gain": V,
        "middle.scalar": V,
    },
    awkward.per_head: ENDS | {"middle.query": H},
    awkward.shared_gate: ENDS | {"middle.router.weight": R, "middle.gate.weight": R},
    awkward.cast: ENDS | {"middle.weight": H, "middle.back.weight": H, "middle.back.bias": V},
}


@pytest.mark.parametrize("factory", READ, ids=lambda factory: factory.__name__)
def test_a_role_follows_from_the_dimensions_that_grow_and_that_are_summed_over(
    factory: Callable[[int], nn.Module],
) -> None:
    assert {name: reading.role for name, reading in infer(factory, WIDTHS).items()} == READ[factory]


def test_a_model_that_returns_its_loss_is_read_with_targets() -> None:
    readings = infer(awkward.own_loss, WIDTHS, targets=True)
    assert {name: reading.role for name, reading in readings.items()} == READ[awkward.plain]


REFUSED: list[tuple[Any, str]] = [
    (awkward.more_layers, "has other parameters at width 128 than at 64 (middle.2.bias)"),
    (
        awkward.growing_vocabulary,
        "parameter table.weight of shape (128, 64): is looked up in a dimension that grows",
    ),
    (awkward.unused, "parameter spare.weight of shape (64, 64): takes no part in the forward pass"),
    (
        awkward.bottleneck,
        "parameter middle.inside.weight of shape (8, 8): is a matrix that does not grow with width",
    ),
    (
        awkward.both_ways,
        "parameter middle.weight of shape (64, 64): is used by products that sum over different "
        "dimensions",
    ),
    (
        awkward.gated,
        "parameter middle.weight of shape (64, 64): is a matrix that no product uses; set its "
        "role in model.roles",
    ),
    (
        awkward.more_experts,
        "parameter middle.up of shape (4, 64, 64): holds more matrices at a larger width",
    ),
    (awkward.no_module, "must return a torch.nn.Module; at width 64 it returned a list"),
    (awkward.raises, "raised at width 64: KeyError: 'no such width'"),
    (awkward.own_loss, "cannot be run on integer tokens"),
]


@pytest.mark.parametrize(
    ("factory", "words"), REFUSED, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_role_that_cannot_be_read_is_refused_by_the_parameters_name(
    factory: Callable[[int], nn.Module], words: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        infer(factory, WIDTHS)
    assert words in str(refused.value)
    assert {problem.field for problem in refused.value.problems} <= {"model.factory", "model.roles"}


def test_the_user_can_set_a_role_that_cannot_be_read() -> None:
    readings = infer(awkward.bottleneck, WIDTHS, {"*.inside.weight": V})
    assert readings["middle.inside.weight"].role is V
    assert (readings["middle.narrow.weight"].role, readings["middle.wide.weight"].role) == (R, E)
    readings = infer(awkward.gated, WIDTHS, {"middle.weight": V, "middle.mixing.weight": H})
    assert readings["middle.mixing.weight"].role is H


def test_the_order_of_patterns_has_no_meaning_so_they_may_not_disagree() -> None:
    with pytest.raises(InvalidInput, match="is named by several patterns that disagree"):
        infer(awkward.bottleneck, WIDTHS, {"*.inside.weight": V, "middle.inside.*": E})
    patterns = {"b.*": "vector", "*.a": "hidden"}
    spec, reversed_spec = (
        ModuleSpec(family="module", factory="a:b", width=8, base_width=8, roles=roles)
        for roles in (patterns, dict(reversed(patterns.items())))
    )
    assert spec == reversed_spec
    assert TypeAdapter(ModuleSpec).validate_json(canonical_json(spec)) == spec


@pytest.mark.parametrize("field", ["roles", "splits"])
def test_a_pattern_that_matches_no_parameter_is_refused(field: str) -> None:
    patterns: dict[str, Any] = (
        {"user_roles": {"*.innside": V}}
        if field == "roles"
        else {"splits": {"*.innside": MatrixLayout(parts=(1, 1))}}
    )
    words = r"no parameter is named \*\.innside; the model has table\.weight"
    with pytest.raises(InvalidInput, match=words):
        infer(awkward.plain, WIDTHS, **patterns)


def layout(
    factory: Callable[[int], nn.Module], name: str, splits: dict[str, MatrixLayout] | None = None
) -> MatrixLayout:
    readings = infer(factory, WIDTHS, splits=splits)
    result = readings[name].layout
    assert result is not None
    return result


def fused_layout(split: MatrixLayout) -> MatrixLayout:
    """The layout of the fused query, key and value matrix under the user's split."""
    return layout(awkward.fused, "middle.qkv.weight", {"*.qkv.weight": split})


def block_shapes(layout: MatrixLayout, *shape: int) -> list[tuple[int, ...]]:
    return [tuple(block.shape) for block in layout.blocks(torch.zeros(shape))]


def test_fan_out_and_fan_in_are_told_apart_whichever_comes_first() -> None:
    plain = layout(awkward.plain, "middle.weight")
    assert (plain.rows, plain.columns) == ((0,), (1,))
    transposed = layout(awkward.transposed, "middle.0.weight")  # (fan_in, fan_out)
    assert block_shapes(transposed, 64, 192) == [(192, 64)]


def test_experts_are_separate_matrices_and_convolutions_are_flattened() -> None:
    for factory in (awkward.experts, awkward.experts_by_einsum):
        assert block_shapes(layout(factory, "middle.up"), 4, 64, 128) == [(128, 64)] * 4
        assert block_shapes(layout(factory, "middle.down"), 4, 128, 64) == [(64, 128)] * 4
    convolution = layout(awkward.convolved, "middle.mixing.weight")
    assert block_shapes(convolution, 64, 64, 3) == [(64, 192)]
    assert block_shapes(layout(awkward.per_head, "middle.query"), 8, 8, 64) == [(64, 64)]


def test_fused_matrices_are_split_as_the_user_sets() -> None:
    fused = torch.arange(96 * 64.0).view(96, 64)
    parts = fused_layout(MatrixLayout(parts=(4, 1, 1))).blocks(fused)
    assert [tuple(block.shape) for block in parts] == [(64, 64), (16, 64), (16, 64)]
    heads = fused_layout(MatrixLayout(block_rows=8)).blocks(fused)
    assert [tuple(block.shape) for block in heads] == [(8, 64)] * 12
    assert torch.equal(torch.cat(heads), fused)
    parts[1].zero_()
    assert fused[64:80].abs().sum() == 0  # blocks are views


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (MatrixLayout(parts=(5, 1, 1)), "cannot be split into parts of relative sizes 5:1:1"),
        (MatrixLayout(block_rows=7), "into pieces of 7 rows"),
    ],
)
def test_a_split_that_does_not_fit_is_refused(split: MatrixLayout, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        fused_layout(split)
    assert words in str(refused.value)
    assert {problem.field for problem in refused.value.problems} == {"model.splits"}


def test_splits_that_disagree_are_refused_by_their_own_field() -> None:
    patterns = {"*.qkv.weight": MatrixLayout(parts=(1, 1, 1)), "middle.*": MatrixLayout(parts=(1,))}
    with pytest.raises(InvalidInput, match="disagree") as refused:
        infer(awkward.fused, WIDTHS, splits=patterns)
    assert {problem.field for problem in refused.value.problems} == {"model.splits"}


def test_only_hidden_matrices_can_be_split() -> None:
    with pytest.raises(InvalidInput, match="only hidden matrices can be split"):
        infer(awkward.plain, WIDTHS, splits={"out.weight": MatrixLayout(parts=(1, 1))})


def test_a_tied_table_makes_logits_in_the_module_of_the_head() -> None:
    table = infer(awkward.tied, WIDTHS)["table.weight"]
    assert table.role is E
    assert table.makes_logits
    assert (table.product_at, table.embedded_at) == ("out", "table")
    assert not infer(awkward.plain, WIDTHS)["table.weight"].makes_logits
    assert replace(ParameterReading(V), role=R).makes_logits
