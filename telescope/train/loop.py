"""The training loop.

`train(specs)` is the only training loop, a generator of measurements: a worker forwards the points
that the generator yields, and closing the generator stops the run. The trials have one shape and
run as one program, a *pack* (telescope.train.pack); `train_one(spec)` trains a pack of one trial.
The spec alone determines a trial: the seed gives the initial values, and (seed, step) give a batch.
The curve of a trial is the same in a pack as alone, up to rounding. On a CPU, a run that is resumed
from its checkpoint, in the same pack and by the same program, yields bit for bit the points that an
uninterrupted run yields from that step on.

A run ends early in two cases:

- The run *diverged* (telescope.train.divergence): the last point has an infinite held-out loss.
  Divergence is a result, not an error.
- A held-out loss during training is at or below `stop_below_loss`: the run ends with that loss.

A *trunk* stores its state at each of its `kept_steps`. A *branch* begins at such a state; without
one, the branch runs the trunk's steps itself and does not record them. In both cases the branch's
curve, seconds and FLOPs begin after `branch.step`, and on a CPU the curve is the same bit for bit.

The `measure` of a trial decides what the trial records:

- `coordinates` (telescope.studies.coordinates.check): all steps, which are few, read the first
  batch, and each point records how far every layer's output has moved.
- `time`: every step is a point, and the last point records the median time of a step.
- `loss`: the point of the last step also records the final size of the hidden matrices
  (telescope.train.probes).

A run that diverges records neither this time nor this size.

If the optimizer's options ask for it, training also records the largest attention logits, and clips
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
    """A point, but not the last, of the curve of trial `index`."""

    index: int
    measurement: Measurement


@dataclass(frozen=True)
class Last:
    """The last point of the curve of trial `index`, with its final held-out loss."""

    index: int
    measurement: Measurement


@dataclass(frozen=True)
class Left:
    """Trial `index` left the pack before its end, because `stopping(index)` was true."""

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
    """Take one optimizer step in each run, over all micro-batches of its batch; returns the mean
    loss of each run's batch, still on the device."""
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
    """Train trials of one shape together; yields the points of their curves, and a `Left` for each
    trial that leaves.

    A trial continues from its checkpoint, or else from its trunk's state, if there is one. Before
    each step, every trial for which `stopping(index)` is true leaves. `losses` is the program:
    telescope.train.pack.losses, or telescope.train.compiled.compiled_losses.

    Trials that measure coordinates run one after the other instead, by `pack.losses` and without
    checkpoints; such a trial leaves after a step.
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
    """After a step of all runs, yield the points and store the states that are due, and remove
    ended runs from `runs`."""
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
    """Train one trial, from its checkpoint or its trunk's state if there is one; yields the points
    of its curve, the last with the final held-out loss."""
    for progress in train((spec,), (checkpoint,)):
        if not isinstance(progress, Left):
            yield progress.measurement


def _measure_coordinates(
    index: int, run: TrainingRun, stopping: Callable[[int], bool]
) -> Iterator[Progress]:
    """Train one run that measures coordinates; yields its points."""
    for point in _first_steps(run):
        yield Last(index, point) if run.ended else CurvePoint(index, point)
        if not run.ended and stopping(index):
            yield Left(index)
            return


def _first_steps(run: TrainingRun) -> Iterator[Measurement]:
    """Yield a point per step. The metrics tell how far the layers' outputs on the fixed batch have
    moved since step 0."""
    clock = Clock()
    beginning = probes.Beginning(run.model, run.batch(0)[:, :-1])
    while not run.ended:
        step_runs([run])
        metrics = run.metrics(run.judge()) | beginning.metrics()
        clock.charge([run])
        yield run.point(metrics)
