"""Every family of models keeps the contract, and no other code asks which family a model is of."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch

from telescope.export.families import EXPORTED
from telescope.models.build import FAMILIES, build_model, family_of
from telescope.models.family import Model
from telescope.models.transformer import Transformer
from telescope.models.user_model import UserModel
from telescope.parametrisation import mup
from telescope.parametrisation.roles import Role
from telescope.studies import registry  # which knows all ladders
from telescope.studies.telescoping.question.models import AnyLadder, LadderModel, LadderModule
from telescope.studies.telescoping.question.parts import NamedData, NamedModel
from telescope.train.flops import hidden_parameters, orthogonalised
from telescope.trials.architecture import Architecture
from telescope.trials.model import AnyModel, ModelSpec, ModuleArchitecture, ModuleSpec
from telescope.trials.optimizer import OptimizerSpec
from tests.telescope.small import ADAMW, MUON

ROOT = Path(__file__).parents[3]
MODULES = sorted(
    path for name in ("telescope", "workers", "api") for path in (ROOT / name).rglob("*.py")
)
DECLARED = ("telescope/trials/model.py", "telescope/studies/telescoping/question/models.py")
TABLES = ("telescope/models/build.py", "telescope/export/families.py")

OURS = ModelSpec(width=32, base_width=16, depth=2, head_dim=8)
USERS = ModuleSpec(
    family="module", factory="tests.telescope.user_models:mixture", width=32, base_width=16
)
SPECS: dict[str, AnyModel] = {
    "ours": OURS,
    "latent attention": replace(OURS, attention="mla"),
    "a user's": USERS,
    "a user's that gives its loss": replace(
        USERS, factory="tests.telescope.user_models:own_loss", output="loss"
    ),
}
WIDTHS = {"base_width": 16, "calibration_width": 32, "target_width": 64}
LADDERS: dict[str, AnyLadder] = {
    "ours": LadderModel(**WIDTHS, head_dim=8),
    "deeper": LadderModel(**WIDTHS, head_dim=8, target_depth=4),
    "a user's": LadderModule(
        **WIDTHS, family="module", factory="tests.telescope.user_models:mixture"
    ),
}
VOCAB_SIZE, CONTEXT = 300, 8
each_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
each_ladder = pytest.mark.parametrize("ladder", LADDERS.values(), ids=LADDERS)


def built(spec: AnyModel, optimizer: OptimizerSpec = ADAMW, seed: int = 0) -> Model:
    model = build_model(spec, VOCAB_SIZE, CONTEXT, optimizer.parametrisation)
    model.initialise(optimizer, seed)
    return model


# The rule


def descendants(of: type) -> Iterator[type]:
    yield of
    for child in of.__subclasses__():
        yield from descendants(child)


CLASSES = {
    cls.__name__
    for of in (Architecture, ModuleArchitecture, Transformer, UserModel, NamedModel, NamedData)
    for cls in descendants(of)
}


def named(node: ast.AST) -> set[str]:
    return {
        part.id if isinstance(part, ast.Name) else part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Name | ast.Attribute)
    }


def is_class(node: ast.expr) -> bool:
    """True for a class of a family, or a tuple with one, but not for an attribute of such a
    class."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in CLASSES
        case ast.Tuple(elts=members) | ast.List(elts=members) | ast.Set(elts=members):
            return any(map(is_class, members))
    return False


def asked(tree: ast.AST) -> Iterator[int]:
    """Lines that ask which class of a family a value is of."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, classes]) if (
                named(classes) & CLASSES
            ):
                yield node.lineno
            case ast.Compare(comparators=others) if any(is_class(other) for other in others):
                yield node.lineno
            case ast.MatchClass(cls=cls) if named(cls) & CLASSES:
                yield node.lineno


def spelt(tree: ast.AST) -> Iterator[int]:
    """Lines that have the name of a family as text."""
    yield from (
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in tuple(FAMILIES)
    )


def compared(tree: ast.AST) -> Iterator[int]:
    """Lines that compare something with such a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare | ast.match_case):
            yield from spelt(node if isinstance(node, ast.Compare) else node.pattern)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_asks_which_family_a_model_is_of(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not list(asked(tree)), "ask the model, or its family (telescope.models.family)"
    assert not list(compared(tree)), "look it up in the table of this floor"
    if str(path.relative_to(ROOT)) not in (*DECLARED, *TABLES):
        assert not list(spelt(tree)), (
            "families are named where they are declared, and in one table per floor"
        )


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("x = isinstance(model, trials.ModuleSpec)", 1),
        ("x = isinstance(model, int | ModelSpec)", 1),
        ("x = type(model) is LadderModule", 1),
        ("x = type(model) in (models.LadderModule, int)", 1),
        ("x = value != Architecture.__dataclass_fields__[name].default", 0),
        ("match model:\n    case UserModel(spec=spec): ...", 1),
        ('x = model.family == "transformer"', 1),
        ('x = model.family in ("module", "other")', 1),
        ('match model.family:\n    case "module": ...', 1),
        ("x = isinstance(model, nn.Linear) and model.depth == 1", 0),
        ('x = {"module": 1}', 0),
    ],
)
def test_the_rule_sees_each_way_to_ask(text: str, lines: int) -> None:
    tree = ast.parse(text)
    assert len([*asked(tree), *compared(tree)]) == lines


