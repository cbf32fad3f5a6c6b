"""Factories of models that learn, for jobs of `family: module` in tests:
`tests.telescope.user_models:NAME`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from telescope.models.transformer import Transformer, initialise
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec

VOCABULARY, CONTEXT, HEAD = 256, 32, 8


def ours(width: int) -> nn.Module:
    """telescope's own Transformer as a user's module, with its initial values at the base width of
    16."""
    spec = ModelSpec(width=width, base_width=width, depth=1, head_dim=HEAD, mlp_ratio=2.0)
    model = Transformer(spec, VOCABULARY, CONTEXT, "mup")
    optimizer = OptimizerSpec(name="muon", lr=1.0, weight_decay=0.0)
    initialise(model, optimizer, int(torch.initial_seed()))
    return model


class Block(nn.Module):
    """Attention with a fused query, key and value matrix, dropout, and a stack of experts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.router = nn.Linear(width, 2, bias=False)
        self.up = nn.Parameter(torch.randn(2, width, 2 * width) * width**-0.5)
        self.down = nn.Parameter(torch.randn(2, 2 * width, width) * (2 * width) ** -0.5)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            y.unflatten(-1, (-1, HEAD)).transpose(1, 2)
            for y in self.qkv(self.norm(x)).chunk(3, dim=-1)
        )
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.dropout(self.output(attended.transpose(1, 2).flatten(2)))
        normed = self.norm_2(x)
        shares = self.router(normed).softmax(-1)
        hidden = functional.gelu(torch.einsum("btd,edf->btef", normed, self.up))
        outputs = torch.einsum("btef,efd->bted", hidden, self.down)
        return x + self.dropout(torch.einsum("bted,bte->btd", outputs, shares))


class Mixture(nn.Module):
    """A model of one block, with a tied head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, width)
        self.block = Block(width)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, VOCABULARY, bias=False)
        nn.init.normal_(self.table.weight, std=0.02)
        self.out.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.out(self.norm(self.block(self.table(tokens))))
        return logits


def mixture(width: int) -> nn.Module:
    return Mixture(width)


class OwnLoss(Mixture):
    """Returns its loss instead of logits."""

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:  # type: ignore[override]
        return functional.cross_entropy(super().forward(tokens).flatten(0, 1), targets.flatten())


def own_loss(width: int) -> nn.Module:
    return OwnLoss(width)
