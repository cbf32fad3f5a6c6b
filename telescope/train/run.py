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
from telescope.optim.optimizer import Optimizer, build
from telescope.optim.qk_clip import Watch
from telescope.train import pack, probes
from telescope.train.flops import flops_by
from telescope.trials.horizon import UNTIMED_STEPS
from telescope.trials.outcome import Measurement
from telescope.trials.spec import TrialSpec

# at once: twice as many take a sixth to two fifths longer on a CPU, whose cache holds no more
EVALUATED_TOKENS = 4096


@dataclass(frozen=True)
class Kept:
    """What a checkpoint keeps of a run, besides its model and its optimizer."""

    step: int
    seconds: float
    first_loss: Tensor
    above: Tensor
    longest: Tensor
    curve: tuple[Measurement, ...]

    @classmethod
    def of(cls, state: Mapping[str, Any], device: torch.device) -> "Kept":
        """As a checkpoint has it."""
        first_loss, above, longest = (
            state[name].to(device) for name in ("first_loss", "above", "longest")
        )
        return cls(
            state["step"], state["seconds"], first_loss, above, longest, tuple(curve_of(state))
        )

    def state(self) -> dict[str, Any]:
        """As a checkpoint has it: plain values, which torch loads without trusting the file."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return own | {"curve": [astuple(point) for point in self.curve]}


@dataclass(frozen=True)
class Judgement:
    """How a run stands at a point of its curve."""

    train_loss: float  # mean since the last point
    loss: float | None  # held-out, infinite where the run diverged; None where it is not due
    diverged: bool


class Run:
    """A trial in the middle of its training: model, optimizer, batches and the state that a
    checkpoint keeps."""

    def __init__(self, spec: TrialSpec) -> None:
        self.spec = spec
        self.tokens = batches.open_tokens(spec.data)
        self.held_out = batches.validation_windows(
            self.tokens.validation, spec.horizon.evaluation_tokens, spec.data.context
        )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model: Model = begin(spec).to(self.device)
        self.optimizer: Optimizer = build(self.model, spec.optimizer)
        self.watch = (
            Watch(self.model.scores(), spec.optimizer) if spec.optimizer.watches_logits else None
        )
        self.step = 0
        self.first_loss = torch.full((), math.nan, device=self.device)
        # consecutive steps up to now with a loss above the first
        self.above = torch.zeros((), device=self.device)
        self.longest = torch.zeros((), device=self.device)  # the most of them so far
        self.begin_interval()
        self.ending: probes.Ending | None = None
        self.curve: list[Measurement] = []
        self.diverged = False
        self.stopped = False  # below its loss
        self.seconds = 0.0

    @property
    def ended(self) -> bool:
        """Trained to its end, stopped below its loss, or diverged."""
        return self.diverged or self.stopped or self.step == self.spec.horizon.steps

    @property
    def silent(self) -> bool:
        """Not past the steps of its trunk: they are none of its curve."""
        return self.step <= self.spec.branch_step

    def batch(self, step: int) -> Tensor:  # (windows, context + 1)
        """What is read at a step: where coordinates are measured, always the first batch."""
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
        """What the next step reads, as much at a time as fits into memory."""
        windows_at_once = (
            self.spec.horizon.micro_batch_tokens or self.spec.horizon.batch_tokens
        ) // self.spec.data.context
        return torch.split(self.batch(self.step), windows_at_once)

    def reseed(self) -> None:
        """What the model draws in a step, as dropout does, follows from the seed and the step
        alone."""
        self.model.reseed(self.spec.seed * 1_000_003 + self.step)

    def begin_interval(self) -> None:
        """Forget the losses and logits of the steps up to now: the next point of the curve is about
        those to come."""
        self.interval_loss, self.interval_steps = torch.zeros((), device=self.device), 0
        if self.watch:
            self.watch.forget()

    def count(self, loss: Tensor) -> None:
        """One step more, which began with this loss: remember what `diverged` and the curve need of
        it."""
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
        inf where it is not finite."""
        shares = self.tokens.validation.shares
        mean = sum(
            share * self.mean_loss(windows)
            for share, windows in zip(shares, self.held_out, strict=True)
        )
        return mean if math.isfinite(mean) else math.inf

    def mean_loss(self, windows: Tensor) -> float:  # (n, context + 1)
        """Over windows, as many at a time as a processor's cache holds."""
        chunks = torch.split(
            windows.to(self.device), max(1, EVALUATED_TOKENS // self.spec.data.context)
        )
        with self.model.evaluating():
            return float(
                sum(pack.losses((self.model,), chunk[None])[0] * len(chunk) for chunk in chunks)
                / len(windows)
            )

    def look_ahead(self) -> None:
        """Before the last step, remember what it will change."""
        if self.spec.measure == "loss" and self.step + 1 == self.spec.horizon.steps:
            self.ending = probes.Ending(self.model, self.batch(self.step)[:1, :-1])

    @property
    def recorded(self) -> bool:
        """Whether the curve has a point at this step."""
        due = (
            self.evaluated
            or self.spec.measure == "time"
            or self.step % self.spec.horizon.record_interval == 0
        )
        return due and not self.silent

    def judge(self) -> Judgement:
        """Judge the run by the losses of its steps, and by the held-out loss where it is due:
        whether it diverged or stops here."""
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
        return Judgement(mean, math.inf if diverged else loss, diverged)

    def metrics(self, judgement: Judgement) -> dict[str, float]:
        """What the curve says at this step, which was judged so."""
        metrics = {"train_loss": judgement.train_loss} | (
            self.watch.metrics() if self.watch else {}
        )
        if judgement.loss is not None:
            metrics["loss"] = judgement.loss
        if self.ending and not judgement.diverged:
            metrics |= self.ending.metrics()
        if self.spec.measure == "time" and self.ended and not judgement.diverged:
            metrics["step_seconds"] = step_seconds(self.curve)
        return metrics

    @property
    def evaluated(self) -> bool:
        """Whether the held-out loss is due at this step."""
        every = self.spec.horizon.evaluate_every
        on_the_way = self.spec.measure == "loss" and every is not None and self.step % every == 0
        return on_the_way or self.step == self.spec.horizon.steps

    def point(self, metrics: dict[str, float]) -> Measurement:
        """Add the point at this step to the curve; a new interval begins."""
        tokens = self.step * self.spec.horizon.batch_tokens
        flops = flops_by(self.spec, self.step, self.diverged, sum(map(len, self.held_out)))
        self.curve.append(Measurement(self.step, tokens, flops, self.seconds, metrics))
        self.begin_interval()
        return self.curve[-1]

    def state(self) -> dict[str, Any]:
        """All that a branch needs, and at a step where no interval is open all that a resumed run
        needs, and the curve up to there."""
        kept = Kept(
            self.step, self.seconds, self.first_loss, self.above, self.longest, tuple(self.curve)
        )
        return kept.state() | {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the run that `state` was taken of."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        kept = Kept.of(state, self.device)
        self.step, self.seconds, self.curve = kept.step, kept.seconds, list(kept.curve)
        self.first_loss, self.above, self.longest = kept.first_loss, kept.above, kept.longest


def curve_of(state: Mapping[str, Any]) -> list[Measurement]:
    """The points that a checkpoint holds."""
    return [Measurement(*point) for point in state["curve"]]


def step_seconds(curve: Sequence[Measurement]) -> float:
    """Median time of a step, of points at every step; those at the beginning left out."""
    timed = curve[UNTIMED_STEPS - 1 :]
    return median(point.seconds - before.seconds for before, point in pairwise(timed))