def test_the_rule_knows_every_class_of_a_family() -> None:
    assert registry.KINDS
    assert {
        "ModelSpec",
        "ModuleSpec",
        "LadderModel",
        "LadderModule",
        "BatchModel",
        "Transformer",
        "UserModel",
    } <= CLASSES


# The contract


def families_of(union: Any) -> set[str]:
    return {
        name
        for member in get_args(get_args(union)[0])
        for name in get_args(get_type_hints(get_args(member)[0])["family"])
    }


def test_every_table_has_every_family_that_is_declared() -> None:
    assert families_of(AnyModel) == families_of(AnyLadder) == set(FAMILIES) == set(EXPORTED)


@each_spec
def test_a_built_model_answers_all_that_training_asks(spec: AnyModel) -> None:
    model = built(spec)
    assert isinstance(model, Model)
    assert model.spec == spec
    assert set(model.parameter_roles()) == {name for name, _ in model.named_parameters()}
    assert {name for name, role in model.parameter_roles().items() if role is Role.HIDDEN}
    assert all(layer.matrix.ndim == 2 for layer in model.hidden_layers().values())
    assert (spec.known_attention() is not None) == bool(model.scores())


@each_spec
def test_a_seed_decides_all_initial_values(spec: AnyModel) -> None:
    first, again, other = (
        {name: p.clone() for name, p in built(spec, seed=seed).named_parameters()}
        for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@each_spec
def test_either_the_model_gives_its_loss_or_logits(spec: AnyModel) -> None:
    model, windows = built(spec), torch.zeros(2, CONTEXT + 1, dtype=torch.int64)
    with model.evaluating(), torch.no_grad():
        loss, output = model.own_loss(windows), model(windows[:, :-1])
    assert output.shape[:2] == (2, CONTEXT) if loss is None else loss.shape == output.shape == ()


@each_spec
def test_what_a_family_counts_is_what_it_builds(spec: AnyModel) -> None:
    model = built(spec)
    entries = sum(
        model.get_parameter(name).numel()
        for name, role in model.parameter_roles().items()
        if role is Role.HIDDEN
    )
    assert hidden_parameters(spec) == entries
    assert sum(rows * columns for rows, columns in orthogonalised(spec, "whole")) == entries
    family = family_of(spec)
    assert family.forward_flops_per_token(spec, VOCAB_SIZE, CONTEXT) > 2 * entries
    assert family.width_problem(spec, 64, "mup") is None
    assert (family.logit_flops_per_token is not None) == (spec.known_attention() is not None)


@each_spec
def test_the_depth_rule_holds_where_blocks_are_known(spec: AnyModel) -> None:
    model = built(spec)
    deep = {
        name for name in model.parameter_roles() if model.depth_factors(name) is not mup.UNSCALED
    }
    assert bool(deep) == (spec.known_depth() is not None)


def test_only_a_users_model_is_seeded_in_each_step() -> None:
    ours, users = built(OURS), built(USERS)
    before = torch.get_rng_state()
    ours.reseed(5)
    assert torch.equal(torch.get_rng_state(), before)
    users.reseed(5)
    assert torch.initial_seed() == 5


def test_users_code_is_named_by_the_models_that_it_builds() -> None:
    assert OURS.factories() == LADDERS["ours"].factories() == ()
    assert (
        USERS.factories()
        == LADDERS["a user's"].factories()
        == ("tests.telescope.user_models:mixture",)
    )


def test_nothing_is_made_up_of_a_model_whose_blocks_nobody_knows() -> None:
    for thing in (USERS, LADDERS["a user's"]):
        assert not any(
            hasattr(thing, name)
            for name in ("depth", "depth_ratio", "depth_exponent", "target_depth")
        )
    assert mup.factors(USERS, MUON, Role.HIDDEN, "muon") == mup.factors(
        OURS, MUON, Role.HIDDEN, "muon"
    )


def test_the_depth_rule_changes_nothing_at_the_base_depth() -> None:
    assert mup.depth_factors(OURS) == mup.UNSCALED
    deeper = mup.depth_factors(replace(OURS, depth=4, base_depth=1, depth_exponent=0.5))
    assert (deeper.lr, deeper.eps) == (0.5, 0.5)


@each_ladder
def test_a_ladder_answers_for_its_models(ladder: AnyLadder) -> None:
    assert list(ladder.problems()) == []
    assert ladder.width_problem(ladder.base_width, "mup") is None
    assert ladder.target.width == 64
    assert (ladder.depth_change is not None) == (
        ladder.target.known_depth() != ladder.known_depth()
    )
    assert list(ladder.departures())
    assert next(ladder.assumptions(tested=False)).partition(":")[0] in ("attention", "model")


def test_a_ladder_of_ours_is_resolved_as_it_is_and_a_users_with_the_hash_of_its_code() -> None:
    ours, users = LADDERS["ours"], LADDERS["a user's"]
    assert ours.resolved(VOCAB_SIZE) is ours
    found = users.resolved(256)
    assert found == replace(users, content=found.content)
    assert len(found.content) == 32
