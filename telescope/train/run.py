"""One training run of a pack: its model, optimizer, data and measurements."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor

from telescope.data import batches
from telescope.models.build import begin
from telescope.models.family import Model
from telescope.optim.optimizer import Optimizer, build_optimizer
from telescope.optim.qk_clip import LogitMonitor
from telescope.train import pack, probes
from telescope.train.flops import flops_by
from telescope.trials.horizon import UNTIMED_STEPS
from telescope.trials.outcome import Measurement
from telescope.trials.spec import TrialSpec

# per call: twice as many take a sixth to two fifths longer on a CPU, since its cache is smaller
EVALUATED_TOKENS = 4096


@dataclass(frozen=True)
class Kept:
    """The state of a run that a checkpoint stores, besides its model and its optimizer."""

    step: int
    seconds: float
    first_loss: Tensor
    above: Tensor
    longest: Tensor
    curve: tuple[Measurement, ...]

    @classmethod
    def of(cls, state: Mapping[str, Any], device: torch.device) -> "Kept":
        """The state read from a checkpoint's plain values."""
        first_loss, above, longest = (
            state[name].to(device) for name in ("first_loss", "above", "longest")
        )
        return cls(
            state["step"], state["seconds"], first_loss, above, longest, tuple(curve_of(state))
        )

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint, which torch loads without trusting the file."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return own | {"curve": [astuple(point) for point in self.curve]}


@dataclass(frozen=True)
class RunState:
    """State of a run at a point of its curve."""

    train_loss: float  # mean since the last point
    loss: float | None  # held-out, infinite if the run diverged; None if it is not due
    diverged: bool


