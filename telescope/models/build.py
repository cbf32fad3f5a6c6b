"""Which model does a spec describe?

Our own Transformer, or a user's module: they answer the same questions (`Model`), and nothing else in training asks which it is.
"""

from telescope.models.transformer import Transformer, initialise
from telescope.models.user_model import UserModel
from telescope.trials.model import AnyModel, ModuleSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.spec import TrialSpec
from telescope.trials.types import Parametrisation

Model = Transformer | UserModel


def build(model: AnyModel, vocab_size: int, context: int, parametrisation: Parametrisation) -> Model:
    """The model of one width; its values mean nothing yet."""
    if isinstance(model, ModuleSpec):
        return UserModel(model, parametrisation)
    return Transformer(model, vocab_size, context, parametrisation)


def begin(spec: TrialSpec) -> Model:
    """The model that a trial begins with."""
    model = build(spec.model, spec.data.vocab_size, spec.data.context, spec.optimizer.parametrisation)
    draw(model, spec.optimizer, spec.seed)
    return model


def draw(model: Model, optimizer: OptimizerSpec, seed: int) -> None:
    """Draw every parameter anew, in place: the same seed gives the same model on any device."""
    if isinstance(model, UserModel):
        model.initialise(optimizer, seed)
    else:
        initialise(model, optimizer, seed)
