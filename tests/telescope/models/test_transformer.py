"""The Transformer in all its variants: shapes, causality, initial values and the depth rule.

jaxtyping and beartype check the shapes at every call.
"""

import math
from dataclasses import fields, replace

import pytest
import torch
from jaxtyping import TypeCheckError
from torch.nn.functional import cross_entropy

from telescope.models.attention import LatentAttention, rotary, rotate
from telescope.models.own_family import hidden_shapes
from telescope.models.transformer import Transformer, init_std, initialise
from telescope.optim.optimizer import build_optimizer
from telescope.parametrisation.roles import Role
from telescope.train.flops import parameters
from telescope.trials.architecture import Architecture
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.presets import PRESETS


def vars_of(architecture: Architecture) -> dict[str, object]:
    return {
        field.name: getattr(architecture, field.name)
        for field in fields(architecture)
        if field.name not in ("depth", "head_dim")
    }


VARIANTS = {
    "gated": {},
    "relu2": {"mlp": "relu2"},
    "gelu": {"mlp": "gelu"},
    "gqa": {"query_heads_per_kv": 2},
    "qk_norm": {"qk_norm": True},
    "tied": {"tied_embeddings": True},
    "geglu": {"mlp": "geglu"},
    "layer_norm": {"norm": "layer"},
    "learned": {"positions": "learned"},
    "mla": {"attention": "mla"},
    "mla of other sizes": {"attention": "mla", "kv_rank_ratio": 0.5, "rotary_dim": 6},
    **{name: vars_of(architecture) for name, architecture in PRESETS.items()},
}
MUON = OptimizerSpec(name="muon", lr=0.02, weight_decay=0.1)
TOKENS = torch.randint(0, 50, (3, 12), generator=torch.Generator().manual_seed(0))


def model(**fields: object) -> Transformer:
    spec = ModelSpec(width=32, base_width=16, head_dim=8, **{"depth": 2, **fields})  # type: ignore[arg-type]
    net = Transformer(spec, 50, 12, "mup")
    initialise(net, MUON, seed=0)
    if net.head is not None:
        torch.nn.init.normal_(net.head.weight, generator=torch.Generator().manual_seed(1))
    return net


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_logits_have_their_shape_and_depend_only_on_earlier_tokens(
    fields: dict[str, object],
) -> None:
    net = model(**fields)
    logits = net(TOKENS)
    assert logits.shape == (3, 12, 50)
    changed = TOKENS.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 50
    torch.testing.assert_close(net(changed)[:, :7], logits[:, :7])
    assert not torch.allclose(net(changed)[:, 7:], logits[:, 7:])


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_counts_of_parameters_agree_with_the_model(fields: dict[str, object]) -> None:
    net = model(**fields)
    assert parameters(net.spec, 50, 12) == sum(p.numel() for p in net.parameters())
    hidden = [name for name, role in net.parameter_roles().items() if role is Role.HIDDEN]
    shapes = sorted(tuple(net.get_parameter(name).shape) for name in hidden)
    assert shapes == sorted(hidden_shapes(net.spec) * net.spec.depth)


@pytest.mark.parametrize("norm", ["query_norm", "key_norm"])
def test_qk_norm_acts_on_queries_and_on_keys(norm: str) -> None:
    net = model(qk_norm=True)
    before = net(TOKENS)
    with torch.no_grad():
        getattr(net.blocks[0].attention, norm).weight *= 3
    assert not torch.allclose(net(TOKENS), before)


def order_matters(net: Transformer) -> bool:
    """True if the last logits change with the order of earlier tokens, which one layer without
    positions does not see."""
    shuffled = torch.cat((TOKENS[:, :-1].flip(1), TOKENS[:, -1:]), dim=1)
    return not torch.allclose(net(shuffled)[:, -1], net(TOKENS)[:, -1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "position_parameter"),
    [
        ({}, None),
        ({"positions": "learned"}, "positions.weight"),
        ({"attention": "mla"}, "blocks.0.attention.key_rotary.weight"),
    ],
    ids=["rotary", "learned", "mla"],
)
def test_positions_matter(fields: dict[str, object], position_parameter: str | None) -> None:
    net = model(depth=1, **fields)
    assert order_matters(net)
    if position_parameter:
        torch.nn.init.zeros_(net.get_parameter(position_parameter))
        assert not order_matters(net)


def test_a_wrong_shape_is_refused_at_the_call() -> None:
    with pytest.raises(TypeCheckError, match="sin"):
        rotate(torch.zeros(1, 1, 16, 8), torch.zeros(16, 8), torch.zeros(15, 8))


