"""The table of model families, and the model of a specification.

`FAMILIES` has one line per family. Only `family_of` looks up which family a specification has.
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
"""The families, keyed by the value of a specification's `family`."""


def family_of(model: AnyModel) -> Family[Any]:
    """The family of a specification."""
    return FAMILIES[model.family]


def build_model(
    model: AnyModel, vocab_size: int, context: int, parametrisation: Parametrisation
) -> Model:
    """The model of a specification, with arbitrary parameter values."""
    return family_of(model).build(model, vocab_size, context, parametrisation)


def begin(spec: TrialSpec) -> Model:
    """The model of a trial, with its initial values."""
    model = build_model(
        spec.model, spec.data.vocab_size, spec.data.context, spec.optimizer.parametrisation
    )
    model.initialise(spec.optimizer, spec.seed)
    return model
