"""The runner, which trains trials inside a worker.

`run_attempts` trains a pack, which is a group of trials that are trained together. It runs the
training loop (`telescope.train.loop`) and yields the events of `workers.interface`. For each trial,
these are a `Started` event, then any number of `Measured` events with one or more points of the
curve each, then one terminal event. A trial continues from its checkpoint if there is one. Without
a checkpoint, a branch (a trial that continues another trial) begins at the stored state of the
other trial. If that state cannot be read, the branch first repeats the steps of the other trial. An
exception becomes a `Failed` event here, so that all executors report failures in the same way. A
trial that diverges ends with a `Finished` event, since divergence is a result.

A worker process runs many trials. `warm_up` does in advance what would delay the first trial, and
`clean_up` restores the state of the process after each pack.
"""

import gc
import os
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Sequence

import torch

from telescope.errors import CorpusLost, FactoryLost, InvalidInput
from telescope.train import compiled, pack
from telescope.train.checkpoint import CheckpointFile
from telescope.train.loop import CurvePoint, Last, Left, Progress, train
from telescope.train.run import curve_of
from telescope.trials.numerics import numerics
from telescope.trials.outcome import Failure, Measurement
from workers.interface import (
    CHECKPOINT_SECONDS,
    TERMINAL,
    Assignment,
    Event,
    Failed,
    Finished,
    Measured,
    Started,
    Stopped,
)

FLUSH_POINTS = 100  # this many new points are reported even if FLUSH_SECONDS have not passed
# Seconds between two reports of a trial that is trained alone. In a pack, the time is multiplied by
# the number of trials, since the coordinator writes one transaction per report.
FLUSH_SECONDS = 0.5
TRACEBACK_LINES = 6  # number of traceback lines in the message of a failure


def run_attempts(
    assignments: Sequence[Assignment], stopping: Callable[[Assignment], bool], compile: bool = False
) -> Iterator[Event]:
    """Train trials of one shape together, and yield their events.

    `stopping` returns True if a trial should stop; it is called between steps. With `compile`,
    compiled code trains the trials if this process can compile. Closing the generator ends all
    trials without further events. After an exception, all trials that have not ended fail.
    """
    unfinished = list(assignments)
    failure: Failure | None = None
    try:
        for event in _train(assignments, stopping, compile):
            if isinstance(event, TERMINAL):
                unfinished = [
                    assignment for assignment in unfinished if assignment.trial_id != event.trial_id
                ]
            yield event
    except (CorpusLost, FactoryLost, InvalidInput) as error:
        failure = Failure("operational", error.message, retryable=False)
    except Exception as error:
        failure = Failure("operational", _explain(error))
    finally:
        clean_up()
    if failure:
        for assignment in unfinished:
            yield Failed(assignment.trial_id, assignment.attempt, failure)


class AttemptReporter:
    """Converts the training loop's output for one attempt to events."""

    def __init__(
        self, assignment: Assignment, checkpoint: CheckpointFile, flush_seconds: float
    ) -> None:
        self.assignment = assignment
        self.checkpoint = checkpoint
        self._flush_seconds = flush_seconds
        self._points: list[Measurement] = []
        self._flushed = time.monotonic()

    def begin(self) -> Iterator[Event]:
        """Yield the first events of the attempt.

        The curve up to the checkpoint is sent again, since the coordinator may have died before it
        recorded all of this curve.
        """
        trial_id, attempt = self.assignment.trial_id, self.assignment.attempt
        # The training loop loads the checkpoint a second time. This costs little, since it happens
        # only once per attempt.
        state = self.checkpoint.load(self.assignment.spec.branch)
        worker = f"{socket.gethostname()}:{os.getpid()}"
        yield Started(trial_id, attempt, self.checkpoint.step, worker, numerics())
        if state and (curve := curve_of(state)):
            yield Measured(trial_id, attempt, tuple(curve))

    def report(self, progress: Progress) -> Iterator[Event]:
        """Yield the events that follow from one item of the training loop's output."""
        trial_id, attempt = self.assignment.trial_id, self.assignment.attempt
        match progress:
            case CurvePoint(_, measurement):
                self._points.append(measurement)
                is_due = time.monotonic() - self._flushed >= self._flush_seconds
                if is_due or len(self._points) >= FLUSH_POINTS:
                    yield from self._flush()
            case Last(_, measurement):
                yield Finished(trial_id, attempt, (*self._points, measurement))
            case Left():
                yield from self._flush()
                yield Stopped(trial_id, attempt)

    def _flush(self) -> Iterator[Event]:
        """Yield an event with the points since the last flush, if there are any."""
        if self._points:
            yield Measured(self.assignment.trial_id, self.assignment.attempt, tuple(self._points))
            self._points, self._flushed = [], time.monotonic()


def _train(
    assignments: Sequence[Assignment], stopping: Callable[[Assignment], bool], compile: bool
) -> Iterator[Event]:
    checkpoint_seconds = float(os.environ.get(CHECKPOINT_SECONDS, "30"))
    flush_seconds = FLUSH_SECONDS * len(assignments)
    specs = [assignment.spec for assignment in assignments]
    files = [
        CheckpointFile(assignment.checkpoint, checkpoint_seconds) for assignment in assignments
    ]
    reporters = [
        AttemptReporter(assignment, file, flush_seconds)
        for assignment, file in zip(assignments, files, strict=True)
    ]
    for reporter in reporters:
        yield from reporter.begin()
    losses = pack.losses
    if compile and compiled.ensure_compiled(compiled.Graph.of(specs[0])):
        losses = compiled.compiled_losses
    for progress in train(specs, files, lambda index: stopping(assignments[index]), losses):
        yield from reporters[progress.index].report(progress)


def _explain(error: Exception) -> str:
    """Describe an error: its type and message, then the last lines of the traceback."""
    prefix = "out of memory: " if isinstance(error, (MemoryError, torch.OutOfMemoryError)) else ""
    lines = "".join(traceback.format_tb(error.__traceback__)).splitlines()
    return "\n".join([f"{prefix}{type(error).__name__}: {error}", *lines[-TRACEBACK_LINES:]])


def warm_up() -> None:
    """Do in advance what would delay the first trial.

    Apply the settings, run a first computation, which creates the CUDA context on a GPU, and take a
    step of an optimizer.
    """
    apply_settings()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    weight = torch.zeros(8, 8, device=device, requires_grad=True)
    (torch.ones(8, 8, device=device) @ weight).sum().backward()  # type: ignore[no-untyped-call]
    # the first optimizer imports a large part of torch
    torch.optim.AdamW([weight], fused=True).step()
    del weight
    clean_up()


def apply_settings() -> None:
    """Apply the process-wide settings of torch that every trial requires."""
    # one thread, since several workers may share a machine, and since curves then do not depend on
    # the number of cores
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("highest")
    torch.use_deterministic_algorithms(False)


def clean_up() -> None:
    """Free the memory of the last trials and apply the settings again. Compiled code stays."""
    gc.collect()
    # Most objects that exist now, such as torch's modules, live until the process ends. Later
    # collections skip frozen objects. This saves 50 ms each time.
    gc.freeze()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    apply_settings()
