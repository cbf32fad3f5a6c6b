"""The Transformer: causal, shaped as stated, in all its variants; shapes checked at run time by jaxtyping and beartype."""

import pytest
import torch
from jaxtyping import TypeCheckError

from telescope.flops import hidden_shapes, parameters
from telescope.model import Transformer, initialise, rotary, rotate
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
