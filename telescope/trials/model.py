"""Specifications of models.

There are two families of models: telescope's own Transformer (`ModelSpec`), and modules that users
write (`ModuleSpec`). A user's *factory* is a function that takes a width and returns the module.

The specifications of both families have the methods `factories`, `known_depth` and
`known_attention`. They are methods, since exported files list the properties of a `ModelSpec`
(telescope.export.model_source). telescope.models.family declares the functions that need torch and
differ between the families.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic.dataclasses import dataclass

from telescope.trials.architecture import (
    Architecture,
    KnownAttention,
    architecture_problems,
    width_problem,
)
from telescope.trials.types import (
    STRICT,
    Count,
    HeadForm,
    InitialValues,
    PieceSizes,
    RoleName,
    pairs_with,
    require_none,
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelSpec(Architecture):
    """One Transformer: an architecture at a width. muP scales hyperparameters by powers of width /
    base_width."""

    width: Count
    base_width: Count
    base_depth: Count | None = None
    """Depth at which the factors for depth are 1. By default, it is this model's depth."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that a hidden unit of a feed-forward layer is set to zero in training."""
    initial_values: InitialValues = "scaled"
    """Initial values of the matrices. scaled: telescope's own, which depend on width and depth.
    torch: the defaults of torch.nn.Embedding and torch.nn.Linear."""

    @model_validator(mode="after")
    def _require_buildable(self) -> "ModelSpec":
        if problem := width_problem(self, self.width) or width_problem(self, self.base_width):
            raise ValueError(problem)
        require_none(architecture_problems(self))
        return self

    @property
    def multiplier(self) -> float:
        """The width divided by the base width, called m elsewhere."""
        return self.width / self.base_width

    @property
    def depth_ratio(self) -> float:
        """The depth divided by the base depth. The factors for depth are powers of this ratio."""
        return self.depth / (self.base_depth or self.depth)

    @property
    def heads(self) -> int:
        return self.width // self.head_dim

    @property
    def kv_heads(self) -> int:
        return self.heads // self.query_heads_per_kv

    @property
    def kv_rank(self) -> int:
        """Under mla: the size of the latent vector."""
        return round(self.kv_rank_ratio * self.width)

    @property
    def hidden(self) -> int:
        """The number of hidden units of a feed-forward layer."""
        return round(self.mlp_ratio * self.width)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModuleArchitecture:
    """A user's own model without a width: the factory that builds the model at a width, and what
    the user states about the model."""

    family: Literal["module"]
    """Family of the model: a user's own torch.nn.Module."""
    factory: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    """The factory, written as package.module:function. The function takes a width and returns a
    torch.nn.Module."""
    output: Literal["logits", "loss"] = "logits"
    """What the model's forward returns. logits: forward(tokens) returns the logits of the next
    tokens, as a tensor or in a field `logits`. loss: forward(tokens, targets) returns the mean loss
    in nats per token."""
    roles: Annotated[tuple[tuple[str, RoleName], ...], *pairs_with(RoleName)] = ()
    """Roles of parameters, by patterns of the parameters' names. For example, "*.router.weight":
    readout. telescope finds the roles of all other parameters itself."""
    splits: Annotated[
        tuple[tuple[str, Count | PieceSizes], ...], *pairs_with(Count | PieceSizes)
    ] = ()
    """How Muon splits hidden matrices into pieces, by patterns of the matrices' names. A list, for
    fused matrices, gives the relative sizes of the pieces. A number, for matrices with one piece
    per head, gives the number of rows of each piece."""
    head_form: HeadForm = "multiplier"
    """Under mup: how the output head is scaled down as width grows. multiplier: the logits are
    scaled. rescaled: the head's learning rate and initial values are scaled."""
    content: str = ""
    """Hash of the factory's code. telescope computes it. If you give a hash, it must be equal to
    the one that telescope computes."""

    def factories(self) -> tuple[str, ...]:
        """The name of the user's factory."""
        return (self.factory,)

    def known_depth(self) -> int | None:
        """Return None: telescope does not know which modules are blocks."""
        return None

    def known_attention(self) -> KnownAttention | None:
        """Return None: telescope does not know which modules compute attention."""
        return None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModuleSpec(ModuleArchitecture):
    """A user's model at one width. muP scales hyperparameters by powers of width / base_width."""

    width: Count
    base_width: Count

    @property
    def multiplier(self) -> float:
        """The width divided by the base width, called m elsewhere."""
        return self.width / self.base_width


def family(model: Any) -> str:
    """The value of `family` in a mapping or a specification; `transformer` if it has none."""
    if isinstance(model, Mapping):
        return str(model.get("family", "transformer"))
    return str(getattr(model, "family", "transformer"))


AnyModel = Annotated[
    Annotated[ModelSpec, Tag("transformer")] | Annotated[ModuleSpec, Tag("module")],
    Discriminator(family),
]
