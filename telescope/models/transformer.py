"""The model that telescope trains: a decoder-only Transformer.

The model is pre-norm and has no biases. Options are the kind of attention
(telescope.models.attention), rotary or learned positions, RMSNorm or LayerNorm, a feed-forward
layer with or without a gate, and a tied or untied output head. Every number that depends on width
or depth comes from telescope.parametrisation.

Letters in shapes: B batch, T context, D width, F feed-forward units, V vocabulary.

Parts: `norm`, `FeedForward`, `Block` · `Transformer` · `init_std` and `initialise`.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from telescope.models.attention import Angles, Attention, LatentAttention, Scores, rotary
from telescope.models.family import Layer
from telescope.parametrisation import initial_values, mup
from telescope.parametrisation.layout import MATRIX, MatrixLayout
from telescope.parametrisation.roles import Role, roles, trained_by
from telescope.shapes import Float, Int
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.types import Parametrisation

PER_HEAD_MATRICES = ("attention.query.weight", "attention.key.weight", "attention.value.weight")
"""Endings of the names of matrices whose rows are consecutive heads of one size."""


def norm(spec: ModelSpec) -> nn.Module:
    """The norm before attention, feed-forward layer and output head."""
    if spec.norm == "rms":
        return nn.RMSNorm(spec.width, eps=1e-6)
    return nn.LayerNorm(spec.width, eps=1e-5, bias=False)


def squared_relu(x: Tensor) -> Tensor:
    """relu(x)^2, elementwise."""
    return functional.relu(x).square()


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gated": functional.silu,
    "geglu": functional.gelu,
    "relu2": squared_relu,
    "gelu": functional.gelu,
}
"""Nonlinearities of the feed-forward layer, applied to the gate if there is one."""


class FeedForward(nn.Module):
    """Two or three matrices around a nonlinearity."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[spec.mlp]
        self.up = nn.Linear(spec.width, spec.hidden, bias=False)
        self.gate = nn.Linear(spec.width, spec.hidden, bias=False) if spec.gated else None
        self.down = nn.Linear(spec.hidden, spec.width, bias=False)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        up = self.up(x)  # (B, T, F)
        inner = self.activation(up) if self.gate is None else self.activation(self.gate(x)) * up
        result: Tensor = self.down(inner)
        return result


