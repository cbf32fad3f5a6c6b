"""One trial in training: its model, optimizer, data and measurements.

The *curve* of a trial is a list of points, each with the metrics at one step. A *branch* is a trial
that continues from a state of another trial, its *trunk*. telescope.train.loop takes the steps.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor

from telescope.models.build import begin
from telescope.models.family import Model
from telescope.optim.optimizer import Optimizer, build_optimizer
from telescope.optim.qk_clip import LogitMonitor
from telescope.train import probes
from telescope.train.divergence import LossHistory
from telescope.train.flops import flops_until
from telescope.train.training_data import training_data
from telescope.trials.horizon import UNTIMED_STEPS
from telescope.trials.outcome import Measurement
from telescope.trials.spec import TrialSpec


@dataclass(frozen=True)
class RunState:
    """The losses of a run at a point of its curve, and whether the run has diverged."""

    train_loss: float  # mean training loss since the last point
    # Metrics of the evaluation, such as `loss`, the held-out loss. If the run has diverged, the
    # only metric is `loss`, with the value inf. Otherwise, there are no metrics if no evaluation is
    # due.
    evaluation: Mapping[str, float]
    diverged: bool


class TrainingRun:
    """One trial in training: its model, optimizer, batches and measured values."""

    def __init__(self, spec: TrialSpec) -> None:
        self.spec = spec
        self.data = training_data(spec)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model: Model = begin(spec).to(self.device)
        self.optimizer: Optimizer = build_optimizer(self.model, spec.optimizer)
        self.logit_monitor: LogitMonitor | None = None
        if spec.optimizer.watches_logits:
            self.logit_monitor = LogitMonitor(self.model.scores(), spec.optimizer)
        self.step = 0
        self.losses = LossHistory.empty(self.device)
        self.begin_interval()
        self.ending: probes.RunEnding | None = None
        self.curve: list[Measurement] = []
        self.diverged = False
        self.stopped = False  # True after an evaluation that ends the run
        self.seconds = 0.0

    @property
    def ended(self) -> bool:
        """True if the run has taken all steps, was stopped by the result of an evaluation, or has
        diverged."""
        return self.diverged or self.stopped or self.step == self.spec.horizon.steps

    @property
    def in_trunk(self) -> bool:
        """True until the run has taken more steps than it shares with its trunk. The curve does not
        contain the shared steps."""
        return self.step <= self.spec.branch_step

    def batch(self, step: int) -> Tensor:  # (windows, context + 1)
        """The windows of a step. If the run measures coordinates, all steps have the windows of
        step 0."""
        batch = self.data.batch(0 if self.spec.measure == "coordinates" else step)
        return batch.to(self.device, non_blocking=True)

    def micro_batches(self) -> tuple[Tensor, ...]:  # each (windows, context + 1)
        """The windows of the next step, split into its micro-batches."""
        horizon = self.spec.horizon
        tokens = horizon.micro_batch_tokens or horizon.batch_tokens
        return torch.split(self.batch(self.step), tokens // self.spec.data.context)

    def reseed(self) -> None:
        """Seed the random numbers that the model draws in the next step, for instance for
        dropout."""
        self.model.reseed(self.spec.seed * 1_000_003 + self.step)

    def begin_interval(self) -> None:
        """Forget the losses and logits so far, since the next point covers later steps only."""
        self.interval_loss, self.interval_steps = torch.zeros((), device=self.device), 0
        if self.logit_monitor:
            self.logit_monitor.begin_interval()

    def count_step(self, loss: Tensor) -> None:
        """Count a step that the run has taken. `loss` is the mean loss on the step's batch, as a
        scalar on the device."""
        self.losses.add(loss, is_first=self.step == 0)
        self.step += 1
        if not self.in_trunk:
            self.interval_loss = self.interval_loss + loss
            self.interval_steps += 1
        elif self.logit_monitor:
            self.logit_monitor.begin_interval()

    def evaluate(self) -> dict[str, float]:
        """The metrics of the model as it is now. `loss` is the held-out loss, inf if not finite."""
        return self.data.evaluate(self.model, self.device)

    def prepare_ending(self) -> None:
        """If the next step is the last and the run measures its ending, create `ending`, which
        measures the effect of the last step."""
        if self.spec.measures_ending and self.step + 1 == self.spec.horizon.steps:
            self.ending = probes.RunEnding(self.model, self.batch(self.step)[:1, :-1])

    @property
    def point_due(self) -> bool:
        """True if the curve gets a point after the steps taken so far."""
        due = (
            self.evaluates_at(self.step)
            or self.spec.measure == "time"
            or self.step % self.spec.horizon.record_interval == 0
        )
        return due and not self.in_trunk

    def judge(self) -> RunState:
        """Decide whether the run has diverged, or stops here because of `stop_below_loss` or
        `stop_when_sustained`. Evaluates the model if an evaluation is due and the run has not
        diverged."""
        mean = float(self.interval_loss) / self.interval_steps
        self.diverged = self.losses.diverged(mean, self.spec.horizon.steps)
        if not self.evaluates_at(self.step) or self.diverged:
            return RunState(mean, {"loss": math.inf} if self.diverged else {}, self.diverged)
        evaluation = self.evaluate()
        self.stopped = self.data.ends_run(self.curve, evaluation)
        return RunState(mean, evaluation, diverged=False)

    def metrics(self, judgement: RunState) -> dict[str, float]:
        """The metrics of the point at this step. `judgement` is the result of `judge`."""
        metrics = {"train_loss": judgement.train_loss}
        if self.logit_monitor:
            metrics |= self.logit_monitor.metrics()
        metrics |= judgement.evaluation
        if self.ending and not judgement.diverged:
            metrics |= self.ending.metrics()
        if self.spec.measure == "time" and self.ended and not judgement.diverged:
            metrics["step_seconds"] = median_step_seconds(self.curve)
        return metrics

    def evaluates_at(self, step: int) -> bool:
        """True if the model is evaluated after this number of steps, unless the run diverges."""
        every = self.spec.horizon.evaluate_every
        during_run = self.spec.measure == "loss" and every is not None and step % every == 0
        return during_run or step == self.spec.horizon.steps

    def point(self, metrics: dict[str, float]) -> Measurement:
        """Add the point at this step to the curve, and return it. The next step begins a new
        interval."""
        tokens = self.spec.tokens_until(self.step)
        flops = flops_until(self.spec, self.step, self.diverged, self.data.evaluated_windows)
        self.curve.append(Measurement(self.step, tokens, flops, self.seconds, metrics))
        if self.ended:
            metrics |= self.data.summary(self.curve)
        self.begin_interval()
        return self.curve[-1]

    def state(self) -> dict[str, Any]:
        """The state of the run for a checkpoint. It consists of tensors and plain values, so that
        torch can load the file without running code from it.

        A branch may begin at a state of any step. But a run may only be resumed from a state that
        was made while `interval_steps` was 0, since a state does not contain the losses of the
        interval.
        """
        return {
            "step": self.step,
            "seconds": self.seconds,
            "curve": [astuple(point) for point in self.curve],
            **self.losses.state(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the state of an earlier attempt at this trial, or of its trunk."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.curve = state["step"], state["seconds"], curve_of(state)
        self.losses = LossHistory.restored(state, self.device)


def curve_of(state: Mapping[str, Any]) -> list[Measurement]:
    """The points of the curve that a checkpoint's state contains."""
    return [Measurement(*point) for point in state["curve"]]


def median_step_seconds(curve: Sequence[Measurement]) -> float:
    """The median of the seconds between points of a curve that has a point at every step. The first
    UNTIMED_STEPS steps are left out."""
    timed = curve[UNTIMED_STEPS - 1 :]
    return median(point.seconds - before.seconds for before, point in pairwise(timed))
