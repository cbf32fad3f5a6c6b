"""Measurements inside a model in training, which show whether its parametrisation holds.

They go into the metrics of a curve; telescope.studies.coordinates.check and
telescope.studies.telescoping.answer.late compare them across width.

In the first steps, on one fixed batch (`Beginning`), log2 of the RMS of

- `moved/<layer>`: the change of a layer's raw output, and of the logits, since step 0. Raw, because
  a norm fixes the size of its output and hides all growth; the change, because heads start at zero.
- `own/<layer>`: the part of this change that the layer's own update makes, (W - W0) x. The rest
  came in with x. Where embeddings learn fast, their share hides a hidden learning rate that falls
  too fast with width; this metric shows it.

At the end of a run (`Ending`): the spectral norm of each kind of hidden matrix, and of its last
update, over sqrt(fan_out / fan_in), which a parametrisation should keep constant across width; and
the RMS by which the last update moved the last features.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from telescope.models.family import Layer, Model

MOVED, OWN, LATE = "moved/", "own/", "late/"
LOGITS = "logits"
KEPT_TOKENS = 512  # of the batch, evenly spaced, from each output
POWER_STEPS = 12
VECTORS = 4  # iterated together: the largest of several converges faster


class Beginning:
    """Stores a model's initial outputs; `metrics` returns how far each of its layers has moved
    since."""

    def __init__(self, model: Model, tokens: Tensor) -> None:
        self.model, self.tokens = model, tokens
        self.weights = {path: layer.matrix.clone() for path, layer in model.hidden_layers().items()}
        self.outputs: dict[str, Tensor] = {}
        self._forward(lambda name, output: self.outputs.update({name: output}))

    def metrics(self) -> dict[str, float]:
        """log2 RMS per layer. A layer that has not moved (a silent head passes no gradient in the
        first step) is left out."""
        rms: dict[str, float] = {}

        def compare(name: str, now: Tensor) -> None:
            before = self.outputs.get(name)
            if before is None or before.shape != now.shape:  # an expert that gets other tokens now
                return
            change = now - before
            rms[name] = float(change.square().mean().sqrt())

        self._forward(compare)
        return {
            name: math.log2(size) for name, size in rms.items() if size > 0 and math.isfinite(size)
        }

    @torch.no_grad()
    def _forward(self, see: Callable[[str, Tensor], None]) -> None:
        """Outputs of all layers, and the parts that their own updates add, at evenly spaced
        tokens."""
        every = max(1, self.tokens.numel() // KEPT_TOKENS)

        def look(path: str, layer: Layer, x: Tensor, y: Tensor) -> None:
            see(MOVED + path, probe_tokens(y, every))
            see(
                OWN + path,
                functional.linear(probe_tokens(x, every), layer.matrix - self.weights[path]),
            )

        with self.model.evaluating(), hidden_layer_records(self.model, look):
            logits = self.model(self.tokens)
            if logits.ndim == 3:  # rather than a loss
                see(MOVED + LOGITS, probe_tokens(logits, every))


class Ending:
    """Stores a model's matrices before its last step; `metrics` returns the effect of that step,
    and the final size of the hidden matrices."""

    def __init__(self, model: Model, tokens: Tensor) -> None:
        self.model, self.tokens = model, tokens
        self.features = self._features()
        self.weights = {path: layer.matrix.clone() for path, layer in model.hidden_layers().items()}

    def metrics(self) -> dict[str, float]:
        """For each kind of hidden matrix the median over the blocks, and the RMS change of the last
        features."""
        now = {path: layer.matrix for path, layer in self.model.hidden_layers().items()}
        found: defaultdict[str, list[float]] = defaultdict(list)
        for name, matrices in (
            ("spectral", now),
            ("update", {path: now[path] - old for path, old in self.weights.items()}),
        ):
            for path, norm in zip(matrices, spectral_norms(list(matrices.values())), strict=True):
                found[f"{LATE}{name}/{kind(path)}"].append(norm)
        if self.features is not None and (features := self._features()) is not None:
            found[f"{LATE}update/features"].append(
                float((features - self.features).square().mean().sqrt())
            )
        return {name: median(values) for name, values in found.items()}

    @torch.no_grad()
    def _features(self) -> Tensor | None:  # (tokens, D)
        """The input of the last module: of our final norm, of a user's head."""
        found: list[Tensor] = []
        last = self.model.last()
        if last is None:
            return None
        hook = last.register_forward_pre_hook(
            lambda module, inputs: found.append(inputs[0]), prepend=True
        )
        try:
            with self.model.evaluating():
                self.model(self.tokens)
        finally:
            hook.remove()
        return probe_tokens(found[0], 1)


def kind(path: str) -> str:
    """The name of a layer without its block: blocks.3.attention.query -> attention.query."""
    return re.sub(r"^.*?\.\d+\.", "", path, count=1)


def probe_tokens(x: Tensor, every: int) -> Tensor:  # (B, T, features) -> (B T / every, features)
    """Evenly spaced tokens as rows."""
    return x.flatten(0, -2)[::every].float()


@contextmanager
def hidden_layer_records(
    model: Model, look: Callable[[str, Layer, Tensor, Tensor], None]
) -> Iterator[None]:
    """Inputs and outputs of the hidden layers in the forward passes that run while the context
    lasts."""

    def hook(path: str, layer: Layer) -> Any:
        return lambda module, inputs, output: look(path, layer, inputs[0], output)

    hooks = [
        layer.module.register_forward_hook(hook(path, layer))
        for path, layer in model.hidden_layers().items()
    ]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()


@torch.no_grad()
def spectral_norms(matrices: list[Tensor]) -> list[float]:
    """Largest singular value of each matrix over sqrt(fan_out / fan_in), accurate to a few percent:
    power iteration on stacks of one shape."""
    stacks: defaultdict[torch.Size, list[int]] = defaultdict(list)
    for i, matrix in enumerate(matrices):
        stacks[matrix.shape].append(i)
    largest = [0.0] * len(matrices)
    for (fan_out, fan_in), members in stacks.items():
        stack = torch.stack([matrices[i].float() for i in members])  # (K, out, in)
        x = torch.randn(fan_in, VECTORS, generator=torch.Generator().manual_seed(0)).to(
            stack.device
        )
        for _ in range(POWER_STEPS):
            x = stack.mT @ (stack @ x)  # (K, in, vectors)
            x = x / x.norm(dim=1, keepdim=True).clamp(min=1e-30)
        norms = (stack @ x).norm(dim=1).amax(dim=1) / math.sqrt(fan_out / fan_in)  # (K)
        for i, norm in zip(members, norms.tolist(), strict=True):
            largest[i] = norm
    return largest
