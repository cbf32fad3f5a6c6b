"""Two kinds of causal self-attention.

`Attention` is multi-head attention, or grouped-query attention if several query heads share one
key/value head. `LatentAttention` is multi-head latent attention (arXiv 2405.04434): the values and
a part of each key are projected from one small latent vector per position. Queries are not
compressed, as in DeepSeek-V2-Lite. The size of a head is the same at every width. The number of
heads and the size of the latent vector grow with width.

A *logit* in this file is the scaled product of a query and a key, before the softmax.

Letters in the shapes of tensors: B batch, T context, D width, H query heads, K key/value heads, E
head size, H_E the product of H and E, R number of entries of a vector that are rotated by position,
S number of entries of a query and of a key, C size of the latent vector.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from telescope.parametrisation import mup
from telescope.shapes import Float
from telescope.trials.model import ModelSpec

Angles = tuple[Float[Tensor, "T R"], Float[Tensor, "T R"]]
"""The cosines and the sines of the angles by which the vectors at each position are rotated."""


def rotary(context: int, rotated_dim: int, base: float) -> Angles:
    """The cosines and sines of the angles of rotary position embeddings (arXiv 2104.09864) at
    positions 0 to `context` - 1. Entry i in the first half of a vector and entry i in the second
    half form pair i, for i from 0. The frequency of pair i, in radians per position, is
    `base ** (-2 * i / rotated_dim)`."""
    exponents = torch.arange(0, rotated_dim, 2, dtype=torch.float32) / rotated_dim
    frequencies = base**-exponents  # (R/2)
    positions = torch.arange(context, dtype=torch.float32)
    angles = torch.outer(positions, frequencies).repeat(1, 2)  # (T, R)
    return angles.cos(), angles.sin()


def rotate(
    x: Float[Tensor, "B heads T R"], cos: Float[Tensor, "T R"], sin: Float[Tensor, "T R"]
) -> Float[Tensor, "B heads T R"]:
    """Rotate the vectors at each position by the angles of that position."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


def split(x: Float[Tensor, "B T heads_size"], heads: int) -> Float[Tensor, "B heads T size"]:
    """Split the output of a projection into heads. The entries of one head come from consecutive
    rows of the projection's matrix."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


class Scores(nn.Module):
    """Base class of both kinds of attention. `scale` is the factor on the product of a query and a
    key. telescope.optim.qk_clip observes the logits through `largest`."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.scale = mup.attention_factor(spec)
        # shape (H): the largest logit of each head so far in this optimizer step; None while logits
        # are not observed
        self.largest: Tensor | None = None

    def mix(
        self, q: Float[Tensor, "B H T S"], k: Float[Tensor, "B K T S"], v: Float[Tensor, "B K T E"]
    ) -> Float[Tensor, "B T H_E"]:
        """For each position and head, the mean of the values up to that position, weighted by the
        softmax of the logits. Updates `largest` while logits are observed."""
        if self.largest is not None:
            self.largest = torch.maximum(self.largest, largest_logits(q, k, self.scale))
        grouped = q.shape[1] > k.shape[1]
        averages = functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=self.scale, enable_gqa=grouped
        )  # (B, H, T, E)
        return averages.transpose(1, 2).flatten(2)


class Attention(Scores):
    """Multi-head or grouped-query attention."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        width, kv_width = spec.width, spec.kv_heads * spec.head_dim
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, kv_width, bias=False)
        self.value = nn.Linear(width, kv_width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.query_norm = nn.RMSNorm(spec.head_dim, eps=1e-6) if spec.qk_norm else nn.Identity()
        self.key_norm = nn.RMSNorm(spec.head_dim, eps=1e-6) if spec.qk_norm else nn.Identity()

    def forward(self, x: Float[Tensor, "B T D"], angles: Angles | None) -> Float[Tensor, "B T D"]:
        """Causal attention over `x`. `angles` is None unless positions are rotary. If positions
        are learned, `x` already contains the embeddings of the positions."""
        q = self.query_norm(split(self.query(x), self.spec.heads))
        k = self.key_norm(split(self.key(x), self.spec.kv_heads))
        if angles is not None:
            q, k = rotate(q, *angles), rotate(k, *angles)
        result: Tensor = self.output(self.mix(q, k, split(self.value(x), self.spec.kv_heads)))
        return result


class LatentAttention(Scores):
    """Multi-head latent attention. To generate text, such a model needs to cache only the latent
    vector and one rotated key per position.

    Each query and each key has two parts, and only the second part is rotated by position. The
    values and the first parts of the keys are projected from the normalised latent vector.
    `query_rotary` computes the second parts of the queries, separately for each head. `key_rotary`
    computes the second part of the keys, once for all heads. Since the first part of a key is not
    rotated, generation can multiply the matrix of `key` into the queries instead of computing the
    keys.

    As in a readout matrix, the number of rows of `key_rotary` does not grow with width. The role of
    `key_rotary` is HIDDEN nevertheless, since muP requires the updates of a hidden matrix for it.
    With Muon, these are updates whose spectral norm is of order sqrt(fan_out / fan_in). The update
    scale spectral_ratio gives this norm; the other update scales assume that fan_out / fan_in is
    the same at every width. With AdamW, the entries of the updates are of order 1/m, where m is the
    width divided by the base width. Only the initial values of `key_rotary` need a rule of their
    own (telescope.parametrisation.initial_values).
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        width, rank = spec.width, spec.kv_rank
        self.query = nn.Linear(width, width, bias=False)
        self.query_rotary = nn.Linear(width, spec.heads * spec.rotated_dim, bias=False)
        self.latent = nn.Linear(width, rank, bias=False)
        self.latent_norm = nn.RMSNorm(rank, eps=1e-6)
        self.key = nn.Linear(rank, width, bias=False)
        self.key_rotary = nn.Linear(width, spec.rotated_dim, bias=False)
        self.value = nn.Linear(rank, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: Float[Tensor, "B T D"], angles: Angles | None) -> Float[Tensor, "B T D"]:
        assert angles is not None, "latent attention needs rotary positions"
        heads = self.spec.heads
        latent = self.latent_norm(self.latent(x))  # (B, T, C)
        q_rotated = rotate(split(self.query_rotary(x), heads), *angles)  # (B, H, T, R)
        q = torch.cat((split(self.query(x), heads), q_rotated), dim=-1)  # (B, H, T, E + R)
        k_rotated = rotate(split(self.key_rotary(x), 1), *angles).expand(-1, heads, -1, -1)
        k = torch.cat((split(self.key(latent), heads), k_rotated), dim=-1)
        result: Tensor = self.output(self.mix(q, k, split(self.value(latent), heads)))
        return result


@torch.no_grad()
def largest_logits(
    q: Float[Tensor, "B H T S"], k: Float[Tensor, "B K T S"], scale: float
) -> Float[Tensor, "H"]:
    """The largest logit of each head over the batch and over all pairs of positions that the causal
    mask allows. The logits keep their signs, and are computed in float32."""
    context, queries_per_key = q.shape[2], q.shape[1] // k.shape[1]
    with torch.autocast(q.device.type, enabled=False):
        keys = k.float().repeat_interleave(queries_per_key, dim=1)
        logits = q.float() @ keys.mT * scale  # (B, H, T, T)
    future = torch.ones(context, context, dtype=torch.bool, device=q.device).triu(1)
    return logits.masked_fill_(future, -math.inf).amax(dim=(0, 2, 3))
