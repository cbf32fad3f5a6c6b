"""What does the database say, in types?

Frozen rows as `api.store` returns them: `JobRow` and `TrialRow` (scalars only, cheap to list), `Page`, `Pending`, a trial that may be
handed to a worker, and `Rate`, how fast workers were. Curves are in `api.store.curves`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from api.job_states import JobState, Verb
from telescope.trials.outcome import Failure, TrialState
from telescope.trials.spec import TrialSpec

Row = TypeVar("Row")


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows of a list; `next_page_token` asks for the following ones, None: there are none."""

    items: tuple[Row, ...]
    next_page_token: str | None


@dataclass(frozen=True)
class JobRow:
    """A job without its study and its result."""

    id: str
    name: str
    kind: str
    state: JobState
    requested: Verb | None  # a verb that the coordinator has not carried out yet
    waiting_for: str | None  # what the job lacks to go on, in words
    reason: str | None  # why it ended as it did
    owner: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    trials_done: int  # completed
    trials_total: int  # planned so far
    best_loss: float | None  # least finite held-out loss of its completed trials
    max_parallel: int | None
    max_seconds: float | None
    running_since: datetime | None  # None while it does not run
    running_seconds: float  # spent running before `running_since`
    version: int  # raised by every change of the job or its trials' fates


@dataclass(frozen=True)
class TrialRow:
    """A trial without its full specification and its curve."""

    id: int
    job_id: str
    digest: str
    optimizer: str
    width: int
    lr: float
    weight_decay: float
    seed: int
    measure: str  # loss; coordinates, of the check before the search; or time, of a step
    state: TrialState
    attempt: int
    failures: int  # operational failures so far
    worker: str | None
    loss: float | None  # final held-out loss; None until completed, and where it diverged
    diverged: bool
    step: int  # of its last point
    steps: int  # of the whole run; one that stops below its loss makes fewer
    batch_tokens: int | None  # per step; None in rows from before it was recorded
    flops: float  # useful: of the steps that its curve holds
    flops_spent: float  # over all attempts, repeated steps included
    seconds: float
    failure_kind: str | None
    failure_message: str | None
    numerics: str | None  # what its numbers were computed with; None until it began
    reused_from: int | None  # the trial of an earlier job that trained it
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    ladder: str | None  # where it stands in its study; None where it was planned before this was recorded
    stage: str | None
    level: int | None  # None also of trials that belong to no level
    variant: str | None  # empty where the study compares none

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
class Rate:
    """How fast trials of one shape were trained, on one kind of worker."""

    optimizer: str
    width: int
    batch_tokens: int
    numerics: str  # of the worker, its device included
    trials: int
    flops_per_second: float
