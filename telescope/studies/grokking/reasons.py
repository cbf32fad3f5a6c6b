"""Reasons for the verdicts of a grokking study.

Each class of this module with a `code` is a kind of reason. Its fields hold the details of the
reason, and `wording` makes the text.

A *cell* is a task with a variant of softmax; the study compares the optimizers in each cell. A
*pair* is a run of AdamW and a run of Muon with the same seed in the same cell.

Parts: `CellName`, `AxisEdge`, `MeanRatio` · `CellReason`, the reason for a cell's verdict ·
`Reason`, the reason for the study's verdict.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from telescope.studies.endings import RunsPending, StudyStopped
from telescope.trials.types import OptimizerName, SoftmaxName

SpeedVerdict = Literal["faster", "slower"]
SearchAxis = Literal["lr", "weight_decay", "adamw_lr_ratio"]


@dataclass(frozen=True, kw_only=True)
class CellName:
    """A task and a softmax."""

    task: str  # the task's title
    softmax: SoftmaxName


@dataclass(frozen=True, kw_only=True)
class AxisEdge:
    """The best value of an axis (a searched hyperparameter), which is the lowest or highest value
    tried."""

    optimizer: OptimizerName
    axis: SearchAxis
    side: Literal["low", "high"]
    value: float


@dataclass(frozen=True, kw_only=True)
class MeanRatio:
    """AdamW's restricted mean time divided by Muon's, with its 90 % interval. A restricted mean
    time is the mean number of steps to generalise, with each time cut off at a common end."""

    value: float
    low: float
    high: float | None  # None if there is no upper end, as with a single pair


# Reasons of a cell's verdict


@dataclass(frozen=True, kw_only=True)
class CellPending:
    """Runs of the cell are still pending."""

    code: Literal["pending"] = "pending"


@dataclass(frozen=True, kw_only=True)
class OneOptimizer:
    """The study has a single optimizer, so nothing is compared."""

    code: Literal["one_optimizer"] = "one_optimizer"


@dataclass(frozen=True, kw_only=True)
class Unbracketed:
    """A search found the best value of a hyperparameter to be the lowest or highest value tried, so
    a better value may lie beyond."""

    code: Literal["unbracketed"] = "unbracketed"
    edges: tuple[AxisEdge, ...]


@dataclass(frozen=True, kw_only=True)
class NoneGeneralised:
    """No run of either optimizer generalised."""

    code: Literal["none_generalised"] = "none_generalised"
    epochs: int  # largest number of epochs of a run


@dataclass(frozen=True, kw_only=True)
class Told:
    """Muon's restricted mean time differs significantly from AdamW's."""

    code: Literal["told"] = "told"
    direction: SpeedVerdict  # faster: Muon is faster
    ratio: MeanRatio
    p: float  # p-value of the paired permutation test, corrected for the number of cells
    pairs: int
    # optimizers whose search had no run that generalised; their hyperparameters are those of the
    # lowest final loss
    failed_searches: tuple[OptimizerName, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NotTold:
    """The optimizers' restricted mean times do not differ significantly."""

    code: Literal["not_told"] = "not_told"
    ratio: MeanRatio
    p: float  # as in `Told`
    smallest_p: float  # the smallest p that the test can give, corrected for the number of cells
    pairs: int
    # number of pairs with which a ratio of this size would have an even chance to be significant.
    # None if this number is above 1000, or if there are already 1000 pairs. Also None if there is
    # only one pair, since the spread is then unknown
    pairs_needed: int | None
    failed_searches: tuple[OptimizerName, ...] = ()  # as in `Told`


CellReason = Annotated[
    CellPending | OneOptimizer | Unbracketed | NoneGeneralised | Told | NotTold,
    Field(discriminator="code"),
]

# Reasons of the study's verdict


@dataclass(frozen=True, kw_only=True)
class SingleCell:
    """The study has a single cell or a single optimizer. The reason for its verdict is the reason
    for the verdict on its first cell."""

    code: Literal["single_cell"] = "single_cell"
    cell: CellReason


@dataclass(frozen=True, kw_only=True)
class Agreed:
    """All cells have the same verdict."""

    code: Literal["agreed"] = "agreed"
    verdict: str
    cells: int
    # chi-squared of the log-rank test stratified by cell, and its p-value; None if the test is
    # undefined, for instance without events
    chi2: float | None
    p: float | None


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """The cells have different verdicts."""

    code: Literal["mixed"] = "mixed"
    faster: tuple[CellName, ...]
    slower: tuple[CellName, ...]
    not_told: tuple[CellName, ...]
    unbracketed: tuple[CellName, ...]


Reason = Annotated[
    StudyStopped | RunsPending | SingleCell | Agreed | Mixed, Field(discriminator="code")
]
