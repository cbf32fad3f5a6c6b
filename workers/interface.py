"""The interface between the coordinator and the executors that run trials.

Four methods and three properties, the `Executor` protocol, held to one contract suite
(`tests/workers/test_contract.py`):

- `submit` hands over trials and returns at once; the executor may queue them.
- `stop` requests the end of a trial; the answer is a `Stopped` event, or the terminal event that
  came first.
- `events` waits up to `timeout` seconds and returns the events since the last call, in order within
  each trial.
- `close` ends every process that the executor started; trials still running are lost, not failed.

The contract of events: for each submitted (trial, attempt) there is one `Started`, then any number
of `Measured`, then exactly one of `Finished`, `Failed` or `Stopped` (which may come without
`Started` for a trial that never began). Executors never retry. `Waiting` is about the executor as a
whole. An attempt that resumes sends the whole curve up to its checkpoint again, since the listener
to the previous attempt may not have received all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from telescope.trials.outcome import Failure, Measurement
from telescope.trials.spec import TrialSpec

# environment variable: seconds between a trial's checkpoints, 30 by default
CHECKPOINT_SECONDS = "TELESCOPE_CHECKPOINT_SECONDS"


@dataclass(frozen=True)
class Assignment:
    """One attempt at one trial, as handed to a worker."""

    trial_id: int
    attempt: int
    spec: TrialSpec
    checkpoint: str  # file of this trial's checkpoint, shared by all attempts
    # its job: workers take from the job with the fewest running trials, and a pack is from one job
    # only
    job: str = ""
    # operational ones so far; a pause, or the end of a coordinator, is not a failure
    failures: int = 0


@dataclass(frozen=True)
class Started:
    """A worker began. `resumed_step` is 0 for a fresh start, and `branch.step` for a branch that
    begins at its trunk's state."""

    trial_id: int
    attempt: int
    resumed_step: int
    worker: str
    numerics: str  # the arithmetic that it computes with (telescope.trials.numerics)


@dataclass(frozen=True)
class Measured:
    """New points of a curve."""

    trial_id: int
    attempt: int
    points: tuple[Measurement, ...]


@dataclass(frozen=True)
class Finished:
    """The trial trained to its end, stopped below its loss, or diverged; the last point tells
    which."""

    trial_id: int
    attempt: int
    points: tuple[Measurement, ...]  # the rest of the curve, at least the last point


@dataclass(frozen=True)
class Failed:
    """An operational failure: an exception, a dead process, a lost corpus."""

    trial_id: int
    attempt: int
    failure: Failure


@dataclass(frozen=True)
class Stopped:
    """The trial ended because of a call to `stop`."""

    trial_id: int
    attempt: int


@dataclass(frozen=True)
class Waiting:
    """For 30 s or more no worker could be placed: what a worker needs, and what is free. None: a
    worker could be placed again."""

    reason: str | None


Event = Started | Measured | Finished | Failed | Stopped | Waiting
TERMINAL = (Finished, Failed, Stopped)


class Executor(Protocol):
    """Runs trials; the module's docstring is the contract."""

    @property
    def slots(self) -> int:
        """Largest number of workers that train at once; may grow."""
        ...

    @property
    def room(self) -> int:
        """Number of assignments that it can use at once: those that run, perhaps several per
        worker, and those next in line."""
        ...

    @property
    def numerics(self) -> str | None:
        """Arithmetic of the worker that became warm last; None before the first is warm."""
        ...

    def submit(self, *assignments: Assignment) -> None:
        """Hand over an attempt at each trial; returns at once. Trials that come together may be
        trained together."""
        ...

    def stop(self, trial_id: int) -> None:
        """Request the end of a submitted trial; unknown or ended trials are ignored."""
        ...

    def events(self, timeout: float) -> Sequence[Event]:
        """Events since the last call, waiting up to `timeout` seconds for the first; empty if there
        are none.

        Raises WorkersLost if the executor can no longer run anything.
        """
        ...

    def close(self) -> None:
        """End everything that the executor started; idempotent."""
        ...
