"""The report of a compute-time study, `OptimizerComparison`.

The report contains the answer to each target loss, the hyperparameters at each batch, and a ledger
of the tuning and training that each optimizer received. It does not contain the rows of hours
against devices, since they are many; the module `analysis` computes them for any target loss.

A *course* consists of the runs that give the loss against tokens, for an optimizer, batch size and
seed.
"""

from dataclasses import dataclass
from typing import Literal

from telescope.statistics.frontier import Dominance
from telescope.statistics.token_ratio import Standing
from telescope.studies.compute_time.reasons import NoAnswer, Reason
from telescope.studies.compute_time.rows import BatchAnswer, RatioAnswer, Source
from telescope.trials.types import OptimizerName

ComparisonVerdict = Literal["resolved", "unresolved"]


@dataclass(frozen=True)
class BatchReport:
    """The hyperparameters of an optimizer at a batch, and the progress of its runs there."""

    optimizer: OptimizerName
    batch_tokens: int
    lr: float
    weight_decay: float
    source: Source  # where lr and weight_decay come from
    doubt: str  # doubts about the hyperparameters, as text; empty without doubts
    runs: int  # number of completed runs of the courses
    diverged: int  # number of runs, among those in `runs`, that diverged
    trained_tokens: float  # tokens at the last point of the longest course; 0 if there is no point
    lowest_loss: float | None  # lowest held-out loss of any course; None if there is none yet
    # seconds per step, measured by a run that had a worker to itself; None until that run is
    # completed
    step_seconds: float | None
    run_seconds: float  # seconds of the completed runs, including the run that times a step


@dataclass(frozen=True)
class LedgerEntry:
    """The tuning and training that an optimizer received. Readers can compare the entries of the
    optimizers to judge whether the comparison is fair."""

    optimizer: OptimizerName
    hyperparameters: str  # the source of the hyperparameters, as text
    tuning_trials: int
    tuned_batches: tuple[int, ...]
    lr_low: float | None  # lowest learning rate tried; None without completed tuning trials
    lr_high: float | None  # highest learning rate tried
    lr_octaves: float  # octaves (doublings) from lr_low to lr_high; 0 without tuning trials
    weight_decays: tuple[float, ...]  # the weight decays that are compared; empty without tuning
    # doubts about searches, such as a best learning rate at the end of a grid
    edges: tuple[str, ...]
    tuning_tokens: int
    tuning_flops: float
    tuning_seconds: float
    seeds: int
    schedule: str  # how losses are read off runs, and the length of the warm-up, as text
    fixed: str  # hyperparameters that were not tuned, as text
    precision: str
    trials: int  # number of all trials; this field and all fields below include tuning
    diverged: int
    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class AtTarget:
    """The answer to one target loss."""

    target_loss: float
    reached: bool  # true if at least one run reached the loss
    # Muon's standing against AdamW, in tokens: ahead or behind if at least one batch has a resolved
    # standing and all resolved standings agree, otherwise unresolved; None if no run reached the
    # loss, or if no batch allows a comparison
    muon: Standing | None
    sentence: str  # the answer as text
    batches: BatchAnswer | None
    ratio: RatioAnswer | None
    # comparison of AdamW (first) and Muon (second) by hours against devices; None if no run reached
    # the loss, or if no device count lies within the range of both optimizers' frontiers
    dominance: Dominance | None
    # the reason why no run reached the loss; None if a run reached it, and in older reports
    because: NoAnswer | None = None


@dataclass(frozen=True)
class OptimizerComparison:
    """The report: verdict, answers, hyperparameters, ledger and cost."""

    final: bool
    verdict: ComparisonVerdict
    reason: str
    read: str  # how losses were read off the runs, as text
    # highest and lowest loss on all smoothed courses; targets between them can be queried; None if
    # no loss was recorded
    highest_loss: float | None
    lowest_loss: float | None
    targets: tuple[AtTarget, ...]
    batches: tuple[BatchReport, ...]
    ledger: tuple[LedgerEntry, ...]
    trials: int
    reused: int  # number of these trials that other jobs had trained
    tokens: int  # tokens of the trials that this job trained
    flops: float  # FLOPs of the trials that this job trained
    seconds: float  # seconds of one worker for the trials that this job trained
    because: Reason | None = None  # the reason as a value; None in older reports
