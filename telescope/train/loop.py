"""The training loop, which trains one or more trials and yields the points of their loss curves.

`train(specs)` is a generator. A worker reports the points that the generator yields. The argument
`stopping` tells which trials must stop. The trials form a *pack* (telescope.train.pack): their
models and batches have equal shapes, and they run together. `train_one(spec)` trains one trial.

The spec alone determines a trial: the seed determines the initial values, and the seed and the step
determine the batch. A trial has the same curve in a pack as alone, up to rounding. A run can be
resumed from a checkpoint. On a CPU, the losses after the checkpoint are exactly those of an
uninterrupted run, if the pack and the program (compiled or not) are the same as before.

A run ends early if `stopping` says so, and in three other cases:

- The run *diverged* (telescope.train.divergence). Its last point then has an infinite held-out
  loss. Divergence is a result, not an error.
- A held-out loss during training is at or below `stop_below_loss`. This loss is the result.
- The run trains on a table (the rows of an algorithmic task), `stop_when_sustained` is set, and the
  run has memorised the training rows and has generalised to the held-out rows, by both definitions
  of generalising (telescope.trials.milestones).

A *trunk* is a run that stores its state at each of its `kept_steps`. A *branch* is a run that
begins at such a state. If the state is missing, the branch takes the trunk's steps itself, but does
not record them. In both cases, the branch's curve, seconds and FLOPs cover only the steps after
`branch.step`. Both cases give the same losses, up to rounding.

The `measure` of a trial decides what the trial records:

- `coordinates` (telescope.studies.coordinates.check): the run takes a few steps, all on the first
  batch. Each point records how far the outputs of the hidden layers and the logits have moved.
- `time`: every step has a point. The last point records the median time of a step, unless the run
  diverged.
- `loss`: on a text, the point of the last step records the final size of the hidden matrices and
  the effect of the last step (telescope.train.probes), unless the run diverged. On a table, every
  evaluation records the metrics of telescope.train.table_evaluation.

The optimizer's options may ask that each point records the largest attention logit, and that
QK-clip keeps the attention logits from exploding (telescope.optim.qk_clip).
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
    """A point of the curve of trial `index`, other than its last point."""

    index: int
    measurement: Measurement


@dataclass(frozen=True)
class Last:
    """The last point of the curve of trial `index`. It contains the trial's final held-out loss."""

    index: int
    measurement: Measurement


@dataclass(frozen=True)
class Left:
    """Trial `index` left the pack before its last step, because `stopping(index)` was true."""

    index: int


Progress = CurvePoint | Last | Left


class Clock:
    """Divides wall-clock time equally among the runs that trained together in this time, and adds
    each run's share to its seconds."""

    def __init__(self) -> None:
        self.charged_until = time.perf_counter()

    def charge(self, runs: Collection[TrainingRun]) -> None:
        """Divide the time since the last call among these runs; at the first call, the time since
        the clock was made. A branch that still takes the steps of its trunk does not add its share
        to its seconds."""
        time_now = time.perf_counter()
        for run in runs:
            if not run.in_trunk:
                run.seconds += (time_now - self.charged_until) / len(runs)
        self.charged_until = time_now


def step_runs(runs: Sequence[TrainingRun], losses: pack.Losses = pack.losses) -> Tensor:  # (runs)
    """Take one optimizer step in each run, with gradients from all micro-batches of the run's
    batch. Returns the mean loss of each run's batch, as a tensor on the device."""
    models = [run.model for run in runs]
    monitors = [run.logit_monitor for run in runs if run.logit_monitor]
    assert len(runs) == 1 or not monitors, "a run whose logits are recorded trains alone"
    for monitor in monitors:
        monitor.begin_step()
    for run in runs:
        run.reseed()
    micro_batches = list(zip(*(run.micro_batches() for run in runs), strict=True))
    batch_losses = torch.zeros(len(runs), device=runs[0].device)
    for windows in micro_batches:
        loss = pack.losses_of_members(losses, models, windows) / len(micro_batches)
        loss.sum().backward()  # type: ignore[no-untyped-call]
        batch_losses += loss.detach()
    for run in runs:
        run.data.observe_step(run.model, run.evaluates_at(run.step + 1))
    factors = [lr_factor(run.spec.horizon, run.step) for run in runs]
    step_together([run.optimizer for run in runs], factors)
    for monitor in monitors:
        monitor.end_step()
    for run, loss in zip(runs, batch_losses, strict=True):
        run.count_step(loss)
    return batch_losses


def train(
    specs: Sequence[TrialSpec],
    checkpoints: Sequence[CheckpointFile | None] | None = None,
    stopping: Callable[[int], bool] = lambda index: False,
    losses: pack.Losses = pack.losses,
) -> Iterator[Progress]:
    """Train the trials of a pack together. Yields the points of their curves, and a `Left` for each
    trial that leaves before its end. The `index` of a trial is its position in `specs`.

    A trial continues from its checkpoint if there is one, and otherwise from the state of its trunk
    if there is one. Points that the checkpoint contains are not yielded again. Before each step,
    every trial for which `stopping(index)` is true leaves. `losses` computes the losses of trials
    on a text. It is telescope.train.pack.losses or telescope.train.compiled.compiled_losses. For
    trials on a table, telescope.train.pack.answer_losses is used instead.

    Trials that measure coordinates are different: they run one after the other, always by
    `pack.losses`, and without checkpoints. Such a trial takes at least one step before it leaves.
    """
    shapes = {pack.shape(spec) for spec in specs}
    assert len(shapes) == 1, "the trials of a pack must have one shape"
    files = checkpoints or [None] * len(specs)
    losses = pack.program_of(specs[0], losses)
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
    """After a step of all runs, yield the points that are due, store the states that are due, and
    remove from `runs` those that have ended."""
    metrics = {index: run.metrics(run.judge()) for index, run in runs.items() if run.point_due}
    clock.charge(runs.values())
    for index, run in list(runs.items()):
        file = files[index]
        if file and run.step in run.spec.kept_steps and not run.diverged:
            # the state is stored before the point is yielded, since the caller may start branches
            # when it receives the last point
            file.keep(run.spec.digest, run.state())
        if index in metrics:
            point = run.point(metrics[index])
            yield Last(index, point) if run.ended else CurvePoint(index, point)
        if run.ended:
            del runs[index]
        elif file and run.interval_steps == 0 and file.due():
            file.save(run.state())


def train_one(spec: TrialSpec, checkpoint: CheckpointFile | None = None) -> Iterator[Measurement]:
    """Train one trial. Yields the points of its curve; the last point has the final held-out
    loss."""
    for progress in train((spec,), (checkpoint,)):
        if not isinstance(progress, Left):
            yield progress.measurement


def _measure_coordinates(
    index: int, run: TrainingRun, stopping: Callable[[int], bool]
) -> Iterator[Progress]:
    """Train one run that measures coordinates. Yields its points, and a `Left` if it leaves before
    its end."""
    for point in _first_steps(run):
        yield Last(index, point) if run.ended else CurvePoint(index, point)
        if not run.ended and stopping(index):
            yield Left(index)
            return


def _first_steps(run: TrainingRun) -> Iterator[Measurement]:
    """Take all steps of a run that measures coordinates, and yield a point after each. The metrics
    of a point tell how far each layer's output on the first batch has moved since the start of the
    run."""
    clock = Clock()
    beginning = probes.Beginning(run.model, run.batch(0)[:, :-1])
    while not run.ended:
        step_runs([run])
        metrics = run.metrics(run.judge()) | beginning.metrics()
        clock.charge([run])
        yield run.point(metrics)
