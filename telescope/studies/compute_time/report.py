"""The report of a compute-time study, `OptimizerComparison`.

The report contains the answer to each target loss, the hyperparameters at each batch, and a ledger
of the tuning and training that each optimizer received. The rows of hours against devices are many,
so the report leaves them out. The module `analysis` computes them for any target loss.

A *course* consists of the runs with one optimizer, batch size and seed that together give one curve
of held-out loss against tokens.
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
    """The hyperparameters and the progress of an optimizer's runs at a batch."""

    optimizer: OptimizerName
    batch_tokens: int
    lr: float
    weight_decay: float
    source: Source  # where lr and weight_decay come from
    doubt: str  # doubts about the hyperparameters, as text; empty without doubts
    runs: int  # number of completed runs of the courses
    diverged: int  # number of completed runs of the courses that diverged
    trained_tokens: float  # tokens at the last point of the longest curve; 0 without points
    lowest_loss: float | None  # lowest loss on the curves; None without points
    # seconds per step, measured by a run that had a worker to itself; None until this run is
    # completed, and if it diverged
    step_seconds: float | None
    # seconds of the completed runs of the courses, and of the run that times a step
    run_seconds: float


@dataclass(frozen=True)
class LedgerEntry:
    """The tuning and training that an optimizer received. The entries of two optimizers show
    whether their comparison is fair."""

    optimizer: OptimizerName
    hyperparameters: str  # the source of the hyperparameters, as text
    tuning_trials: int
    tuned_batches: tuple[int, ...]
    lr_low: float | None  # lowest learning rate tried; None without completed tuning trials
    lr_high: float | None  # highest learning rate tried
    lr_octaves: float  # octaves (doublings) from lr_low to lr_high; 0 without tuning trials
    weight_decays: tuple[float, ...]  # the weight decays that are compared; empty without tuning
    # for each search with doubts about its result, the doubts as text
    edges: tuple[str, ...]
    tuning_tokens: int
    tuning_flops: float
    tuning_seconds: float
    seeds: int
    schedule: str  # how losses are read off runs, and the length of the warm-up, as text
    fixed: str  # further hyperparameters, which the study does not tune, as text
    precision: str  # number formats in training, as text
    trials: int  # number of completed trials; this field and the fields below include tuning
    diverged: int
    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class AtTarget:
    """The answer to one target loss."""

    target_loss: float
    reached: bool  # true if at least one run reached the loss
    # Muon's standing over all batches: ahead if Muon is ahead at some batches and behind at none,
    # behind if Muon is behind at some batches and ahead at none, and otherwise unresolved. None if
    # no run reached the loss, or if no batch allows a comparison.
    muon: Standing | None
    sentence: str  # the answer as text
    batches: BatchAnswer | None  # None if no run reached the loss
    ratio: RatioAnswer | None  # None if no run reached the loss
    # comparison of AdamW (first) and Muon (second) by hours against devices; None if no run reached
    # the loss, or if no device count lies within the range of both optimizers' frontiers
    dominance: Dominance | None
    # the reason why no run reached the loss; None if a run reached the loss, and in older reports
    because: NoAnswer | None = None


@dataclass(frozen=True)
class OptimizerComparison:
    """The report: verdict, answers, hyperparameters, ledger and cost."""

    final: bool  # true if all planned runs are completed, or if the study ended prematurely
    verdict: ComparisonVerdict
    reason: str  # the reason for the verdict, as text
    read: str  # how losses were read off the runs, as text
    # highest and lowest loss on all curves, after any smoothing; None if no loss was recorded
    highest_loss: float | None
    lowest_loss: float | None
    targets: tuple[AtTarget, ...]
    batches: tuple[BatchReport, ...]
    ledger: tuple[LedgerEntry, ...]
    trials: int  # number of completed trials
    reused: int  # number of completed trials that other jobs had trained
    tokens: int  # tokens of the trials that this job trained
    flops: float  # FLOPs of the trials that this job trained
    seconds: float  # seconds of one worker for the trials that this job trained
    because: Reason | None = None  # the reason as a value; None in older reports
