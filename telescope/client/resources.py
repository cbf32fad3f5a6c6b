"""The resources of the HTTP interface as frozen values, which the server sends and the client
reads.

Their fields are declared here only: the rows of `api.store` extend these classes, and the OpenAPI
document derives its schemas from them, with the text below a field as its description. A reader
ignores fields that only a newer server sends, and uses the default of a field that an older server
does not send.

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
    """State of a job; `meaning` describes each state in a sentence."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def meaning(self) -> str:
        """One sentence for users."""
        return MEANING[self]

    @property
    def terminal(self) -> bool:
        """True if the job has ended; only a retry continues it."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


MEANING = {
    JobState.QUEUED: "Accepted, resumed or retried; the coordinator has not started on it.",
    JobState.RUNNING: (
        "Its trials are being planned and run; `waiting_for` says what it needs, if anything."
    ),
    JobState.PAUSED: (
        "None of its trials runs or starts until it is resumed; they keep their checkpoints."
    ),
    JobState.SUCCEEDED: "It has its final report, whatever the verdict.",
    JobState.FAILED: (
        "It could not be answered, and `reason` says why; "
        "a retry runs the trials that failed or were stopped, and no others."
    ),
    JobState.CANCELLED: (
        "It was cancelled; its measurements stay readable, and a retry continues from there."
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
    """A verb that the coordinator has not carried out yet."""
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
    """Raised by every change of the job or of the state of its trials; also its ETag."""

    @property
    def terminal(self) -> bool:
        """True if the job has ended; only a retry continues it."""
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
    """What the trial measures: its loss, the coordinate check before the search, or how long a step
    takes."""
    state: TrialState
    attempt: int
    failures: int
    """Operational failures so far."""
    worker: str | None
    loss: float | None
    """Final held-out loss; null until the trial completed, and if it diverged."""
    diverged: bool
    """The loss was not finite, or stayed above its start: a result, the worst possible."""
    step: int
    """Step of the last point of its curve."""
    steps: int
    """Steps of the whole run; a run that stops below its loss makes fewer."""
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
    """The arithmetic that computed its numbers: torch, device, telescope."""
    reused_from: int | None
    """The trial of an earlier job that trained it, at no cost to this job."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    ladder: str | None = None
    """The ladder that planned it, named by its optimizer."""
    stage: str | None = None
    """The stage of the ladder that planned it; null in trials of old databases, as is the level."""
    level: int | None = None
    """The level of the ladder, 0 at the base width; null for trials of no level: checks, and runs
    at the target."""
    variant: str = ""
    """The architecture or text of the trial, if its job compares several."""


@dataclass(frozen=True, config=WIRE)
class TrialDetail(TrialSummary):
    """A trial with its full specification."""

    spec: dict[str, Any] = field(kw_only=True)


@dataclass(frozen=True, config=WIRE)
class Curve:
    """Loss against steps, tokens, FLOPs and seconds, as columns of one length."""

    trial_id: int
    step: tuple[int, ...]
    tokens: tuple[int, ...]
    flops: tuple[float, ...]
    seconds: tuple[float, ...]
    metrics: dict[str, tuple[float | None, ...]]
    """train_loss: mean since the previous point; loss: held-out. Null at points without a
    measurement, or where it was not finite."""


@dataclass(frozen=True, config=WIRE)
class Corpus:
    """A text that jobs can name in `data.corpus`."""

    name: str
    built_in: bool
    path: str | None
    """Path of a registered corpus on the server; null for a built-in one."""
