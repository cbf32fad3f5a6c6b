"""Groups partition the parameters, AdamW is torch's, schedules have their shapes."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim._muon import _zeropower_via_newtonschulz

from telescope.models.transformer import Transformer, initialise
from telescope.optim.groups import groups
from telescope.optim.muon import Muon
from telescope.optim.optimizer import build_optimizer
from telescope.optim.schedule import lr_factor
from telescope.parametrisation.roles import Role
from telescope.trials.horizon import HorizonSpec
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec

SPEC = ModelSpec(width=32, base_width=16, depth=2, head_dim=8, query_heads_per_kv=2, qk_norm=True)
MUON = OptimizerSpec(name="muon", lr=0.1, weight_decay=0.0)
ADAMW = OptimizerSpec(name="adamw", lr=0.01, weight_decay=0.1, parametrisation="standard")


def model(spec: ModelSpec = SPEC) -> Transformer:
    net = Transformer(spec, 50, 12, "mup")
    initialise(net, ADAMW, seed=0)
    return net


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_groups_are_total_and_disjoint_and_muon_gets_the_hidden_matrices_only(
    name: str, tied: bool
) -> None:
    net = model(replace(SPEC, tied_embeddings=tied))
    found = groups(net, replace(ADAMW, name=name))
    names = [n for group in found for n in group.names]
    assert sorted(names) == sorted(n for n, _ in net.named_parameters())
    muon = {group.role for group in found if group.uses_muon}
    assert muon == ({Role.HIDDEN} if name == "muon" else set())


@pytest.mark.parametrize(
    ("name", "alpha"), [("adamw", 0.5), ("adamw", 1.0), ("muon", 0.5), ("muon", 1.0)]
)
def test_the_depth_rule_reaches_the_groups_inside_branches_and_no_others(
    name: str, alpha: float
) -> None:
    spec = replace(ADAMW, name=name, parametrisation="mup", eps=1e-6)
    # four times as deep, no wider
    net = model(replace(SPEC, depth=8, base_depth=2, depth_exponent=alpha, base_width=32))
    said = {n: group for group in groups(net, spec) for n in group.names}
    assert sorted(said) == sorted(n for n, _ in net.named_parameters())
    lr, eps = 4.0 ** (alpha - 1), 4.0**-alpha
    for n, group in said.items():
        inside = n.startswith("blocks.")
        base_lr = 0.01 if name == "adamw" or group.uses_muon else 0.01 * spec.adamw_lr_ratio
        assert group.scaled_lr == pytest.approx(base_lr * (lr if inside else 1.0))
        if not group.uses_muon:
            assert group.eps == pytest.approx(1e-6 * (eps if inside else 1.0))
    assert said["norm.weight"].eps == 1e-6


def loss(net: Transformer, step: int) -> torch.Tensor:
    tokens = torch.randint(0, 50, (4, 12), generator=torch.Generator().manual_seed(step))
    return torch.nn.functional.cross_entropy(
        net(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()
    )


def test_adamw_matches_torch_optim_adamw_with_hand_written_groups() -> None:
    mine, reference = model(), model()
    matrices = [p for p in reference.parameters() if p.ndim == 2]
    vectors = [p for p in reference.parameters() if p.ndim == 1]
    theirs = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=0.01,
        betas=(0.9, 0.95),
        eps=1e-8,
    )
    ours = build_optimizer(mine, ADAMW)
    generator = torch.Generator().manual_seed(0)
    # equal gradients: Adam turns rounding of a vanishing one into a step of full size
    for _ in range(10):
        for a, b in zip(mine.parameters(), reference.parameters(), strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        ours.step(1.0)
        theirs.step()
    for (name, a), (_, b) in zip(
        mine.named_parameters(), reference.named_parameters(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_what_the_groups_say_is_what_the_optimizers_use(name: str) -> None:
    spec = replace(
        ADAMW, name=name, parametrisation="mup", weight_decay=0.3, eps=1e-6, beta1=0.8, beta2=0.9
    )
    net = model(replace(SPEC, base_width=8, head_dim=4))  # m = 4
    said = {n: group for group in groups(net, spec) for n in group.names}
    names = {id(p): n for n, p in net.named_parameters()}
    found = 0
    optimizer = build_optimizer(net, spec)
    for part, lrs in zip(optimizer.parts, optimizer.scaled_lrs, strict=True):
        for used, lr in zip(part.param_groups, lrs, strict=True):
            for parameter in used["params"]:
                group = said[names[id(parameter)]]
                assert (lr, used["weight_decay"]) == (group.scaled_lr, group.weight_decay)
                assert group.uses_muon == isinstance(part, Muon)
                assert group.uses_muon or (used["eps"], used["betas"]) == (group.eps, (0.8, 0.9))
                found += 1
    assert found == len(names)
    assert len({group.scaled_lr for group in said.values()}) > 1


@pytest.mark.parametrize(
    "change",
    [
        {"momentum": 0.5},
        {"nesterov": False},
        {"newton_schulz_steps": 3},
        {"newton_schulz_dtype": "float32"},
    ],
)
def test_muons_options_reach_its_update(change: dict[str, object]) -> None:
    matrices = [[torch.nn.Parameter(torch.eye(4, 6)) for _ in range(2)] for _ in range(2)]
    for parameters, spec in zip(matrices, (MUON, replace(MUON, **change)), strict=True):
        optimizer = Muon(parameters, spec, 0.1, 0.0)
        generator = torch.Generator().manual_seed(0)
        for _ in range(2):
            for parameter in parameters:
                parameter.grad = torch.randn(4, 6, generator=generator)
            optimizer.step()
    assert not torch.equal(matrices[0][0], matrices[1][0])


def test_muon_without_nesterov_matches_torch() -> None:
    mine, reference = (torch.nn.Parameter(torch.eye(8, 4)) for _ in range(2))
    spec = replace(
        MUON, nesterov=False, update_scale="spectral_clamped", newton_schulz_dtype="bfloat16"
    )
    ours = Muon([mine], spec, 0.1, 0.2)
    generator, buffer = torch.Generator().manual_seed(0), torch.zeros(8, 4)
    # torch 2.13 overwrites its buffer without Nesterov in bf16, so its own update is applied to
    # ours by hand
    for _ in range(4):
        mine.grad = torch.randn(8, 4, generator=generator)
        buffer = 0.95 * buffer + 0.05 * mine.grad
        update = _zeropower_via_newtonschulz(buffer.clone(), (3.4445, -4.7750, 2.0315), 5, 1e-7)
        reference.data = reference.data * (1 - 0.1 * 0.2) - 0.1 * 2**0.5 * update.float()
        ours.step()
    torch.testing.assert_close(mine.data, reference.data, rtol=1e-5, atol=1e-5)


def test_the_factor_of_the_schedule_reaches_every_group() -> None:
    net = model()
    optimizer = build_optimizer(net, replace(ADAMW, name="muon"))
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    loss(net, 0).backward()
    optimizer.step(0.0)
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())


def test_schedules_have_hand_computed_values() -> None:
    horizon = HorizonSpec(steps=10, batch_tokens=64, warmup_fraction=0.2, decay="linear")
    assert [lr_factor(horizon, t) for t in range(10)] == pytest.approx(
        [0.5, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    )
    wsd = replace(horizon, decay="wsd", decay_fraction=0.4)
    assert [lr_factor(wsd, t) for t in range(10)] == pytest.approx(
        [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    )
    assert lr_factor(replace(horizon, decay="cosine", final_lr_fraction=0.1), 6) == pytest.approx(
        0.55
    )
    assert lr_factor(replace(horizon, decay="constant"), 9) == 1.0


@given(
    decay=st.sampled_from(["linear", "cosine", "constant", "wsd"]),
    steps=st.integers(1, 300),
    warmup=st.floats(0, 1),
    final=st.floats(0, 1),
)
def test_a_schedule_rises_then_never_rises_again_and_stays_within_its_bounds(
    decay: str, steps: int, warmup: float, final: float
) -> None:
    horizon = HorizonSpec(
        steps=steps, batch_tokens=64, warmup_fraction=warmup, decay=decay, final_lr_fraction=final
    )  # type: ignore[arg-type]
    values = [lr_factor(horizon, t) for t in range(steps)]
    top = values.index(max(values))
    assert values[: top + 1] == sorted(values[: top + 1])
    assert all(b <= a + 1e-12 for a, b in zip(values[top:], values[top + 1 :], strict=False))
    assert 0 < max(values) <= 1
    assert min(values) >= 0
