"""The Transformer: causal, shaped as stated, in all its variants; shapes checked at run time by jaxtyping and beartype."""

import math
from dataclasses import replace

import pytest
import torch
from jaxtyping import TypeCheckError

from telescope.flops import hidden_shapes, parameters
from telescope.model import Transformer, init_std, initialise, rotary, rotate
from telescope.optimizer import build
from telescope.roles import Role
from telescope.spec import ModelSpec, OptimizerSpec

VARIANTS = {
    "gated": {},
    "relu2": {"mlp": "relu2"},
    "gelu": {"mlp": "gelu"},
    "gqa": {"query_heads_per_kv": 2},
    "qk_norm": {"qk_norm": True},
    "tied": {"tied_embeddings": True},
}
MUON = OptimizerSpec(name="muon", lr=0.02, weight_decay=0.1)
TOKENS = torch.randint(0, 50, (3, 12), generator=torch.Generator().manual_seed(0))


def model(**fields: object) -> Transformer:
    built = Transformer(ModelSpec(width=32, base_width=16, depth=2, head_dim=8, **fields), 50, 12, "mup")  # type: ignore[arg-type]
    initialise(built, MUON, seed=0)
    if built.head is not None:
        torch.nn.init.normal_(built.head.weight, generator=torch.Generator().manual_seed(1))
    return built


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_logits_have_their_shape_and_depend_on_the_past_alone(fields: dict[str, object]) -> None:
    net = model(**fields)
    logits = net(TOKENS)
    assert logits.shape == (3, 12, 50)
    changed = TOKENS.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 50
    torch.testing.assert_close(net(changed)[:, :7], logits[:, :7])
    assert not torch.allclose(net(changed)[:, 7:], logits[:, 7:])


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_parameters_are_counted_as_built(fields: dict[str, object]) -> None:
    net = model(**fields)
    assert parameters(net.spec, 50) == sum(p.numel() for p in net.parameters())
    hidden = [name for name, role in net.parameter_roles().items() if role is Role.HIDDEN]
    built = sorted(tuple(net.get_parameter(name).shape) for name in hidden)
    assert built == sorted(hidden_shapes(net.spec) * net.spec.depth)


@pytest.mark.parametrize("norm", ["query_norm", "key_norm"])
def test_qk_norm_acts_on_queries_and_on_keys(norm: str) -> None:
    net = model(qk_norm=True)
    before = net(TOKENS)
    with torch.no_grad():
        getattr(net.blocks[0].attention, norm).weight *= 3
    assert not torch.allclose(net(TOKENS), before)


def test_positions_matter() -> None:
    net = model()
    assert not torch.allclose(net(TOKENS.flip(1))[:, -1], net(TOKENS)[:, -1])


def test_a_wrong_shape_is_noticed_where_it_enters() -> None:
    with pytest.raises(TypeCheckError, match="sin"):
        rotate(torch.zeros(1, 1, 16, 8), torch.zeros(16, 8), torch.zeros(15, 8))


def test_rotation_keeps_lengths_and_makes_scores_relative() -> None:
    cos, sin = rotary(16, 8, 10_000.0)
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    turned_q, turned_k = (rotate(x.expand(1, 1, 16, 8), cos, sin)[0, 0] for x in (q, k))
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm().expand(16))
    scores = turned_q @ turned_k.T
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


def test_an_untied_head_starts_silent_so_the_first_loss_is_that_of_chance() -> None:
    net = Transformer(ModelSpec(width=32, base_width=16, depth=1, head_dim=8), 50, 12, "mup")
    initialise(net, MUON, 0)
    assert torch.equal(net(TOKENS), torch.zeros(3, 12, 50))


def test_a_module_without_a_role_is_refused_by_name() -> None:
    net = model()
    net.blocks.append(torch.nn.Conv1d(2, 2, 1))
    with pytest.raises(LookupError, match=r"blocks\.2\.weight belongs to a Conv1d"):
        net.parameter_roles()


