"""The interface between the coordinator and the executors.

A trial is one training run, and an attempt is one execution of a trial. The coordinator submits
attempts to an executor, which trains them on its workers and reports events. All executors pass the
same tests, `tests/workers/test_contract.py`. An executor has the properties of the `Executor`
protocol and these four methods:

- `submit` hands over attempts and returns at once. The executor may queue them.
- `stop` requests the end of a trial. The executor answers with a `Stopped` event, unless the
  attempt ends in another way first.
- `events` returns the events since the last call, in order within each trial. It waits up to
  `timeout` seconds for the first event.
- `close` ends the processes that the executor started. Attempts that have not ended may get no
  terminal event.

Unless the executor is closed, each submitted attempt has one `Started` event, then any number of
`Measured` events, and then exactly one terminal event: `Finished`, `Failed` or `Stopped`. But an
attempt that never began may end without `Started`. A `Waiting` event concerns the executor as a
whole. Executors never retry a trial. An attempt that resumes from a checkpoint (the saved state of
an earlier attempt) sends the curve up to the checkpoint again, since the coordinator may not have
recorded all of this curve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from telescope.trials.outcome import Failure, Measurement
from telescope.trials.spec import TrialSpec

# Environment variable: the least time between two checkpoints of a trial, in seconds. 30 by
# default.
CHECKPOINT_SECONDS = "TELESCOPE_CHECKPOINT_SECONDS"


@dataclass(frozen=True)
class Assignment:
    """One attempt at one trial, as it is submitted."""

    trial_id: int
    attempt: int
    spec: TrialSpec
    checkpoint: str  # path of the trial's checkpoint file, which all attempts share
    # Id of the trial's job. Free workers serve the job with the fewest running trials first. Trials
    # that are trained together belong to one job.
    job: str = ""
    # Number of failed attempts since a user last retried the job. An attempt that ended because of
    # a pause, or because a coordinator ended, is not counted.
    failures: int = 0


@dataclass(frozen=True)
class Started:
    """A worker began the attempt.

    `resumed_step` is the number of steps that are already done: 0 without a stored state, and the
    checkpoint's step after resuming from a checkpoint. A branch is a trial that continues from a
    stored state of another trial. If the attempt begins at that state, `resumed_step` is
    `branch.step`.
    """

    trial_id: int
    attempt: int
    resumed_step: int
    worker: str  # host name and process id
    numerics: str  # the worker's versions and device, as a string (telescope.trials.numerics)


@dataclass(frozen=True)
class Measured:
    """Points of the trial's curve. A point holds the loss and other numbers at one step."""

    trial_id: int
    attempt: int
    points: tuple[Measurement, ...]


@dataclass(frozen=True)
class Finished:
    """The trial ended with a result.

    The trial took its last step, reached the loss `stop_below_loss` of its spec, generalised for
    long enough (`stop_when_sustained`), or diverged. The last point of the curve tells which.
    """

    trial_id: int
    attempt: int
    points: tuple[Measurement, ...]  # the points that follow the last `Measured`; at least one


@dataclass(frozen=True)
class Failed:
    """The attempt failed, for instance because of an exception or the death of a process."""

    trial_id: int
    attempt: int
    failure: Failure


@dataclass(frozen=True)
class Stopped:
    """The attempt ended because of a call of `stop` or `close`."""

    trial_id: int
    attempt: int


@dataclass(frozen=True)
class Waiting:
    """A change in the missing workers.

    A worker is missing if it is not ready in time (30 s by default), if the cluster is too small
    for it, or if its process could not start.
    """

    reason: str | None  # why a worker is missing; None if no worker is missing any more


Event = Started | Measured | Finished | Failed | Stopped | Waiting
TERMINAL = (Finished, Failed, Stopped)  # the types of terminal events


class Executor(Protocol):
    """Runs trials. The docstring of this module states the contract."""

    @property
    def slots(self) -> int:
        """Number of workers. The number may grow."""
        ...

    @property
    def room(self) -> int:
        """Number of unfinished assignments that the coordinator should keep submitted.

        It is larger than the number of workers, so that a free worker finds assignments to train.
        A worker may train several assignments together.
        """
        ...

    @property
    def numerics(self) -> str | None:
        """Numerics that a worker has reported; None until a worker has reported any.

        Numerics are a string that names the worker's version of torch, its device, and the revision
        of telescope's arithmetic.
        """
        ...

    def submit(self, *assignments: Assignment) -> None:
        """Submit attempts and return at once.

        Trials that are submitted together may be trained together.
        """
        ...

    def stop(self, trial_id: int) -> None:
        """Request the end of a submitted trial. Ignore a trial that is unknown or has ended."""
        ...

    def events(self, timeout: float) -> Sequence[Event]:
        """Return the events since the last call; wait up to `timeout` seconds for the first.

        Raises WorkersLost if the executor can run no more trials.
        """
        ...

    def close(self) -> None:
        """End the processes that the executor started. Further calls have no effect."""
        ...
