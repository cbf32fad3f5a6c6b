"""The architecture of telescope's own Transformer, without a width.

Parts: `Architecture` · `KnownAttention`, the properties of its attention · `width_problem` and
`architecture_problems`, the reasons why a model cannot be built.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from telescope.errors import Problem
from telescope.trials.types import (
    STRICT,
    AttentionKind,
    AttentionScale,
    Count,
    HeadForm,
    Positive,
)


@dataclass(frozen=True)
class KnownAttention:
    """Properties of a model's attention, if telescope knows which modules compute it."""

    scale: AttentionScale
    normed: bool  # queries and keys are normalised, so scaling their weights does not scale logits
    shares_rotary_key: bool  # all heads share one rotary key, whose size is fixed


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Architecture:
    """A decoder-only Transformer without its width: the fields that all levels of a ladder
    share."""

    family: Literal["transformer"] = "transformer"
    """Family of the model: telescope's own decoder-only Transformer."""
    depth: Annotated[int, Field(ge=1, le=256)] = 2
    """Number of Transformer blocks."""
    attention: AttentionKind = "heads"
    """heads: keys and values are projected for each head; mla: they are projected from one latent
    vector per position, as in DeepSeek's models (multi-head latent attention)."""
    head_dim: Annotated[int, Field(ge=2, multiple_of=2)] = 16
    """Size of one attention head, the same at every width; the number of heads grows. Under mla,
    the size of a head's unrotated part."""
    kv_rank_ratio: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Under mla: size of the latent vector divided by the width; the size must be a whole number at
    every width."""
    rotary_dim: Annotated[int, Field(ge=2, multiple_of=2)] | None = None
    """Under mla: size of the rotated part of queries, and of the rotated key that all heads share;
    by default half of head_dim."""
    query_heads_per_kv: Count = 1
    """Number of query heads that share one key/value head: 1 is multi-head attention, more is
    grouped-query attention."""
    qk_norm: bool = False
    """Normalise queries and keys per head by their RMS."""
    norm: Literal["rms", "layer"] = "rms"
    """Norms before attention, feed-forward layer and output head: rms is RMSNorm, layer is
    LayerNorm without biases."""
    mlp: Literal["gated", "geglu", "relu2", "gelu"] = "gated"
    """Feed-forward layer: gated is SiLU-gated, geglu is GELU-gated, relu2 is squared ReLU without a
    gate, gelu is GELU without a gate."""
    mlp_ratio: Annotated[float, Field(gt=0, le=16)] = 4.0
    """Number of hidden units of a feed-forward layer divided by the width; the number of units must
    be whole at every width."""
    tied_embeddings: bool = False
    """Use the embedding matrix as the output head, too."""
    positions: Literal["rotary", "learned"] = "rotary"
    """rotary: queries and keys are rotated by their position; learned: each position up to the
    context has an embedding."""
    rope_base: Positive = 10_000.0
    """Base of the rotary frequencies; a larger base rotates more slowly with position."""
    attention_scale: AttentionScale = "inverse_sqrt"
    """Factor on attention scores: inverse_sqrt is 1/sqrt(head_dim), inverse is 8/head_dim; the two
    agree at a head size of 64. Under mla, head_dim plus rotary_dim takes the place of head_dim."""
    head_form: HeadForm = "multiplier"
    """Under mup, how the output head is scaled down as width grows: multiplier scales the logits;
    rescaled scales the head's learning rate, for kernels that fuse head and loss."""
    depth_exponent: Annotated[float, Field(ge=0.5, le=1)] = 1.0
    """CompleteP's alpha: residual branches are multiplied by (depth / base depth)^-alpha."""

    @property
    def rotated_dim(self) -> int:
        """Number of entries of a head's query and key that are rotated by position."""
        if self.positions == "learned":
            return 0
        return self.head_dim if self.attention == "heads" else self.rotary_dim or self.head_dim // 2

    @property
    def score_dim(self) -> int:
        """Number of entries of a head's query and key that an attention score sums over."""
        return self.head_dim + (self.rotated_dim if self.attention == "mla" else 0)

    @property
    def gated(self) -> bool:
        """True if the feed-forward layer has a gate, which is one more matrix."""
        return self.mlp in ("gated", "geglu")

    def factories(self) -> tuple[str, ...]:
        """Names of the user's factories that build the model: none."""
        return ()

    def known_depth(self) -> int:
        """Number of Transformer blocks."""
        return self.depth

    def known_attention(self) -> KnownAttention:
        """Properties of the attention."""
        return KnownAttention(
            self.attention_scale, self.qk_norm, shares_rotary_key=self.attention == "mla"
        )


