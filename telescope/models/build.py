"""The table of model families, and functions that build the model of a specification.

There are two families of models: telescope's own Transformer (telescope.models.own_family), and
modules that users write (telescope.models.user_family).
"""

from collections.abc import Mapping
from typing import Any

from telescope.models.family import Family, Model
from telescope.models.own_family import TRANSFORMER
from telescope.models.user_family import MODULE
from telescope.trials.model import AnyModel
from telescope.trials.spec import TrialSpec
from telescope.trials.types import Parametrisation

FAMILIES: Mapping[str, Family[Any]] = {"transformer": TRANSFORMER, "module": MODULE}
"""The families, keyed by the value of the field `family` in a specification of a model."""


def family_of(model: AnyModel) -> Family[Any]:
    """The family of the model that a specification describes."""
    return FAMILIES[model.family]


def build_model(
    model: AnyModel, vocab_size: int, context: int, parametrisation: Parametrisation
) -> Model:
    """The model that a specification describes. The values of the parameters are arbitrary until
    the model's method `initialise` sets them."""
    return family_of(model).build(model, vocab_size, context, parametrisation)


def begin(spec: TrialSpec) -> Model:
    """The model of a trial, with the initial values of its parameters."""
    model = build_model(
        spec.model, spec.data.vocab_size, spec.data.context, spec.optimizer.parametrisation
    )
    model.initialise(spec.optimizer, spec.seed)
    return model
