"""Specifications of models at a width: telescope's own Transformer, and a user's module.

Both families have the methods `factories`, `known_depth` and `known_attention`, which need the
fields alone; what needs torch is in telescope.models.family. They are not properties, because an
exported file lists the properties of the Transformer's specification.

Parts: `ModelSpec` · `ModuleArchitecture`, a user's module without a width, and `ModuleSpec` ·
`AnyModel`, a specification of either family.
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
    Parts,
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
    """The depth that depth factors are relative to; by default this model's own, which makes every
    factor 1."""

    @model_validator(mode="after")
    def _divisible(self) -> "ModelSpec":
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
        """L / L0, the variable of the depth rule."""
        return self.depth / (self.base_depth or self.depth)

    @property
    def heads(self) -> int:
        return self.width // self.head_dim

    @property
    def kv_heads(self) -> int:
        return self.heads // self.query_heads_per_kv

    @property
    def kv_rank(self) -> int:
        """Size of the latent that keys and values are drawn from."""
        return round(self.kv_rank_ratio * self.width)

    @property
    def hidden(self) -> int:
        """Hidden units of the feed-forward block."""
        return round(self.mlp_ratio * self.width)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModuleArchitecture:
    """A user's own model: the factory that builds it at a width, and what shapes and a forward pass
    do not show (telescope.models.reading)."""

    family: Literal["module"]
    """Family of the model: a user's own torch.nn.Module."""
    factory: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    """The factory as package.module:function, a function from a width to a torch.nn.Module."""
    output: Literal["logits", "loss"] = "logits"
    """What forward returns: logits of tokens (B, T), as a tensor or in a field `logits`; or the
    mean loss in nats, given tokens and targets."""
    roles: Annotated[tuple[tuple[str, RoleName], ...], *pairs_with(RoleName)] = ()
    """Roles of parameters by patterns of their names, such as "*.router.weight": readout; all other
    roles are read off the model."""
    splits: Annotated[tuple[tuple[str, Count | Parts], ...], *pairs_with(Count | Parts)] = ()
    """Hidden matrices that Muon takes in pieces, by patterns of their names: relative sizes of
    fused matrices, or the rows of a head."""
    head_form: HeadForm = "multiplier"
    """Under mup, what shrinks the head as width grows: multiplier is a factor on the logits,
    rescaled is a smaller learning rate and smaller initial values of the head."""
    content: str = ""
    """Hash of the factory's code, filled in by telescope; if given, it must match."""

    def factories(self) -> tuple[str, ...]:
        """Names of the user's factories that build the model."""
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
    """The family that a document or a specification names; telescope's own if it names none."""
    if isinstance(model, Mapping):
        return str(model.get("family", "transformer"))
    return str(getattr(model, "family", "transformer"))


AnyModel = Annotated[
    Annotated[ModelSpec, Tag("transformer")] | Annotated[ModuleSpec, Tag("module")],
    Discriminator(family),
]
