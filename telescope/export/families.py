"""What the export formats need from a family of models.

A file for torch builds our Transformer from its own source; a user's model is the reader's, and the
file applies the forward multipliers from outside. Megatron-LM builds its own models, and its flags
come close only to ours.

Parts: `Exported`, the interface, with `Made` · `OURS`, `USERS` · `EXPORTED`, their table, and
`exported_by` a run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from telescope.errors import NotExportable
from telescope.export import recipe
from telescope.export.final_run import FinalRun
from telescope.export.model_source import ModelSource, source_of
from telescope.models.family import Spec
from telescope.models.multipliers import InputScale
from telescope.models.transformer import Transformer
from telescope.models.user_model import UserModel
from telescope.optim.groups import ParameterGroup
from telescope.parametrisation.roles import Role
from telescope.trials.model import ModelSpec, ModuleSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.types import Parametrisation

Built = TypeVar("Built", bound=Transformer | UserModel)
Multiplier = tuple[str, str, float]
"""Path of a module, "input" or "output" (the side that is multiplied), factor."""


@dataclass(frozen=True)
class Made:
    """Code by which the reader of a file prepares a model for training."""

    lines: tuple[str, ...]
    functions: tuple[Any, ...]  # functions of the recipe that the lines call


@dataclass(frozen=True, kw_only=True)
class Exported(Generic[Spec, Built]):
    """What one family provides for export."""

    source: Callable[[Spec, Parametrisation], ModelSource | None]
    """Source that builds the model in a file; None if the reader has the model."""
    made: Callable[[Built, OptimizerSpec], Made]
    """Code that prepares the model in a file that does not build it."""
    multipliers: Callable[[Built, Sequence[ParameterGroup]], Sequence[Multiplier]]
    """The forward multipliers other than 1."""
    loss: Callable[[Spec], Any]
    """The recipe's function that computes the loss."""
    megatron: Callable[[Spec], ModelSpec]
    """The model that Megatron-LM's flags describe. Raises NotExportable if they cannot describe
    it."""


def made_of_ours(model: Transformer, optimizer: OptimizerSpec) -> Made:
    """Preparation of a model of the reader's own."""
    lines = ("model = your_model()", "initialise(model, seed=0)", "configure(model)")
    return Made(lines, (recipe.initialise, recipe.Multiplied, recipe.configure))


def multipliers_of_ours(model: Transformer, groups: Sequence[ParameterGroup]) -> list[Multiplier]:
    """Multipliers on the output of embeddings and on the input of the head."""
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
    """Preparation of a model from its factory; at the base width its initial values stay."""
    stays, spec = model.keeps_initial_values(optimizer), model.spec
    built = f"model = {spec.factory.rpartition(':')[2]}({spec.width})  # of {spec.factory}"
    lines = (
        "torch.manual_seed(0)",
        built,
        *(() if stays else ("rescale(model)",)),
        "configure(model)",
    )
    return Made(lines, (*(() if stays else (recipe.rescale,)), recipe.Multiplied, recipe.configure))


def multipliers_of_users(model: UserModel, groups: Sequence[ParameterGroup]) -> list[Multiplier]:
    """Multipliers at the places of telescope's hooks."""
    return [
        (
            multiplier.path,
            "input" if isinstance(multiplier.hook, InputScale) else "output",
            multiplier.hook.factor,
        )
        for multiplier in model.multipliers()
    ]


def beyond_megatron(spec: ModuleSpec) -> ModelSpec:
    """Raise NotExportable: flags of Megatron-LM cannot describe a user's model."""
    remedy = "use --to torch or json"
    raise NotExportable(
        f"Megatron-LM builds its own models, and its flags cannot describe {spec.factory}; {remedy}"
    )


USERS: Exported[ModuleSpec, UserModel] = Exported(
    source=lambda spec, parametrisation: None,
    made=made_of_users,
    multipliers=multipliers_of_users,
    loss=lambda spec: recipe.own_loss_of if spec.output == "loss" else recipe.loss_of,
    megatron=beyond_megatron,
)

EXPORTED: Mapping[str, Exported[Any, Any]] = {"transformer": OURS, "module": USERS}
"""Families by the name in a specification's `family`."""


def exported_by(run: FinalRun) -> Exported[Any, Any]:
    return EXPORTED[run.spec.model.family]
