"""The reasons for a compute-time study's verdict, and the doubts about its answer, as values.

Each kind of reason or doubt is a class, whose fields hold the details. The module `wording` turns
reasons and doubts into text.

Parts: `OptimizerBatch` · `HyperparameterDoubt`, a doubt about hyperparameters · `NoAnswer`, the
reason why a target loss has no answer · `Doubt`, any doubt about an answer · `Reason`, the reason
for a verdict.
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
    """In the search for hyperparameters at a batch, at least one run diverged at each learning
    rate."""

    code: Literal["every_rate_diverged"] = "every_rate_diverged"
    batch_tokens: int
    lr_low: float  # the lowest learning rate of the search
    lr_high: float  # the highest learning rate of the search


@dataclass(frozen=True, kw_only=True)
class BestAtEdge:
    """The best learning rate of a search is the lowest or the highest that was tried."""

    code: Literal["best_at_edge"] = "best_at_edge"
    batch_tokens: int
    edge: RangeEnd
    lr: float


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """The document states a reservation about the hyperparameters that it gives."""

    code: Literal["marked"] = "marked"
    mark: str  # the text of the reservation


HyperparameterDoubt = Annotated[
    EveryRateDiverged | BestAtEdge | Reservation, Field(discriminator="code")
]

# Target losses without an answer


@dataclass(frozen=True, kw_only=True)
class NothingToRead:
    """The loss curves of the study have no points so far."""

    code: Literal["nothing_to_read"] = "nothing_to_read"
    target_loss: float


@dataclass(frozen=True, kw_only=True)
class NotReached:
    """No run reached the target loss."""

    code: Literal["not_reached"] = "not_reached"
    target_loss: float
    # Highest and lowest loss on the curves in which the target was sought. Under the reading
    # constant, these are smoothed.
    highest_loss: float
    lowest_loss: float


NoAnswer = Annotated[NothingToRead | NotReached, Field(discriminator="code")]

# Other doubts


@dataclass(frozen=True, kw_only=True)
class Borrowed:
    """Some batches use the hyperparameters of another batch: the nearest one that is tuned or
    given."""

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
    """Some batches have runs that were at or below a target loss at the first point of their
    curve."""

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

# Reasons for verdicts


@dataclass(frozen=True, kw_only=True)
class Doubted:
    """All planned runs are completed, and there are doubts about the answer."""

    code: Literal["doubted"] = "doubted"
    doubts: tuple[Doubt, ...]


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Every run reached every target loss, and there are no doubts."""

    code: Literal["resolved"] = "resolved"
    tuned: bool  # true if this study tuned its hyperparameters
    jobs: tuple[str, ...] = ()  # the jobs that hyperparameters were taken from


Reason = Annotated[StudyStopped | RunsPending | Doubted | Resolved, Field(discriminator="code")]
