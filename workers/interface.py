"""The interface between the coordinator and the executors that run trials.

An executor has the four methods and three properties of the `Executor` protocol. All executors pass
the same contract suite, `tests/workers/test_contract.py`:

- `submit` hands over trials and returns at once; the executor may queue them.
- `stop` requests the end of a trial; the answer is a `Stopped` event, or the terminal event that
  came first.
- `events` waits up to `timeout` seconds for the first event and returns the events since the last
  call, in order within each trial.
- `close` ends every process that the executor started; trials still running are lost, not failed.

The contract of events: for each submitted (trial, attempt) there is one `Started`, then any number
of `Measured`, then exactly one of `Finished`, `Failed` or `Stopped`. A trial that never began may
end without `Started`. Executors never retry. A `Waiting` event concerns the executor as a whole. An
attempt that resumes sends the curve up to the checkpoint again, since the coordinator may not have
recorded all of this curve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from telescope.trials.outcome import Failure, Measurement
from telescope.trials.spec import TrialSpec

# Environment variable: seconds between a trial's checkpoints, 30 by default.
CHECKPOINT_SECONDS = "TELESCOPE_CHECKPOINT_SECONDS"


@dataclass(frozen=True)
class Assignment:
    """One attempt at one trial, as handed to a worker."""

    trial_id: int
    attempt: int
    spec: TrialSpec
    checkpoint: str  # path of the trial's checkpoint file, which all attempts share
    # Id of the trial's job. Workers take trials of the job with the fewest running trials; all
    # trials of a pack belong to one job.
    job: str = ""
    # Number of operational failures since the job was last retried; a pause, or the end of a
    # coordinator, is not a failure.
    failures: int = 0


@dataclass(frozen=True)
class Started:
    """A worker began the attempt.

    `resumed_step` is 0 for a fresh start, and `branch.step` for a branch that begins at its trunk's
    state.
    """

    trial_id: int
    attempt: int
    resumed_step: int
    worker: str
    numerics: str  # numerics of the worker (telescope.trials.numerics)


@dataclass(frozen=True)
class Measured:
    """New points of the trial's curve."""

    trial_id: int
    attempt: int
    points: tuple[Measurement, ...]


@dataclass(frozen=True)
class Finished:
    """The trial trained to its end, reached `stop_below_loss`, or diverged.

    The last point of the curve shows which of the three happened.
    """

    trial_id: int
    attempt: int
    points: tuple[Measurement, ...]  # the rest of the curve, the last point included


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
    """Some workers are missing, or all are placed again.

    A worker is missing if it is not placed in time (30 s by default), if the cluster is too small
    for it, or if its process could not start.
    """

    reason: str | None  # why a worker is missing; None if all workers are placed


Event = Started | Measured | Finished | Failed | Stopped | Waiting
TERMINAL = (Finished, Failed, Stopped)


class Executor(Protocol):
    """Runs trials; the docstring of this module is the contract."""

    @property
    def slots(self) -> int:
        """Number of workers that can train at once; the number may grow."""
        ...

    @property
    def room(self) -> int:
        """Number of unfinished assignments to keep submitted: those in training, and a queue.

        A worker may train several assignments at once.
        """
        ...

    @property
    def numerics(self) -> str | None:
        """Numerics of one of the newest warm workers; None while no worker has reported any."""
        ...

    def submit(self, *assignments: Assignment) -> None:
        """Submit attempts and return at once.

        Trials that are submitted together may be trained together.
        """
        ...

    def stop(self, trial_id: int) -> None:
        """Request the end of a submitted trial; ignore unknown and ended trials."""
        ...

    def events(self, timeout: float) -> Sequence[Event]:
        """Return the events since the last call; wait up to `timeout` seconds for the first.

        Raises WorkersLost if the executor can no longer run anything.
        """
        ...

    def close(self) -> None:
        """End everything that the executor started; idempotent."""
        ...