class Block(nn.Module):
    """Attention and a feed-forward layer, each a residual branch behind a norm."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.branch = mup.branch_multiplier(spec)
        self.attention_norm = norm(spec)
        self.attention = Attention(spec) if spec.attention == "heads" else LatentAttention(spec)
        self.feed_forward_norm = norm(spec)
        self.feed_forward = FeedForward(spec)

    def forward(self, x: Float[Tensor, "B T D"], angles: Angles | None) -> Float[Tensor, "B T D"]:
        x = torch.add(x, self.attention(self.attention_norm(x), angles), alpha=self.branch)
        return torch.add(x, self.feed_forward(self.feed_forward_norm(x)), alpha=self.branch)


class Transformer(nn.Module):
    """A decoder-only Transformer, from tokens to logits."""

    def __init__(
        self, spec: ModelSpec, vocab_size: int, context: int, parametrisation: Parametrisation
    ) -> None:
        super().__init__()
        self.spec = spec
        self.embedding = nn.Embedding(vocab_size, spec.width)
        self.positions = nn.Embedding(context, spec.width) if spec.positions == "learned" else None
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.depth))
        self.norm = norm(spec)
        self.head = None if spec.tied_embeddings else nn.Linear(spec.width, vocab_size, bias=False)
        self.embedding_multiplier = mup.forward_multiplier(spec, parametrisation, Role.EMBEDDING)
        # A tied head starts at the embedding's scale instead of zero; base_width ** -1/2 keeps its
        # first logits of order one.
        scale = spec.base_width**-0.5 if spec.tied_embeddings else 1.0
        self.head_multiplier = scale * mup.forward_multiplier(spec, parametrisation, Role.READOUT)
        if spec.positions == "rotary":
            cos, sin = rotary(context, spec.rotated_dim, spec.rope_base)
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Logits of the next token at each position."""
        context = tokens.shape[1]
        x = self.embedding(tokens)
        angles: Angles | None = None
        if self.positions is None:
            angles = self.cos[:context], self.sin[:context]  # type: ignore[index]  # buffers
        else:
            # indices for every window, since a pack looks up each window in its own model's table
            x = x + self.positions(torch.arange(context, device=tokens.device).expand(tokens.shape))
        x = x * self.embedding_multiplier
        for block in self.blocks:
            x = block(x, angles)
        # The multiplier scales the head's input rather than the logits: the product is the same,
        # D instead of V numbers are scaled, and no path to the logits omits the multiplier.
        x = self.norm(x) * self.head_multiplier
        readout = self.embedding if self.head is None else self.head
        return functional.linear(x, readout.weight)

    def parameter_roles(self) -> dict[str, Role]:
        """Role of every parameter, by name."""
        return roles(self, self.head)

    def layout(self, name: str, optimizer: OptimizerSpec) -> MatrixLayout:
        """The matrices that a hidden parameter holds: one, or one per head."""
        by_head = optimizer.muon_split == "heads" and name.endswith(PER_HEAD_MATRICES)
        return MatrixLayout(block_rows=self.spec.head_dim) if by_head else MATRIX

    def init_std(self, name: str, role: Role, optimizer: OptimizerSpec) -> float:
        """Initial standard deviation of a parameter."""
        return init_std(self, name, role, optimizer)

    def initialise(self, optimizer: OptimizerSpec, seed: int) -> None:
        """Set all parameters to new initial values, in place."""
        initialise(self, optimizer, seed)

    def reseed(self, seed: int) -> None:
        """Do nothing: the model draws no random numbers in a step."""

    def depth_factors(self, name: str) -> mup.DepthFactors:
        """Factors of the depth rule: CompleteP's in residual branches, 1 elsewhere."""
        return mup.depth_factors(self.spec) if name.startswith("blocks.") else mup.UNSCALED

    def hidden_layers(self) -> dict[str, Layer]:
        """The layers that multiply by a HIDDEN matrix, by path."""
        return {
            path: Layer(module)
            for path, module in self.named_modules()
            if isinstance(module, nn.Linear) and module is not self.head
        }

    def scores(self) -> tuple[Scores, ...]:
        """The attention modules of all blocks."""
        return tuple(module for module in self.modules() if isinstance(module, Scores))

    def own_loss(self, windows: Tensor) -> Tensor | None:
        """Return None: the model returns logits, not a loss."""
        return None

    def last(self) -> nn.Module:
        """The final norm, whose input is the last features."""
        return self.norm

    def evaluating(self) -> AbstractContextManager[None]:
        """Do nothing: the model has no dropout."""
        return nullcontext()


def init_std(model: Transformer, name: str, role: Role, optimizer: OptimizerSpec) -> float:
    """Initial standard deviation of a parameter: the base value times muP's factor, and for a
    hidden matrix times `init_scale`."""
    parameter = model.get_parameter(name)
    feeds_residual = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
    base = initial_values.base_init_std(model.spec, role, parameter.shape[-1], feeds_residual)
    scale = optimizer.init_scale if role is Role.HIDDEN else 1.0
    if name.endswith("attention.key_rotary.weight"):
        scale *= initial_values.shared_key_factor(model.spec, optimizer.parametrisation)
    factors = mup.factors(model.spec, optimizer, role, trained_by(optimizer.name, role))
    return base * scale * factors.init_std


@torch.no_grad()
def initialise(model: Transformer, optimizer: OptimizerSpec, seed: int) -> None:
    """Draw all matrices anew, in place, from one generator, and set all vectors to 1; the same seed
    gives the same values on any device."""
    generator = torch.Generator().manual_seed(seed)
    for name, role in model.parameter_roles().items():
        parameter = model.get_parameter(name)
        if role is Role.VECTOR:
            parameter.fill_(1.0)
        elif (std := init_std(model, name, role, optimizer)) == 0.0:
            parameter.zero_()
        else:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
