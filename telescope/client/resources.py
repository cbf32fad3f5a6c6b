"""The resources of the HTTP interface, as frozen values that the server sends and the client reads.

The fields of a resource are declared only here. The rows of `api.store` extend these classes. The
schemas in the OpenAPI document are derived from these classes, and the docstring of a field becomes
the description of the field. The client ignores fields that only a newer server sends. If an older
server does not send a field, the client uses the field's default.
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
    """State of a job. `meaning` describes the state to users."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def meaning(self) -> str:
        """The description of a job in this state, for users."""
        return MEANING[self]

    @property
    def terminal(self) -> bool:
        """True if the job has ended. A retry continues a job that failed or was cancelled."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


MEANING = {
    JobState.QUEUED: (
        "The job was accepted, resumed or retried, and the coordinator has not started it yet."
    ),
    JobState.RUNNING: (
        "The job's trials are planned and run. If the job has to wait, `waiting_for` says for what."
    ),
    JobState.PAUSED: (
        "No trial of the job runs, and the checkpoints are kept, until the job is resumed."
    ),
    JobState.SUCCEEDED: "The job has its final report, whatever the report's verdict is.",
    JobState.FAILED: (
        "The job could not find an answer, and `reason` says why. "
        "A retry continues the job and keeps the completed trials."
    ),
    JobState.CANCELLED: (
        "A user cancelled the job. The measurements stay readable, and a retry continues the job."
    ),
}


class Verb(StrEnum):
    """The actions that users can request for a job."""

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
    """An action that a user requested and that is not carried out yet; null if there is none."""
    waiting_for: str | None
    """What the job is waiting for, such as a free GPU; null if it is not waiting."""
    reason: str | None
    """The reason why the job ended in its state; null if there is none."""
    owner: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    trials_done: int
    """Number of completed trials."""
    trials_total: int
    """Number of trials planned so far. This number grows when the job plans more trials."""
    best_loss: float | None
    """Lowest held-out loss of the job's completed trials so far; null before the first loss. Trials
    of coordinate checks and of step times do not count."""
    version: int
    """A number that grows with every change of the job, and whenever a trial ends or an attempt
    fails. The job's ETag is this number in quotes."""

    @property
    def terminal(self) -> bool:
        """True if the job has ended. A retry continues a job that failed or was cancelled."""
        return self.state.terminal


@dataclass(frozen=True, config=WIRE)
class JobDetail(Job):
    """A job with the study that it answers."""

    study: dict[str, Any]
    """The full study, in which all defaults and the content hashes of the data are filled in. This
    document can be submitted again."""


@dataclass(frozen=True, config=WIRE)
class TrialSummary:
    """One training run of a job."""

    id: int
    job_id: str
    digest: str
    """Identity of the training run. Trials with equal specifications have equal digests."""
    optimizer: str
    width: int
    lr: float
    """Base learning rate, before it is scaled to the width."""
    weight_decay: float
    seed: int
    measure: Literal["loss", "coordinates", "time"]
    """What the trial measures: its loss, how much the outputs of layers change (in a coordinate
    check), or the time that a step takes."""
    state: TrialState
    attempt: int
    failures: int
    """Number of attempts that failed for another reason than divergence, such as a lost worker.
    When a retry of the job runs the trial again, the count returns to 0."""
    worker: str | None
    loss: float | None
    """Final held-out loss; null before the trial is completed, and if the trial diverged."""
    diverged: bool
    """True if the loss was not finite, or stayed above the loss of the first step for more than a
    quarter of the run and more than 20 steps. Divergence is the worst possible result."""
    step: int
    """Step of the last point of the trial's curve."""
    steps: int
    """Number of steps of the whole run. A run takes fewer steps if its held-out loss reaches
    `horizon.stop_below_loss` or, in a grokking job, once its generalisation is sustained. A run
    that diverges may also end early."""
    batch_tokens: int | None
    """Tokens per step; null in trials of old databases."""
    flops: float
    """Floating-point operations of the steps in the trial's curve; each step counts once."""
    flops_spent: float
    """Floating-point operations of all attempts to run the trial. A repeated step counts each
    time."""
    seconds: float
    failure_kind: Literal["operational", "scientific"] | None
    """scientific: the loss diverged. operational: any other failure, such as a lost worker. Null
    without a failure."""
    failure_message: str | None
    numerics: str | None
    """The software and device that computed the trial's numbers: the version of torch, the device,
    and the revision of telescope's arithmetic; `mixed` if any of these may have changed during the
    trial."""
    reused_from: int | None
    """Id of the trial of another job whose outcome and curve this trial reuses, at no cost to this
    job. Null if this trial does not reuse another trial."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    ladder: str | None = None
    """The optimizer whose search planned the trial. In jobs of kind `telescope`, this search is
    called a ladder. Null if unknown."""
    stage: str | None = None
    """The stage in which the trial was planned. A stage is a set of trials that are planned
    together. Null in trials of old databases."""
    level: int | None = None
    """The number of the trial's width in the ladder: 0 at the base width, 1 at the next width, and
    so on. Null in coordinate checks, in runs at the target width, in trials of jobs of another kind
    than `telescope`, and in trials of old databases."""
    variant: str = ""
    """The trial's variant, which is one of the architectures or texts that the job compares, or in
    a grokking job one of its cells (a task together with a form of softmax in the loss). Empty if
    the trial has no variant."""


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
    """Metrics by name. `train_loss` is the mean training loss since the previous point, and `loss`
    is the held-out loss. A value is null at a point without a finite measurement."""


@dataclass(frozen=True, config=WIRE)
class Corpus:
    """A corpus that a job can name in `data.corpus`."""

    name: str
    built_in: bool
    path: str | None
    """Path of a registered corpus on the server; null for a built-in corpus."""