def test_rotation_keeps_lengths_and_makes_scores_relative() -> None:
    cos, sin = rotary(16, 8, 10_000.0)
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    rotated_q, rotated_k = (rotate(x.expand(1, 1, 16, 8), cos, sin)[0, 0] for x in (q, k))
    torch.testing.assert_close(rotated_q.norm(dim=-1), q.norm().expand(16))
    scores = rotated_q @ rotated_k.T
    torch.testing.assert_close(scores[5, 3], scores[12, 10])


def test_the_same_seed_gives_the_same_model_and_another_seed_another() -> None:
    spec = ModelSpec(width=32, base_width=16, depth=1, head_dim=8)
    weights = []
    for seed in (0, 0, 1):
        net = Transformer(spec, 50, 12, "mup")
        initialise(net, MUON, seed)
        weights.append(net.blocks[0].attention.query.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_an_untied_head_starts_at_zero_so_all_logits_are_equal() -> None:
    net = Transformer(ModelSpec(width=32, base_width=16, depth=1, head_dim=8), 50, 12, "mup")
    initialise(net, MUON, 0)
    assert torch.equal(net(TOKENS), torch.zeros(3, 12, 50))


def test_a_module_without_a_role_is_refused_by_name() -> None:
    net = model()
    net.blocks.append(torch.nn.Conv1d(2, 2, 1))
    with pytest.raises(LookupError, match=r"blocks\.2\.weight belongs to a Conv1d"):
        net.parameter_roles()


def test_the_inverse_attention_scale_agrees_at_64_and_is_twice_as_sharp_at_16() -> None:
    def logits(head_dim: int, scale: str, query_factor: float = 1.0) -> torch.Tensor:
        spec = ModelSpec(width=64, base_width=64, depth=1, head_dim=head_dim, attention_scale=scale)  # type: ignore[arg-type]
        net = Transformer(spec, 50, 12, "mup")
        initialise(net, MUON, seed=0)
        torch.nn.init.normal_(net.head.weight, generator=torch.Generator().manual_seed(1))  # type: ignore[union-attr]
        with torch.no_grad():
            net.blocks[0].attention.query.weight *= query_factor
        return net(TOKENS).detach()

    assert torch.equal(logits(64, "inverse"), logits(64, "inverse_sqrt"))
    doubled = logits(16, "inverse_sqrt", query_factor=2.0)
    torch.testing.assert_close(logits(16, "inverse"), doubled)
    assert not torch.allclose(logits(16, "inverse"), logits(16, "inverse_sqrt"))


def test_learned_positions_reach_as_far_as_the_context_and_are_embeddings() -> None:
    net = model(positions="learned")
    assert net.positions is not None
    assert net.positions.weight.shape == (12, 32)
    assert net.parameter_roles()["positions.weight"] is Role.EMBEDDING
    torch.testing.assert_close(net(TOKENS[:, :5]), net(TOKENS)[:, :5])


def test_layer_norms_subtract_the_mean_and_have_no_biases() -> None:
    rms, layer = (model(norm=norm, depth=1) for norm in ("rms", "layer"))
    layer.load_state_dict(rms.state_dict())  # the same names: no biases
    x = rms.embedding.weight.detach()
    centred = x - x.mean(dim=1, keepdim=True)
    # equal up to the two norms' eps
    torch.testing.assert_close(layer.norm(x), rms.norm(centred), rtol=1e-3, atol=1e-3)
    norm_roles = {role for name, role in layer.parameter_roles().items() if "norm" in name}
    assert norm_roles == {Role.VECTOR}


@pytest.mark.parametrize("mlp", ["gated", "geglu"])
def test_a_gated_block_multiplies_by_the_activation_of_its_gate(mlp: str) -> None:
    feed_forward = model(mlp=mlp).blocks[0].feed_forward
    x = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0))
    gate, up = x @ feed_forward.gate.weight.mT, x @ feed_forward.up.weight.mT
    share = torch.sigmoid(gate) if mlp == "gated" else (1 + torch.erf(gate / math.sqrt(2))) / 2
    torch.testing.assert_close(feed_forward(x), (gate * share * up) @ feed_forward.down.weight.mT)


