"""What happens inside a worker from the moment an assignment arrives?

`run` restores the trial's checkpoint, iterates the one training loop, and yields the events of `workers.interface`: `Started`,
points batched into `Measured`, and one terminal event. An exception becomes a `Failed` here, so that every executor reports
failures alike; a diverged trial is `Finished`, for divergence is data. A worker is used for many trials: `tidy` leaves it as it was
found, and `warm_up` pays once for what every trial would pay for (torch's import, its first kernels).

Parts: `run` · `warm_up` · `settle` · `tidy`.
"""

import gc
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator

import torch

from telescope.checkpoint import CheckpointFile
from telescope.errors import CorpusLost, InvalidInput
from telescope.numerics import numerics
from telescope.train import curve_of, train_one
from telescope.trial import Failure, Measurement
from workers.interface import CHECKPOINT_SECONDS, Assignment, Event, Failed, Finished, Measured, Started, Stopped

FLUSH_POINTS = 100
FLUSH_SECONDS = 0.5
TRACEBACK_LINES = 6


def run(assignment: Assignment, stopping: Callable[[], bool]) -> Iterator[Event]:
    """Run one attempt to its end, looking at `stopping` after each point; closing the generator stops it too."""
    trial_id, attempt = assignment.trial_id, assignment.attempt
    try:
        yield from _train(assignment, stopping)
    except (CorpusLost, InvalidInput) as error:
        yield Failed(trial_id, attempt, Failure("operational", error.message, retryable=False))
    except Exception as error:
        yield Failed(trial_id, attempt, Failure("operational", _explain(error)))
    finally:
        tidy()


def _train(assignment: Assignment, stopping: Callable[[], bool]) -> Iterator[Event]:
    trial_id, attempt = assignment.trial_id, assignment.attempt
    checkpoint = CheckpointFile(assignment.checkpoint, float(os.environ.get(CHECKPOINT_SECONDS, "30")))
    state = checkpoint.load()  # the training loop loads it again: once per attempt, and rarely there
    yield Started(trial_id, attempt, checkpoint.step, f"{socket.gethostname()}:{os.getpid()}", numerics())
    if state:  # a checkpoint may be ahead of what the coordinator wrote down before it died
        yield Measured(trial_id, attempt, tuple(curve_of(state)))
        del state
    points: list[Measurement] = []
    flushed = time.monotonic()
    for point in train_one(assignment.spec, checkpoint):
        points.append(point)
        if len(points) >= FLUSH_POINTS or time.monotonic() - flushed >= FLUSH_SECONDS:
            yield Measured(trial_id, attempt, tuple(points))
            points, flushed = [], time.monotonic()
        if stopping():
            yield Stopped(trial_id, attempt)
            return
    yield Finished(trial_id, attempt, tuple(points) or (point,))


def _explain(error: Exception) -> str:
    """What happened in one line, then where: the end of the traceback."""
    what = "out of memory: " if isinstance(error, (MemoryError, torch.OutOfMemoryError)) else ""
    lines = "".join(traceback.format_tb(error.__traceback__)).splitlines()
    return "\n".join([f"{what}{type(error).__name__}: {error}", *lines[-TRACEBACK_LINES:]])


def warm_up() -> None:
    """Do once what the first trial would otherwise pay for: one thread, first kernels, a CUDA context where there is a GPU."""
    settle()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    weight = torch.zeros(8, 8, device=device, requires_grad=True)
    (torch.ones(8, 8, device=device) @ weight).sum().backward()  # type: ignore[no-untyped-call]
    torch.optim.AdamW([weight], fused=True).step()  # the first optimizer imports a good part of torch
    del weight
    tidy()


def settle() -> None:
    """The process-wide settings that every trial starts from."""
    torch.set_num_threads(1)  # workers share a machine by one thread each; and so a curve does not depend on the core count
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("highest")
    torch.use_deterministic_algorithms(False)


def tidy() -> None:
    """After a trial: free its memory, forget compiled code, restore the settings."""
    gc.collect()
    gc.freeze()  # what outlives a trial outlives them all: looking at torch's modules each time would take fifty milliseconds
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if dynamo := sys.modules.get("torch._dynamo"):
        dynamo.reset()
    settle()
