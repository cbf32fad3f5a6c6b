"""The interfaces of a family of models.

A specification names its family: telescope's own Transformer, or users' modules. Code that differs
between families is in telescope.trials.model if it needs no torch. All other such code is behind
the two interfaces of this module, so that callers need not ask which family a model belongs to.

Parts: `Layer` · `Model`, the interface that training needs · `Family`, the functions that a family
provides for its specifications. The families are in telescope.models.own_family and
telescope.models.user_family, their table in telescope.models.build.
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
    """A module that multiplies by its own hidden matrix."""

    module: nn.Module
    weight: str = "weight"  # name of the parameter that holds the matrix
    transposed: bool = False  # the weight is stored as (fan_in, fan_out)

    @property
    def matrix(self) -> Tensor:  # (fan_out, fan_in)
        """The weight as a matrix, detached from the autograd graph; shares the weight's memory."""
        weight: Tensor = getattr(self.module, self.weight).detach()
        return weight.mT if self.transposed else weight


@runtime_checkable
class Model(Protocol):
    """A model in training, including the methods of nn.Module that training needs."""

    @property
    def spec(self) -> AnyModel: ...
    @property
    def embedding_multiplier(self) -> float: ...
    @property
    def head_multiplier(self) -> float: ...

    def __call__(self, tokens: Tensor) -> Tensor:  # (B, T) -> (B, T, V)
        """Logits of the next token at each position; a scalar loss if the model computes its own
        loss."""

    def own_loss(self, windows: Tensor) -> Tensor | None:  # (B, T + 1) -> ()
        """The mean loss if the model computes its own loss; None if it returns logits."""

    def initialise(self, optimizer: OptimizerSpec, seed: int) -> None:
        """Draw all parameters anew; the same seed gives the same values on any device."""

    def reseed(self, seed: int) -> None:
        """Seed the random numbers that the model draws in a step."""

    def evaluating(self) -> AbstractContextManager[None]:
        """Switch dropout off for a `with` block."""

    # Parameters, by name

    def parameter_roles(self) -> dict[str, Role]:
        """Role of every parameter."""

    def layout(self, name: str, optimizer: OptimizerSpec) -> MatrixLayout:
        """The matrices that a hidden parameter holds."""

    def init_std(self, name: str, role: Role, optimizer: OptimizerSpec) -> float:
        """Standard deviation of a parameter's initial values; in a user's model, their root mean
        square."""

    def depth_factors(self, name: str) -> DepthFactors:
        """Factors of the depth rule for a parameter; 1 if the rule does not apply."""

    # Modules that telescope knows

    def hidden_layers(self) -> dict[str, Layer]:
        """The layers that multiply by a HIDDEN matrix, by path."""

    def last(self) -> nn.Module | None:
        """The module whose input is the last features, from which the logits are computed; None if
        telescope does not know it."""

    def scores(self) -> tuple[Scores, ...]:
        """The modules that compute attention logits; empty if telescope does not know them."""

    # The methods of nn.Module

    def get_parameter(self, target: str, /) -> nn.Parameter: ...
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> object: ...
    def to(self, device: torch.device | str, /) -> "Model": ...


@dataclass(frozen=True, kw_only=True)
class Family(Generic[Spec]):
    """The functions that a family of models provides for its specifications."""

    build: Callable[[Spec, int, int, Parametrisation], Model]
    """(spec, vocabulary size, context, parametrisation) -> the model, with arbitrary parameter
    values."""
    width_problem: Callable[[Spec, int, Parametrisation], str | None]
    """(spec, width, parametrisation) -> the reason why the model cannot be built at this width, or
    None."""
    hidden_parameters: Callable[[Spec], int]
    """Number of entries in all hidden matrices."""
    orthogonalised: Callable[[Spec, MuonSplit], tuple[tuple[int, int], ...]]
    """(spec, muon_split) -> (fan_out, fan_in) of each matrix that Muon orthogonalises."""
    forward_flops_per_token: Callable[[Spec, int, int], float]
    """(spec, vocabulary size, context) -> floating-point operations of a forward pass per
    token."""
    logit_flops_per_token: Callable[[Spec, int], int] | None = None
    """(spec, context) -> floating-point operations per token that compute attention logits in a
    forward pass, over all layers; None if telescope cannot see the logits."""
    activations_per_token: Callable[[Spec, int], int] | None = None
    """(spec, context) -> approximate number of values per token, except logits, that are stored for
    the backward pass; None for models that cannot be packed or compiled."""

    @property
    def packable(self) -> bool:
        """True if trials of the model may share a pack, or be compiled."""
        return self.activations_per_token is not None
