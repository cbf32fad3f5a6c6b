"""The families of models, and how a specification becomes a model.

`FAMILIES` has one line per family; nothing else on this floor asks which family a specification is
of.
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
"""By the name that specifications say in `family`."""


def family_of(model: AnyModel) -> Family[Any]:
    """What a specification's family provides."""
    return FAMILIES[model.family]


def build(
    model: AnyModel, vocab_size: int, context: int, parametrisation: Parametrisation
) -> Model:
    """The model of one width; its values mean nothing yet."""
    return family_of(model).build(model, vocab_size, context, parametrisation)


def begin(spec: TrialSpec) -> Model:
    """The model that a trial begins with."""
    model = build(
        spec.model, spec.data.vocab_size, spec.data.context, spec.optimizer.parametrisation
    )
    model.initialise(spec.optimizer, spec.seed)
    return model
