"""Roles of a user's parameters are read correctly, or refused by name with a remedy."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from telescope.errors import InvalidInput
from telescope.models.classification import Reading
from telescope.models.reading import infer
from telescope.parametrisation.layout import MatrixLayout
from telescope.parametrisation.roles import Role
from telescope.trials.identity import canonical_json
from telescope.trials.model import ModuleSpec
from tests.telescope import awkward

E, H, R, V = Role.EMBEDDING, Role.HIDDEN, Role.READOUT, Role.VECTOR
WIDTHS = (64, 128)  # the vocabulary is 64, too: at the first width all are squares
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
    awkward.turned: ENDS
    | {f"middle.{i}.{name}": role for i in (0, 1) for name, role in (("weight", H), ("bias", V))},
    awkward.fused: ENDS | {"middle.qkv.weight": H, "middle.output.weight": H},
    awkward.experts: ENDS | {"middle.router.weight": R, "middle.up": H, "middle.down": H},
    awkward.experts_by_einsum: ENDS | {"middle.router.weight": R, "middle.up": H, "middle.down": H},
    awkward.chosen_experts: ENDS
    | {"middle.router.weight": R, "middle.experts.0.weight": H, "middle.experts.1.weight": H},
    awkward.convolved: ENDS
    | {
        "middle.mixing.weight": H,
        "middle.mixing.bias": V,
        "middle.by_channel.weight": E,
        "middle.by_channel.bias": V,
    },
    awkward.placed: ENDS
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
def test_a_role_is_what_grows_and_what_is_summed_over(factory: Callable[[int], nn.Module]) -> None:
    assert {name: reading.role for name, reading in infer(factory, WIDTHS).items()} == READ[factory]


def test_a_model_with_a_loss_of_its_own_is_read_with_targets() -> None:
    assert {
        name: reading.role
        for name, reading in infer(awkward.own_loss, WIDTHS, targets=True).items()
    } == READ[awkward.plain]


REFUSED: list[tuple[Any, str]] = [
    (awkward.more_layers, "has other parameters at width 128 than at 64 (middle.2.bias)"),
    (
        awkward.growing_vocabulary,
        "parameter table.weight of shape (128, 64): is looked up in a dimension that grows",
    ),
    (awkward.unused, "parameter spare.weight of shape (64, 64): takes no part in forward(tokens)"),
    (
        awkward.bottleneck,
        "parameter middle.inside.weight of shape (8, 8): is a matrix that does not grow with width",
    ),
    (
        awkward.both_ways,
        (
            "parameter middle.weight of shape (64, 64): is used by products that sum over different dimensions"
        ),
    ),
    (
        awkward.gated,
        (
            "parameter middle.weight of shape (64, 64): is a matrix that no product sums over; set its role in model.roles"
        ),
    ),
    (
        awkward.more_experts,
        "parameter middle.up of shape (4, 64, 64): the number of its matrices grows with width",
    ),
    (awkward.no_module, "must return a torch.nn.Module; at width 64 it returned a list"),
    (awkward.raises, "raised at width 64: KeyError: 'no such width'"),
    (awkward.own_loss, "cannot be run on tokens of shape (1, 2)"),
]


@pytest.mark.parametrize(
    ("factory", "words"), REFUSED, ids=lambda one: getattr(one, "__name__", "")
)
def test_what_cannot_be_read_is_refused_by_name(
    factory: Callable[[int], nn.Module], words: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        infer(factory, WIDTHS)
    assert words in str(refused.value)
    assert {problem.field for problem in refused.value.problems} <= {"model.factory", "model.roles"}


def test_what_is_refused_can_be_said() -> None:
    found = infer(awkward.bottleneck, WIDTHS, {"*.inside.weight": V})
    assert found["middle.inside.weight"].role is V
    assert (found["middle.narrow.weight"].role, found["middle.wide.weight"].role) == (R, E)
    assert (
        infer(awkward.gated, WIDTHS, {"middle.weight": V, "middle.mixing.weight": H})[
            "middle.mixing.weight"
        ].role
        is H
    )


def test_the_order_of_patterns_says_nothing_so_they_may_not_disagree() -> None:
    with pytest.raises(InvalidInput, match="is named by several patterns that disagree"):
        infer(awkward.bottleneck, WIDTHS, {"*.inside.weight": V, "middle.inside.*": E})
    written = {"b.*": "vector", "*.a": "hidden"}
    spec = ModuleSpec(family="module", factory="a:b", width=8, base_width=8, roles=written)  # type: ignore[arg-type]
    turned = ModuleSpec(
        family="module", factory="a:b", width=8, base_width=8, roles=dict(reversed(written.items()))
    )  # type: ignore[arg-type]
    assert spec == turned
    assert TypeAdapter(ModuleSpec).validate_json(canonical_json(spec)) == spec


@pytest.mark.parametrize("field", ["roles", "splits"])
def test_a_pattern_that_fits_no_parameter_is_a_mistake(field: str) -> None:
    patterns: dict[str, Any] = (
        {"user_roles": {"*.innside": V}}
        if field == "roles"
        else {"splits": {"*.innside": MatrixLayout(parts=(1, 1))}}
    )
    with pytest.raises(
        InvalidInput, match=r"no parameter is named \*\.innside; the model has table\.weight"
    ):
        infer(awkward.plain, WIDTHS, **patterns)


def layout(factory: Callable[[int], nn.Module], name: str, **splits: MatrixLayout) -> MatrixLayout:
    found = infer(factory, WIDTHS, splits={"*.qkv.weight": splits["cut"]} if splits else None)[
        name
    ].layout
    assert found is not None
    return found


def test_fan_out_and_fan_in_are_told_apart_whichever_comes_first() -> None:
    assert (
        layout(awkward.plain, "middle.weight").rows,
        layout(awkward.plain, "middle.weight").columns,
    ) == ((0,), (1,))
    turned = layout(awkward.turned, "middle.0.weight")  # (fan_in, fan_out)
    assert [tuple(block.shape) for block in turned.blocks(torch.zeros(64, 192))] == [(192, 64)]


def test_experts_are_matrices_of_their_own_and_convolutions_are_flattened() -> None:
    for factory in (awkward.experts, awkward.experts_by_einsum):
        up, down = layout(factory, "middle.up"), layout(factory, "middle.down")
        assert [tuple(block.shape) for block in up.blocks(torch.zeros(4, 64, 128))] == [
            (128, 64)
        ] * 4
        assert [tuple(block.shape) for block in down.blocks(torch.zeros(4, 128, 64))] == [
            (64, 128)
        ] * 4
    assert [
        tuple(block.shape)
        for block in layout(awkward.convolved, "middle.mixing.weight").blocks(
            torch.zeros(64, 64, 3)
        )
    ] == [(64, 192)]
    assert [
        tuple(block.shape)
        for block in layout(awkward.per_head, "middle.query").blocks(torch.zeros(8, 8, 64))
    ] == [(64, 64)]


def test_fused_matrices_are_cut_as_the_user_says() -> None:
    whole = torch.arange(96 * 64.0).view(96, 64)
    parts = layout(awkward.fused, "middle.qkv.weight", cut=MatrixLayout(parts=(4, 1, 1))).blocks(
        whole
    )
    assert [tuple(block.shape) for block in parts] == [(64, 64), (16, 64), (16, 64)]
    heads = layout(awkward.fused, "middle.qkv.weight", cut=MatrixLayout(block_rows=8)).blocks(whole)
    assert [tuple(block.shape) for block in heads] == [(8, 64)] * 12
    assert torch.equal(torch.cat(heads), whole)
    parts[1].zero_()
    assert whole[64:80].abs().sum() == 0  # blocks are views


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (MatrixLayout(parts=(5, 1, 1)), "cannot be split into parts of sizes 5:1:1"),
        (MatrixLayout(block_rows=7), "into blocks of 7"),
    ],
)
def test_a_cut_that_does_not_fit_is_refused(cut: MatrixLayout, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        layout(awkward.fused, "middle.qkv.weight", cut=cut)
    assert words in str(refused.value)


def test_only_hidden_matrices_are_cut() -> None:
    with pytest.raises(InvalidInput, match="only hidden matrices can be split"):
        infer(awkward.plain, WIDTHS, splits={"out.weight": MatrixLayout(parts=(1, 1))})


def test_a_tied_table_is_known_to_make_logits_and_where() -> None:
    table = infer(awkward.tied, WIDTHS)["table.weight"]
    assert (table.role, table.makes_logits, table.product_at, table.embedded_at) == (
        E,
        True,
        "out",
        "table",
    )
    assert not infer(awkward.plain, WIDTHS)["table.weight"].makes_logits
    assert replace(Reading(V), role=R).makes_logits