def test_latent_attention_agrees_with_its_equations() -> None:
    spec = ModelSpec(width=16, base_width=16, head_dim=8, attention="mla", rotary_dim=4)
    layer = LatentAttention(spec)
    x = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(0))
    latent = torch.nn.functional.rms_norm(x @ layer.latent.weight.mT, (4,), eps=1e-6)
    cos, sin = rotary(5, 4, 10_000.0)
    # (T, R), shared by both heads
    k_rotated = rotate((x @ layer.key_rotary.weight.mT)[None], cos, sin)[0, 0]
    future = torch.ones(5, 5).triu(1).bool()
    outputs = []
    for head in range(2):
        rows, rotated = slice(8 * head, 8 * head + 8), slice(4 * head, 4 * head + 4)
        q = x[0] @ layer.query.weight[rows].mT
        k = latent[0] @ layer.key.weight[rows].mT
        v = latent[0] @ layer.value.weight[rows].mT
        q_rotated = rotate((x @ layer.query_rotary.weight[rotated].mT)[None], cos, sin)[0, 0]
        logits = (q @ k.mT + q_rotated @ k_rotated.mT) / math.sqrt(8 + 4)
        outputs.append(logits.masked_fill(future, -math.inf).softmax(dim=-1) @ v)
    expected = torch.cat(outputs, dim=-1) @ layer.output.weight.mT
    torch.testing.assert_close(layer(x, (cos, sin))[0], expected)


# Depth

DEEP = ModelSpec(width=32, base_width=32, depth=8, head_dim=16)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_at_its_base_depth_a_model_is_bitwise_the_one_without_a_depth_rule(alpha: float) -> None:
    states = []
    for spec in (DEEP, replace(DEEP, base_depth=8, depth_exponent=alpha)):
        net = Transformer(spec, 50, 12, "mup")
        initialise(net, MUON, seed=0)
        optimizer = build_optimizer(net, MUON)
        for _ in range(2):
            cross_entropy(net(TOKENS).flatten(0, 1), TOKENS.flatten()).backward()
            optimizer.step(1.0)
        states.append(net.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize(("alpha", "branch"), [(1.0, 1 / 4), (0.5, 1 / 2)])
def test_four_times_the_base_depth_multiplies_each_branch_and_leaves_initial_values_alone(
    alpha: float, branch: float
) -> None:
    scaled, plain = (
        Transformer(replace(DEEP, base_depth=depth, depth_exponent=alpha), 50, 12, "mup")
        for depth in (2, 8)
    )
    initialise(scaled, MUON, seed=0)
    torch.nn.init.normal_(scaled.head.weight, generator=torch.Generator().manual_seed(1))  # type: ignore[union-attr]
    plain.load_state_dict(scaled.state_dict())
    with torch.no_grad():
        for block in plain.blocks:
            block.attention.output.weight *= branch
            block.feed_forward.down.weight *= branch
    torch.testing.assert_close(scaled(TOKENS), plain(TOKENS))
    shallow = Transformer(replace(DEEP, depth=2), 50, 12, "mup")
    for name, role in shallow.parameter_roles().items():
        assert init_std(scaled, name, role, MUON) == init_std(shallow, name, role, MUON)


def change_of_the_residual_stream(spec: ModelSpec, optimizer: OptimizerSpec) -> float:
    """RMS of the change at the end of the residual stream after one step on the branches alone."""
    net = Transformer(spec, 50, 12, "mup")
    initialise(net, optimizer, seed=0)
    generator = torch.Generator().manual_seed(1)
    torch.nn.init.normal_(net.head.weight, std=spec.width**-0.5, generator=generator)  # type: ignore[union-attr]
    streams: list[torch.Tensor] = []
    net.norm.register_forward_pre_hook(lambda module, inputs: streams.append(inputs[0].detach()))
    cross_entropy(net(TOKENS[:, :-1]).flatten(0, 1), TOKENS[:, 1:].flatten()).backward()
    for name, parameter in net.named_parameters():
        if not name.startswith("blocks."):
            parameter.grad = None
    build_optimizer(net, optimizer).step(1.0)
    net(TOKENS[:, :-1])
    return float((streams[1] - streams[0]).square().mean().sqrt())


@pytest.mark.parametrize(
    "optimizer",
    [
        replace(MUON, weight_decay=0.0),
        OptimizerSpec(name="adamw", lr=1e-3, weight_decay=0.0, eps=1e-12),
    ],
)
def test_only_under_the_depth_rule_a_step_changes_a_deep_models_output_by_order_one(
    optimizer: OptimizerSpec,
) -> None:
    def octaves_per_doubling(**rule: object) -> float:
        shallow, deep = (
            change_of_the_residual_stream(replace(DEEP, depth=depth, **rule), optimizer)
            for depth in (2, 32)
        )
        return math.log2(deep / shallow) / 4

    assert abs(octaves_per_doubling(base_depth=2, depth_exponent=1.0)) < 0.25
    assert abs(octaves_per_doubling(base_depth=2, depth_exponent=0.5)) < 0.25
    assert octaves_per_doubling() > 0.6
