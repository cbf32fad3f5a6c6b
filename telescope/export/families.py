"""What the export formats need from a family of models.

There are two families: telescope's own Transformer, and users' models. A Python file for torch
contains the source code of telescope's Transformer. It does not contain the source code of a user's
model: the reader of the file builds this model, and the file contains code that prepares the model
for training. Megatron-LM builds its own models. Its flags can describe telescope's Transformer, but
not a user's model.

`Exported` is the interface that both families implement, in `TRANSFORMER` and `USER_MODEL`.
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
"""Path of a module, the side that is multiplied ("input" or "output"), and the factor."""


@dataclass(frozen=True)
class ModelPreparation:
    """Code with which the reader of an exported file prepares a model for training."""

    lines: tuple[str, ...]
    functions: tuple[Any, ...]  # definitions in telescope.export.recipe that the lines need


@dataclass(frozen=True, kw_only=True)
class Exported(Generic[Spec, Built]):
    """The functions that one family provides for export. The text below each field describes the
    result of the function."""

    source: Callable[[Spec, Parametrisation], ModelSource | None]
    """The source code of the model, for the exported file. None if the reader builds the model."""
    preparation: Callable[[Built, OptimizerSpec], ModelPreparation]
    """The code that prepares the model for training if the reader builds it."""
    multipliers: Callable[[Built, Sequence[ParameterGroup]], Sequence[Multiplier]]
    """The factors by which the exported function `configure` multiplies the inputs or outputs of
    modules."""
    loss: Callable[[Spec], Any]
    """The function of telescope.export.recipe that computes the loss."""
    megatron: Callable[[Spec], ModelSpec]
    """The model that Megatron-LM's flags describe. Raises NotExportable if flags cannot describe
    a model of this family."""


def transformer_preparation(model: Transformer, optimizer: OptimizerSpec) -> ModelPreparation:
    """The code that prepares the reader's own implementation of the Transformer."""
    lines = ("model = your_model()", "initialise(model, seed=0)", "configure(model)")
    return ModelPreparation(lines, (recipe.initialise, recipe.Multiplied, recipe.configure))


def transformer_multipliers(
    model: Transformer, groups: Sequence[ParameterGroup]
) -> list[Multiplier]:
    """The factors other than 1 on the output of the embedding and on the input of the readout."""
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


TRANSFORMER: Exported[ModelSpec, Transformer] = Exported(
    source=source_of,
    preparation=transformer_preparation,
    multipliers=transformer_multipliers,
    loss=lambda spec: recipe.loss_of,
    megatron=lambda spec: spec,
)


def user_model_preparation(model: UserModel, optimizer: OptimizerSpec) -> ModelPreparation:
    """The code that prepares a model that a user's factory builds. The code rescales the model's
    initial values, unless telescope keeps the values of the factory. telescope keeps these values
    at the base width if `init_scale` is 1."""
    spec = model.spec
    rescaled = not model.keeps_initial_values(optimizer)
    lines = (
        "torch.manual_seed(0)",
        f"model = {spec.factory.rpartition(':')[2]}({spec.width})  # of {spec.factory}",
        *(("rescale(model)",) if rescaled else ()),
        "configure(model)",
    )
    rescale = (recipe.rescale,) if rescaled else ()
    return ModelPreparation(lines, (*rescale, recipe.Multiplied, recipe.configure))


def user_model_multipliers(model: UserModel, groups: Sequence[ParameterGroup]) -> list[Multiplier]:
    """The factors that telescope applies to the model's modules in training."""
    return [
        (
            multiplier.path,
            "input" if isinstance(multiplier.hook, InputScale) else "output",
            multiplier.hook.factor,
        )
        for multiplier in model.multipliers()
    ]


def refuse_megatron(spec: ModuleSpec) -> ModelSpec:
    """Raise NotExportable, because Megatron-LM's flags cannot describe a user's model."""
    remedy = "use --to torch or --to json"
    raise NotExportable(
        f"Megatron-LM builds its own models, and its flags cannot describe {spec.factory}; {remedy}"
    )


USER_MODEL: Exported[ModuleSpec, UserModel] = Exported(
    source=lambda spec, parametrisation: None,
    preparation=user_model_preparation,
    multipliers=user_model_multipliers,
    loss=lambda spec: recipe.own_loss_of if spec.output == "loss" else recipe.loss_of,
    megatron=refuse_megatron,
)

EXPORTED: Mapping[str, Exported[Any, Any]] = {"transformer": TRANSFORMER, "module": USER_MODEL}
"""The implementation of `Exported` for each value of a model's field `family`."""


def exported_by(run: FinalRun) -> Exported[Any, Any]:
    return EXPORTED[run.spec.model.family]