class TrainingRun:
    """A trial in training: model, optimizer, batches and the state that a checkpoint stores."""

    def __init__(self, spec: TrialSpec) -> None:
        self.spec = spec
        self.tokens = batches.open_tokens(spec.data)
        self.held_out = batches.validation_windows(
            self.tokens.validation, spec.horizon.evaluation_tokens, spec.data.context
        )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model: Model = begin(spec).to(self.device)
        self.optimizer: Optimizer = build_optimizer(self.model, spec.optimizer)
        self.watch = (
            LogitMonitor(self.model.scores(), spec.optimizer)
            if spec.optimizer.watches_logits
            else None
        )
        self.step = 0
        self.first_loss = torch.full((), math.nan, device=self.device)
        # consecutive steps up to now with a loss above the first
        self.above = torch.zeros((), device=self.device)
        # the largest number of such steps so far
        self.longest = torch.zeros((), device=self.device)
        self.begin_interval()
        self.ending: probes.Ending | None = None
        self.curve: list[Measurement] = []
        self.diverged = False
        self.stopped = False  # because its loss fell below the target
        self.seconds = 0.0

    @property
    def ended(self) -> bool:
        """True if the run trained to its end, stopped below its loss, or diverged."""
        return self.diverged or self.stopped or self.step == self.spec.horizon.steps

    @property
    def silent(self) -> bool:
        """True up to the last step of the trunk: the curve does not contain these steps."""
        return self.step <= self.spec.branch_step

    def batch(self, step: int) -> Tensor:  # (windows, context + 1)
        """The windows of a step; always the first batch if coordinates are measured."""
        context = self.spec.data.context
        at = 0 if self.spec.measure == "coordinates" else step
        batch = batches.batch(
            self.tokens.train,
            self.spec.seed,
            at,
            self.spec.horizon.batch_tokens // context,
            context,
        )
        return batch.to(self.device, non_blocking=True)

    def micro_batches(self) -> tuple[Tensor, ...]:  # of (windows, context + 1)
        """The windows of the next step, in parts that fit into memory."""
        windows_at_once = (
            self.spec.horizon.micro_batch_tokens or self.spec.horizon.batch_tokens
        ) // self.spec.data.context
        return torch.split(self.batch(self.step), windows_at_once)

    def reseed(self) -> None:
        """Seed the model's random numbers, such as dropout's, from the seed and the step alone."""
        self.model.reseed(self.spec.seed * 1_000_003 + self.step)

    def begin_interval(self) -> None:
        """Forget the losses and logits up to now: the next point of the curve covers the steps to
        come."""
        self.interval_loss, self.interval_steps = torch.zeros((), device=self.device), 0
        if self.watch:
            self.watch.forget()

    def count(self, loss: Tensor) -> None:
        """Count one step that began with this loss, for `diverged` and the curve."""
        if self.step == 0:
            self.first_loss = loss.clone()
        self.above = torch.where(loss > self.first_loss, self.above + 1, 0.0)
        self.longest = torch.maximum(self.longest, self.above)
        self.step += 1
        if not self.silent:
            self.interval_loss, self.interval_steps = (
                self.interval_loss + loss,
                self.interval_steps + 1,
            )
        elif self.watch:
            self.watch.forget()

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Mean loss over the validation windows of each part of the data, weighted by its share;
        inf if it is not finite."""
        shares = self.tokens.validation.shares
        mean = sum(
            share * self.mean_loss(windows)
            for share, windows in zip(shares, self.held_out, strict=True)
        )
        return mean if math.isfinite(mean) else math.inf

    def mean_loss(self, windows: Tensor) -> float:  # (n, context + 1)
        """Mean loss over windows, in chunks that a processor's cache holds."""
        chunks = torch.split(
            windows.to(self.device), max(1, EVALUATED_TOKENS // self.spec.data.context)
        )
        with self.model.evaluating():
            return float(
                sum(pack.losses((self.model,), chunk[None])[0] * len(chunk) for chunk in chunks)
                / len(windows)
            )

    def look_ahead(self) -> None:
        """Before the last step, store what the measurement of that step needs."""
        if self.spec.measure == "loss" and self.step + 1 == self.spec.horizon.steps:
            self.ending = probes.Ending(self.model, self.batch(self.step)[:1, :-1])

    @property
    def recorded(self) -> bool:
        """True if the curve has a point at this step."""
        due = (
            self.evaluated
            or self.spec.measure == "time"
            or self.step % self.spec.horizon.record_interval == 0
        )
        return due and not self.silent

    def judge(self) -> RunState:
        """Decide whether the run diverged or stops here, from the losses of its steps and, where
        due, the held-out loss."""
        mean = float(self.interval_loss) / self.interval_steps
        diverged = not math.isfinite(mean) or float(self.longest) > max(
            20, self.spec.horizon.steps // 4
        )
        loss = self.held_out_loss() if self.evaluated and not diverged else None
        target = self.spec.horizon.stop_below_loss
        self.diverged, self.stopped = (
            diverged,
            loss is not None and target is not None and loss <= target,
        )
        return RunState(mean, math.inf if diverged else loss, diverged)

    def metrics(self, judgement: RunState) -> dict[str, float]:
        """Metrics of this step's point, from its judgement."""
        metrics = {"train_loss": judgement.train_loss} | (
            self.watch.metrics() if self.watch else {}
        )
        if judgement.loss is not None:
            metrics["loss"] = judgement.loss
        if self.ending and not judgement.diverged:
            metrics |= self.ending.metrics()
        if self.spec.measure == "time" and self.ended and not judgement.diverged:
            metrics["step_seconds"] = median_step_seconds(self.curve)
        return metrics

    @property
    def evaluated(self) -> bool:
        """True if the held-out loss is due at this step."""
        every = self.spec.horizon.evaluate_every
        on_the_way = self.spec.measure == "loss" and every is not None and self.step % every == 0
        return on_the_way or self.step == self.spec.horizon.steps

    def point(self, metrics: dict[str, float]) -> Measurement:
        """Add the point at this step to the curve and begin a new interval."""
        tokens = self.step * self.spec.horizon.batch_tokens
        flops = flops_by(self.spec, self.step, self.diverged, sum(map(len, self.held_out)))
        self.curve.append(Measurement(self.step, tokens, flops, self.seconds, metrics))
        self.begin_interval()
        return self.curve[-1]

    def state(self) -> dict[str, Any]:
        """Everything that a branch needs, and, at a step where no interval is open, everything that
        a resumed run needs: the state and the curve so far."""
        kept = Kept(
            self.step, self.seconds, self.first_loss, self.above, self.longest, tuple(self.curve)
        )
        return kept.state() | {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the state of another run."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        kept = Kept.of(state, self.device)
        self.step, self.seconds, self.curve = kept.step, kept.seconds, list(kept.curve)
        self.first_loss, self.above, self.longest = kept.first_loss, kept.above, kept.longest


def curve_of(state: Mapping[str, Any]) -> list[Measurement]:
    """The points of the curve in a checkpoint."""
    return [Measurement(*point) for point in state["curve"]]


def median_step_seconds(curve: Sequence[Measurement]) -> float:
    """Median time of a step, from points at every step; the first steps are left out."""
    timed = curve[UNTIMED_STEPS - 1 :]
    return median(point.seconds - before.seconds for before, point in pairwise(timed))
