"""The resources of the HTTP interface as frozen values, which the server sends and the client
reads.

Here alone their fields are listed: the rows of `api.store` extend them, the OpenAPI document takes
its schemas from them, and what stands below a field becomes its description there. A reader ignores
what a newer server says beyond them; defaults stand for what an older one does not say.

Parts: `JobState`, `Verb` · `Job`, `JobDetail` · `Trial`, `TrialDetail` · `Curve` · `Corpus`.
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
    """Where a job stands; each state's sentence is its `meaning`."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def meaning(self) -> str:
        """One sentence for people."""
        return MEANING[self]

    @property
    def terminal(self) -> bool:
        """It has ended; only a retry leads on."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


MEANING = {
    JobState.QUEUED: "Accepted, resumed or retried; the coordinator has not begun with it.",
    JobState.RUNNING: (
        "Its trials are being planned and run; `waiting_for` says what it lacks, if anything."
    ),
    JobState.PAUSED: "Nothing of it runs or starts until it is resumed; its trials keep their checkpoints.",
    JobState.SUCCEEDED: "It has its final report, whatever the verdict.",
    JobState.FAILED: "It could not be answered, and `reason` says why; a retry runs again what failed or was stopped, and nothing else.",
    JobState.CANCELLED: "It was cancelled; what had been measured stays readable, and a retry goes on from there.",
}


class Verb(StrEnum):
    """What users may ask of a job."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"


@dataclass(frozen=True, config=WIRE)
class Job:
    """A submitted study and how far it has come."""

    id: str
    name: str
    kind: str
    state: JobState
    requested: Verb | None
    """A verb that the coordinator has not carried out yet."""
    waiting_for: str | None
    """What the job lacks to go on, such as a free GPU."""
    reason: str | None
    """Why it ended as it did."""
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
    """Raised by every change of the job or of the fate of its trials; also its ETag."""

    @property
    def terminal(self) -> bool:
        """It has ended; only a retry leads on."""
        return self.state.terminal


@dataclass(frozen=True, config=WIRE)
class JobDetail(Job):
    """A job with the study that it answers."""

    study: dict[str, Any]
    """The study in full, every default and the corpus's content hash filled in; it can be submitted
    again."""


@dataclass(frozen=True, config=WIRE)
class Trial:
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
    """What it is for: its loss, the coordinate check before the search, or how long a step
    takes."""
    state: TrialState
    attempt: int
    failures: int
    """Operational failures so far."""
    worker: str | None
    loss: float | None
    """Final held-out loss; null until the trial completed, and where it diverged."""
    diverged: bool
    """The loss was not finite, or stayed above its start: a result, the worst one."""
    step: int
    """Of the last point of its curve."""
    steps: int
    """Steps of the whole run; one that stops below its loss makes fewer."""
    batch_tokens: int | None
    """Tokens per step; null in trials of old databases."""
    flops: float
    """Useful ones."""
    flops_spent: float
    """Over all attempts, repeated steps included."""
    seconds: float
    failure_kind: Literal["operational", "scientific"] | None
    failure_message: str | None
    numerics: str | None
    """What its numbers were computed with: torch, device, telescope."""
    reused_from: int | None
    """The trial of an earlier job that trained it, at no cost to this one."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    ladder: str | None = None
    """The ladder, by its optimizer, that planned it."""
    stage: str | None = None
    """The stage of the ladder that planned it; null in trials of old databases, as is the level."""
    level: int | None = None
    """The level of the ladder, 0 at the base width; null for trials of no level: checks, runs at
    the target."""
    variant: str = ""
    """The architecture or text that it is of, where its job compares several."""


@dataclass(frozen=True, config=WIRE)
class TrialDetail(Trial):
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
    """train_loss: mean since the point before; loss: held-out. Null where it was not measured or
    not finite."""


@dataclass(frozen=True, config=WIRE)
class Corpus:
    """A text that jobs can name in `data.corpus`."""

    name: str
    built_in: bool
    path: str | None
    """Where a registered corpus lies on the server; null for a built-in one."""
