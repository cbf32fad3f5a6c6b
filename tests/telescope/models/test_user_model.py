"""A user's model is trained unchanged at the base width, and by muP's rules beyond it."""

import copy
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from telescope.errors import FactoryLost, InvalidInput
from telescope.models import factory
from telescope.models.build import begin
from telescope.models.transformer import Transformer
from telescope.models.user_model import (
    UserModel,
    base_sizes,
    check_vocabulary,
    rms,
    width_problem,
)
from telescope.optim.groups import describe_groups, groups
from telescope.optim.muon import Muon
from telescope.parametrisation.layout import MATRIX, MatrixLayout
from telescope.parametrisation.roles import Role
from telescope.studies.coordinates.check import check
from telescope.train import flops
from telescope.train.checkpoint import CheckpointFile
from telescope.train.loop import train_one
from telescope.train.run import TrainingRun
from telescope.trials.horizon import HorizonSpec
from telescope.trials.model import ModelSpec, ModuleSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.outcome import Measurement
from telescope.trials.spec import TrialSpec
from tests.telescope.small import ADAMW, HORIZON, MUON, stdlib
from tests.telescope.user_models import Mixture

OURS = ModuleSpec(
    family="module", factory="tests.telescope.user_models:ours", width=16, base_width=16
)
MIXTURE = replace(OURS, factory="tests.telescope.user_models:mixture")
LLAMA = ModuleSpec(
    family="module", factory="api.examples.huggingface:llama", width=32, base_width=32
)
GPT2 = replace(LLAMA, factory="api.examples.huggingface:gpt2")


def trial(
    model: ModuleSpec | ModelSpec,
    optimizer: OptimizerSpec = MUON,
    horizon: HorizonSpec = HORIZON,
    seed: int = 0,
) -> TrialSpec:
    return TrialSpec(model=model, optimizer=optimizer, data=stdlib(), horizon=horizon, seed=seed)


def points(curve: Sequence[Measurement]) -> list[tuple[int, float]]:
    return [(point.step, point.metrics["train_loss"]) for point in curve]


@pytest.mark.parametrize("optimizer", [MUON, ADAMW], ids=["muon", "adamw"])
def test_our_transformer_trains_the_same_as_a_users_module(optimizer: OptimizerSpec) -> None:
    spec = ModelSpec(width=16, base_width=16, depth=1, head_dim=8, mlp_ratio=2.0)
    ours = list(train_one(trial(spec, optimizer)))
    module = list(train_one(trial(OURS, optimizer)))
    assert points(module) == points(ours)
    # the Transformer multiplies by the head's matrix outside of any submodule, so telescope does
    # not know the last features
    expected = dict(ours[-1].metrics)
    del expected["late/update/features"]
    assert module[-1].metrics == expected


def test_at_the_base_width_initial_values_are_the_factorys() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        expected = factory.load(MIXTURE.factory)(16)
    model = begin(trial(MIXTURE, seed=3))
    for name, parameter in expected.named_parameters():
        assert torch.equal(model.get_parameter(name), parameter), name


@pytest.mark.parametrize(
    "optimizer",
    [MUON, ADAMW, replace(ADAMW, parametrisation="standard")],
    ids=["muon", "adamw", "standard"],
)
def test_at_larger_widths_each_parameter_has_the_size_of_its_role(optimizer: OptimizerSpec) -> None:
    model = begin(trial(replace(MIXTURE, width=64), optimizer))
    base = base_sizes(MIXTURE.factory, 16)
    factors = {Role.HIDDEN: 0.5, Role.EMBEDDING: 1.0, Role.READOUT: 1.0}
    for name, role in model.parameter_roles().items():
        size = rms(model.get_parameter(name))
        if role in factors:
            assert size == pytest.approx(base[name] * factors[role], rel=1e-5), name
        elif name.endswith("bias"):  # as the factory initialises it
            assert size in (0.0, pytest.approx(base[name], rel=0.8))


def test_a_rescaled_head_starts_smaller_and_has_no_multiplier() -> None:
    form_b = begin(trial(replace(LLAMA, width=128, head_form="rescaled"), ADAMW))
    base_size = base_sizes(LLAMA.factory, 32)["lm_head.weight"]
    head = form_b.get_parameter("lm_head.weight")
    assert rms(head) == pytest.approx(base_size / 4, rel=1e-5)
    assert form_b.head_multiplier == 1.0
    group_of = {name: group for group in groups(form_b, ADAMW) for name in group.names}
    assert group_of["lm_head.weight"].scaled_lr == pytest.approx(ADAMW.lr / 4)