def width_problem(model: Architecture, width: int) -> str | None:
    """The reason why this architecture cannot be built at a width, or None."""
    if width % (model.head_dim * model.query_heads_per_kv):
        unit = model.head_dim * model.query_heads_per_kv
        near = max(unit, round(width / unit) * unit)
        return (
            f"width {width} is not divisible by head_dim x query_heads_per_kv = {unit}; use a "
            f"multiple of it, such as {near}"
        )
    if not _is_whole(model.mlp_ratio * width):
        return (
            f"mlp_ratio {model.mlp_ratio:g} x width {width} is not a whole number of hidden units; "
            "change mlp_ratio"
        )
    if model.attention == "mla" and not _is_whole(model.kv_rank_ratio * width):
        ratio = max(1, round(model.kv_rank_ratio * width)) / width
        return (
            f"kv_rank_ratio {model.kv_rank_ratio:g} x width {width} is not a whole number, the "
            f"size of the latent; use {ratio:g}"
        )
    return None


def _is_whole(value: float) -> bool:
    """True if a size is a whole number of at least 1, up to rounding."""
    return round(value) >= 1 and math.isclose(value, round(value))


ONLY_WITH: tuple[tuple[str, str, str], ...] = (
    ("kv_rank_ratio", "attention", "mla"),
    ("rotary_dim", "attention", "mla"),
    ("rope_base", "positions", "rotary"),
)
"""(field, other field, value): the field has a meaning only if the other field has this value."""


def architecture_problems(model: Architecture) -> Iterator[Problem]:
    """Problems of fields that contradict each other: the architecture cannot be built, whatever the
    width."""
    for name, other_name, required in ONLY_WITH:
        value, other_value = getattr(model, name), getattr(model, other_name)
        is_default = value == Architecture.__dataclass_fields__[name].default
        if not is_default and other_value != required:
            message = (
                f"has no meaning with {other_name}: {other_value}; leave it out, or use "
                f"{other_name}: {required}"
            )
            yield Problem(name, message, value)
    if model.attention == "mla":
        yield from _latent_problems(model)
    if model.tied_embeddings and model.head_form == "rescaled":
        message = (
            "rescaled would also shrink the input embeddings, which are tied to the head; use "
            "head_form: multiplier, or untie them"
        )
        yield Problem("head_form", message, model.head_form)


def _latent_problems(model: Architecture) -> Iterator[Problem]:
    """Problems of fields that do not fit `attention: mla`."""
    if model.query_heads_per_kv > 1:
        message = (
            "under mla all heads draw on one latent and do not share keys; leave it at 1, or use "
            "attention: heads"
        )
        yield Problem("query_heads_per_kv", message, model.query_heads_per_kv)
    if model.positions == "learned":
        message = "mla encodes positions by rotation; use positions: rotary, or attention: heads"
        yield Problem("positions", message, model.positions)
    elif model.rotated_dim % 2:
        message = (
            f"half of head_dim {model.head_dim} is odd, and rotation turns pairs; give rotary_dim: "
            f"{model.rotated_dim + 1}"
        )
        yield Problem("rotary_dim", message, model.rotary_dim)
    if model.qk_norm:
        message = (
            "in generation mla never forms the keys that qk_norm would normalise; leave it out "
            "(qk_clip bounds the logits)"
        )
        yield Problem("qk_norm", message, model.qk_norm)
