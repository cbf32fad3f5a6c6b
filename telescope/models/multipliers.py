"""Forward multipliers of a user's model, as hooks on its modules.

One kind of hook scales the input of a module that applies a readout, the other the output of a
module that applies an embedding. A hook is a picklable value, so it goes wherever its module goes:
into copies, saved modules, compiled code and inference.

Parts: `InputScale` and `OutputScale`, the hooks · `ForwardMultiplier`, a hook and its module ·
`owner_path`, the path of that module.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from telescope.errors import InvalidInput
from telescope.models.reading import ROLES_FIELD


@dataclass(frozen=True)
class InputScale:
    """A forward pre-hook that multiplies the module's first input."""

    factor: float

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0] * self.factor, *inputs[1:])


@dataclass(frozen=True)
class OutputScale:
    """A forward hook that multiplies the module's output."""

    factor: float

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return output * self.factor


@dataclass(frozen=True)
class ForwardMultiplier:
    """A hook, and the path of its module."""

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
    """Return `path`, the path of the module that applies a parameter. Raises InvalidInput if `path`
    is None, or that module does not own the parameter."""
    if path is not None:
        parameter = model.get_parameter(name)
        if any(own is parameter for own in model.get_submodule(path).parameters(recurse=False)):
            return path
    raise InvalidInput.of(
        ROLES_FIELD,
        f"parameter {name} needs a forward multiplier, but no module of its own "
        "applies it; put it into an nn.Linear or nn.Embedding, or use "
        "model.head_form: rescaled for an untied head",
        name,
    )
