"""The architecture of telescope's own Transformer, without a width.

`width_problem` checks an architecture at a width. `architecture_problems` checks it without one.
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
    """Properties of a model's attention. They are known for telescope's own Transformer, but not
    for a user's model."""

    scale: AttentionScale
    normed: bool  # True if queries and keys are normalised before their product
    # True if all heads share one key that is rotated by position; its size does not grow with width
    shares_rotary_key: bool


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Architecture:
    """A decoder-only Transformer without its width."""

    family: Literal["transformer"] = "transformer"
    """Family of the model: telescope's own decoder-only Transformer."""
    depth: Annotated[int, Field(ge=1, le=256)] = 2
    """Number of Transformer blocks."""
    attention: AttentionKind = "heads"
    """Kind of attention. heads: multi-head or grouped-query attention. mla: multi-head latent
    attention, as in DeepSeek's models. Values, and the part of each key that is not rotated by
    position, are projected from one latent vector per position."""
    head_dim: Annotated[int, Field(ge=2, multiple_of=2)] = 16
    """Size of one attention head. It is the same at every width; the number of heads grows with
    width. Under mla, queries and keys have a further part of size rotary_dim."""
    kv_rank_ratio: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Under mla: size of the latent vector, divided by the width. The size must be a whole number
    at every width."""
    rotary_dim: Annotated[int, Field(ge=2, multiple_of=2)] | None = None
    """Under mla: size of the part of each query and key that is rotated by position. All heads
    share this part of the key. By default, the size is half of head_dim."""
    query_heads_per_kv: Count = 1
    """Number of query heads that share one key head and one value head. 1 gives multi-head
    attention; a larger number gives grouped-query attention."""
    qk_norm: bool = False
    """Normalise the query and the key of each head by their RMS."""
    norm: Literal["rms", "layer"] = "rms"
    """Kind of the norms before attention, before the feed-forward layer, and before the output
    head: rms is RMSNorm, layer is LayerNorm without biases."""
    mlp: Literal["gated", "geglu", "relu2", "gelu"] = "gated"
    """Kind of feed-forward layer: gated has a gate with SiLU, geglu has a gate with GELU, relu2 is
    squared ReLU without a gate, gelu is GELU without a gate."""
    mlp_ratio: Annotated[float, Field(gt=0, le=16)] = 4.0
    """Number of hidden units of a feed-forward layer, divided by the width. The number of hidden
    units must be a whole number at every width."""
    tied_embeddings: bool = False
    """Use the embedding matrix as the output head, too."""
    positions: Literal["rotary", "learned", "none"] = "rotary"
    """How the model encodes positions. rotary: queries and keys are rotated by angles that grow
    with position. learned: each position in the context has an embedding. none: only the causal
    mask of attention distinguishes positions."""
    rope_base: Positive = 10_000.0
    """Base of the frequencies of rotary positions. With a larger base, the angles grow more slowly
    with position."""
    attention_scale: AttentionScale = "inverse_sqrt"
    """Factor on attention scores: inverse_sqrt is 1/sqrt(head_dim), inverse is 8/head_dim. Both are
    equal for a head_dim of 64. Under mla, head_dim plus rotary_dim takes the place of head_dim."""
    head_form: HeadForm = "multiplier"
    """Under mup: how the output head is scaled down as width grows. multiplier: the logits are
    scaled. rescaled: the head's learning rate is scaled, which suits kernels that fuse head and
    loss."""
    depth_exponent: Annotated[float, Field(ge=0.5, le=1)] = 1.0
    """The exponent alpha of CompleteP (arXiv 2505.01618). The output of each residual branch is
    multiplied by (depth / base depth)^-alpha. Inside the branches, alpha also sets the factors for
    depth on learning rates and on AdamW's eps."""

    @property
    def rotated_dim(self) -> int:
        """Number of entries of a head's query and key that are rotated by position: 0 unless
        positions are rotary."""
        if self.positions != "rotary":
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
        """Names of the users' factories that build the model: none."""
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
    """The first reason why the sizes of this architecture do not fit a width. None if they fit."""
    if width % (model.head_dim * model.query_heads_per_kv):
        unit = model.head_dim * model.query_heads_per_kv
        near = max(unit, round(width / unit) * unit)
        return (
            f"width {width} is not divisible by head_dim x query_heads_per_kv = {unit}; use a "
            f"multiple of {unit}, such as {near}"
        )
    if not _is_whole(model.mlp_ratio * width):
        return (
            f"mlp_ratio {model.mlp_ratio:g} x width {width} is not a whole number of hidden units; "
            "change mlp_ratio"
        )
    if model.attention == "mla" and not _is_whole(model.kv_rank_ratio * width):
        ratio = max(1, round(model.kv_rank_ratio * width)) / width
        return (
            f"kv_rank_ratio {model.kv_rank_ratio:g} x width {width}, the size of the latent, "
            "is not a whole number of at least 1; for this width, use kv_rank_ratio "
            f"{ratio:.12g}"
        )
    return None


def _is_whole(value: float) -> bool:
    """True if `value` is a whole number of at least 1, up to rounding errors."""
    return round(value) >= 1 and math.isclose(value, round(value))


ONLY_WITH: tuple[tuple[str, str, str], ...] = (
    ("kv_rank_ratio", "attention", "mla"),
    ("rotary_dim", "attention", "mla"),
    ("rope_base", "positions", "rotary"),
)
"""Each entry is (field, other field, value). The field has a meaning only if the other field has
this value."""


def architecture_problems(model: Architecture) -> Iterator[Problem]:
    """Problems of fields that contradict each other, whatever the width is."""
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
            "rescaled does not work with tied_embeddings, since the head has no learning rate of "
            "its own; use head_form: multiplier, or tied_embeddings: false"
        )
        yield Problem("head_form", message, model.head_form)


def _latent_problems(model: Architecture) -> Iterator[Problem]:
    """Problems of fields that do not fit `attention: mla`."""
    if model.query_heads_per_kv > 1:
        message = (
            "under mla each head has its own keys, projected from one latent vector; leave it at "
            "1, or use attention: heads"
        )
        yield Problem("query_heads_per_kv", message, model.query_heads_per_kv)
    if model.positions != "rotary":
        message = "mla encodes positions by rotation; use positions: rotary, or attention: heads"
        yield Problem("positions", message, model.positions)
    elif model.rotated_dim % 2:
        message = (
            f"is half of head_dim {model.head_dim} by default, but must be even, since "
            f"rotation turns pairs of entries; set rotary_dim: {model.rotated_dim + 1}"
        )
        yield Problem("rotary_dim", message, model.rotary_dim)
    if model.qk_norm:
        message = (
            "a model with mla generates text without computing the keys that qk_norm would "
            "normalise; use qk_norm: false, and qk_clip if the logits need a bound"
        )
        yield Problem("qk_norm", message, model.qk_norm)
