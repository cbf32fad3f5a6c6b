"""One trial as users would train it without telescope.

A single loop trains an nn.Module, either with torch's AdamW alone, or with torch.optim.Muon for the
hidden matrices and AdamW for all other parameters. This module imports nothing of telescope. All
numbers that muP determines, such as learning rates and initial scales, arrive in a `Recipe`, which
`benchmarks.recipes` makes from telescope's own table. Initial values and batches are drawn in the
same order as in telescope, so that the final losses of both can be compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class ParameterGroup:
    """The names of parameters that share hyperparameters, and these hyperparameters.

    The hyperparameters are already scaled by muP. If `muon` is false, AdamW trains the parameters.
    """

    names: tuple[str, ...]
    muon: bool
    lr: float
    weight_decay: float
    eps: float
    init_std: float


@dataclass(frozen=True)
class Recipe:
    """Everything that determines one trial, in plain numbers. A window is a training sequence."""

    width: int
    depth: int
    head_dim: int
    hidden: int
    vocab_size: int
    context: int
    embedding_multiplier: float
    head_multiplier: float
    attention_scale: float
    groups: tuple[ParameterGroup, ...]
    momentum: float
    betas: tuple[float, float]
    steps: int
    warmup_steps: int
    windows: int  # number of windows in a batch
    evaluation_windows: int  # number of windows of the held-out text that give the held-out loss
    record_every: int  # steps between two points of the curve
    seed: int
    train_file: str
    validation_file: str


class Block(nn.Module):
    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        width = recipe.width
        self.recipe = recipe
        self.attention_norm = nn.RMSNorm(width, eps=1e-6)
        self.attention = nn.ModuleDict(
            {
                name: nn.Linear(width, width, bias=False)
                for name in ("query", "key", "value", "output")
            }
        )
        self.feed_forward_norm = nn.RMSNorm(width, eps=1e-6)
        sizes = {
            "up": (width, recipe.hidden),
            "gate": (width, recipe.hidden),
            "down": (recipe.hidden, width),
        }
        self.feed_forward = nn.ModuleDict(
            {name: nn.Linear(*size, bias=False) for name, size in sizes.items()}
        )

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        normed = self.attention_norm(x)
        q, k, v = (self.heads(self.attention[name](normed)) for name in ("query", "key", "value"))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        mixed = functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=self.recipe.attention_scale
        )
        x = x + self.attention["output"](mixed.transpose(1, 2).flatten(2))
        normed = self.feed_forward_norm(x)
        return x + self.feed_forward["down"](
            functional.silu(self.feed_forward["gate"](normed)) * self.feed_forward["up"](normed)
        )

    def heads(self, x: Tensor) -> Tensor:  # (B, T, D) -> (B, heads, T, head size)
        return x.unflatten(2, (-1, self.recipe.head_dim)).transpose(1, 2)


class Transformer(nn.Module):
    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.embedding = nn.Embedding(recipe.vocab_size, recipe.width)
        self.blocks = nn.ModuleList(Block(recipe) for _ in range(recipe.depth))
        self.norm = nn.RMSNorm(recipe.width, eps=1e-6)
        self.head = nn.Linear(recipe.width, recipe.vocab_size, bias=False)
        frequency = 10_000.0 ** (
            -torch.arange(0, recipe.head_dim, 2, dtype=torch.float32) / recipe.head_dim
        )
        positions = torch.arange(recipe.context, dtype=torch.float32)
        angle = torch.outer(positions, frequency).repeat(1, 2)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        generator = torch.Generator().manual_seed(self.recipe.seed)
        std = {name: group.init_std for group in self.recipe.groups for name in group.names}
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0)
            elif std[name] == 0.0:
                parameter.zero_()
            else:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std[name])

    def forward(self, tokens: Tensor) -> Tensor:  # (B, T) -> (B, T, V)
        x = self.embedding(tokens) * self.recipe.embedding_multiplier
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return self.head(self.norm(x) * self.recipe.head_multiplier)

    def loss(self, windows: Tensor) -> Tensor:  # (B, T + 1)
        with torch.autocast(windows.device.type, torch.bfloat16, enabled=windows.is_cuda):
            logits = self(windows[:, :-1])
        return functional.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten())


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


def optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """The optimizers: torch's Muon, if any group needs it, and torch's AdamW."""

    def options(muon: bool) -> list[dict[str, object]]:
        return [
            {
                "params": [model.get_parameter(name) for name in group.names],
                "lr": group.lr,
                "weight_decay": group.weight_decay,
            }
            | ({} if muon else {"eps": group.eps})
            for group in recipe.groups
            if group.muon == muon
        ]

    adamw = torch.optim.AdamW(options(muon=False), betas=recipe.betas, fused=True)
    if hidden := options(muon=True):
        return [torch.optim.Muon(hidden, momentum=recipe.momentum), adamw]
    return [adamw]


class Text:
    """A file of tokens. The seed and the step determine the windows in a batch."""

    def __init__(self, file: str, context: int) -> None:
        self.tokens, self.context = np.asarray(np.memmap(file, np.uint16, "r")), context

    def batch(self, seed: int, step: int, windows: int) -> Tensor:
        generator = np.random.Philox(key=np.array([seed, step], np.uint64))
        starts = generator.random_raw(windows) % np.uint64(len(self.tokens) - self.context)
        return self.windows(starts.astype(np.int64))

    def evenly(self, windows: int) -> Tensor:
        return self.windows(np.arange(windows) * (len(self.tokens) - 1) // windows)

    def windows(self, starts: np.ndarray) -> Tensor:
        return torch.from_numpy(
            self.tokens[starts[:, None] + np.arange(self.context + 1)].astype(np.int64)
        )


@lru_cache(maxsize=8)
def text(file: str, context: int) -> Text:
    return Text(file, context)


def lr_factor(recipe: Recipe, step: int) -> float:
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    return 1 - (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)


def train(recipe: Recipe) -> Iterator[tuple[int, float]]:
    """Train a trial, and yield points of its curve as (step, loss).

    The loss of a point is the mean training loss since the point before. The last point has the
    held-out loss instead.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = Transformer(recipe).to(device)
    parts = optimizers(model, recipe)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(part, lambda step: lr_factor(recipe, step))
        for part in parts
    ]
    train_text = text(recipe.train_file, recipe.context)
    total = torch.zeros((), device=device)
    for step in range(recipe.steps):
        batch = train_text.batch(recipe.seed, step, recipe.windows).to(device, non_blocking=True)
        loss = model.loss(batch)
        loss.backward()
        for part, schedule in zip(parts, schedules, strict=True):
            part.step()
            part.zero_grad(set_to_none=True)
            schedule.step()
        total += loss.detach()
        if (step + 1) % recipe.record_every == 0 and step + 1 < recipe.steps:
            yield step + 1, total.item() / recipe.record_every
            total = torch.zeros((), device=device)
    yield recipe.steps, held_out_loss(model, recipe, device)


@torch.no_grad()
def held_out_loss(model: Transformer, recipe: Recipe, device: torch.device) -> float:
    held_out = text(recipe.validation_file, recipe.context)
    windows = held_out.evenly(recipe.evaluation_windows).to(device)
    chunks = torch.split(windows, max(1, 8192 // recipe.context))
    return float(sum(model.loss(chunk).item() * len(chunk) for chunk in chunks) / len(windows))


def warm_up(recipe: Recipe) -> None:
    """Set the process to one thread, and train a trial to do all that happens only once."""
    torch.set_num_threads(1)
    for _ in train(recipe):
        pass
