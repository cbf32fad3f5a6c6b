"""What is being trained?

A decoder-only Transformer, pre-norm, with rotary positions: multi-head or grouped-query attention, optional QK-norm, gated, squared-ReLU
or GELU feed-forward, tied or untied head. Head size is fixed and the number of heads grows with width; every number that depends on
width or depth is asked of `telescope.mup`, none is written here.

Letters: B batch, T context, D width, H query heads, K key/value heads, E head size, F feed-forward units, V vocabulary.
Parts: `Attention`, `FeedForward`, `Block`, `Transformer`, `initialise`.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from telescope import mup
from telescope.matrices import MATRIX, Layout
from telescope.roles import Role, roles
from telescope.shapes import Float, Int
from telescope.spec import ModelSpec, OptimizerName, OptimizerSpec, Parametrisation

HEADED = ("attention.query.weight", "attention.key.weight", "attention.value.weight")
"""Matrices whose rows are those of heads, one after the other."""


def rotary(context: int, head_dim: int, base: float) -> tuple[Float[Tensor, "T E"], Float[Tensor, "T E"]]:
    """Cosines and sines of rotary position embeddings (arXiv 2104.09864), the two halves of a head rotated against each other."""
    frequency = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)  # (E/2)
    angle = torch.outer(torch.arange(context, dtype=torch.float32), frequency).repeat(1, 2)  # (T, E)
    return angle.cos(), angle.sin()


def rotate(x: Float[Tensor, "B heads T E"], cos: Float[Tensor, "T E"], sin: Float[Tensor, "T E"]) -> Float[Tensor, "B heads T E"]:
    """Turn each position's vectors by its angles."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


