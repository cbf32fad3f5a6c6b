"""Measurements inside a model in training, which show whether its parametrisation is right.

With the right parametrisation, the measured numbers are about the same at all widths. The numbers
become metrics of a point of the loss curve. telescope.studies.coordinates.check and
telescope.studies.telescoping.answer.late compare them across widths.

`Beginning` measures in the first steps, on one fixed batch. Its layers are those that multiply by a
hidden matrix, a matrix whose two sides grow with width. Its metrics are log2 of the RMS of these
quantities:

- `moved/<layer>` and `moved/logits`: the change of a layer's output, and of the logits, since step
  0. A layer's output is taken before any norm, since a norm would fix its size and hide all growth.
- `own/<layer>`: the part of this change that is due to the layer's own update. It is (W - W0) x,
  where W is the layer's matrix, W0 is the matrix at step 0, and x is the layer's input. The rest of
  the change is due to a change of x. If embeddings learn fast, this rest is large. Then
  `moved/<layer>` may hide that the learning rate of hidden matrices falls too fast with width, but
  `own/<layer>` shows it.

`RunEnding` measures at the end of a run. Its metrics are the spectral norm of the hidden matrices,
the spectral norm of their last updates, and the RMS of the change that the last update causes in
the last features. Spectral norms are divided by sqrt(fan_out / fan_in). The *last features* are the
activations from which the model computes the logits.
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
# Activations are compared at evenly spaced tokens of the batch: at this number of tokens, or up to
# twice as many. In a smaller batch, they are compared at all tokens.
KEPT_TOKENS = 512
POWER_STEPS = 12  # steps of the power iteration for spectral norms
# number of start vectors; the largest of several results is more accurate than a single result
VECTORS = 4


class Beginning:
    """Stores a model's initial logits, and the initial outputs and matrices of its hidden layers.
    `metrics` measures the changes since then."""

    def __init__(self, model: Model, tokens: Tensor) -> None:
        self.model, self.tokens = model, tokens
        self.weights = {path: layer.matrix.clone() for path, layer in model.hidden_layers().items()}
        self.outputs: dict[str, Tensor] = {}
        self._forward(lambda name, output: self.outputs.update({name: output}))

    def metrics(self) -> dict[str, float]:
        """log2 of the RMS of each quantity, by name. A quantity is left out if it is zero or not
        finite, or if its shape differs from the shape at step 0. A layer does not move while the
        output head is zero, since no gradient reaches the layer. `moved/logits` is also left out
        for a model that computes its own loss."""
        rms: dict[str, float] = {}

        def compare(name: str, output: Tensor) -> None:
            before = self.outputs.get(name)
            # the shapes differ if an expert receives another number of tokens than at step 0
            if before is not None and before.shape == output.shape:
                rms[name] = float((output - before).square().mean().sqrt())

        self._forward(compare)
        return {
            name: math.log2(size) for name, size in rms.items() if size > 0 and math.isfinite(size)
        }

    @torch.no_grad()
    def _forward(self, receive: Callable[[str, Tensor], None]) -> None:
        """Run a forward pass, and call `receive` with the name and the value of each quantity at
        evenly spaced tokens. For `moved/<layer>`, the value is the layer's output. For
        `own/<layer>`, it is (W - W0) x. For `moved/logits`, it is the logits."""
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
    """Stores a model's hidden matrices and last features before its last step. `metrics` returns
    the effect of that step, and the final size of the hidden matrices."""

    def __init__(self, model: Model, tokens: Tensor) -> None:
        self.model, self.tokens = model, tokens
        self.features = self._features()
        self.weights = {path: layer.matrix.clone() for path, layer in model.hidden_layers().items()}

    def metrics(self) -> dict[str, float]:
        """For each kind of hidden matrix (`layer_kind`), the median of the spectral norms of the
        matrices, and the median of the spectral norms of their last updates. Also the RMS of the
        change of the last features, if telescope knows where to read them."""
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
        """The last features at each token. They are the input of the final norm in telescope's
        Transformer, and the input of the output head in a user's model. None if telescope does not
        know the module that has this input."""
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
    """The part of a layer's path after the first index that follows a name: "attention.query" for
    the path "blocks.3.attention.query". Without such an index, it is the whole path."""
    return re.sub(r"^.*?\.\d+\.", "", path, count=1)


def probe_tokens(x: Tensor, every: int) -> Tensor:  # (B, T, features) -> (B T / every, features)
    """The features of every `every`-th token, one row per token, in float32."""
    return x.flatten(0, -2)[::every].float()


@contextmanager
def hidden_layer_hooks(
    model: Model, receive: Callable[[str, Layer, Tensor, Tensor], None]
) -> Iterator[None]:
    """A context manager. Inside its `with` block, `receive` is called whenever a hidden layer has
    run, with the path of the layer, the layer, the layer's input and the layer's output."""

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
    """The largest singular value of each matrix, divided by sqrt(fan_out / fan_in). A power
    iteration computes it to within a few percent. The iteration runs on all matrices of one shape
    together."""
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