def test_attention_by_one_over_head_size_agrees_at_64_and_is_twice_as_sharp_at_16() -> None:
    def logits(head_dim: int, scale: str, sharper: float = 1.0) -> torch.Tensor:
        spec = ModelSpec(width=64, base_width=64, depth=1, head_dim=head_dim, attention_scale=scale)  # type: ignore[arg-type]
        net = Transformer(spec, 50, 12, "mup")
        initialise(net, MUON, seed=0)
        torch.nn.init.normal_(net.head.weight, generator=torch.Generator().manual_seed(1))  # type: ignore[union-attr]
        with torch.no_grad():
            net.blocks[0].attention.query.weight *= sharper
        return net(TOKENS).detach()

    assert torch.equal(logits(64, "inverse"), logits(64, "inverse_sqrt"))
    torch.testing.assert_close(logits(16, "inverse"), logits(16, "inverse_sqrt", sharper=2.0))
    assert not torch.allclose(logits(16, "inverse"), logits(16, "inverse_sqrt"))


# Depth

DEEP = ModelSpec(width=32, base_width=32, depth=8, head_dim=16)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_at_its_base_depth_a_model_is_bitwise_the_one_without_a_depth_rule(alpha: float) -> None:
    plain, ruled = DEEP, replace(DEEP, base_depth=8, depth_exponent=alpha)
    trained = []
    for spec in (plain, ruled):
        net = Transformer(spec, 50, 12, "mup")
        initialise(net, MUON, seed=0)
        optimizer = build(net, MUON)
        for _ in range(2):
            torch.nn.functional.cross_entropy(net(TOKENS).flatten(0, 1), TOKENS.flatten()).backward()
            optimizer.step(1.0)
        trained.append(net.state_dict())
    assert all(torch.equal(value, trained[1][name]) for name, value in trained[0].items())


@pytest.mark.parametrize(("alpha", "branch"), [(1.0, 1 / 4), (0.5, 1 / 2)])
def test_four_times_the_base_depth_multiplies_each_branch_and_leaves_initial_values_alone(alpha: float, branch: float) -> None:
    ruled, plain = (Transformer(replace(DEEP, base_depth=b, depth_exponent=alpha), 50, 12, "mup") for b in (2, 8))
    initialise(ruled, MUON, seed=0)
    torch.nn.init.normal_(ruled.head.weight, generator=torch.Generator().manual_seed(1))  # type: ignore[union-attr]
    plain.load_state_dict(ruled.state_dict())
    with torch.no_grad():
        for block in plain.blocks:
            block.attention.output.weight *= branch
            block.feed_forward.down.weight *= branch
    torch.testing.assert_close(ruled(TOKENS), plain(TOKENS))
    shallow = Transformer(replace(DEEP, depth=2), 50, 12, "mup")
    for name, role in shallow.parameter_roles().items():
        assert init_std(ruled, name, role, MUON) == init_std(shallow, name, role, MUON)


def change_of_the_residual_stream(spec: ModelSpec, optimizer: OptimizerSpec) -> float:
    """RMS of what one step on the branches alone changes at the end of the residual stream."""
    net = Transformer(spec, 50, 12, "mup")
    initialise(net, optimizer, seed=0)
    torch.nn.init.normal_(net.head.weight, std=spec.width**-0.5, generator=torch.Generator().manual_seed(1))  # type: ignore[union-attr]
    seen: list[torch.Tensor] = []
    net.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    torch.nn.functional.cross_entropy(net(TOKENS[:, :-1]).flatten(0, 1), TOKENS[:, 1:].flatten()).backward()
    for name, parameter in net.named_parameters():
        if not name.startswith("blocks."):
            parameter.grad = None
    build(net, optimizer).step(1.0)
    net(TOKENS[:, :-1])
    return float((seen[1] - seen[0]).square().mean().sqrt())


@pytest.mark.parametrize("optimizer", [replace(MUON, weight_decay=0.0), OptimizerSpec(name="adamw", lr=1e-3, weight_decay=0.0, eps=1e-12)])
def test_one_step_changes_the_output_of_a_deep_model_by_order_one_under_the_depth_rule_and_not_without(optimizer: OptimizerSpec) -> None:
    def octaves_per_doubling(**rule: object) -> float:
        two, thirty_two = (change_of_the_residual_stream(replace(DEEP, depth=depth, **rule), optimizer) for depth in (2, 32))  # type: ignore[arg-type]
        return math.log2(thirty_two / two) / 4

    assert abs(octaves_per_doubling(base_depth=2, depth_exponent=1.0)) < 0.25
    assert abs(octaves_per_doubling(base_depth=2, depth_exponent=0.5)) < 0.25
    assert octaves_per_doubling() > 0.6