def test_groups_of_a_users_model_partition_its_parameters_and_follow_the_table() -> None:
    gpt2_groups = describe_groups(replace(GPT2, width=128), 256, MUON)
    group_of = {name: group for group in gpt2_groups for name in group.names}
    table = group_of["transformer.wte.weight"]
    assert (table.role, table.optimizer) == (Role.EMBEDDING, "adamw")
    assert table.scaled_lr == pytest.approx(0.5 * MUON.lr)
    fused = group_of["transformer.h.0.attn.c_attn.weight"]
    assert (fused.role, fused.optimizer, fused.scaled_lr) == (Role.HIDDEN, "muon", MUON.lr)
    assert group_of["transformer.h.0.ln_1.weight"].weight_decay == 0.0
    assert group_of["transformer.wpe.weight"].role is Role.EMBEDDING


# Forward multipliers


@pytest.mark.parametrize(
    ("spec", "head"), [(LLAMA, "lm_head"), (GPT2, "lm_head")], ids=["llama", "gpt2"]
)
def test_copies_of_a_model_and_compiled_code_keep_the_heads_multiplier(
    spec: ModuleSpec, head: str
) -> None:
    model = begin(trial(replace(spec, width=128), ADAMW))
    assert isinstance(model, UserModel)
    module, tokens = model.module.eval(), torch.arange(8)[None]
    features: list[torch.Tensor] = []
    last = module.get_submodule(head)
    hook = last.register_forward_pre_hook(
        lambda module, inputs: features.append(inputs[0]), prepend=True
    )
    with torch.no_grad():
        expected = module(tokens).logits
        hook.remove()
        assert torch.allclose(expected, features[0] @ last.weight.mT / 4, atol=1e-6)
        assert torch.equal(copy.deepcopy(module)(tokens).logits, expected)
        saved = io.BytesIO()
        torch.save(module, saved)
        saved.seek(0)
        assert torch.equal(torch.load(saved, weights_only=False)(tokens).logits, expected)
        loaded = begin(trial(replace(spec, width=128), ADAMW, seed=1))
        assert isinstance(loaded, UserModel)
        loaded.load_state_dict(module.state_dict())
        assert torch.equal(loaded.module.eval()(tokens).logits, expected)
        compiled = torch.compile(module, backend="eager")
        assert torch.allclose(compiled(tokens).logits, expected, atol=1e-6)


def test_a_multiplier_that_no_module_can_apply_is_refused() -> None:
    tied_by_hand = ModuleSpec(
        family="module", factory="tests.telescope.awkward:tied_by_hand", width=64, base_width=32
    )
    words = r"parameter table\.weight needs a forward multiplier, but the module that owns it is"
    with pytest.raises(InvalidInput, match=words):
        UserModel(tied_by_hand, "mup")
    assert "needs a forward multiplier" in (width_problem(tied_by_hand, "mup") or "")
    assert width_problem(tied_by_hand, "standard") is None  # standard has no multipliers


def test_a_tied_head_cannot_be_rescaled() -> None:
    words = r"model\.head_form: rescaled would not change the tied head transformer\.wte\.weight"
    with pytest.raises(InvalidInput, match=words):
        UserModel(replace(GPT2, head_form="rescaled"), "mup")


def test_the_last_features_are_the_input_of_the_head_and_not_of_a_router() -> None:
    factory_name = "tests.telescope.awkward:shared_gate"
    spec = ModuleSpec(family="module", factory=factory_name, width=64, base_width=32)
    model = UserModel(spec, "mup")
    assert model.last() is model.module.get_submodule("out")


# Muon on the matrices of a parameter


