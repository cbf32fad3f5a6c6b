"""What telescope asks of a family of models, whichever it is.

A specification names its family: telescope's own Transformer, or users' modules. What follows from
its fields alone, it says itself (telescope.trials.model); what needs torch is here, in two parts.
Nothing else asks which family a model is of.

Parts: `Model`, what training asks of a model that is built, with `Layer` · `Family`, what is asked
of a specification. The families are in telescope.models.own_family and
telescope.models.user_family, their table in telescope.models.build.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from telescope.models.attention import Scores
from telescope.parametrisation.layout import Layout
from telescope.parametrisation.mup import DepthFactors
from telescope.parametrisation.roles import Role
from telescope.trials.model import AnyModel, ModelSpec, ModuleSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.types import MuonSplit, Parametrisation

Spec = TypeVar("Spec", bound=ModelSpec | ModuleSpec)


@dataclass(frozen=True)
class Layer:
    """A module that multiplies by a hidden matrix of its own."""

    module: nn.Module
    weight: str = "weight"
    turned: bool = False  # kept as (fan_in, fan_out)

    @property
    def matrix(self) -> Tensor:  # (out, in)
        """Its matrix as it is now."""
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
        """Logits of the next token at each position; of a model that gives its loss, that: ()."""

    def own_loss(self, windows: Tensor) -> Tensor | None:  # (B, T + 1) -> ()
        """Mean loss, where the model computes it; None where it gives logits."""

    def initialise(self, optimizer: OptimizerSpec, seed: int) -> None:
        """Draw every parameter anew, in place: the same seed gives the same model on any device."""

    def reseed(self, seed: int) -> None:
        """Let what it draws in a step follow from this."""

    def evaluating(self) -> AbstractContextManager[None]:
        """Without dropout."""

    # Of its parameters, by name

    def parameter_roles(self) -> dict[str, Role]:
        """Role of every parameter."""

    def layout(self, name: str, optimizer: OptimizerSpec) -> Layout:
        """Which matrices a hidden parameter holds."""

    def init_std(self, name: str, role: Role, optimizer: OptimizerSpec) -> float:
        """Size of its initial values."""

    def depth_factors(self, name: str) -> DepthFactors:
        """Factors of the depth rule, where that holds for it."""

    # Of its modules, as far as they are known

    def hidden_layers(self) -> dict[str, Layer]:
        """The layers of HIDDEN matrices, by path."""

    def last(self) -> nn.Module | None:
        """The module that takes the last features."""

    def scores(self) -> tuple[Scores, ...]:
        """The modules that compute attention logits."""

    # As torch has it

    def get_parameter(self, target: str, /) -> nn.Parameter: ...
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> object: ...
    def to(self, device: torch.device | str, /) -> "Model": ...


@dataclass(frozen=True, kw_only=True)
class Family(Generic[Spec]):
    """What is asked of the specifications of one family."""

    build: Callable[[Spec, int, int, Parametrisation], Model]
    """The model for a vocabulary and a context; its values mean nothing yet."""
    width_problem: Callable[[Spec, int, Parametrisation], str | None]
    """Why there is no such model at a width, or None."""
    hidden_parameters: Callable[[Spec], int]
    """Entries of all hidden matrices."""
    orthogonalised: Callable[[Spec, MuonSplit], tuple[tuple[int, int], ...]]
    """(fan_out, fan_in) of all matrices that Muon orthogonalises."""
    forward_flops_per_token: Callable[[Spec, int, int], float]
    """Operations of a forward pass, for a vocabulary and a context."""
    logit_flops_per_token: Callable[[Spec, int], int] | None = None
    """Those of attention's logits alone, of all layers, for a context; None where nobody sees
    them."""
    activations_per_token: Callable[[Spec, int], int] | None = None
    """About how many numbers a backward pass keeps per token, logits aside, for a context; None
    where it is not known how weights and activations meet, as packs and compiled graphs need it."""

    @property
    def packable(self) -> bool:
        """Whether trials of it may share a program, or be compiled."""
        return self.activations_per_token is not None
