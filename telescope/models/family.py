"""The interfaces that all families of models implement.

There are two families of models: telescope's own Transformer (telescope.models.own_family), and
modules that users write (telescope.models.user_family). Every specification of a model names its
family; telescope.models.build holds the table of families.

Callers need not ask which family a model belongs to. They use the interface `Model` for a model in
training, and the interface `Family` for everything else that needs torch. The methods that need no
torch are in telescope.trials.model.

A *hidden* matrix is one whose two sides grow with width. Letters in the shapes of tensors: B batch,
T context, V vocabulary.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from telescope.models.attention import Scores
from telescope.parametrisation.layout import MatrixLayout
from telescope.parametrisation.mup import DepthFactors
from telescope.parametrisation.roles import Role
from telescope.trials.model import AnyModel, ModelSpec, ModuleSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.types import MuonSplit, Parametrisation

Spec = TypeVar("Spec", bound=ModelSpec | ModuleSpec)


@dataclass(frozen=True)
class Layer:
    """A module that multiplies its input by a hidden matrix of its own."""

    module: nn.Module
    weight: str = "weight"  # name of the parameter that holds the matrix
    transposed: bool = False  # True if the parameter has shape (fan_in, fan_out)

    @property
    def matrix(self) -> Tensor:  # (fan_out, fan_in)
        """The parameter as a matrix, detached from the autograd graph. The matrix shares memory
        with the parameter."""
        weight: Tensor = getattr(self.module, self.weight).detach()
        return weight.mT if self.transposed else weight


@runtime_checkable
class Model(Protocol):
    """A model in training: the methods that training needs. Some of them are nn.Module's
    methods."""

    @property
    def spec(self) -> AnyModel: ...
    # factors on the embedding's output and on the output head's input in the forward pass
    @property
    def embedding_multiplier(self) -> float: ...
    @property
    def head_multiplier(self) -> float: ...

    def __call__(self, tokens: Tensor) -> Tensor:  # (B, T) -> (B, T, V)
        """The logits of the next token at each position. A model that computes its own loss returns
        a scalar loss instead."""

    def own_loss(self, windows: Tensor) -> Tensor | None:  # (B, T + 1) -> ()
        """The mean loss on `windows`, if the model computes its own loss. None if the model returns
        logits. A window holds one token more than the context, since each token but the first is
        the target of the token before it."""

    def initialise(self, optimizer: OptimizerSpec, seed: int) -> None:
        """Set all parameters to new initial values. The same seed gives the same values on any
        device."""

    def reseed(self, seed: int) -> None:
        """Seed the random numbers that the model draws in a step, for instance for dropout."""

    def evaluating(self) -> AbstractContextManager[None]:
        """A context manager: dropout is off inside its `with` block."""

    # Parameters, by name

    def parameter_roles(self) -> dict[str, Role]:
        """The role of every parameter (telescope.parametrisation.roles)."""

    def layout(self, name: str, optimizer: OptimizerSpec) -> MatrixLayout:
        """How to view a hidden parameter as the matrices that Muon orthogonalises."""

    def init_std(self, name: str, role: Role, optimizer: OptimizerSpec) -> float:
        """The standard deviation of a parameter's initial values. In a user's model, it is the root
        mean square of the initial values instead."""

    def depth_factors(self, name: str) -> DepthFactors:
        """The factors by which the model's depth changes a parameter's learning rate and AdamW's
        eps. Both are 1 if the depth rule does not apply to the parameter."""

    # Modules that telescope knows

    def hidden_layers(self) -> dict[str, Layer]:
        """The layers that multiply by a hidden matrix. The keys are usually the layers' paths in
        the model."""

    def last(self) -> nn.Module | None:
        """The module whose input is the *last features*: the activations from which the model
        computes the logits. None if telescope does not know this module."""

    def scores(self) -> tuple[Scores, ...]:
        """The modules that compute attention logits. Empty if telescope does not know these
        modules."""

    # The methods of nn.Module

    def get_parameter(self, target: str, /) -> nn.Parameter: ...
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> object: ...
    def to(self, device: torch.device | str, /) -> "Model": ...


@dataclass(frozen=True, kw_only=True)
class Family(Generic[Spec]):
    """The functions that a family of models provides for its specifications. The text below each
    field gives the arguments and the result of the function."""

    build: Callable[[Spec, int, int, Parametrisation], Model]
    """(spec, vocabulary size, context, parametrisation) -> the model. The values of the parameters
    are arbitrary until `Model.initialise` sets them."""
    width_problem: Callable[[Spec, int, Parametrisation], str | None]
    """(spec, width, parametrisation) -> the reason why the model cannot be built at this width.
    None if it can be built."""
    hidden_parameters: Callable[[Spec], int]
    """(spec) -> the number of entries of all hidden matrices together."""
    orthogonalised: Callable[[Spec, MuonSplit], tuple[tuple[int, int], ...]]
    """(spec, muon_split) -> the shape (fan_out, fan_in) of each matrix that Muon orthogonalises."""
    forward_flops_per_token: Callable[[Spec, int, int], float]
    """(spec, vocabulary size, context) -> the number of floating-point operations per token in a
    forward pass."""
    logit_flops_per_token: Callable[[Spec, int], int] | None = None
    """(spec, context) -> the number of floating-point operations per token for the attention logits
    of all layers in a forward pass. The field is None for a family in whose models telescope does
    not know where these logits are computed."""
    activations_per_token: Callable[[Spec, int], int] | None = None
    """(spec, context) -> the approximate number of values per token that are stored for the
    backward pass, not counting the logits of the next token. The field is None for a family
    whose models can be neither packed nor compiled."""

    @property
    def packable(self) -> bool:
        """True if trials of this family may be compiled, and may train together in a pack
        (telescope.train.pack)."""
        return self.activations_per_token is not None
