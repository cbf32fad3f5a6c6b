"""Why a compute-time study's verdict is what it is, as values: a class for each reason and each doubt, with its numbers.

Whatever decides by a reason reads its class. The words are made in `wording`, where a report is put together.

Parts: `OptimizerBatch` · doubts about hyperparameters, `HyperparameterDoubt` · target losses that cannot be read, `Unread` · other doubts,
`Doubt` · `Reason`: `Stopped`, `Running`, `Doubted`, `Resolved`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from telescope.trials.types import OptimizerName

Edge = Literal["low", "high"]


@dataclass(frozen=True, kw_only=True)
class OptimizerBatch:
    """One optimizer at one batch."""

    optimizer: OptimizerName
    batch_tokens: int


# Why hyperparameters may be off


@dataclass(frozen=True, kw_only=True)
class EveryRateDiverged:
    """No learning rate of a search gave a finite loss."""

    code: Literal["every_rate_diverged"] = "every_rate_diverged"
    batch_tokens: int
    lr_low: float
    lr_high: float


@dataclass(frozen=True, kw_only=True)
class BestAtEdge:
    """The best learning rate of a search lies at an end of all that were tried."""

    code: Literal["best_at_edge"] = "best_at_edge"
    batch_tokens: int
    edge: Edge
    lr: float


@dataclass(frozen=True, kw_only=True)
class Marked:
    """The document marks hyperparameters that it gives."""

    code: Literal["marked"] = "marked"
    mark: str


HyperparameterDoubt = Annotated[EveryRateDiverged | BestAtEdge | Marked, Field(discriminator="code")]

# Why a target loss cannot be read


@dataclass(frozen=True, kw_only=True)
class NothingToRead:
    """No run has points yet."""

    code: Literal["nothing_to_read"] = "nothing_to_read"
    target_loss: float


@dataclass(frozen=True, kw_only=True)
class NotReached:
    """No run came down to the target loss."""

    code: Literal["not_reached"] = "not_reached"
    target_loss: float
    highest_loss: float  # of all runs
    lowest_loss: float


Unread = Annotated[NothingToRead | NotReached, Field(discriminator="code")]

# What else an answer may not rest on


@dataclass(frozen=True, kw_only=True)
class Borrowed:
    """Batches that have the hyperparameters of the nearest one."""

    code: Literal["borrowed"] = "borrowed"
    batches: tuple[OptimizerBatch, ...]


@dataclass(frozen=True, kw_only=True)
class NoTargets:
    """The study names no target loss."""

    code: Literal["no_targets"] = "no_targets"


@dataclass(frozen=True, kw_only=True)
class RunsCensored:
    """Batches with runs that did not come down to a target loss."""

    code: Literal["runs_censored"] = "runs_censored"
    target_loss: float
    batches: tuple[OptimizerBatch, ...]


@dataclass(frozen=True, kw_only=True)
class RunsDiverged:
    """Batches with runs that diverged before a target loss."""

    code: Literal["runs_diverged"] = "runs_diverged"
    target_loss: float
    batches: tuple[OptimizerBatch, ...]


@dataclass(frozen=True, kw_only=True)
class RunsEarly:
    """Batches with runs that were below a target loss at their first point."""

    code: Literal["runs_early"] = "runs_early"
    target_loss: float
    batches: tuple[OptimizerBatch, ...]


@dataclass(frozen=True, kw_only=True)
class OneSeed:
    """Nothing is known of the noise."""

    code: Literal["one_seed"] = "one_seed"


Doubt = Annotated[
    EveryRateDiverged
    | BestAtEdge
    | Marked
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

# Why a verdict is what it is


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """The study was ended before its question was answered."""

    code: Literal["stopped"] = "stopped"
    by: str  # an `EndCause`
    detail: str | None = None  # of a failure: what failed


@dataclass(frozen=True, kw_only=True)
class Running:
    """Runs are still to come."""

    code: Literal["running"] = "running"


@dataclass(frozen=True, kw_only=True)
class Doubted:
    """All runs have ended, and the answer may not be relied on."""

    code: Literal["doubted"] = "doubted"
    doubts: tuple[Doubt, ...]


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Every run reached every target loss."""

    code: Literal["resolved"] = "resolved"
    tuned: bool  # hyperparameters were searched for, and found inside their ranges
    jobs: tuple[str, ...] = ()  # that hyperparameters were taken from; without any, a user gave them


Reason = Annotated[Stopped | Running | Doubted | Resolved, Field(discriminator="code")]
