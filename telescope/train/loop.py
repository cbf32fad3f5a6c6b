"""The training loop.

`train(specs)` is a generator of measurements, and the only training loop: a worker forwards the
points that it yields, and closing it stops the run. Its trials have one shape and run as one
program, a *pack* (telescope.train.pack); `train_one(spec)` trains a pack of one. Each trial is a
function of its spec alone: the seed gives the initial values, and (seed, step) give a batch. In a
pack, its curve is the same as alone, up to rounding. On a CPU, a run that is resumed from its
checkpoint, in the same pack and by the same program, yields bit for bit the points that an
uninterrupted run yields from there on.

A run ends early in two cases:

- It *diverged* (telescope.train.divergence): its last point has an infinite held-out loss. That is
  a result, not an error.
- Its held-out loss during training is at or below `stop_below_loss`: it ends with that loss.

A *trunk* stores its state at each of its `kept_steps`. A *branch* begins at such a state; if there
is none, it makes the trunk's steps itself without recording them. Either way its curve, its seconds
and its FLOPs begin after `branch.step`, and on a CPU its curve is the same bit for bit.

The `measure` of a trial decides what it records:

- `coordinates` (telescope.studies.coordinates.check): all of its few steps read the first batch,
  and each point records how far every layer's output has moved.
- `time`: every step is a point, and the last point records the time of a step.
- `loss`: the last point records the final size of the hidden matrices (telescope.train.probes).

If the optimizer's options ask for it, a trial also records its largest attention logits, and clips
them (telescope.optim.qk_clip).

Parts: `CurvePoint`, `Last`, `Left`: the values that the loop yields · `step_runs`, one step of
several runs · `train` and `train_one`, the loop. The runs are in telescope.train.run.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from telescope.optim.optimizer import step_together
from telescope.optim.schedule import lr_factor
from telescope.train import pack, probes
from telescope.train.checkpoint import CheckpointFile
from telescope.train.run import TrainingRun
from telescope.trials.outcome import Measurement
from telescope.trials.spec import TrialSpec


@dataclass(frozen=True)
class CurvePoint:
    """A point of the curve of trial `index`, which continues."""

    index: int
    measurement: Measurement


@dataclass(frozen=True)
class Last:
    """The last point of the curve of trial `index`, with its final held-out loss."""

    index: int
    measurement: Measurement


@dataclass(frozen=True)
class Left:
    """Trial `index` left the pack before its end, because `stopping` accepted it."""

    index: int


Progress = CurvePoint | Last | Left


class Clock:
    """Wall-clock time, divided equally among the runs that it was spent on."""

    def __init__(self) -> None:
        self.charged_until = time.perf_counter()

    def charge(self, runs: Collection[TrainingRun]) -> None:
        """Charge the time since the last call to these runs; a branch is not charged for the steps
        of its trunk."""
        time_now = time.perf_counter()
        for run in runs:
            if not run.in_trunk:
                run.seconds += (time_now - self.charged_until) / len(runs)
        self.charged_until = time_now


def step_runs(runs: Sequence[TrainingRun], losses: pack.Losses = pack.losses) -> Tensor:  # (runs)
    """Make one optimizer step in each run, over all its micro-batches; returns the mean losses of
    their batches, still on the device."""
    models = [run.model for run in runs]
    monitors = [run.logit_monitor for run in runs if run.logit_monitor]
    assert len(runs) == 1 or not monitors, "a run whose logits are recorded trains alone"
    for monitor in monitors:
        monitor.begin_step()
    for run in runs:
        run.reseed()
    micro_batches = list(zip(*(run.micro_batches() for run in runs), strict=True))
    total = torch.zeros(len(runs), device=runs[0].device)
    for windows in micro_batches:
        loss = losses(models, torch.stack(windows)) / len(micro_batches)
        loss.sum().backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    factors = [lr_factor(run.spec.horizon, run.step) for run in runs]
    step_together([run.optimizer for run in runs], factors)
    for monitor in monitors:
        monitor.end_step()
    for run, loss in zip(runs, total, strict=True):
        run.count_step(loss)
    return total


def train(
    specs: Sequence[TrialSpec],
    checkpoints: Sequence[CheckpointFile | None] | None = None,
    stopping: Callable[[int], bool] = lambda index: False,
    losses: pack.Losses = pack.losses,
) -> Iterator[Progress]:
    """Train trials of one shape together, each from its checkpoint or its trunk; yields the points
    of their curves, and a `Left` for each trial that leaves.

    Before each step, a trial whose index `stopping` accepts leaves. `losses` is the program:
    telescope.train.pack.losses, or telescope.train.compiled.compiled_losses.
    """
    shapes = {pack.shape(spec) for spec in specs}
    assert len(shapes) == 1, "the trials of a pack must have one shape"
    files = checkpoints or [None] * len(specs)
    runs = {index: TrainingRun(spec) for index, spec in enumerate(specs)}
    if specs[0].measure == "coordinates":
        for index, run in runs.items():
            yield from _measure_coordinates(index, run, stopping)
        return
    for run, file in zip(runs.values(), files, strict=True):
        if file and (state := file.load(run.spec.branch)):
            run.restore(state)
    clock = Clock()
    while runs:
        for index in [index for index in runs if stopping(index)]:
            del runs[index]
            yield Left(index)
        if runs:
            for run in runs.values():
                run.prepare_ending()
            step_runs(list(runs.values()), losses)
            yield from _record_step(runs, files, clock)


def _record_step(
    runs: dict[int, TrainingRun], files: Sequence[CheckpointFile | None], clock: Clock
) -> Iterator[Progress]:
    """After a step of all runs, yield the points that are due and store the states that are due;
    runs that have ended are removed from `runs`."""
    metrics = {index: run.metrics(run.judge()) for index, run in runs.items() if run.point_due}
    clock.charge(runs.values())
    for index, run in list(runs.items()):
        file = files[index]
        if file and run.step in run.spec.kept_steps and not run.diverged:
            # before the point is yielded: the caller may start branches once the run has ended
            file.keep(run.spec.digest, run.state())
        if index in metrics:
            point = run.point(metrics[index])
            yield Last(index, point) if run.ended else CurvePoint(index, point)
        if run.ended:
            del runs[index]
        elif file and run.interval_steps == 0 and file.due():
            file.save(run.state())


def train_one(spec: TrialSpec, checkpoint: CheckpointFile | None = None) -> Iterator[Measurement]:
    """Train one trial, from its checkpoint or its trunk; yields the points of its curve, the last
    with the final held-out loss."""
    for progress in train((spec,), (checkpoint,)):
        if not isinstance(progress, Left):
            yield progress.measurement


def _measure_coordinates(
    index: int, run: TrainingRun, stopping: Callable[[int], bool]
) -> Iterator[Progress]:
    """Train a run that measures coordinates, alone; yields its points."""
    for point in _first_steps(run):
        yield Last(index, point) if run.ended else CurvePoint(index, point)
        if not run.ended and stopping(index):
            yield Left(index)
            return


def _first_steps(run: TrainingRun) -> Iterator[Measurement]:
    """A point per step; its metrics tell how far the layers' outputs on the fixed batch have moved
    since step 0."""
    clock = Clock()
    beginning = probes.Beginning(run.model, run.batch(0)[:, :-1])
    while not run.ended:
        step_runs([run])
        metrics = run.metrics(run.judge()) | beginning.metrics()
        clock.charge([run])
        yield run.point(metrics)
