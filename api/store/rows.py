"""What does the database say, in types?

Frozen rows as `api.store` returns them: `JobRow` and `TrialRow` (the resources of the wire, scalars only, cheap to list), `Page`,
`Pending`, a trial that may be handed to a worker, and `Rate`, how fast workers were; and what `api.store` is told or asked in several
values: `Begun`, how an attempt began, and `TrialFilter`. Curves are in `api.store.curves`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from telescope.client.resources import Job, Trial
from telescope.trials.horizon import Branch
from telescope.trials.outcome import Failure, TrialState
from telescope.trials.spec import TrialSpec

Row = TypeVar("Row")


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows of a list; `next_page_token` asks for the following ones, None: there are none."""

    items: tuple[Row, ...]
    next_page_token: str | None


@dataclass(frozen=True)
class JobRow(Job):
    """A job without its study and its result, and the limits that the coordinator holds it to."""

    max_parallel: int | None
    max_seconds: float | None
    running_since: datetime | None  # None while it does not run
    running_seconds: float  # spent running before `running_since`


@dataclass(frozen=True)
class TrialRow(Trial):
    """A trial without its full specification and its curve."""

    @property
    def failure(self) -> Failure | None:
        """Why it gave no finite loss."""
        if self.failure_kind == "scientific":
            return Failure("scientific", self.failure_message or "", retryable=False)
        return Failure("operational", self.failure_message or "") if self.failure_kind else None


@dataclass(frozen=True)
class Pending:
    """A trial that waits for a worker, which attempt at it comes next, and how many have failed."""

    trial_id: int
    attempt: int
    failures: int
    spec: TrialSpec


@dataclass(frozen=True)
class Begun:
    """How a worker began an attempt at a trial."""

    resumed_step: int  # of the checkpoint or the trunk's state that it goes on from, 0 without one
    worker: str
    numerics: str  # of the worker
    branch: Branch | None = None  # of the trial, where it is one


@dataclass(frozen=True)
class TrialFilter:
    """Which of a job's trials are asked for; what is None lets all through."""

    state: TrialState | None = None
    width: int | None = None
    optimizer: str | None = None


ALL_TRIALS = TrialFilter()


@dataclass(frozen=True)
class Rate:
    """How fast trials of one shape were trained, on one kind of worker."""

    optimizer: str
    width: int
    batch_tokens: int
    numerics: str  # of the worker, its device included
    trials: int
    flops_per_second: float
