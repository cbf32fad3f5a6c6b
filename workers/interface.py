"""What does the coordinator ask of whoever runs trials?

Four methods, the `Executor` protocol, held to one contract suite
(`tests/workers/test_contract.py`):

- `submit` hands trials over and returns at once; the executor may queue them.
- `stop` asks for a trial's end; it is answered by a `Stopped` event, or by the terminal event that
  overtook it.
- `events` waits up to `timeout` seconds and returns what happened since, in order within each
  trial.
- `close` ends every process that the executor started; trials still running are lost, not failed.

The law of events: for each submitted (trial, attempt) there is one `Started`, then any number of
`Measured`, then exactly one of `Finished`, `Failed` or `Stopped` (which may come without `Started`
for a trial that never began). Executors retry nothing. `Waiting` speaks of the executor as a whole.
An attempt that resumes says the whole curve up to its checkpoint again: whoever listened to the one
before may not have heard it all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from telescope.trials.outcome import Failure, Measurement
from telescope.trials.spec import TrialSpec

# environment: seconds between a trial's checkpoints, 30 by default
CHECKPOINT_SECONDS = "TELESCOPE_CHECKPOINT_SECONDS"


@dataclass(frozen=True)
class Assignment:
    """One attempt at one trial, as handed to a worker."""

    trial_id: int
    attempt: int
    spec: TrialSpec
    checkpoint: str  # file where this trial's checkpoint lives, shared by all attempts
    # whose it is: workers take from whoever holds fewest, and train only what is of one job
    # together
    job: str = ""
    failures: int = 0  # operational ones so far; a pause, or a coordinator's end, is none


@dataclass(frozen=True)
class Started:
    """A worker began; `resumed_step` is 0 for a fresh start, and of a branch that begins at its
    trunk's state `branch.step`."""

    trial_id: int
    attempt: int
    resumed_step: int
    worker: str
    numerics: str  # what it computes with (telescope.trials.numerics)


@dataclass(frozen=True)
class Measured:
    """New points of a curve."""

    trial_id: int
    attempt: int
    points: tuple[Measurement, ...]


@dataclass(frozen=True)
class Finished:
    """The trial trained to its end, stopped below its loss, or diverged; the last point says
    which."""

    trial_id: int
    attempt: int
    points: tuple[Measurement, ...]  # the rest of the curve, the last point at least


@dataclass(frozen=True)
class Failed:
    """An operational failure: an exception, a dead process, a lost corpus."""

    trial_id: int
    attempt: int
    failure: Failure


@dataclass(frozen=True)
class Stopped:
    """The trial ended because `stop` asked for it."""

    trial_id: int
    attempt: int


@dataclass(frozen=True)
class Waiting:
    """Since 30 s or more no worker could be placed: what is asked, what is free. None: no longer
    so."""

    reason: str | None


Event = Started | Measured | Finished | Failed | Stopped | Waiting
TERMINAL = (Finished, Failed, Stopped)


class Executor(Protocol):
    """Runs trials; see the module's text for the law."""

    @property
    def slots(self) -> int:
        """Workers, at most, that train at once; may grow."""
        ...

    @property
    def room(self) -> int:
        """Assignments that it makes use of at once: those that run, several to a worker perhaps,
        and those next in line."""
        ...

    @property
    def numerics(self) -> str | None:
        """What the worker that became warm last computes with; None before the first is warm."""
        ...

    def submit(self, *assignments: Assignment) -> None:
        """Hand over one attempt at each; returns at once. Those that come together may be trained
        together."""
        ...

    def stop(self, trial_id: int) -> None:
        """Ask for the end of a submitted trial; unknown or ended ones are ignored."""
        ...

    def events(self, timeout: float) -> Sequence[Event]:
        """What happened, waiting up to `timeout` seconds for the first of it; empty when nothing
        did.

        Raises WorkersLost when the executor can run nothing any more.
        """
        ...

    def close(self) -> None:
        """End everything that the executor started; idempotent."""
        ...
