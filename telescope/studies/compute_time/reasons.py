"""Reasons for a compute-time study's verdict, each a value: one class per reason or doubt, with
its numbers.

Decisions depend on the class; `wording` gives the text.

Parts: `OptimizerBatch` · `HyperparameterDoubt`, a doubt about hyperparameters · `NoAnswer`, the
reason why a target loss has no answer · `Doubt`, any doubt about an answer · `Reason`:
`StudyStopped`, `RunsPending`, `Doubted`, `Resolved`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from telescope.trials.types import OptimizerName

RangeEnd = Literal["low", "high"]


@dataclass(frozen=True, kw_only=True)
class OptimizerBatch:
    """An optimizer at a batch."""

    optimizer: OptimizerName
    batch_tokens: int


# Doubts about hyperparameters


@dataclass(frozen=True, kw_only=True)
class EveryRateDiverged:
    """No learning rate of a search gave a finite mean loss, since a run diverged at each."""

    code: Literal["every_rate_diverged"] = "every_rate_diverged"
    batch_tokens: int
    lr_low: float
    lr_high: float


@dataclass(frozen=True, kw_only=True)
class BestAtEdge:
    """The best learning rate of a search is the lowest or highest that was tried."""

    code: Literal["best_at_edge"] = "best_at_edge"
    batch_tokens: int
    edge: RangeEnd
    lr: float


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """The document states a reservation about hyperparameters that it gives."""

    code: Literal["marked"] = "marked"
    mark: str  # the text of the reservation


HyperparameterDoubt = Annotated[
    EveryRateDiverged | BestAtEdge | Reservation, Field(discriminator="code")
]

# Target losses without an answer


@dataclass(frozen=True, kw_only=True)
class NothingToRead:
    """No run has given a held-out loss: none has finished, or all diverged before their first."""

    code: Literal["nothing_to_read"] = "nothing_to_read"
    target_loss: float


@dataclass(frozen=True, kw_only=True)
class NotReached:
    """No run reached the target loss."""

    code: Literal["not_reached"] = "not_reached"
    target_loss: float
    highest_loss: float  # the highest loss of any run
    lowest_loss: float


NoAnswer = Annotated[NothingToRead | NotReached, Field(discriminator="code")]

# Other doubts


@dataclass(frozen=True, kw_only=True)
class Borrowed:
    """Some batches use the hyperparameters of the nearest batch that has its own."""

    code: Literal["borrowed"] = "borrowed"
    batches: tuple[OptimizerBatch, ...]


@dataclass(frozen=True, kw_only=True)
class NoTargets:
    """The study names no target loss."""

    code: Literal["no_targets"] = "no_targets"


@dataclass(frozen=True, kw_only=True)
class RunsCensored:
    """Some batches have runs that neither reached a target loss nor diverged."""

    code: Literal["runs_censored"] = "runs_censored"
    target_loss: float
    batches: tuple[OptimizerBatch, ...]


@dataclass(frozen=True, kw_only=True)
class RunsDiverged:
    """Some batches have runs that diverged before they reached a target loss."""

    code: Literal["runs_diverged"] = "runs_diverged"
    target_loss: float
    batches: tuple[OptimizerBatch, ...]


@dataclass(frozen=True, kw_only=True)
class RunsEarly:
    """Some batches have runs that were below a target loss at their first point."""

    code: Literal["runs_early"] = "runs_early"
    target_loss: float
    batches: tuple[OptimizerBatch, ...]


@dataclass(frozen=True, kw_only=True)
class OneSeed:
    """The study has a single seed, so the noise of its runs is unknown."""

    code: Literal["one_seed"] = "one_seed"


Doubt = Annotated[
    EveryRateDiverged
    | BestAtEdge
    | Reservation
    | NothingToRead
    | NotReached
    | Borrowed
    | NoTargets
    | RunsCensored
    | RunsDiverged
    | RunsEarly
    | OneSeed,
    Field(discriminator="code"),
]

# Reasons of verdicts


@dataclass(frozen=True, kw_only=True)
class StudyStopped:
    """The study was ended before its question was answered."""

    code: Literal["stopped"] = "stopped"
    by: str  # an `EndCause`
    detail: str | None = None  # the failure, if a failure ended the study


@dataclass(frozen=True, kw_only=True)
class RunsPending:
    """Runs are still pending."""

    code: Literal["running"] = "running"


@dataclass(frozen=True, kw_only=True)
class Doubted:
    """All runs have ended, and there are doubts about the answer."""

    code: Literal["doubted"] = "doubted"
    doubts: tuple[Doubt, ...]


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Every run reached every target loss, and there are no doubts."""

    code: Literal["resolved"] = "resolved"
    tuned: bool  # true if this study tuned its hyperparameters
    jobs: tuple[str, ...] = ()  # the jobs that hyperparameters were taken from


Reason = Annotated[StudyStopped | RunsPending | Doubted | Resolved, Field(discriminator="code")]
