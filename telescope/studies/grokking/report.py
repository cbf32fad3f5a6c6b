"""The report of a grokking study, `GrokkingReport`.

Parts: `ArmCost`, an entry of the ledger · `PooledTest`, the test of arXiv 2504.16041 ·
`OverCells`, tests over all cells · `GrokkingReport`.
"""

from dataclasses import dataclass
from typing import Literal

from telescope.studies.grokking.assumptions import Assumption
from telescope.studies.grokking.reasons import Reason
from telescope.studies.grokking.rows import CellRow, RunRow
from telescope.studies.grokking.runs import EventName
from telescope.trials.types import OptimizerName

StudyVerdict = Literal["faster", "slower", "not_told_apart", "unbracketed", "depends", "unresolved"]


@dataclass(frozen=True)
class ArmCost:
    """The tuning and training that an optimizer received over all cells."""

    optimizer: OptimizerName
    hyperparameters: str  # the source of the hyperparameters, as text
    tuning_trials: int
    lr_low: float | None  # lowest learning rate of the searches; None without tuning
    lr_high: float | None
    weight_decays: tuple[float, ...]
    adamw_lr_ratios: tuple[float, ...]
    edges: tuple[str, ...]  # searches that ended at an edge, as texts
    trials: int  # with tuning and reused trials, as are the numbers below
    diverged: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class PooledTest:
    """The test of arXiv 2504.16041: Student's t of the epochs of all runs that generalised, pooled
    over tasks and softmaxes. A run counts once both optimizers' runs with its seed have finished.
    The test is repeated to compare with the paper, not to conclude from."""

    adamw_mean_epochs: float
    muon_mean_epochs: float
    t: float
    df: float
    p: float
    runs: int
    left_out: int  # runs that never generalised
    faults: tuple[str, ...]  # what is wrong with the test, as texts


@dataclass(frozen=True)
class OverCells:
    """Tests over all cells, for one reading of the event."""

    event: EventName
    log_rank_chi2: float | None  # stratified by cell
    log_rank_p: float | None
    pooled: PooledTest | None


@dataclass(frozen=True)
class GrokkingReport:
    """The report: verdict, cells, runs, ledger and cost."""

    final: bool
    verdict: StudyVerdict
    reason: str
    protocol: Literal["paper", "tuned"]
    cells: tuple[CellRow, ...]
    over_cells: tuple[OverCells, ...]
    runs: tuple[RunRow, ...]
    assumptions: tuple[Assumption, ...]
    ledger: tuple[ArmCost, ...]
    trials: int
    reused: int  # number of trials that other jobs had trained
    tokens: int  # tokens, flops and seconds are those of the trials that this job trained
    flops: float
    seconds: float
    because: Reason | None = None
