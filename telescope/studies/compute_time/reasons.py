"""The reasons for a compute-time study's verdict, as values.

Each kind of reason or doubt is a class, and the fields of the class hold its numbers. Code that
decides by a reason or doubt tests the class. The module `wording` turns both into text.

Parts: `OptimizerBatch` · `HyperparameterDoubt`, a doubt about hyperparameters · `NoAnswer`, the
reason why a target loss has no answer · `Doubt`, any doubt about an answer · `Reason`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from telescope.studies.endings import RunsPending, StudyStopped
from telescope.trials.types import OptimizerName

RangeEnd = Literal["low", "high"]


@dataclass(frozen=True, kw_only=True)
class OptimizerBatch:
    """An optimizer and a batch size."""

    optimizer: OptimizerName
    batch_tokens: int


# Doubts about hyperparameters


@dataclass(frozen=True, kw_only=True)
class EveryRateDiverged:
    """In the search for hyperparameters at a batch, every learning rate had at least one run that
    diverged."""

    code: Literal["every_rate_diverged"] = "every_rate_diverged"
    batch_tokens: int
    lr_low: float  # the lowest learning rate of the search
    lr_high: float  # the highest learning rate of the search


@dataclass(frozen=True, kw_only=True)
class BestAtEdge:
    """The best learning rate of a search is the lowest or the highest one that was tried."""

    code: Literal["best_at_edge"] = "best_at_edge"
    batch_tokens: int
    edge: RangeEnd
    lr: float


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """The document gives hyperparameters and states a reservation about them."""

    code: Literal["marked"] = "marked"
    mark: str  # the text of the reservation


HyperparameterDoubt = Annotated[
    EveryRateDiverged | BestAtEdge | Reservation, Field(discriminator="code")
]

# Target losses without an answer


@dataclass(frozen=True, kw_only=True)
class NothingToRead:
    """No course has a point so far. A course is the loss against tokens of one optimizer, batch
    size and seed."""

    code: Literal["nothing_to_read"] = "nothing_to_read"
    target_loss: float


@dataclass(frozen=True, kw_only=True)
class NotReached:
    """No run reached the target loss."""

    code: Literal["not_reached"] = "not_reached"
    target_loss: float
    highest_loss: float  # the highest loss on any smoothed course (loss against tokens)
    lowest_loss: float  # the lowest loss on any smoothed course


NoAnswer = Annotated[NothingToRead | NotReached, Field(discriminator="code")]

# Other doubts


@dataclass(frozen=True, kw_only=True)
class Borrowed:
    """Some batches use the hyperparameters of the nearest batch at which hyperparameters are tuned
    or given."""

    code: Literal["borrowed"] = "borrowed"
    batches: tuple[OptimizerBatch, ...]


@dataclass(frozen=True, kw_only=True)
class NoTargets:
    """The document names no target loss."""

    code: Literal["no_targets"] = "no_targets"


@dataclass(frozen=True, kw_only=True)
class RunsCensored:
    """Some batches have runs that ended before they reached a target loss, without diverging."""

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
    """Some batches have runs that were below a target loss at the first point of their curve."""

    code: Literal["runs_early"] = "runs_early"
    target_loss: float
    batches: tuple[OptimizerBatch, ...]


@dataclass(frozen=True, kw_only=True)
class OneSeed:
    """The study has a single seed, so the differences between runs with different seeds are
    unknown."""

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
class Doubted:
    """All runs are completed, and there are doubts about the answer."""

    code: Literal["doubted"] = "doubted"
    doubts: tuple[Doubt, ...]


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Every run reached every target loss, and there are no doubts."""

    code: Literal["resolved"] = "resolved"
    tuned: bool  # true if this study tuned its hyperparameters
    jobs: tuple[str, ...] = ()  # the jobs that hyperparameters were taken from


Reason = Annotated[StudyStopped | RunsPending | Doubted | Resolved, Field(discriminator="code")]
