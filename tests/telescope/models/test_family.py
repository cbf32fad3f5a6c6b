"""All families of models keep one contract, and no other code asks for the family of a model."""

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
from telescope.studies import registry  # imports all ladders
from telescope.studies.telescoping.question.models import AnyLadderModel, LadderModel, LadderModule
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
DECLARED = (
    "telescope/trials/architecture.py",
    "telescope/trials/model.py",
    "telescope/studies/telescoping/question/models.py",
    "telescope/studies/grokking/models.py",
)
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
LADDERS: dict[str, AnyLadderModel] = {
    "ours": LadderModel(**WIDTHS, head_dim=8),
    "deeper": LadderModel(**WIDTHS, head_dim=8, target_depth=4),
    "a user's": LadderModule(
        **WIDTHS, family="module", factory="tests.telescope.user_models:mixture"
    ),
}
VOCAB_SIZE, CONTEXT = 300, 8
each_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
each_ladder = pytest.mark.parametrize("ladder", LADDERS.values(), ids=LADDERS)


def initialised_model(spec: AnyModel, optimizer: OptimizerSpec = ADAMW, seed: int = 0) -> Model:
    model = build_model(spec, VOCAB_SIZE, CONTEXT, optimizer.parametrisation)
    model.initialise(optimizer, seed)
    return model


# The rule


def descendants(base: type) -> Iterator[type]:
    yield base
    for child in base.__subclasses__():
        yield from descendants(child)


BASES = (Architecture, ModuleArchitecture, Transformer, UserModel, NamedModel, NamedData)
CLASSES = {cls.__name__ for base in BASES for cls in descendants(base)}


def names_in(node: ast.AST) -> set[str]:
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


def class_checks(tree: ast.AST) -> Iterator[int]:
    """Lines that check whether a value is of a class of a family."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, classes]) if (
                names_in(classes) & CLASSES
            ):
                yield node.lineno
            case ast.Compare(comparators=operands) if any(map(is_class, operands)):
                yield node.lineno
            case ast.MatchClass(cls=cls) if names_in(cls) & CLASSES:
                yield node.lineno


def family_names(tree: ast.AST) -> Iterator[int]:
    """Lines that hold the name of a family as text."""
    yield from (
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in tuple(FAMILIES)
    )


def name_checks(tree: ast.AST) -> Iterator[int]:
    """Lines that compare a value with the name of a family."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare | ast.match_case):
            yield from family_names(node if isinstance(node, ast.Compare) else node.pattern)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_asks_for_the_family_of_a_model(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not list(class_checks(tree)), "ask the model, or its family (telescope.models.family)"
    assert not list(name_checks(tree)), "look it up in the table of this floor"
    if str(path.relative_to(ROOT)) not in (*DECLARED, *TABLES):
        assert not list(family_names(tree)), (
            "families are named only where they are declared, and in one table per floor"
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
def test_the_rule_detects_each_way_to_ask(text: str, lines: int) -> None:
    tree = ast.parse(text)
    assert len([*class_checks(tree), *name_checks(tree)]) == lines


def test_the_rule_knows_every_class_of_a_family() -> None:
    assert registry.KINDS
    specs = {"ModelSpec", "ModuleSpec", "LadderModel", "LadderModule", "BatchModel"}
    assert specs | {"Transformer", "UserModel"} <= CLASSES


# The contract


def families_of(union: Any) -> set[str]:
    return {
        name
        for member in get_args(get_args(union)[0])
        for name in get_args(get_type_hints(get_args(member)[0])["family"])
    }


def test_every_table_has_every_family_that_is_declared() -> None:
    assert families_of(AnyModel) == families_of(AnyLadderModel) == set(FAMILIES) == set(EXPORTED)


@each_spec
def test_a_built_model_has_the_interface_that_training_needs(spec: AnyModel) -> None:
    model = initialised_model(spec)
    assert isinstance(model, Model)
    assert model.spec == spec
    assert set(model.parameter_roles()) == {name for name, _ in model.named_parameters()}
    assert {name for name, role in model.parameter_roles().items() if role is Role.HIDDEN}
    assert all(layer.matrix.ndim == 2 for layer in model.hidden_layers().values())
    assert (spec.known_attention() is not None) == bool(model.scores())


@each_spec
def test_a_seed_decides_all_initial_values(spec: AnyModel) -> None:
    first, repeated, different = (
        {name: p.clone() for name, p in initialised_model(spec, seed=seed).named_parameters()}
        for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[name], repeated[name]) for name in first)
    assert any(not torch.equal(first[name], different[name]) for name in first)


@each_spec
def test_a_model_gives_either_its_loss_or_logits(spec: AnyModel) -> None:
    model, windows = initialised_model(spec), torch.zeros(2, CONTEXT + 1, dtype=torch.int64)
    with model.evaluating(), torch.no_grad():
        loss, output = model.own_loss(windows), model(windows[:, :-1])
    assert output.shape[:2] == (2, CONTEXT) if loss is None else loss.shape == output.shape == ()


@each_spec
def test_the_counts_of_a_family_agree_with_the_models_that_it_builds(spec: AnyModel) -> None:
    model = initialised_model(spec)
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
def test_the_depth_rule_applies_only_to_models_whose_blocks_are_known(spec: AnyModel) -> None:
    model = initialised_model(spec)
    names = model.parameter_roles()
    scaled = {name for name in names if model.depth_factors(name) is not mup.UNSCALED}
    assert bool(scaled) == (spec.known_depth() is not None)


def test_only_a_users_model_is_seeded_in_each_step() -> None:
    ours, users = initialised_model(OURS), initialised_model(USERS)
    before = torch.get_rng_state()
    ours.reseed(5)
    assert torch.equal(torch.get_rng_state(), before)
    users.reseed(5)
    assert torch.initial_seed() == 5


def test_models_name_the_factories_that_build_them() -> None:
    factories = ("tests.telescope.user_models:mixture",)
    assert OURS.factories() == LADDERS["ours"].factories() == ()
    assert USERS.factories() == LADDERS["a user's"].factories() == factories


def test_a_users_model_has_no_fields_of_depth() -> None:
    for model in (USERS, LADDERS["a user's"]):
        for name in ("depth", "depth_ratio", "depth_exponent", "target_depth"):
            assert not hasattr(model, name)
    users, ours = (mup.factors(model, MUON, Role.HIDDEN, "muon") for model in (USERS, OURS))
    assert users == ours


def test_the_depth_rule_changes_nothing_at_the_base_depth() -> None:
    assert mup.depth_factors(OURS) == mup.UNSCALED
    deeper = mup.depth_factors(replace(OURS, depth=4, base_depth=1, depth_exponent=0.5))
    assert (deeper.lr, deeper.eps) == (0.5, 0.5)


@each_ladder
def test_a_ladder_has_the_interface_that_studies_need(ladder: AnyLadderModel) -> None:
    assert list(ladder.problems()) == []
    assert ladder.width_problem(ladder.base_width, "mup") is None
    assert ladder.target.width == 64
    deepens = ladder.target.known_depth() != ladder.known_depth()
    assert (ladder.depth_change is not None) == deepens
    assert list(ladder.departures())
    assert next(ladder.assumptions(validated=False)).partition(":")[0] in ("attention", "model")


def test_resolving_adds_the_hash_of_its_code_to_a_users_ladder_only() -> None:
    ours, users = LADDERS["ours"], LADDERS["a user's"]
    assert ours.pinned(VOCAB_SIZE) is ours
    resolved = users.pinned(256)
    assert resolved == replace(users, content=resolved.content)
    assert len(resolved.content) == 32
