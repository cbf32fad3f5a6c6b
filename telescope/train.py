"""How is one trial trained?

`train_one(spec)` is a generator of measurements, and the only training loop: a worker forwards what it yields, a test lists it, closing
it stops the run. It is a function of the spec alone: initialisation from the seed, batches from (seed, step). A run resumed from its
checkpoint therefore yields, on a CPU, bit for bit the points that an undisturbed one yields from there on.

A loss that is not finite, or above that of the first step for a quarter of the run, ends the trial as *diverged*: its last point carries
an infinite held-out loss. That is a result, not an error. It is counted at every step, on the device, and looked at where points are
recorded, so that how often that is decides nothing.

A trial that measures coordinates (telescope.coordinates) takes its few steps all on the first batch, and each point of its curve says how
far every layer's output has moved by then. Any other trial says at its end where its hidden matrices ended (telescope.probes).
"""

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from telescope import data, probes
from telescope.checkpoint import CheckpointFile
from telescope.flops import flops_by
from telescope.model import Transformer, initialise
from telescope.optimizer import Optimizer, build, lr_factor
from telescope.spec import TrialSpec
from telescope.trial import Measurement

KEPT = ("step", "seconds", "first_loss", "above", "longest")


class Run:
    """A trial in the middle of its training: model, optimizer, batches and the state that a checkpoint keeps."""

    def __init__(self, spec: TrialSpec) -> None:
        self.spec = spec
        self.tokens = data.open_tokens(spec.data)
        self.held_out = data.validation_windows(self.tokens.validation, spec.horizon.evaluation_tokens, spec.data.context)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = Transformer(spec.model, spec.data.vocab_size, spec.data.context, spec.optimizer.parametrisation)
        initialise(model, spec.optimizer, spec.seed)
        self.model = model.to(self.device)
        self.optimizer: Optimizer = build(self.model, spec.optimizer)
        self.step = 0
        self.first_loss = torch.full((), math.nan, device=self.device)
        self.above = torch.zeros((), device=self.device)  # consecutive steps up to now with a loss above the first
        self.longest = torch.zeros((), device=self.device)  # the most of them so far
        self.curve: list[Measurement] = []
        self.seconds = 0.0

    def loss(self, windows: Tensor) -> Tensor:
        """Mean cross-entropy in nats per token of windows (B, T+1), in bf16 where the hardware has it."""
        inputs, targets = windows[:, :-1], windows[:, 1:]
        with self._precision():
            logits = self.model(inputs)  # (B, T, V)
        return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast("cuda", torch.bfloat16) if self.device.type == "cuda" else nullcontext()

    def batch(self, step: int) -> Tensor:  # (windows, context + 1)
        """What is read at a step: where coordinates are measured, always the first batch."""
        context = self.spec.data.context
        at = 0 if self.spec.measure == "coordinates" else step
        batch = data.batch(self.tokens.train, self.spec.seed, at, self.spec.horizon.batch_tokens // context, context)
        return batch.to(self.device, non_blocking=True)

    def advance(self) -> Tensor:
        """One optimizer step over all micro-batches; returns the batch's mean loss, still on the device."""
        horizon = self.spec.horizon
        windows_at_once = (horizon.micro_batch_tokens or horizon.batch_tokens) // self.spec.data.context
        micro_batches = torch.split(self.batch(self.step), windows_at_once)
        total = torch.zeros((), device=self.device)
        for windows in micro_batches:
            loss = self.loss(windows) / len(micro_batches)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if self.step == 0:
            self.first_loss = total.clone()
        self.above = torch.where(total > self.first_loss, self.above + 1, 0.0)
        self.longest = torch.maximum(self.longest, self.above)
        self.optimizer.step(lr_factor(horizon, self.step))
        self.step += 1
        return total

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Mean loss over the validation windows, the same ones for every trial; inf where it is not finite."""
        windows = self.held_out.to(self.device)
        chunks = torch.split(windows, max(1, 8192 // self.spec.data.context))
        mean = float(sum(self.loss(chunk) * len(chunk) for chunk in chunks) / len(windows))
        return mean if math.isfinite(mean) else math.inf

    def diverged(self, train_loss: float) -> bool:
        """Judge the run by the mean loss of its last steps and by what was counted at each."""
        return not math.isfinite(train_loss) or float(self.longest) > max(20, self.spec.horizon.steps // 4)

    def point(self, metrics: dict[str, float], started: float, diverged: bool) -> Measurement:
        """The point of the curve at this step of a run that would have begun at `started`, had it not been interrupted."""
        tokens = self.step * self.spec.horizon.batch_tokens
        flops = flops_by(self.spec, self.step, diverged, len(self.held_out))
        self.seconds = time.perf_counter() - started
        self.curve.append(Measurement(self.step, tokens, flops, self.seconds, metrics))
        return self.curve[-1]

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, at a recorded step, and the curve up to there."""
        kept = {name: getattr(self, name) for name in KEPT} | {"curve": [astuple(point) for point in self.curve]}
        return kept | {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Become the run that `state` was taken of."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.curve = curve_of(state)
        for name in KEPT:
            value = state[name]
            setattr(self, name, value.to(self.device) if isinstance(value, Tensor) else value)


def curve_of(state: dict[str, Any]) -> list[Measurement]:
    """The points that a checkpoint holds."""
    return [Measurement(*point) for point in state["curve"]]


def train_one(spec: TrialSpec, checkpoint: CheckpointFile | None = None) -> Iterator[Measurement]:
    """Train one trial, from its checkpoint if it has one; yields the points of its curve, the last with the final held-out loss."""
    run = Run(spec)
    if spec.measure == "coordinates":
        yield from first_steps(run)
        return
    if checkpoint and (state := checkpoint.load()):
        run.restore(state)
    horizon, started = spec.horizon, time.perf_counter() - run.seconds
    interval_loss, interval_start = torch.zeros((), device=run.device), run.step
    while run.step < horizon.steps:
        last = run.step + 1 == horizon.steps
        ending = probes.Ending(run.model, run.batch(run.step)[:1, :-1]) if last else None
        interval_loss += run.advance()
        evaluated = last or (horizon.evaluate_every is not None and run.step % horizon.evaluate_every == 0)
        if not (evaluated or run.step % horizon.record_interval == 0):
            continue
        steps = run.step - interval_start
        metrics = {"train_loss": float(interval_loss) / steps}
        diverged = run.diverged(metrics["train_loss"])
        if diverged or evaluated:
            metrics["loss"] = math.inf if diverged else run.held_out_loss()
        if ending and not diverged:
            metrics |= ending.metrics()
        yield run.point(metrics, started, diverged)
        if diverged:
            return
        interval_loss, interval_start = torch.zeros((), device=run.device), run.step
        if checkpoint and not last and checkpoint.due():
            checkpoint.save(run.state())


def first_steps(run: Run) -> Iterator[Measurement]:
    """A point per step, each with how far the layers' outputs on the fixed batch have moved since step 0."""
    started = time.perf_counter()
    beginning = probes.Beginning(run.model, run.batch(0)[:, :-1])
    while run.step < run.spec.horizon.steps:
        metrics = {"train_loss": float(run.advance())}
        diverged = run.diverged(metrics["train_loss"])
        metrics |= beginning.metrics()
        if diverged or run.step == run.spec.horizon.steps:
            metrics["loss"] = math.inf if diverged else run.held_out_loss()
        yield run.point(metrics, started, diverged)
        if diverged:
            return