@pytest.mark.parametrize(
    ("layout", "shape", "pieces"),
    [
        (MatrixLayout((2,), (1,), (0,)), (3, 8, 16), lambda w: [m.mT for m in w]),
        (MatrixLayout((1,), (0,)), (8, 16), lambda w: [w.mT]),
        (MatrixLayout(parts=(2, 1, 1)), (16, 8), lambda w: [w[:8], w[8:12], w[12:]]),
        (MatrixLayout(block_rows=4), (16, 8), lambda w: list(w.split(4))),
        (MatrixLayout((0,), (1, 2)), (8, 4, 3), lambda w: [w.flatten(1)]),
    ],
    ids=["experts", "transposed", "fused", "heads", "convolution"],
)
def test_muon_treats_each_block_of_a_parameter_as_a_separate_matrix(
    layout: MatrixLayout,
    shape: tuple[int, ...],
    pieces: Callable[[torch.Tensor], list[torch.Tensor]],
) -> None:
    spec = replace(MUON, newton_schulz_dtype="float32")
    generator = torch.Generator().manual_seed(0)
    parameter = nn.Parameter(torch.randn(shape, generator=generator))
    matrices = [nn.Parameter(piece.detach().clone()) for piece in pieces(parameter.detach())]
    optimizers = (
        Muon([parameter], spec, 0.1, 0.5, [layout]),
        Muon(matrices, spec, 0.1, 0.5, [MATRIX] * len(matrices)),
    )
    for _ in range(3):
        parameter.grad = torch.randn(shape, generator=generator)
        for matrix, gradient in zip(matrices, pieces(parameter.grad), strict=True):
            matrix.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    for matrix, piece in zip(matrices, pieces(parameter.detach()), strict=True):
        assert torch.allclose(matrix, piece, atol=1e-6)


def test_an_expert_that_received_no_token_does_not_change() -> None:
    matrices = [nn.Parameter(torch.randn(4, 8)) for _ in range(3)]
    muon, before = Muon(matrices, MUON, 0.1, 0.5), [matrix.detach().clone() for matrix in matrices]
    for matrix in (matrices[0], matrices[2]):
        matrix.grad = torch.randn(4, 8)
    muon.step()
    assert torch.equal(matrices[1], before[1])
    assert not any(torch.equal(matrices[i], before[i]) for i in (0, 2))
    momentum = muon.momentum(muon.stacks[0])
    assert momentum[1].abs().sum() == 0
    assert momentum[2].abs().sum() > 0


def test_splits_of_a_fused_matrix_change_muons_updates() -> None:
    fused, split = (
        list(train_one(trial(replace(MIXTURE, splits=splits))))
        for splits in ((), (("*.qkv.weight", (1, 1, 1)),))
    )
    assert fused[-1].metrics["train_loss"] != split[-1].metrics["train_loss"]
    assert fused[-1].metrics["loss"] != split[-1].metrics["loss"]


def test_muon_can_split_our_query_key_and_value_into_heads() -> None:
    model = ModelSpec(width=32, base_width=16, depth=1, head_dim=8, mlp_ratio=2.0)
    heads = replace(MUON, muon_split="heads")
    run = TrainingRun(trial(model, heads))
    muon = run.optimizer.parts[0]
    assert isinstance(muon, Muon)
    assert sorted((len(stack), tuple(stack[0].matrix.shape)) for stack in muon.stacks) == [
        (1, (32, 32)),
        (3, (64, 32)),
        (12, (8, 32)),
    ]
    split, unsplit = (list(train_one(trial(model, optimizer))) for optimizer in (heads, MUON))
    assert split[-1].metrics["loss"] != unsplit[-1].metrics["loss"]
    shapes = [*[(8, 32)] * 12, (32, 32), *[(64, 32)] * 2, (32, 64)]
    assert flops.orthogonalised(model, "heads") == tuple(shapes)
    assert replace(heads, muon_split="whole") == MUON


# Training