class Attention(nn.Module):
    """Causal self-attention; head size is fixed, so the scale of its scores is no matter of width."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        width, kv_width = spec.width, spec.kv_heads * spec.head_dim
        self.spec = spec
        self.scale = mup.attention_factor(spec)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, kv_width, bias=False)
        self.value = nn.Linear(width, kv_width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.query_norm = nn.RMSNorm(spec.head_dim, eps=1e-6) if spec.qk_norm else nn.Identity()
        self.key_norm = nn.RMSNorm(spec.head_dim, eps=1e-6) if spec.qk_norm else nn.Identity()

    def forward(self, x: Float[Tensor, "B T D"], cos: Float[Tensor, "T E"], sin: Float[Tensor, "T E"]) -> Float[Tensor, "B T D"]:
        """Mix positions."""
        batch, context, _ = x.shape

        def heads(y: Tensor, count: int) -> Tensor:
            return y.view(batch, context, count, self.spec.head_dim).transpose(1, 2)  # (B, count, T, E)

        q = rotate(self.query_norm(heads(self.query(x), self.spec.heads)), cos, sin)
        k = rotate(self.key_norm(heads(self.key(x), self.spec.kv_heads)), cos, sin)
        v = heads(self.value(x), self.spec.kv_heads)
        grouped = self.spec.query_heads_per_kv > 1
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale, enable_gqa=grouped)  # (B, H, T, E)
        result: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, context, -1))
        return result


class FeedForward(nn.Module):
    """Two or three matrices around a nonlinearity."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.kind = spec.mlp
        self.up = nn.Linear(spec.width, spec.hidden, bias=False)
        self.gate = nn.Linear(spec.width, spec.hidden, bias=False) if spec.mlp == "gated" else None
        self.down = nn.Linear(spec.hidden, spec.width, bias=False)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Transform each position."""
        up = self.up(x)  # (B, T, F)
        if self.gate is not None:
            up = functional.silu(self.gate(x)) * up
        else:
            up = functional.relu(up).square() if self.kind == "relu2" else functional.gelu(up)
        result: Tensor = self.down(up)
        return result


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and beside the residual stream."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.branch = mup.branch_multiplier(spec)
        self.attention_norm = nn.RMSNorm(spec.width, eps=1e-6)
        self.attention = Attention(spec)
        self.feed_forward_norm = nn.RMSNorm(spec.width, eps=1e-6)
        self.feed_forward = FeedForward(spec)

    def forward(self, x: Float[Tensor, "B T D"], cos: Float[Tensor, "T E"], sin: Float[Tensor, "T E"]) -> Float[Tensor, "B T D"]:
        """One layer."""
        x = torch.add(x, self.attention(self.attention_norm(x), cos, sin), alpha=self.branch)
        return torch.add(x, self.feed_forward(self.feed_forward_norm(x)), alpha=self.branch)


class Transformer(nn.Module):
    """Tokens to logits; `parameter_roles` says which role each parameter plays."""

    def __init__(self, spec: ModelSpec, vocab_size: int, context: int, parametrisation: Parametrisation) -> None:
        super().__init__()
        self.spec = spec
        self.embedding = nn.Embedding(vocab_size, spec.width)
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.depth))
        self.norm = nn.RMSNorm(spec.width, eps=1e-6)
        self.head = None if spec.tied_embeddings else nn.Linear(spec.width, vocab_size, bias=False)
        self.embedding_multiplier = mup.forward_multiplier(spec, parametrisation, Role.EMBEDDING)
        # A tied head starts at the embedding's scale instead of zero; base_width ** -1/2 keeps its first logits of order one.
        tied = spec.base_width**-0.5 if spec.tied_embeddings else 1.0
        self.head_multiplier = tied * mup.forward_multiplier(spec, parametrisation, Role.READOUT)
        cos, sin = rotary(context, spec.head_dim, spec.rope_base)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Logits of the next token at each position."""
        x = self.embedding(tokens) * self.embedding_multiplier
        cos, sin = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]  # type: ignore[index]  # buffers
        for block in self.blocks:
            x = block(x, cos, sin)
        # Multiply the input rather than the logits: the same product, D/V of the work, and safe in every path to the logits.
        x = self.norm(x) * self.head_multiplier
        return functional.linear(x, self.embedding.weight if self.head is None else self.head.weight)

    def parameter_roles(self) -> dict[str, Role]:
        """Role of every parameter, by name."""
        return roles(self, self.head)

    def layout(self, name: str, optimizer: OptimizerSpec) -> Layout:
        """Which matrices a hidden parameter holds."""
        by_head = optimizer.muon_split == "heads" and name.endswith(HEADED)
        return Layout(block_rows=self.spec.head_dim) if by_head else MATRIX

    def init_std(self, name: str, role: Role, optimizer: OptimizerSpec) -> float:
        """Initial standard deviation of a parameter."""
        return init_std(self, name, role, optimizer)

    def in_branch(self, name: str) -> bool:
        """Whether a parameter lies in a residual branch, which the depth rule scales."""
        return name.startswith("blocks.")

    @property
    def last(self) -> nn.Module:
        """The module that takes the last features."""
        return self.norm

    def evaluating(self) -> AbstractContextManager[None]:
        """Without dropout, of which it has none."""
        return nullcontext()


def init_std(model: Transformer, name: str, role: Role, optimizer: OptimizerSpec) -> float:
    """Initial standard deviation of a parameter: the base value times muP's factor."""
    parameter = model.get_parameter(name)
    trained_by: OptimizerName = "muon" if role is Role.HIDDEN and optimizer.name == "muon" else "adamw"
    feeds_residual = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
    base = mup.base_init_std(model.spec, role, parameter.shape[-1], feeds_residual)
    scale = optimizer.init_scale if role is Role.HIDDEN else 1.0
    return base * scale * mup.factors(model.spec, optimizer, role, trained_by).init_std


@torch.no_grad()
def initialise(model: Transformer, optimizer: OptimizerSpec, seed: int) -> None:
    """Draw every parameter anew, in place, from one generator: the same seed gives the same model on any device."""
    generator = torch.Generator().manual_seed(seed)
    for name, role in model.parameter_roles().items():
        parameter = model.get_parameter(name)
        if role is Role.VECTOR:
            parameter.fill_(1.0)
        elif (std := init_std(model, name, role, optimizer)) == 0.0:
            parameter.zero_()
        else:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
