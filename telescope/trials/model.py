"""Specifications of models: our Transformer, and a user's module, with and without a width.

What follows from fields alone is asked of either family by the same methods: `factories`, `known_depth`, `known_attention`. What needs
torch is in telescope.models.family. They are not properties, because an exported file lists the properties of our model.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic.dataclasses import dataclass

from telescope.errors import Problem
from telescope.trials.types import PAIRS, STRICT, AttentionKind, AttentionScale, Count, HeadForm, Parts, Positive, RoleName, require_none


@dataclass(frozen=True)
class KnownAttention:
    """What telescope knows of the attention of a model whose heads it sees."""

    scale: AttentionScale
    normed: bool  # queries and keys, so that the size of weights has no say in logits
    shares_rotary_key: bool  # one key of fixed size, whatever the number of heads


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Architecture:
    """A decoder-only Transformer without its width: what every level of a ladder shares."""

    family: Literal["transformer"] = "transformer"
    depth: Annotated[int, Field(ge=1, le=256)] = 2
    """Number of blocks."""
    attention: AttentionKind = "heads"
    """Keys and values projected for each head, or, as in DeepSeek's models, drawn from one latent vector per position (multi-head latent
    attention)."""
    head_dim: Annotated[int, Field(ge=2, multiple_of=2)] = 16
    """Size of one attention head, the same at every width; the number of heads grows. Under mla, of its part that is not rotated."""
    kv_rank_ratio: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Under mla: size of the latent per unit of width."""
    rotary_dim: Annotated[int, Field(ge=2, multiple_of=2)] | None = None
    """Under mla: size of the rotated part of queries, and of the one rotated key that all heads share; by default half of head_dim."""
    query_heads_per_kv: Count = 1
    """Query heads that share one key/value head: 1 is multi-head attention, more is grouped-query attention."""
    qk_norm: bool = False
    """RMS-normalise queries and keys per head."""
    norm: Literal["rms", "layer"] = "rms"
    """Norms before each block and the head: RMSNorm, or LayerNorm without biases."""
    mlp: Literal["gated", "geglu", "relu2", "gelu"] = "gated"
    """Feed-forward block: SiLU-gated, GELU-gated, squared ReLU, or GELU."""
    mlp_ratio: Annotated[float, Field(gt=0, le=16)] = 4.0
    """Hidden units of the feed-forward block per unit of width."""
    tied_embeddings: bool = False
    """Use the embedding matrix as the output head too."""
    positions: Literal["rotary", "learned"] = "rotary"
    """Queries and keys rotated by their position, or a learned embedding of each position up to the context."""
    rope_base: Positive = 10_000.0
    attention_scale: AttentionScale = "inverse_sqrt"
    """Factor on attention scores: 1/sqrt(head_dim), or 8/head_dim; the two agree at a head size of 64. Under mla heads are rotary_dim
    larger in this."""
    head_form: HeadForm = "multiplier"
    """Under mup, what shrinks the head as width grows: a forward multiplier, or its own lr (for fused losses)."""
    depth_exponent: Annotated[float, Field(ge=0.5, le=1)] = 1.0
    """CompleteP's alpha: where depth leaves its base, residual branches are multiplied by (depth / base depth)^-alpha."""

    @property
    def rotated_dim(self) -> int:
        """Entries of a head's query and key that positions rotate."""
        if self.positions == "learned":
            return 0
        return self.head_dim if self.attention == "heads" else self.rotary_dim or self.head_dim // 2

    @property
    def score_dim(self) -> int:
        """Entries of a head's query and key, over which an attention score is summed."""
        return self.head_dim + (self.rotated_dim if self.attention == "mla" else 0)

    @property
    def gated(self) -> bool:
        """Whether the feed-forward block has a gate, a matrix more."""
        return self.mlp in ("gated", "geglu")

    def factories(self) -> tuple[str, ...]:
        """Users' code that builds it: none."""
        return ()

    def known_depth(self) -> int:
        """Its number of blocks."""
        return self.depth

    def known_attention(self) -> KnownAttention:
        """How its scores are scaled, and what they are made of."""
        return KnownAttention(self.attention_scale, self.qk_norm, shares_rotary_key=self.attention == "mla")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelSpec(Architecture):
    """One Transformer: an architecture at a width, and the base width that its muP factors are relative to."""

    width: Count
    base_width: Count
    base_depth: Count | None = None
    """The depth that depth factors are relative to; by default this model's own, and all of them are 1."""

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
        """Query heads."""
        return self.width // self.head_dim

    @property
    def kv_heads(self) -> int:
        """Key/value heads."""
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
    """Why `width` cannot be built with this architecture, or None."""
    if width % (model.head_dim * model.query_heads_per_kv):
        unit = model.head_dim * model.query_heads_per_kv
        near = max(unit, round(width / unit) * unit)
        return f"width {width} is not divisible by head_dim x query_heads_per_kv = {unit}; use a multiple of it, such as {near}"
    if not whole(model.mlp_ratio * width):
        return f"mlp_ratio {model.mlp_ratio:g} x width {width} is not a whole number of hidden units"
    if model.attention == "mla" and not whole(model.kv_rank_ratio * width):
        ratio = max(1, round(model.kv_rank_ratio * width)) / width
        return f"kv_rank_ratio {model.kv_rank_ratio:g} x width {width} is not a whole number, the size of the latent; use {ratio:g}"
    return None


