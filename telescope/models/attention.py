"""Causal self-attention in two kinds.

`Attention` is multi-head, or grouped-query if several query heads share a key/value head. In
`LatentAttention`, keys and values are projected from one small latent vector per position
(multi-head latent attention, arXiv 2405.04434; queries are not compressed, as in DeepSeek-V2-Lite).
Head size is fixed; the number of heads and the size of the latent vector grow with width.

Letters in shapes: B batch, T context, D width, H query heads, K key/value heads, E head size, R
rotated size, S score size (the number of entries that a logit sums over), C latent size.

Parts: `rotary` and `rotate`, for positions · `split`, into heads · `Scores`, the base class ·
`Attention` and `LatentAttention` · `largest_logits`.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from telescope.parametrisation import mup
from telescope.shapes import Float
from telescope.trials.model import ModelSpec

Angles = tuple[Float[Tensor, "T R"], Float[Tensor, "T R"]]
"""Cosines and sines of the angles that rotate each position."""


def rotary(context: int, rotated_dim: int, base: float) -> Angles:
    """Angles of rotary position embeddings (arXiv 2104.09864). Each entry in the first half of a
    rotated vector forms a pair with the corresponding entry in the second half."""
    exponents = torch.arange(0, rotated_dim, 2, dtype=torch.float32) / rotated_dim
    frequencies = base**-exponents  # (R/2)
    positions = torch.arange(context, dtype=torch.float32)
    angles = torch.outer(positions, frequencies).repeat(1, 2)  # (T, R)
    return angles.cos(), angles.sin()


def rotate(
    x: Float[Tensor, "B heads T R"], cos: Float[Tensor, "T R"], sin: Float[Tensor, "T R"]
) -> Float[Tensor, "B heads T R"]:
    """Rotate the vectors of each position by the position's angles."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


def split(x: Float[Tensor, "B T heads_size"], heads: int) -> Float[Tensor, "B heads T size"]:
    """Split the output of a projection into heads; each comes from consecutive rows of its
    matrix."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


class Scores(nn.Module):
    """Base class of both kinds of attention: holds the scale of the logits and, while
    telescope.optim.qk_clip observes them, the largest logit of each head."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.scale = mup.attention_factor(spec)
        # (H), the largest logit of each head so far in this step; None if logits are not observed
        self.largest: Tensor | None = None

    def mix(
        self, q: Float[Tensor, "B H T S"], k: Float[Tensor, "B K T S"], v: Float[Tensor, "B K T E"]
    ) -> Float[Tensor, "B T H_E"]:
        """For each position, the softmax-weighted mean of the values up to that position."""
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
        """Causal attention. `angles` is None if x itself encodes positions."""
        q = self.query_norm(split(self.query(x), self.spec.heads))
        k = self.key_norm(split(self.key(x), self.spec.kv_heads))
        if angles is not None:
            q, k = rotate(q, *angles), rotate(k, *angles)
        result: Tensor = self.output(self.mix(q, k, split(self.value(x), self.spec.kv_heads)))
        return result


class LatentAttention(Scores):
    """Multi-head latent attention: generation caches only the latent vector and one rotated key
    per position.

    Keys and values of all heads are projected up from the normalised latent vector. Positions are
    encoded in a separate part of queries and keys (`query_rotary`, one per head, and `key_rotary`,
    shared by all heads): if the keys themselves were rotated, generation could not absorb their
    projection into the queries.

    `key_rotary` has a fixed fan-out, like a readout. Its role is nevertheless HIDDEN, because muP
    requires the same updates as for every hidden matrix: under Muon, a spectral norm of
    sqrt(fan_out / fan_in) (with the update scale spectral_ratio; the other scales assume constant
    aspect ratios); under AdamW, entries of order 1/m. Only its initial values need a special rule
    (telescope.parametrisation.initial_values).
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
        assert angles is not None, "latent attention has rotary positions"
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
    """The largest signed logit of each head, over the batch and all pairs of positions that the
    causal mask allows; computed in float32."""
    context, group = q.shape[2], q.shape[1] // k.shape[1]  # query heads per key head
    with torch.autocast(q.device.type, enabled=False):
        logits = q.float() @ k.float().repeat_interleave(group, dim=1).mT * scale  # (B, H, T, T)
    future = torch.ones(context, context, dtype=torch.bool, device=q.device).triu(1)
    return logits.masked_fill_(future, -math.inf).amax(dim=(0, 2, 3))
