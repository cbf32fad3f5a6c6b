"""Specifications of models at a width: telescope's own Transformer, and a user's module.

The specifications of both families have the methods `factories`, `known_depth` and
`known_attention`, which need no torch; functions that need torch are in telescope.models.family.
These three are not properties, since an exported file lists the properties of a `ModelSpec`.

Parts: `ModelSpec`, a Transformer · `ModuleArchitecture`, a user's module without a width, and
`ModuleSpec`, with a width · `AnyModel`, a specification of either family.
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
    PieceSizes,
    RoleName,
    pairs_with,
    require_none,
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelSpec(Architecture):
    """One Transformer: an architecture at a width, and the base width of its muP factors."""

    width: Count
    base_width: Count
    base_depth: Count | None = None
    """Depth at which every factor of the depth rule is 1; by default this model's depth."""

    @model_validator(mode="after")
    def _require_buildable(self) -> "ModelSpec":
        if problem := width_problem(self, self.width) or width_problem(self, self.base_width):
            raise ValueError(problem)
        require_none(architecture_problems(self))
        return self

    @property
    def multiplier(self) -> float:
        """m = width / base width, the variable of every muP rule."""
        return self.width / self.base_width

    @property
    def depth_ratio(self) -> float:
        """depth / base depth, the variable of the depth rule."""
        return self.depth / (self.base_depth or self.depth)

    @property
    def heads(self) -> int:
        return self.width // self.head_dim

    @property
    def kv_heads(self) -> int:
        return self.heads // self.query_heads_per_kv

    @property
    def kv_rank(self) -> int:
        """Under mla: size of the latent vector that keys and values are projected from."""
        return round(self.kv_rank_ratio * self.width)

    @property
    def hidden(self) -> int:
        """Number of hidden units of a feed-forward layer."""
        return round(self.mlp_ratio * self.width)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModuleArchitecture:
    """A user's own model without a width: the factory that builds the model at a width, and facts
    that telescope.models.reading cannot read off the model."""

    family: Literal["module"]
    """Family of the model: a user's own torch.nn.Module."""
    factory: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    """The factory as package.module:function, a function from a width to a torch.nn.Module."""
    output: Literal["logits", "loss"] = "logits"
    """What forward returns. logits: logits for tokens (B, T), as a tensor or in a field `logits`;
    loss: the mean loss in nats for tokens and targets."""
    roles: Annotated[tuple[tuple[str, RoleName], ...], *pairs_with(RoleName)] = ()
    """Roles of parameters by patterns of their names, such as "*.router.weight": readout; all other
    roles are read off the model."""
    splits: Annotated[
        tuple[tuple[str, Count | PieceSizes], ...], *pairs_with(Count | PieceSizes)
    ] = ()
    """Hidden matrices that Muon orthogonalises in pieces, by patterns of their names: a list gives
    the relative sizes of fused matrices, a number the rows of one head."""
    head_form: HeadForm = "multiplier"
    """Under mup, how the output head is scaled down as width grows: multiplier scales the logits,
    rescaled the head's learning rate and initial values."""
    content: str = ""
    """Hash of the factory's code, filled in by telescope; a given hash must match."""

    def factories(self) -> tuple[str, ...]:
        """The name of the user's factory."""
        return (self.factory,)

    def known_depth(self) -> int | None:
        """None: telescope does not know which modules are blocks."""
        return None

    def known_attention(self) -> KnownAttention | None:
        """None: telescope does not know which modules compute attention."""
        return None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModuleSpec(ModuleArchitecture):
    """A user's model at one width, and the base width of its muP factors."""

    width: Count
    base_width: Count

    @property
    def multiplier(self) -> float:
        """m = width / base width, the variable of every muP rule."""
        return self.width / self.base_width


def family(model: Any) -> str:
    """The family that a document or a specification names; by default `transformer`."""
    if isinstance(model, Mapping):
        return str(model.get("family", "transformer"))
    return str(getattr(model, "family", "transformer"))


AnyModel = Annotated[
    Annotated[ModelSpec, Tag("transformer")] | Annotated[ModuleSpec, Tag("module")],
    Discriminator(family),
]
