"""The training loop.

`train(specs)` is a generator of measurements, and the only training loop: a worker forwards what it
yields, a test lists it, and closing it stops the run. Its trials have one shape and run as one
program, a *pack* (telescope.train.pack); `train_one(spec)` is a pack of one. Each trial is a
function of its spec alone: initialisation from the seed, batches from (seed, step); in a pack its
curve is the same as alone, up to rounding. A run resumed from its checkpoint in the same pack, by
the same program, yields, on a CPU, bit for bit the points that an uninterrupted one yields from
there on.

A loss that is not finite, or above that of the first step for a quarter of the run, ends the trial
as *diverged*: its last point has an infinite held-out loss. That is a result, not an error. The
steps are counted on the device at every step, and the count is read where points are recorded, so
that the recording interval decides nothing.

A run whose held-out loss during training is at or below `stop_below_loss` ends there, with that
loss.

A *trunk* stores its state at each of its `kept_steps`. A *branch* begins at such a state, or, if
there is none, makes the trunk's steps itself without recording them: its curve, its seconds and its
FLOPs begin after `branch.step`, and are the same bit for bit, on a CPU, either way.

A trial that measures coordinates (telescope.studies.coordinates.check) takes its few steps all on
the first batch, and each point of its curve records how far every layer's output has moved by then.
A trial that measures time records every step, and at its end the time of a step. Any other trial
that makes its last step records the final size of its hidden matrices (telescope.train.probes). If
the optimizer's options ask for it, the largest attention logits are recorded, and clipped
(telescope.optim.qk_clip).

Parts: `CurvePoint`, `Last`, `Left`, what the loop yields · `step_runs`, a step of several runs ·
`train` and `train_one`, the loop. The runs are in telescope.train.run.
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
    """Trial `index` left because `stopping` named it."""

    index: int


Progress = CurvePoint | Last | Left


class Clock:
    """Wall-clock time, divided equally among the runs that it was spent on."""

    def __init__(self) -> None:
        self.charged = time.perf_counter()

    def charge(self, runs: Collection[TrainingRun]) -> None:
        """Charge the time since the last call to these runs; the steps of a trunk are not
        charged."""
        now = time.perf_counter()
        for run in runs:
            if not run.silent:
                run.seconds += (now - self.charged) / len(runs)
        self.charged = now


def step_runs(runs: Sequence[TrainingRun], losses: pack.Losses = pack.losses) -> Tensor:  # (runs)
    """Make one optimizer step in each run, over all its micro-batches; returns the mean losses of
    their batches, still on the device."""
    models, watches = [run.model for run in runs], [run.watch for run in runs if run.watch]
    assert len(runs) == 1 or not watches, "a run whose logits are recorded trains alone"
    for watch in watches:
        watch.begin_step()
    for run in runs:
        run.reseed()
    micro_batches = list(zip(*(run.micro_batches() for run in runs), strict=True))
    total = torch.zeros(len(runs), device=runs[0].device)
    for windows in micro_batches:
        loss = losses(models, torch.stack(windows)) / len(micro_batches)
        loss.sum().backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    step_together(
        [run.optimizer for run in runs], [lr_factor(run.spec.horizon, run.step) for run in runs]
    )
    for watch in watches:
        watch.end_step()
    for run, loss in zip(runs, total, strict=True):
        run.count(loss)
    return total


def train(
    specs: Sequence[TrialSpec],
    checkpoints: Sequence[CheckpointFile | None] | None = None,
    stopping: Callable[[int], bool] = lambda index: False,
    losses: pack.Losses = pack.losses,
) -> Iterator[Progress]:
    """Train trials of one shape together, each from its checkpoint or its trunk; yields their
    points, and a `Left` for each trial that leaves.

    Before each step, `stopping` returns the indices of trials that should leave. `losses` is the
    program: that of telescope.train.pack or telescope.train.compiled.
    """
    assert len({pack.shape(spec) for spec in specs}) == 1, (
        "the trials of a pack must have one shape"
    )
    files = checkpoints or [None] * len(specs)
    runs = {index: TrainingRun(spec) for index, spec in enumerate(specs)}
    if specs[0].measure == "coordinates":
        for index, run in runs.items():
            yield from coordinates_of(index, run, stopping)
        return
    for run, file in zip(runs.values(), files, strict=True):
        if file and (state := file.load(run.spec.branch)):
            run.restore(state)
    clock = Clock()
    while runs:
        for index in [index for index in runs if stopping(index)]:
            del runs[index]
            yield Left(index)
        if not runs:
            return
        for run in runs.values():
            run.look_ahead()
        step_runs(list(runs.values()), losses)
        points = {index: run.metrics(run.judge()) for index, run in runs.items() if run.recorded}
        clock.charge(runs.values())
        for index, run in list(runs.items()):
            file = files[index]
            if file and run.step in run.spec.kept_steps and not run.diverged:
                file.keep(
                    run.spec.digest, run.state()
                )  # before the caller learns that the run has ended
            if index in points:
                point = run.point(points[index])
                yield Last(index, point) if run.ended else CurvePoint(index, point)
            if run.ended:
                del runs[index]
            elif file and run.interval_steps == 0 and file.due():
                file.save(run.state())


def train_one(spec: TrialSpec, checkpoint: CheckpointFile | None = None) -> Iterator[Measurement]:
    """Train one trial, from its checkpoint or its trunk; yields the points of its curve, the last
    with the final held-out loss."""
    return (
        told.measurement for told in train((spec,), (checkpoint,)) if not isinstance(told, Left)
    )


def coordinates_of(
    index: int, run: TrainingRun, stopping: Callable[[int], bool]
) -> Iterator[Progress]:
    """Train a run that measures coordinates, alone."""
    for point in first_steps(run):
        yield Last(index, point) if run.ended else CurvePoint(index, point)
        if not run.ended and stopping(index):
            yield Left(index)
            return


def first_steps(run: TrainingRun) -> Iterator[Measurement]:
    """A point per step, each with how far the layers' outputs on the fixed batch have moved since
    step 0."""
    clock = Clock()
    beginning = probes.Beginning(run.model, run.batch(0)[:, :-1])
    while not run.ended:
        step_runs([run])
        metrics = run.metrics(run.judge()) | beginning.metrics()
        clock.charge([run])
        yield run.point(metrics)
