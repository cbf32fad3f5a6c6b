"""The protocol of a family of models.

A specification names its family: telescope's own Transformer, or users' modules. A specification
answers what follows from its fields alone (telescope.trials.model); what needs torch is here, in
two parts. No other code asks which family a model belongs to.

Parts: `Model`, the interface that training needs, with `Layer` · `Family`, what a family provides
for a specification. The families are in telescope.models.own_family and
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
    weight: str = "weight"
    turned: bool = False  # stored as (fan_in, fan_out)

    @property
    def matrix(self) -> Tensor:  # (out, in)
        """The current matrix, without gradient."""
        weight: Tensor = getattr(self.module, self.weight).detach()
        return weight.mT if self.turned else weight


@runtime_checkable
class Model(Protocol):
    """A model in training, with the methods of torch's modules that training needs."""

    @property
    def spec(self) -> AnyModel: ...
    @property
    def embedding_multiplier(self) -> float: ...
    @property
    def head_multiplier(self) -> float: ...

    def __call__(self, tokens: Tensor) -> Tensor:  # (B, T) -> (B, T, V)
        """Logits of the next token at each position; or, from a model that returns its loss, the
        loss: ()."""

    def own_loss(self, windows: Tensor) -> Tensor | None:  # (B, T + 1) -> ()
        """Mean loss if the model computes it; None if it gives logits."""

    def initialise(self, optimizer: OptimizerSpec, seed: int) -> None:
        """Draw every parameter anew, in place; the same seed gives the same model on any device."""

    def reseed(self, seed: int) -> None:
        """Seed the random numbers that the model draws in a step."""

    def evaluating(self) -> AbstractContextManager[None]:
        """Switch dropout off while the context lasts."""

    # Its parameters, by name

    def parameter_roles(self) -> dict[str, Role]:
        """Role of every parameter."""

    def layout(self, name: str, optimizer: OptimizerSpec) -> MatrixLayout:
        """The matrices that a hidden parameter holds."""

    def init_std(self, name: str, role: Role, optimizer: OptimizerSpec) -> float:
        """Standard deviation of its initial values."""

    def depth_factors(self, name: str) -> DepthFactors:
        """Factors of the depth rule, if the rule applies to the parameter."""

    # Its modules, as far as telescope knows them

    def hidden_layers(self) -> dict[str, Layer]:
        """The layers of HIDDEN matrices, by path."""

    def last(self) -> nn.Module | None:
        """The module that takes the last features."""

    def scores(self) -> tuple[Scores, ...]:
        """The modules that compute attention logits."""

    # The methods of torch's modules

    def get_parameter(self, target: str, /) -> nn.Parameter: ...
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> object: ...
    def to(self, device: torch.device | str, /) -> "Model": ...


@dataclass(frozen=True, kw_only=True)
class Family(Generic[Spec]):
    """What a family provides for its specifications."""

    build: Callable[[Spec, int, int, Parametrisation], Model]
    """The model for a vocabulary and a context, with arbitrary parameter values."""
    width_problem: Callable[[Spec, int, Parametrisation], str | None]
    """The reason why there is no such model at a width, or None."""
    hidden_parameters: Callable[[Spec], int]
    """Entries of all hidden matrices."""
    orthogonalised: Callable[[Spec, MuonSplit], tuple[tuple[int, int], ...]]
    """(fan_out, fan_in) of all matrices that Muon orthogonalises."""
    forward_flops_per_token: Callable[[Spec, int, int], float]
    """Floating-point operations of a forward pass, for a vocabulary and a context."""
    logit_flops_per_token: Callable[[Spec, int], int] | None = None
    """The part of these that computes attention logits, over all layers, for a context; None if
    telescope cannot see the logits."""
    activations_per_token: Callable[[Spec, int], int] | None = None
    """Approximate number of values that a backward pass keeps per token, logits aside, for a
    context; None for models that packs and compiled graphs cannot hold."""

    @property
    def packable(self) -> bool:
        """True if trials of the model may share a program, or be compiled."""
        return self.activations_per_token is not None
