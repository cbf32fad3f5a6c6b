"""Forward multipliers of a user's model, as hooks on the model's modules.

A *forward multiplier* is a factor on the output of an embedding or on the input of a readout. The
parametrisation, such as muP, sets it. `OutputScale` is the hook for an embedding, and `InputScale`
the hook for a readout. A hook stays on its module in inference, in compiled code and in copies of
the module. Hooks can be pickled, so a saved module contains its hooks, too.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from telescope.errors import InvalidInput
from telescope.models.reading import ROLES_FIELD


@dataclass(frozen=True)
class InputScale:
    """A forward pre-hook that multiplies the module's first input by `factor`."""

    factor: float

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0] * self.factor, *inputs[1:])


@dataclass(frozen=True)
class OutputScale:
    """A forward hook that multiplies the module's output by `factor`."""

    factor: float

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return output * self.factor


@dataclass(frozen=True)
class ForwardMultiplier:
    """A hook, and the path of the module that the hook belongs to."""

    path: str
    hook: InputScale | OutputScale

    def attach(self, model: nn.Module) -> None:
        """Register the hook on its module in `model`."""
        module = model.get_submodule(self.path)
        if isinstance(self.hook, InputScale):
            module.register_forward_pre_hook(self.hook)
        else:
            module.register_forward_hook(self.hook)


def owner_path(model: nn.Module, name: str, path: str | None) -> str:
    """Return `path`, the path of a module that applies the parameter `name`, or None if no single
    module is known to apply it. Raises InvalidInput if `path` is None, or if the module does not
    own the parameter: a hook on the module then could not scale the parameter alone."""
    if path is not None:
        parameter = model.get_parameter(name)
        if any(own is parameter for own in model.get_submodule(path).parameters(recurse=False)):
            return path
    raise InvalidInput.of(
        ROLES_FIELD,
        f"parameter {name} needs a forward multiplier, but the module that owns it is not the "
        "only one that applies it; put it into an nn.Linear or nn.Embedding of its own, or, for an "
        "untied head under parametrisation mup, use model.head_form: rescaled",
        name,
    )
