"""telescope's own model: a decoder-only Transformer.

The model is pre-norm and has no biases. The specification of a model (`ModelSpec`) chooses:

- the kind of attention (telescope.models.attention)
- rotary positions, learned positions, or none
- RMSNorm or LayerNorm
- a feed-forward layer with or without a gate, and with or without dropout
- a tied or untied output head

telescope.parametrisation computes the factors and initial values that depend on width or depth.

Letters in the shapes of tensors: B batch, T context, D width, F feed-forward units, V vocabulary.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from telescope.models.attention import Angles, Attention, LatentAttention, Scores, rotary
from telescope.models.dropout import Dropout, seed_dropout
from telescope.models.family import Layer
from telescope.parametrisation import initial_values, mup
from telescope.parametrisation.layout import MATRIX, MatrixLayout
from telescope.parametrisation.roles import Role, roles, trained_by
from telescope.shapes import Float, Int
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.types import Parametrisation

PER_HEAD_MATRICES = ("attention.query.weight", "attention.key.weight", "attention.value.weight")
"""Endings of the names of the matrices that `muon_split: heads` splits into one piece per head. The
first `head_dim` rows belong to the first head, the next `head_dim` rows to the second head, and so
on."""


def norm(spec: ModelSpec) -> nn.Module:
    """A norm of the kind that `spec.norm` names, for the input of attention, of the feed-forward
    layer, or of the output head."""
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
"""The nonlinearity of each kind of feed-forward layer. The nonlinearity is applied to the gate if
there is one, and otherwise to the hidden units."""


class FeedForward(nn.Module):
    """A feed-forward layer: two matrices, or three with a gate, and a nonlinearity."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[spec.mlp]
        self.up = nn.Linear(spec.width, spec.hidden, bias=False)
        self.gate = nn.Linear(spec.width, spec.hidden, bias=False) if spec.gated else None
        self.dropout = Dropout(spec.dropout) if spec.dropout else nn.Identity()
        self.down = nn.Linear(spec.hidden, spec.width, bias=False)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        up = self.up(x)  # (B, T, F)
        inner = self.activation(up) if self.gate is None else self.activation(self.gate(x)) * up
        result: Tensor = self.down(self.dropout(inner))
        return result


class Block(nn.Module):
    """One Transformer block: attention, then a feed-forward layer. Both are residual branches. A
    residual branch reads the activations through a norm. Its output, multiplied by `self.branch`,
    is added to the activations."""

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
        # By default, an untied head starts at zero, but a tied head starts with the values of the
        # embedding. The factor base_width ** -1/2 keeps the first logits of a tied head of order
        # one.
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
        if self.spec.positions == "rotary":
            angles = self.cos[:context], self.sin[:context]  # type: ignore[index]  # buffers
        elif self.positions is not None:
            # Every window gets its own indices. A pack (telescope.train.pack) holds the windows of
            # several models, and looks up each window in the table of the window's own model.
            x = x + self.positions(torch.arange(context, device=tokens.device).expand(tokens.shape))
        x = x * self.embedding_multiplier
        for block in self.blocks:
            x = block(x, angles)
        # The multiplier scales the head's input instead of the logits. The logits are the same, but
        # only D numbers per position are multiplied instead of V.
        x = self.norm(x) * self.head_multiplier
        readout = self.embedding if self.head is None else self.head
        return functional.linear(x, readout.weight)

    def parameter_roles(self) -> dict[str, Role]:
        """The role of every parameter, by name."""
        return roles(self, self.head)

    def layout(self, name: str, optimizer: OptimizerSpec) -> MatrixLayout:
        """The matrices that Muon orthogonalises in a hidden parameter. By default, this is the
        whole parameter. Under `muon_split: heads`, the parameters of queries, keys and values have
        one matrix per head."""
        by_head = optimizer.muon_split == "heads" and name.endswith(PER_HEAD_MATRICES)
        return MatrixLayout(block_rows=self.spec.head_dim) if by_head else MATRIX

    def init_std(self, name: str, role: Role, optimizer: OptimizerSpec) -> float:
        """The initial standard deviation of a parameter."""
        return init_std(self, name, role, optimizer)

    def initialise(self, optimizer: OptimizerSpec, seed: int) -> None:
        """Set all parameters to new initial values, in place."""
        initialise(self, optimizer, seed)

    def reseed(self, seed: int) -> None:
        """Seed the random numbers of dropout."""
        if self.spec.dropout:
            seed_dropout(self, seed, self.embedding.weight.device)

    def depth_factors(self, name: str) -> mup.DepthFactors:
        """The factors of CompleteP's depth rule for a parameter in a residual branch. For all other
        parameters, the factors are 1."""
        return mup.depth_factors(self.spec) if name.startswith("blocks.") else mup.UNSCALED

    def hidden_layers(self) -> dict[str, Layer]:
        """The layers that multiply by a HIDDEN matrix, by their paths in the model."""
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
        """The final norm. Its input is the last features, from which the logits are computed."""
        return self.norm

    def evaluating(self) -> AbstractContextManager[None]:
        """A context manager that switches dropout off."""
        return without_dropout(self) if self.spec.dropout else nullcontext()


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a `with` block."""
    model.eval()
    try:
        yield
    finally:
        model.train()


def init_std(model: Transformer, name: str, role: Role, optimizer: OptimizerSpec) -> float:
    """The standard deviation of a parameter's initial values: the standard deviation at the base
    width, times the factor of the parametrisation. For a hidden matrix, `init_scale` is a further
    factor. The matrix `key_rotary` of latent attention has one more factor
    (telescope.parametrisation.initial_values). Under `initial_values: torch`, the result of this
    function is not used."""
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
    """Set all parameters to new initial values, in place. Matrices get random values from one
    generator on the CPU, so the same seed gives the same values on any device. A matrix whose
    `init_std` is 0 becomes zero, except under `initial_values: torch`. All entries of vectors
    become 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, role in model.parameter_roles().items():
        parameter = model.get_parameter(name)
        if role is Role.VECTOR:
            parameter.fill_(1.0)
        elif model.spec.initial_values == "torch":
            shape = parameter.shape
            parameter.copy_(initial_values.torch_default(role, shape, generator))
        elif (std := init_std(model, name, role, optimizer)) == 0.0:
            parameter.zero_()
        else:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
