"""What the forms of an answer ask of a family of models.

A file for torch builds our Transformer from its own source; a user's model its reader has, and the
file applies the forward multipliers from outside. Megatron-LM builds models of its own, and its
flags come near to ours alone.

Parts: `Exported`, what is asked, with `Made` · `OURS`, `USERS` · `EXPORTED`, their table, and
`exported_by` a run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from telescope.errors import NotExportable
from telescope.export import recipe
from telescope.export.final_run import FinalRun
from telescope.export.model_source import Source, source_of
from telescope.models.family import Spec
from telescope.models.transformer import Transformer
from telescope.models.user_model import Scale, UserModel
from telescope.optim.groups import Group
from telescope.parametrisation.roles import Role
from telescope.trials.model import ModelSpec, ModuleSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.types import Parametrisation

Built = TypeVar("Built", bound=Transformer | UserModel)
Multiplier = tuple[str, str, float]
"""Path of a module, whether its input or its output is multiplied, factor."""


@dataclass(frozen=True)
class Made:
    """How the reader of a file comes to a model that is ready to be trained."""

    lines: tuple[str, ...]
    functions: tuple[Any, ...]  # of the recipe, which the lines need


@dataclass(frozen=True, kw_only=True)
class Exported(Generic[Spec, Built]):
    """What is asked of one family."""

    source: Callable[[Spec, Parametrisation], Source | None]
    """What builds the model in a file; None where it is its reader's."""
    made: Callable[[Built, OptimizerSpec], Made]
    """How it is made ready in a file that does not build it."""
    multipliers: Callable[[Built, Sequence[Group]], Sequence[Multiplier]]
    """The forward multipliers that are not one."""
    loss: Callable[[Spec], Any]
    """The recipe's function that computes its loss."""
    megatron: Callable[[Spec], ModelSpec]
    """The model that Megatron-LM's flags are about; NotExportable where they cannot say what it
    is."""


def made_of_ours(model: Transformer, optimizer: OptimizerSpec) -> Made:
    """With code of the reader's own."""
    lines = ("model = your_model()", "initialise(model, seed=0)", "configure(model)")
    return Made(lines, (recipe.initialise, recipe.Multiplied, recipe.configure))


def multipliers_of_ours(model: Transformer, groups: Sequence[Group]) -> list[Multiplier]:
    """On what embeddings give, and on what the head is given."""
    return [
        (
            name.rpartition(".")[0],
            "input" if group.role is Role.READOUT else "output",
            group.multiplier,
        )
        for group in groups
        for name in group.names
        if group.role in (Role.EMBEDDING, Role.READOUT) and group.multiplier != 1.0
    ]


OURS: Exported[ModelSpec, Transformer] = Exported(
    source=source_of,
    made=made_of_ours,
    multipliers=multipliers_of_ours,
    loss=lambda spec: recipe.loss_of,
    megatron=lambda spec: spec,
)


def made_of_users(model: UserModel, optimizer: OptimizerSpec) -> Made:
    """By its factory; at the base width its initial values stay."""
    stays, spec = model.as_it_stands(optimizer), model.spec
    built = f"model = {spec.factory.rpartition(':')[2]}({spec.width})  # of {spec.factory}"
    lines = (
        "torch.manual_seed(0)",
        built,
        *(() if stays else ("rescale(model)",)),
        "configure(model)",
    )
    return Made(lines, (*(() if stays else (recipe.rescale,)), recipe.Multiplied, recipe.configure))


def multipliers_of_users(model: UserModel, groups: Sequence[Group]) -> list[Multiplier]:
    """Where telescope hooks them on."""
    return [
        (place, "input" if hook is Scale else "output", factor)
        for place, hook, factor in model.multipliers()
    ]


def beyond_megatron(spec: ModuleSpec) -> ModelSpec:
    """Nobody knows how Megatron-LM would say it."""
    remedy = "use --to torch or json"
    raise NotExportable(
        f"Megatron-LM builds models of its own, and flags cannot say what {spec.factory} is; "
        f"{remedy}"
    )


USERS: Exported[ModuleSpec, UserModel] = Exported(
    source=lambda spec, parametrisation: None,
    made=made_of_users,
    multipliers=multipliers_of_users,
    loss=lambda spec: recipe.own_loss_of if spec.output == "loss" else recipe.loss_of,
    megatron=beyond_megatron,
)

EXPORTED: Mapping[str, Exported[Any, Any]] = {"transformer": OURS, "module": USERS}
"""By the name that specifications say in `family`."""


def exported_by(run: FinalRun) -> Exported[Any, Any]:
    """What the family of a run's model provides."""
    return EXPORTED[run.spec.model.family]
