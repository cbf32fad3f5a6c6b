"""Parameter groups, AdamW and Muon against torch's, and learning-rate schedules."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim._muon import _zeropower_via_newtonschulz

from telescope.models.transformer import Transformer, initialise
from telescope.optim.groups import ParameterGroup, groups
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
    all_groups = groups(net, replace(ADAMW, name=name))
    grouped = [parameter for group in all_groups for parameter in group.names]
    assert sorted(grouped) == sorted(parameter for parameter, _ in net.named_parameters())
    muon_roles = {group.role for group in all_groups if group.uses_muon}
    assert muon_roles == ({Role.HIDDEN} if name == "muon" else set())


def groups_by_parameter(net: Transformer, spec: OptimizerSpec) -> dict[str, ParameterGroup]:
    return {name: group for group in groups(net, spec) for name in group.names}


@pytest.mark.parametrize(
    ("name", "alpha"), [("adamw", 0.5), ("adamw", 1.0), ("muon", 0.5), ("muon", 1.0)]
)
def test_the_depth_rule_reaches_the_groups_inside_branches_and_no_others(
    name: str, alpha: float
) -> None:
    spec = replace(ADAMW, name=name, parametrisation="mup", eps=1e-6)
    # four times as deep, no wider
    net = model(replace(SPEC, depth=8, base_depth=2, depth_exponent=alpha, base_width=32))
    group_of = groups_by_parameter(net, spec)
    lr, eps = 4.0 ** (alpha - 1), 4.0**-alpha
    for parameter, group in group_of.items():
        inside = parameter.startswith("blocks.")
        base_lr = 0.01 if name == "adamw" or group.uses_muon else 0.01 * spec.adamw_lr_ratio
        assert group.scaled_lr == pytest.approx(base_lr * (lr if inside else 1.0))
        if not group.uses_muon:
            assert group.eps == pytest.approx(1e-6 * (eps if inside else 1.0))
    assert group_of["norm.weight"].eps == 1e-6


def loss(net: Transformer, step: int) -> torch.Tensor:
    tokens = torch.randint(0, 50, (4, 12), generator=torch.Generator().manual_seed(step))
    return torch.nn.functional.cross_entropy(
        net(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()
    )


def test_adamw_matches_torch_optim_adamw_with_hand_written_groups() -> None:
    net, reference = model(), model()
    matrices = [p for p in reference.parameters() if p.ndim == 2]
    vectors = [p for p in reference.parameters() if p.ndim == 1]
    theirs = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=0.01,
        betas=(0.9, 0.95),
        eps=1e-8,
    )
    ours = build_optimizer(net, ADAMW)
    generator = torch.Generator().manual_seed(0)
    expected = dict(reference.named_parameters())
    # both get the same gradients, since Adam turns the rounding of a vanishing gradient into a step
    # of full size
    for _ in range(10):
        for name, parameter in net.named_parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            expected[name].grad = parameter.grad.clone()
        ours.step(1.0)
        theirs.step()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter, expected[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_the_optimizers_use_the_hyperparameters_of_the_groups(name: str) -> None:
    spec = replace(
        ADAMW, name=name, parametrisation="mup", weight_decay=0.3, eps=1e-6, beta1=0.8, beta2=0.9
    )
    net = model(replace(SPEC, base_width=8, head_dim=4))  # m = 4
    group_of = groups_by_parameter(net, spec)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    checked = 0
    optimizer = build_optimizer(net, spec)
    for part, lrs in zip(optimizer.parts, optimizer.scaled_lrs, strict=True):
        for values, lr in zip(part.param_groups, lrs, strict=True):
            for parameter in values["params"]:
                group = group_of[names[id(parameter)]]
                assert (lr, values["weight_decay"]) == (group.scaled_lr, group.weight_decay)
                assert group.uses_muon == isinstance(part, Muon)
                if not group.uses_muon:
                    assert (values["eps"], values["betas"]) == (group.eps, (0.8, 0.9))
                checked += 1
    assert checked == len(names)
    assert len({group.scaled_lr for group in group_of.values()}) > 1


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
    matrix, reference = (torch.nn.Parameter(torch.eye(8, 4)) for _ in range(2))
    spec = replace(
        MUON, nesterov=False, update_scale="spectral_clamped", newton_schulz_dtype="bfloat16"
    )
    ours = Muon([matrix], spec, 0.1, 0.2)
    generator, buffer = torch.Generator().manual_seed(0), torch.zeros(8, 4)
    # torch 2.13 overwrites its buffer without Nesterov in bf16, so the steps of its Muon are
    # written out here
    for _ in range(4):
        matrix.grad = torch.randn(8, 4, generator=generator)
        buffer = 0.95 * buffer + 0.05 * matrix.grad
        update = _zeropower_via_newtonschulz(buffer.clone(), (3.4445, -4.7750, 2.0315), 5, 1e-7)
        reference.data = reference.data * (1 - 0.1 * 0.2) - 0.1 * 2**0.5 * update.float()
        ours.step()
    torch.testing.assert_close(matrix.data, reference.data, rtol=1e-5, atol=1e-5)


def test_the_factor_of_the_schedule_reaches_every_group() -> None:
    net = model()
    optimizer = build_optimizer(net, replace(ADAMW, name="muon"))
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    loss(net, 0).backward()
    optimizer.step(0.0)
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())


def test_schedules_have_hand_computed_values() -> None:
    horizon = HorizonSpec(steps=10, batch_tokens=64, warmup_fraction=0.2, decay="linear")
    linear = [0.5, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    assert [lr_factor(horizon, step) for step in range(10)] == pytest.approx(linear)
    wsd = replace(horizon, decay="wsd", decay_fraction=0.4)
    wsd_factors = [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert [lr_factor(wsd, step) for step in range(10)] == pytest.approx(wsd_factors)
    cosine = replace(horizon, decay="cosine", final_lr_fraction=0.1)
    assert lr_factor(cosine, 6) == pytest.approx(0.55)
    assert lr_factor(replace(horizon, decay="constant"), 9) == 1.0


@given(
    decay=st.sampled_from(["linear", "cosine", "constant", "wsd"]),
    steps=st.integers(1, 300),
    warmup=st.floats(0, 1),
    final=st.floats(0, 1),
)
def test_a_schedule_rises_once_then_falls_and_stays_within_its_bounds(
    decay: str, steps: int, warmup: float, final: float
) -> None:
    horizon = HorizonSpec(
        steps=steps, batch_tokens=64, warmup_fraction=warmup, decay=decay, final_lr_fraction=final
    )
    values = [lr_factor(horizon, step) for step in range(steps)]
    top = values.index(max(values))
    assert values[: top + 1] == sorted(values[: top + 1])
    assert all(b <= a + 1e-12 for a, b in zip(values[top:], values[top + 1 :], strict=False))
    assert 0 < max(values) <= 1
    assert min(values) >= 0
