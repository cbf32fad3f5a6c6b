"""Types that `api.store` returns and accepts.

The store returns `JobRow` and `TrialRow`, the resources that clients see, which hold only scalars
and are cheap to list; `Page`; `Pending`, a trial that waits for a worker; and `TrainingRate`, the
speed of workers. It accepts `Begun`, the start of an attempt, and `TrialFilter`. Curves are in
`api.store.curves`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from telescope.client.resources import Job, TrialSummary
from telescope.trials.horizon import Branch
from telescope.trials.outcome import Failure, TrialState
from telescope.trials.spec import TrialSpec

RowType = TypeVar("RowType")


@dataclass(frozen=True)
class Page(Generic[RowType]):
    """A page of a list; `next_page_token` requests the next page and is None on the last page."""

    items: tuple[RowType, ...]
    next_page_token: str | None


@dataclass(frozen=True)
class JobRow(Job):
    """A job without its study and result, with the limits that the coordinator enforces."""

    max_parallel: int | None
    max_seconds: float | None
    running_since: datetime | None  # None while the job does not run
    running_seconds: float  # time spent running, without the time since `running_since`


@dataclass(frozen=True)
class TrialRow(TrialSummary):
    """A trial without its specification and its curve."""

    @property
    def failure(self) -> Failure | None:
        """The trial's divergence, or its last operational failure; None without either."""
        if self.failure_kind == "scientific":
            return Failure("scientific", self.failure_message or "", retryable=False)
        return Failure("operational", self.failure_message or "") if self.failure_kind else None


@dataclass(frozen=True)
class Pending:
    """A trial that waits for a worker."""

    trial_id: int
    attempt: int  # number of the next attempt, from 1
    failures: int  # number of failed attempts since the job was last retried
    spec: TrialSpec


@dataclass(frozen=True)
class Begun:
    """The start of an attempt by a worker."""

    resumed_step: int  # step of the checkpoint or trunk that is continued; 0 for a fresh start
    worker: str
    numerics: str  # numerics of the worker (telescope.trials.numerics)
    branch: Branch | None = None  # the trunk and step that the trial branches from, if any


@dataclass(frozen=True)
class TrialFilter:
    """A filter of a job's trials; a field that is None admits every value."""

    state: TrialState | None = None
    width: int | None = None
    optimizer: str | None = None


ALL_TRIALS = TrialFilter()


@dataclass(frozen=True)
class TrainingRate:
    """Training speed of trials of one shape on one kind of worker."""

    optimizer: str
    width: int
    batch_tokens: int
    numerics: str  # numerics of the worker, which name its device
    trials: int  # number of trials measured
    flops_per_second: float