@pytest.mark.parametrize("name", ["mixture", "own_loss"])
@pytest.mark.parametrize("optimizer", [MUON, ADAMW], ids=["muon", "adamw"])
def test_a_users_model_learns_and_resumes_with_its_dropout(
    name: str, optimizer: OptimizerSpec, tmp_path: Path
) -> None:
    model = replace(
        MIXTURE,
        factory=f"tests.telescope.user_models:{name}",
        width=32,
        output="loss" if name == "own_loss" else "logits",
    )
    horizon = HorizonSpec(steps=30, batch_tokens=256, evaluation_tokens=512, record_every=3)
    spec = trial(model, optimizer, horizon)
    curve = list(train_one(spec))
    assert curve[-1].metrics["loss"] < curve[0].metrics["train_loss"] - 0.5
    file = CheckpointFile(tmp_path / "trial.pt", every_seconds=0)
    first = train_one(spec, file)
    for _ in range(4):
        next(first)
    first.close()
    torch.manual_seed(12345)  # as another worker has
    resumed = list(train_one(spec, file))
    assert points(resumed) == points(curve)[file.step // 3 :]
    assert resumed[-1].metrics["loss"] == curve[-1].metrics["loss"]


def test_flops_of_our_transformer_are_the_same_as_a_users_module() -> None:
    ours = ModelSpec(width=64, base_width=16, depth=1, head_dim=8, mlp_ratio=2.0)
    module = replace(OURS, width=64, head_form="rescaled")
    assert flops.forward_flops_per_token(module, 256, 32) == pytest.approx(
        flops.forward_flops_per_token(ours, 256, 32)
    )
    assert flops.parameters(module, 256, 32) == flops.parameters(ours, 256, 32)
    assert flops.trial_flops(trial(module)) == pytest.approx(flops.trial_flops(trial(ours)))


# Acceptance: transformers' own models


@pytest.mark.parametrize("spec", [LLAMA, GPT2], ids=["llama", "gpt2"])
@pytest.mark.parametrize(("parametrisation", "verdict"), [("mup", "pass"), ("standard", "fail")])
def test_models_of_transformers_pass_the_coordinate_check_under_mup_only(
    spec: ModuleSpec, parametrisation: str, verdict: str
) -> None:
    optimizer = OptimizerSpec(
        name="adamw", lr=2.0**-7, weight_decay=0.0, parametrisation=parametrisation
    )
    narrow = replace(spec, width=16, base_width=16)
    spec = trial(narrow, optimizer, HorizonSpec(steps=60, batch_tokens=256))
    report = check(spec, target_width=128)
    assert report.verdict == verdict, report.reason
    assert any(layer.layer.endswith(("q_proj", "c_attn")) for layer in report.layers)


# Code


def test_code_that_has_changed_since_its_job_was_accepted_is_refused() -> None:
    content = factory.content(MIXTURE.factory)
    assert UserModel(replace(MIXTURE, content=content), "mup").spec.content == content
    changed = replace(MIXTURE, content="0" * 32)
    with pytest.raises(FactoryLost, match="has changed since its job was accepted"):
        UserModel(changed, "mup")
    with pytest.raises(FactoryLost, match="has changed since its job was accepted"):
        width_problem(changed, "mup")


class LossInATuple(Mixture):
    def forward(self, tokens: Tensor, targets: Tensor) -> tuple[Tensor]:  # type: ignore[override]
        logits = super().forward(tokens)
        return (functional.cross_entropy(logits.mT, targets),)


def loss_in_a_tuple(width: int) -> nn.Module:
    return LossInATuple(width)


def test_a_model_that_returns_no_tensor_as_its_loss_is_refused() -> None:
    spec = replace(MIXTURE, factory=f"{__name__}:loss_in_a_tuple", output="loss")
    with pytest.raises(InvalidInput, match=r"forward\(tokens, targets\) return a loss"):
        check_vocabulary(spec, 256)


def test_the_hash_of_code_covers_its_files_and_not_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = []
    for folder, text in (("a", "x = 1"), ("b", "x = 1"), ("c", "x = 2")):
        package = tmp_path / folder / "own_models"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "net.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path / folder)
        factory.content.cache_clear()
        hashes.append(factory.content("own_models.net:build"))
    factory.content.cache_clear()
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.models:build", "module nowhere.models cannot be imported"),
        (
            "tests.telescope.user_models:build",
            "module tests.telescope.user_models has no function build",
        ),
    ],
)
def test_a_missing_factory_is_refused_with_the_reason(name: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        factory.load(name)
    assert words in str(refused.value)
    assert refused.value.problems[0].field == "model.factory"


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("import no_such_package", "install no_such_package in telescope's environment"),
        ("from no_such_package.part import thing", "install no_such_package in"),
        ("import no_such_package", "if it is your own code, correct the name"),
        ("width = 1 / 0", "(ZeroDivisionError: division by zero); correct its code"),
    ],
)
def test_a_factory_whose_module_fails_is_refused_with_what_to_do(
    line: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_models.py").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InvalidInput, match=re.escape(remedy)):
        factory.load("failing_models:build")


def test_a_spec_without_a_factory_is_a_transformer() -> None:
    spec = ModelSpec(width=16, base_width=16, depth=1, head_dim=8)
    assert isinstance(begin(trial(spec)), Transformer)
    assert math.isfinite(flops.trial_flops(trial(LLAMA)))
