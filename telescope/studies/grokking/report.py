"""The report of a grokking study, `GrokkingReport`.

The study compares when runs of AdamW and of Muon generalise. A *cell* is a task together with a
softmax; each cell is a comparison of its own. The *ledger* states what each optimizer received.

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
    edges: tuple[str, ...]  # best values that were the lowest or highest tried, as texts
    # trials, diverged, flops and seconds also count the trials of the tuning and reused trials
    trials: int
    diverged: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class PooledTest:
    """The test of arXiv 2504.16041: Student's t-test of the epochs at which runs generalised,
    pooled over tasks and softmaxes. A run counts once both optimizers' runs with its seed have
    finished in its cell. The test is repeated only for comparison with the paper; no verdict
    depends on it."""

    adamw_mean_epochs: float
    muon_mean_epochs: float
    t: float
    df: float
    p: float
    runs: int  # runs that generalised
    left_out: int  # runs that never generalised
    faults: tuple[str, ...]  # what is wrong with the test, as texts


@dataclass(frozen=True)
class OverCells:
    """Tests over all cells, for one of the two readings of generalisation."""

    event: EventName
    log_rank_chi2: float | None  # of the log-rank test, stratified by cell
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
    tokens: int  # tokens, flops and seconds count only the trials that this job trained
    flops: float
    seconds: float
    because: Reason | None = None  # the reason whose text is `reason`
