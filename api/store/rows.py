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
    """A page of a list. `next_page_token` requests the next page. It is None on the last page."""

    items: tuple[RowType, ...]
    next_page_token: str | None


@dataclass(frozen=True)
class JobRow(Job):
    """A job without its study and its result, but with limits that the coordinator enforces.

    The coordinator is the process that runs the jobs. A limit that is None does not apply.
    """

    max_parallel: int | None  # largest number of trials that may run at the same time
    max_seconds: float | None  # longest time that the job may run
    running_since: datetime | None  # None while the job does not run
    running_seconds: float  # time that the job has run, not counting the time since `running_since`


@dataclass(frozen=True)
class TrialRow(TrialSummary):
    """A trial without its specification and its curve."""

    @property
    def failure(self) -> Failure | None:
        """The trial's failure; None if it has none.

        A scientific failure is a divergence of the loss. An operational failure is any other
        failure, such as a crash of the worker. If several attempts failed, this is the failure of
        the last one.
        """
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

    resumed_step: int  # step from which the attempt continues; 0 if it starts afresh
    worker: str
    numerics: str  # the worker's device and software, as telescope.trials.numerics names them
    # the run that the trial continues (its trunk), and the step from which it continues that run;
    # None if the trial shares no steps with another run
    branch: Branch | None = None


@dataclass(frozen=True)
class TrialFilter:
    """A filter of a job's trials. A field that is None admits every value."""

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
