"""The resources of the HTTP interface, as frozen values that the server sends and the client reads.

The fields of a resource are declared only here: the rows of `api.store` extend these classes, and
the OpenAPI document derives its schemas from them, with the docstring of a field as the field's
description. The client ignores fields that only a newer server sends, and uses the default of a
field that an older server does not send.

Parts: `JobState`, `Verb` · `Job`, `JobDetail` · `TrialSummary`, `TrialDetail` · `Curve` · `Corpus`.
"""

from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from telescope.trials.outcome import TrialState

WIRE = ConfigDict(
    extra="ignore", use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
)


class JobState(StrEnum):
    """State of a job; `meaning` describes the state to users."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def meaning(self) -> str:
        """One sentence about a job in this state."""
        return MEANING[self]

    @property
    def terminal(self) -> bool:
        """True if the job has ended; a retry continues it, unless it succeeded."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


MEANING = {
    JobState.QUEUED: "Accepted, resumed or retried; the coordinator has not started on it.",
    JobState.RUNNING: (
        "Its trials are planned and run; `waiting_for` says what the job waits for, if anything."
    ),
    JobState.PAUSED: (
        "Its trials are stopped, with their checkpoints kept, until the job is resumed."
    ),
    JobState.SUCCEEDED: "It has its final report, whatever the verdict.",
    JobState.FAILED: (
        "No answer was possible, and `reason` says why; "
        "a retry runs only the trials that failed or were stopped."
    ),
    JobState.CANCELLED: (
        "A user cancelled it; its measurements stay readable, and a retry continues the job."
    ),
}


class Verb(StrEnum):
    """The verbs that users may apply to a job."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"


@dataclass(frozen=True, config=WIRE)
class Job:
    """A submitted study and its progress."""

    id: str
    name: str
    kind: str
    state: JobState
    requested: Verb | None
    """A verb that was requested and not carried out yet."""
    waiting_for: str | None
    """What the job needs to continue, such as a free GPU."""
    reason: str | None
    """The reason why the job ended in its state."""
    owner: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    trials_done: int
    """Completed trials."""
    trials_total: int
    """Trials planned so far; later stages add theirs."""
    best_loss: float | None
    """Least held-out loss so far."""
    version: int
    """Number that grows with every change of the job or of a trial's state; the job's ETag."""

    @property
    def terminal(self) -> bool:
        """True if the job has ended; a retry continues it, unless it succeeded."""
        return self.state.terminal


@dataclass(frozen=True, config=WIRE)
class JobDetail(Job):
    """A job with the study that it answers."""

    study: dict[str, Any]
    """The full study, with all defaults and the corpus's content hash filled in; it can be
    submitted again."""


@dataclass(frozen=True, config=WIRE)
class TrialSummary:
    """One training run of a job."""

    id: int
    job_id: str
    digest: str
    """Identity of the run: equal specifications have equal digests."""
    optimizer: str
    width: int
    lr: float
    """Base learning rate, independent of width."""
    weight_decay: float
    seed: int
    measure: Literal["loss", "coordinates", "time"]
    """What the trial measures: its loss, the layer changes of a coordinate check, or the time of a
    step."""
    state: TrialState
    attempt: int
    failures: int
    """Number of operational failures so far."""
    worker: str | None
    loss: float | None
    """Final held-out loss; null before the trial is completed, and if it diverged."""
    diverged: bool
    """True if the loss was not finite or stayed above its start for long: the worst possible
    result."""
    step: int
    """Step of the last point of the trial's curve."""
    steps: int
    """Steps of the whole run; a run that ends at `stop_below_loss` takes fewer."""
    batch_tokens: int | None
    """Tokens per step; null in trials of old databases."""
    flops: float
    """Useful floating-point operations."""
    flops_spent: float
    """Floating-point operations over all attempts, repeated steps included."""
    seconds: float
    failure_kind: Literal["operational", "scientific"] | None
    failure_message: str | None
    numerics: str | None
    """The arithmetic that computed the trial's numbers: torch, device and telescope's revision."""
    reused_from: int | None
    """Id of the trial of an earlier job whose curve this trial reuses, at no cost to this job."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    ladder: str | None = None
    """The ladder that planned the trial, named by its optimizer."""
    stage: str | None = None
    """The stage of the ladder in which the trial was planned; null in trials of old databases."""
    level: int | None = None
    """The level of the ladder, 0 at the base width; null in trials of old databases and in trials
    without a level: coordinate checks, runs at the target, and trials of compute-time jobs."""
    variant: str = ""
    """The variant of the trial; empty if the job compares no variants."""


@dataclass(frozen=True, config=WIRE)
class TrialDetail(TrialSummary):
    """A trial with its full specification."""

    spec: dict[str, Any] = field(kw_only=True)


@dataclass(frozen=True, config=WIRE)
class Curve:
    """Loss against steps, tokens, FLOPs and seconds, as columns of equal length."""

    trial_id: int
    step: tuple[int, ...]
    tokens: tuple[int, ...]
    flops: tuple[float, ...]
    seconds: tuple[float, ...]
    metrics: dict[str, tuple[float | None, ...]]
    """`train_loss` is the mean since the previous point, `loss` the held-out loss. Null at points
    without a finite measurement."""


@dataclass(frozen=True, config=WIRE)
class Corpus:
    """A corpus that jobs can name in `data.corpus`."""

    name: str
    built_in: bool
    path: str | None
    """Path of a registered corpus on the server; null for a built-in one."""
