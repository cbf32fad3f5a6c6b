"""The resources of the HTTP interface as frozen values."""

from datetime import datetime
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

TERMINAL_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
LENIENT = ConfigDict(extra="ignore")  # a newer server may say more


@dataclass(frozen=True, config=LENIENT)
class Job:
    """A submitted study and how far it has come."""

    id: str
    name: str
    kind: str
    state: str
    requested: str | None  # a verb that is not carried out yet
    waiting_for: str | None
    reason: str | None
    owner: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    trials_done: int
    trials_total: int
    best_loss: float | None
    version: int
    study: dict[str, Any] | None = None  # every default filled in; None in lists and in answers to verbs

    @property
    def terminal(self) -> bool:
        """Nothing will change any more."""
        return self.state in TERMINAL_STATES


@dataclass(frozen=True, config=LENIENT)
class Trial:
    """A training run; `loss` is None until it completed, and where it diverged."""

    id: int
    job_id: str
    digest: str
    optimizer: str
    width: int
    lr: float
    weight_decay: float
    seed: int
    measure: str  # loss; coordinates, of the check before the search; or time, of a step
    state: str
    attempt: int
    failures: int
    worker: str | None
    loss: float | None
    diverged: bool
    step: int
    steps: int
    batch_tokens: int | None
    flops: float
    flops_spent: float
    seconds: float
    failure_kind: str | None
    failure_message: str | None
    numerics: str | None  # what its numbers were computed with
    reused_from: int | None  # the trial of an earlier job that trained it
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    ladder: str | None = None  # the optimizer whose ladder planned it; None of trials of old databases
    stage: str | None = None
    level: int | None = None  # None also of trials that belong to no level
    variant: str = ""  # of architectures or texts, where the job compares several
    spec: dict[str, Any] | None = None  # None in lists


@dataclass(frozen=True, config=LENIENT)
class Curve:
    """Columns of one length; a metric is None where it was not measured or not finite."""

    trial_id: int
    step: tuple[int, ...]
    tokens: tuple[int, ...]
    flops: tuple[float, ...]
    seconds: tuple[float, ...]
    metrics: dict[str, tuple[float | None, ...]]


@dataclass(frozen=True, config=LENIENT)
class Corpus:
    """A text that jobs can name; `path` is None for a built-in one."""

    name: str
    built_in: bool
    path: str | None
