"""Types that `api.store` returns and accepts.

`JobRow` and `TrialRow` hold only scalars and short texts, so that long lists of them are cheap.
Documents, specifications and curves are read separately.
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
    """A page of a list."""

    items: tuple[RowType, ...]
    next_page_token: str | None  # token with which to request the next page; None on the last page


@dataclass(frozen=True)
class JobRow(Job):
    """A job without its study and its result, but with the job's limits and running time."""

    max_parallel: int | None  # largest number of trials that run at the same time; None: no limit
    max_seconds: float | None  # limit on the running time of the job; None: no limit
    running_since: datetime | None  # None while the job does not run
    running_seconds: float  # time that the job has run, not counting the time since `running_since`


@dataclass(frozen=True)
class TrialRow(TrialSummary):
    """A trial without its specification and its curve."""

    @property
    def failure(self) -> Failure | None:
        """The last recorded failure of the trial; None if no failure is recorded.

        A scientific failure is a divergence of the loss. An operational failure is any other
        failure, such as a crash of the worker.
        """
        if self.failure_kind == "scientific":
            return Failure("scientific", self.failure_message or "", retryable=False)
        return Failure("operational", self.failure_message or "") if self.failure_kind else None


@dataclass(frozen=True)
class Pending:
    """A trial that waits for a worker."""

    trial_id: int
    attempt: int  # number of the next attempt, from 1
    failures: int  # number of failed attempts; a retry of the job sets the number to 0
    spec: TrialSpec


@dataclass(frozen=True)
class Begun:
    """The start of an attempt by a worker."""

    resumed_step: int  # step from which the attempt continues; 0 without a saved state
    worker: str
    numerics: str  # the worker's device and software, as telescope.trials.numerics names them
    # the trunk (another trial, which this trial continues), and the step from which this trial
    # continues the trunk; None if this trial has no trunk
    branch: Branch | None = None


@dataclass(frozen=True)
class TrialFilter:
    """A filter for a job's trials. A field that is None admits every value."""

    state: TrialState | None = None
    width: int | None = None
    optimizer: str | None = None


ALL_TRIALS = TrialFilter()


@dataclass(frozen=True)
class TrainingRate:
    """Training speed of trials with one optimizer, width and batch size on one kind of worker."""

    optimizer: str
    width: int
    batch_tokens: int
    numerics: str  # the worker's device and software, as telescope.trials.numerics names them
    trials: int  # number of trials measured
    flops_per_second: float
