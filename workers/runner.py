"""The runner: trials inside a worker.

`run_attempts` restores the checkpoint of each trial, or the state that it branches from, iterates
the training loop, and yields the events of `workers.interface`: `Started`, points batched into
`Measured`, and one terminal event. An exception becomes a `Failed` here, so that every executor
reports failures in the same way; a diverged trial is `Finished`, since divergence is data. A worker
is used for many trials: `tidy` restores it after each, and `warm_up` pays once for what every trial
would otherwise pay for (torch's import, its first kernels).

Parts: `run_attempts`, `AttemptReporter` · `warm_up` · `settle` · `tidy`.
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

FLUSH_POINTS = 100
FLUSH_SECONDS = 0.5  # times the number of trials that train together: each event is a transaction
TRACEBACK_LINES = 6


def run_attempts(
    assignments: Sequence[Assignment], stopping: Callable[[Assignment], bool], compile: bool = False
) -> Iterator[Event]:
    """Run an attempt at each of these trials, of one shape, to its end; `stopping` is checked at
    each step. `compile`: if possible.

    Closing the generator stops all trials. An exception fails all trials that have not ended.
    """
    left = list(assignments)
    failure: Failure | None = None
    try:
        for event in _train(assignments, stopping, compile):
            if isinstance(event, TERMINAL):
                left = [assignment for assignment in left if assignment.trial_id != event.trial_id]
            yield event
    except (CorpusLost, FactoryLost, InvalidInput) as error:
        failure = Failure("operational", error.message, retryable=False)
    except Exception as error:
        failure = Failure("operational", _explain(error))
    finally:
        tidy()
    if failure:
        yield from (Failed(assignment.trial_id, assignment.attempt, failure) for assignment in left)


class AttemptReporter:
    """Events of one attempt: its points, in batches."""

    def __init__(
        self, assignment: Assignment, checkpoint: CheckpointFile, flush_seconds: float
    ) -> None:
        self.assignment, self.checkpoint, self._flush_seconds = (
            assignment,
            checkpoint,
            flush_seconds,
        )
        self._points: list[Measurement] = []
        self._flushed = time.monotonic()

    def begin(self) -> Iterator[Event]:
        """The first events of an attempt. A checkpoint may be ahead of what the coordinator stored
        before it died, so its curve is sent again."""
        trial_id, attempt = self.assignment.trial_id, self.assignment.attempt
        # the training loop loads it again: once per attempt, and rarely there
        state = self.checkpoint.load(self.assignment.spec.branch)
        yield Started(
            trial_id,
            attempt,
            self.checkpoint.step,
            f"{socket.gethostname()}:{os.getpid()}",
            numerics(),
        )
        if state and (curve := curve_of(state)):
            yield Measured(trial_id, attempt, tuple(curve))

    def add(self, told: Progress) -> Iterator[Event]:
        """Turn an item of the training loop into events."""
        trial_id, attempt = self.assignment.trial_id, self.assignment.attempt
        match told:
            case CurvePoint(_, measurement):
                self._points.append(measurement)
                if (
                    len(self._points) >= FLUSH_POINTS
                    or time.monotonic() - self._flushed >= self._flush_seconds
                ):
                    yield from self._flush()
            case Last(_, measurement):
                yield Finished(trial_id, attempt, (*self._points, measurement))
            case Left():
                yield from self._flush()
                yield Stopped(trial_id, attempt)

    def _flush(self) -> Iterator[Event]:
        """The points that were held back."""
        if self._points:
            yield Measured(self.assignment.trial_id, self.assignment.attempt, tuple(self._points))
            self._points, self._flushed = [], time.monotonic()


def _train(
    assignments: Sequence[Assignment], stopping: Callable[[Assignment], bool], compile: bool
) -> Iterator[Event]:
    every_seconds, flush_seconds = (
        float(os.environ.get(CHECKPOINT_SECONDS, "30")),
        FLUSH_SECONDS * len(assignments),
    )
    reports = [
        AttemptReporter(each, CheckpointFile(each.checkpoint, every_seconds), flush_seconds)
        for each in assignments
    ]
    for report in reports:
        yield from report.begin()
    specs, files = (
        [assignment.spec for assignment in assignments],
        [report.checkpoint for report in reports],
    )
    losses = (
        compiled.compiled_losses
        if compile and compiled.ensure_compiled(compiled.Graph.of(specs[0]))
        else pack.losses
    )
    for told in train(specs, files, lambda index: stopping(assignments[index]), losses):
        yield from reports[told.index].add(told)


def _explain(error: Exception) -> str:
    """The error in one line, then its place: the end of the traceback."""
    what = "out of memory: " if isinstance(error, (MemoryError, torch.OutOfMemoryError)) else ""
    lines = "".join(traceback.format_tb(error.__traceback__)).splitlines()
    return "\n".join([f"{what}{type(error).__name__}: {error}", *lines[-TRACEBACK_LINES:]])


def warm_up() -> None:
    """Do once what the first trial would otherwise pay for: one thread, first kernels, a CUDA
    context if there is a GPU."""
    settle()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    weight = torch.zeros(8, 8, device=device, requires_grad=True)
    (torch.ones(8, 8, device=device) @ weight).sum().backward()  # type: ignore[no-untyped-call]
    # the first optimizer imports a large part of torch
    torch.optim.AdamW([weight], fused=True).step()
    del weight
    tidy()


def settle() -> None:
    """Process-wide settings that every trial starts from."""
    # workers share a machine with one thread each; and curves do not depend on the core count
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("highest")
    torch.use_deterministic_algorithms(False)


def tidy() -> None:
    """After a trial: free its memory, restore the settings; compiled code stays for the next
    trial."""
    gc.collect()
    # objects that outlive one trial outlive all of them: collecting torch's modules each time would
    # take fifty milliseconds
    gc.freeze()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    settle()