def whole(value: float) -> bool:
    """Whether a size is a whole number, but for rounding."""
    return round(value) >= 1 and math.isclose(value, round(value))


ONLY_WITH: tuple[tuple[str, str, str], ...] = (
    ("kv_rank_ratio", "attention", "mla"),
    ("rotary_dim", "attention", "mla"),
    ("rope_base", "positions", "rotary"),
)
"""Fields that say something only where another one has this value."""


def architecture_problems(model: Architecture) -> Iterator[Problem]:
    """Why this architecture cannot be built, whatever its width: fields of `model` that do not go together."""
    for name, of, value in ONLY_WITH:
        given = getattr(model, name)
        if given != Architecture.__dataclass_fields__[name].default and getattr(model, of) != value:
            yield Problem(name, f"has no meaning with {of}: {getattr(model, of)}; leave it out, or use {of}: {value}", given)
    if model.attention == "mla":
        yield from _latent_problems(model)
    if model.tied_embeddings and model.head_form == "rescaled":
        message = "rescaled would shrink tied embeddings on their way in, too; use head_form: multiplier, or untie them"
        yield Problem("head_form", message, model.head_form)


def _latent_problems(model: Architecture) -> Iterator[Problem]:
    """What does not go with mla."""
    if model.query_heads_per_kv > 1:
        message = "under mla all heads draw on one latent, and none share keys; leave it at 1, or use attention: heads"
        yield Problem("query_heads_per_kv", message, model.query_heads_per_kv)
    if model.positions == "learned":
        yield Problem("positions", "mla has a rotated part of its own; use positions: rotary, or attention: heads", model.positions)
    elif model.rotated_dim % 2:
        message = f"half of head_dim {model.head_dim} is odd, and rotation turns pairs; give rotary_dim: {model.rotated_dim + 1}"
        yield Problem("rotary_dim", message, model.rotary_dim)
    if model.qk_norm:
        message = "mla never forms the keys that would be normalised when it generates; leave it out (qk_clip bounds its logits)"
        yield Problem("qk_norm", message, model.qk_norm)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModuleArchitecture:
    """A user's own model: the factory that builds it at a width, and what shapes and a forward pass
    do not tell (telescope.models.reading)."""

    family: Literal["module"]
    factory: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    """package.module:function, from a width to a torch.nn.Module."""
    output: Literal["logits", "loss"] = "logits"
    """What forward gives: logits of tokens (B, T), as a tensor or in a field `logits`; or, of tokens and targets, the mean loss in nats."""
    roles: Annotated[tuple[tuple[str, RoleName], ...], *PAIRS] = ()
    """Roles of parameters by patterns of their names, such as "*.router.weight": readout; the others are read off the model."""
    splits: Annotated[tuple[tuple[str, Count | Parts], ...], *PAIRS] = ()
    """Hidden matrices that Muon takes in pieces, by patterns: relative sizes of what is fused, or the rows of a head."""
    head_form: HeadForm = "multiplier"
    """Under mup, what shrinks the head as width grows: a forward multiplier, or its own lr and initial values."""
    content: str = ""
    """Hash of the factory's code, filled in by telescope; if given, it must match."""

    def factories(self) -> tuple[str, ...]:
        """Users' code that builds it."""
        return (self.factory,)

    def known_depth(self) -> int | None:
        """Nobody knows what its blocks are."""
        return None

    def known_attention(self) -> KnownAttention | None:
        """Nobody knows where its heads are."""
        return None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModuleSpec(ModuleArchitecture):
    """A user's model at one width, and the base width that its muP factors are relative to."""

    width: Count
    base_width: Count

    @property
    def multiplier(self) -> float:
        """m = width / base width, the variable of every muP rule."""
        return self.width / self.base_width


def family(model: Any) -> str:
    """Which kind of model a document or a value describes; ours where it does not say."""
    return str(model.get("family", "transformer") if isinstance(model, Mapping) else getattr(model, "family", "transformer"))


AnyModel = Annotated[Annotated[ModelSpec, Tag("transformer")] | Annotated[ModuleSpec, Tag("module")], Discriminator(family)]
