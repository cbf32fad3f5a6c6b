"""Specifications of models: our Transformer, and a user's module, with and without a width.

The methods `factories`, `known_depth` and `known_attention` answer from fields alone, for either
family. What needs torch is in telescope.models.family. They are not properties, because an exported
file lists the properties of our model.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic.dataclasses import dataclass

from telescope.errors import Problem
from telescope.trials.types import (
    STRICT,
    AttentionKind,
    AttentionScale,
    Count,
    HeadForm,
    Parts,
    Positive,
    RoleName,
    pairs_with,
    require_none,
)


@dataclass(frozen=True)
class KnownAttention:
    """Properties of the attention of a model whose heads telescope sees."""

    scale: AttentionScale
    normed: bool  # queries and keys are, so that the size of weights does not affect logits
    shares_rotary_key: bool  # one key of fixed size, whatever the number of heads


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Architecture:
    """A decoder-only Transformer without its width: the fields that all levels of a ladder
    share."""

    family: Literal["transformer"] = "transformer"
    """Family of the model: telescope's own decoder-only Transformer."""
    depth: Annotated[int, Field(ge=1, le=256)] = 2
    """Number of blocks."""
    attention: AttentionKind = "heads"
    """heads: keys and values are projected for each head; mla: they are projected from one latent
    vector per position, as in DeepSeek's models (multi-head latent attention)."""
    head_dim: Annotated[int, Field(ge=2, multiple_of=2)] = 16
    """Size of one attention head, the same at every width; the number of heads grows. Under mla,
    the size of its part that is not rotated."""
    kv_rank_ratio: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Under mla: size of the latent per unit of width; a whole number of entries at every width."""
    rotary_dim: Annotated[int, Field(ge=2, multiple_of=2)] | None = None
    """Under mla: size of the rotated part of queries, and of the rotated key that all heads share;
    by default half of head_dim."""
    query_heads_per_kv: Count = 1
    """Query heads that share one key/value head: 1 is multi-head attention, more is grouped-query
    attention."""
    qk_norm: bool = False
    """Normalise queries and keys per head by their RMS."""
    norm: Literal["rms", "layer"] = "rms"
    """Norms before each block and before the head: rms is RMSNorm, layer is LayerNorm without
    biases."""
    mlp: Literal["gated", "geglu", "relu2", "gelu"] = "gated"
    """Feed-forward block: gated is SiLU-gated, geglu is GELU-gated, relu2 is squared ReLU without a
    gate, gelu is GELU without a gate."""
    mlp_ratio: Annotated[float, Field(gt=0, le=16)] = 4.0
    """Hidden units of the feed-forward block per unit of width; a whole number of units at every
    width."""
    tied_embeddings: bool = False
    """Use the embedding matrix as the output head, too."""
    positions: Literal["rotary", "learned"] = "rotary"
    """rotary: queries and keys are rotated by their position; learned: an embedding of each
    position up to the context."""
    rope_base: Positive = 10_000.0
    """Base of the rotary frequencies; larger bases turn more slowly with position."""
    attention_scale: AttentionScale = "inverse_sqrt"
    """Factor on attention scores: inverse_sqrt is 1/sqrt(head_dim), inverse is 8/head_dim; the two
    agree at a head size of 64. Under mla, head_dim plus rotary_dim takes the place of head_dim."""
    head_form: HeadForm = "multiplier"
    """Under mup, what shrinks the head as width grows: multiplier is a factor on the logits,
    rescaled is a smaller learning rate of the head, for losses that are fused with it."""
    depth_exponent: Annotated[float, Field(ge=0.5, le=1)] = 1.0
    """CompleteP's alpha: residual branches are multiplied by (depth / base depth)^-alpha."""

    @property
    def rotated_dim(self) -> int:
        """Entries of a head's query and key that positions rotate."""
        if self.positions == "learned":
            return 0
        return self.head_dim if self.attention == "heads" else self.rotary_dim or self.head_dim // 2

    @property
    def score_dim(self) -> int:
        """Entries of a head's query and key that an attention score sums over."""
        return self.head_dim + (self.rotated_dim if self.attention == "mla" else 0)

    @property
    def gated(self) -> bool:
        """True if the feed-forward block has a gate, which is one more matrix."""
        return self.mlp in ("gated", "geglu")

    def factories(self) -> tuple[str, ...]:
        """The user's factories that build the model: none."""
        return ()

    def known_depth(self) -> int:
        """Number of blocks."""
        return self.depth

    def known_attention(self) -> KnownAttention:
        """Scale of the attention scores, and which norms and keys they are made of."""
        return KnownAttention(
            self.attention_scale, self.qk_norm, shares_rotary_key=self.attention == "mla"
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


def width_problem(model: Architecture, width: int) -> str | None:
    """The reason why `width` cannot be built with this architecture, or None."""
    if width % (model.head_dim * model.query_heads_per_kv):
        unit = model.head_dim * model.query_heads_per_kv
        near = max(unit, round(width / unit) * unit)
        return f"width {width} is not divisible by head_dim x query_heads_per_kv = {unit}; use a multiple of it, such as {near}"
    if not whole(model.mlp_ratio * width):
        return (
            f"mlp_ratio {model.mlp_ratio:g} x width {width} is not a whole number of hidden units"
        )
    if model.attention == "mla" and not whole(model.kv_rank_ratio * width):
        ratio = max(1, round(model.kv_rank_ratio * width)) / width
        return f"kv_rank_ratio {model.kv_rank_ratio:g} x width {width} is not a whole number, the size of the latent; use {ratio:g}"
    return None


def whole(value: float) -> bool:
    """True if a size is a whole number, up to rounding."""
    return round(value) >= 1 and math.isclose(value, round(value))


ONLY_WITH: tuple[tuple[str, str, str], ...] = (
    ("kv_rank_ratio", "attention", "mla"),
    ("rotary_dim", "attention", "mla"),
    ("rope_base", "positions", "rotary"),
)
"""Fields that have a meaning only if another field has this value."""


def architecture_problems(model: Architecture) -> Iterator[Problem]:
    """Reasons why this architecture cannot be built at any width: fields of `model` that contradict
    each other."""
    for name, of, value in ONLY_WITH:
        given = getattr(model, name)
        if given != Architecture.__dataclass_fields__[name].default and getattr(model, of) != value:
            yield Problem(
                name,
                f"has no meaning with {of}: {getattr(model, of)}; leave it out, or use {of}: {value}",
                given,
            )
    if model.attention == "mla":
        yield from _latent_problems(model)
    if model.tied_embeddings and model.head_form == "rescaled":
        message = "rescaled would also shrink the input embeddings, which are tied to the head; use head_form: multiplier, or untie them"
        yield Problem("head_form", message, model.head_form)


def _latent_problems(model: Architecture) -> Iterator[Problem]:
    """Fields that do not go with mla."""
    if model.query_heads_per_kv > 1:
        message = "under mla all heads draw on one latent and do not share keys; leave it at 1, or use attention: heads"
        yield Problem("query_heads_per_kv", message, model.query_heads_per_kv)
    if model.positions == "learned":
        yield Problem(
            "positions",
            "mla encodes positions by a rotated part; use positions: rotary, or attention: heads",
            model.positions,
        )
    elif model.rotated_dim % 2:
        message = f"half of head_dim {model.head_dim} is odd, and rotation turns pairs; give rotary_dim: {model.rotated_dim + 1}"
        yield Problem("rotary_dim", message, model.rotary_dim)
    if model.qk_norm:
        message = "in generation mla never forms the keys that qk_norm would normalise; leave it out (qk_clip bounds the logits)"
        yield Problem("qk_norm", message, model.qk_norm)


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
        """The user's factories that build the model."""
        return (self.factory,)

    def known_depth(self) -> int | None:
        """None: telescope does not know which modules are its blocks."""
        return None

    def known_attention(self) -> KnownAttention | None:
        """None: telescope does not know where its heads are."""
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
    """The family that a document or a value names; ours where it names none."""
    return str(
        model.get("family", "transformer")
        if isinstance(model, Mapping)
        else getattr(model, "family", "transformer")
    )


AnyModel = Annotated[
    Annotated[ModelSpec, Tag("transformer")] | Annotated[ModuleSpec, Tag("module")],
    Discriminator(family),
]
