"""Measurements inside a model in training, which show whether its parametrisation holds.

The measurements are metrics of a point of the curve; telescope.studies.coordinates.check and
telescope.studies.telescoping.answer.late compare them across widths.

`Beginning` measures in the first steps, on one fixed batch. Its metrics are log2 of the RMS of two
quantities:

- `moved/<layer>`: the change since step 0 of a layer's output before any norm, or of the logits. A
  norm fixes the size of its output and would hide all growth; the change is measured, not the
  output, since output heads start at zero.
- `own/<layer>`: the part of this change that is due to the layer's own update, (W - W0) x, with the
  weights W, the weights W0 at step 0, and the layer's input x. The rest is due to the change of x.
  If embeddings learn fast, the change of x hides that the learning rate of hidden matrices falls
  too fast with width; this metric shows such a fall.

`RunEnding` measures at the end of a run: the spectral norms of each kind of hidden matrix and of
its last update, divided by sqrt(fan_out / fan_in), and the RMS change of the last features by the
last update. With a sound parametrisation, all of these stay constant across widths.
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
# activations are compared at this number of evenly spaced tokens of the batch, or at up to twice as
# many; in a smaller batch, at all tokens
KEPT_TOKENS = 512
POWER_STEPS = 12  # steps of the power iteration for spectral norms
VECTORS = 4  # vectors of that iteration; the largest of several norms converges faster than one


class Beginning:
    """Stores the initial outputs of a model's layers; `metrics` returns how far these outputs have
    moved since."""

    def __init__(self, model: Model, tokens: Tensor) -> None:
        self.model, self.tokens = model, tokens
        self.weights = {path: layer.matrix.clone() for path, layer in model.hidden_layers().items()}
        self.outputs: dict[str, Tensor] = {}
        self._forward(lambda name, output: self.outputs.update({name: output}))

    def metrics(self) -> dict[str, float]:
        """log2 of the RMS of each quantity. Quantities that are not finite are left out, and so are
        layers that have not moved: while the output head is zero, no gradient reaches them."""
        rms: dict[str, float] = {}

        def compare(name: str, output: Tensor) -> None:
            before = self.outputs.get(name)
            # an expert may receive a different number of tokens than at step 0
            if before is not None and before.shape == output.shape:
                rms[name] = float((output - before).square().mean().sqrt())

        self._forward(compare)
        return {
            name: math.log2(size) for name, size in rms.items() if size > 0 and math.isfinite(size)
        }

    @torch.no_grad()
    def _forward(self, receive: Callable[[str, Tensor], None]) -> None:
        """Call `receive` with the name and the value of each quantity in a forward pass, at evenly
        spaced tokens."""
        every = max(1, self.tokens.numel() // KEPT_TOKENS)

        def receive_layer(path: str, layer: Layer, x: Tensor, y: Tensor) -> None:
            receive(MOVED + path, probe_tokens(y, every))
            update = layer.matrix - self.weights[path]
            receive(OWN + path, functional.linear(probe_tokens(x, every), update))

        with self.model.evaluating(), hidden_layer_hooks(self.model, receive_layer):
            logits = self.model(self.tokens)
            if logits.ndim == 3:  # logits, not a loss
                receive(MOVED + LOGITS, probe_tokens(logits, every))


class RunEnding:
    """Stores a model's matrices before its last step; `metrics` returns the effect of that step,
    and the final size of the hidden matrices."""

    def __init__(self, model: Model, tokens: Tensor) -> None:
        self.model, self.tokens = model, tokens
        self.features = self._features()
        self.weights = {path: layer.matrix.clone() for path, layer in model.hidden_layers().items()}

    def metrics(self) -> dict[str, float]:
        """The median spectral norms of each kind of hidden matrix and of its last update, and the
        RMS change of the last features, if telescope knows where to read them."""
        weights = {path: layer.matrix for path, layer in self.model.hidden_layers().items()}
        updates = {path: weights[path] - before for path, before in self.weights.items()}
        values: defaultdict[str, list[float]] = defaultdict(list)
        for name, matrices in (("spectral", weights), ("update", updates)):
            for path, norm in zip(matrices, spectral_norms(list(matrices.values())), strict=True):
                values[f"{LATE}{name}/{layer_kind(path)}"].append(norm)
        if self.features is not None and (features := self._features()) is not None:
            change = (features - self.features).square().mean().sqrt()
            values[f"{LATE}update/features"].append(float(change))
        return {name: median(numbers) for name, numbers in values.items()}

    @torch.no_grad()
    def _features(self) -> Tensor | None:  # (tokens, D)
        """The last features: the input of the Transformer's final norm, or of a user model's head.
        None if telescope does not know the module that takes the last features."""
        module_inputs: list[Tensor] = []
        last = self.model.last()
        if last is None:
            return None
        hook = last.register_forward_pre_hook(
            lambda module, inputs: module_inputs.append(inputs[0]), prepend=True
        )
        try:
            with self.model.evaluating():
                self.model(self.tokens)
        finally:
            hook.remove()
        return probe_tokens(module_inputs[0], 1)


def layer_kind(path: str) -> str:
    """The path of a layer after its first index: blocks.3.attention.query -> attention.query."""
    return re.sub(r"^.*?\.\d+\.", "", path, count=1)


def probe_tokens(x: Tensor, every: int) -> Tensor:  # (B, T, features) -> (B T / every, features)
    """Every `every`-th token as a row, in float32."""
    return x.flatten(0, -2)[::every].float()


@contextmanager
def hidden_layer_hooks(
    model: Model, receive: Callable[[str, Layer, Tensor, Tensor], None]
) -> Iterator[None]:
    """In a `with` block, call `receive` whenever a hidden layer runs, with the layer's path, the
    layer, its input and its output."""

    def hook_of(path: str, layer: Layer) -> Any:
        return lambda module, inputs, output: receive(path, layer, inputs[0], output)

    hooks = [
        layer.module.register_forward_hook(hook_of(path, layer))
        for path, layer in model.hidden_layers().items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def spectral_norms(matrices: list[Tensor]) -> list[float]:
    """Largest singular value of each matrix, divided by sqrt(fan_out / fan_in), from a power
    iteration on stacks of matrices of one shape; accurate to a few percent."""
    stacks: defaultdict[torch.Size, list[int]] = defaultdict(list)
    for i, matrix in enumerate(matrices):
        stacks[matrix.shape].append(i)
    largest = [0.0] * len(matrices)
    for (fan_out, fan_in), members in stacks.items():
        stack = torch.stack([matrices[i].float() for i in members])  # (matrices, out, in)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(fan_in, VECTORS, generator=generator).to(stack.device)
        for _ in range(POWER_STEPS):
            x = stack.mT @ (stack @ x)  # (matrices, in, vectors)
            x = x / x.norm(dim=1, keepdim=True).clamp(min=1e-30)
        norms = (stack @ x).norm(dim=1).amax(dim=1) / math.sqrt(fan_out / fan_in)  # (matrices)
        for i, norm in zip(members, norms.tolist(), strict=True):
            largest[i] = norm
    return largest
