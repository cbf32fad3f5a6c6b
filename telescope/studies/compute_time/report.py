"""The report of a compute-time study, `OptimizerComparison`.

It contains the answer to each target loss, the hyperparameters at each batch, and a ledger of the
tuning and training that each optimizer received. Frontier rows are too many for a report;
`analysis` computes them for any target loss.
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
    source: Source
    doubt: str  # doubts about the hyperparameters, as text; empty without doubts
    runs: int  # number of completed runs of the courses
    diverged: int  # number of these runs that diverged
    trained_tokens: float  # tokens of the longest course
    lowest_loss: float | None  # lowest held-out loss of any course; None if there is none yet
    # seconds per step, measured by a run that had a worker to itself; None until that run is done
    step_seconds: float | None
    run_seconds: float  # seconds of the completed runs, the one that times a step included


@dataclass(frozen=True)
class Granted:
    """The tuning and training that an optimizer received: an entry of the ledger, which shows
    whether the comparison is fair.
    """

    optimizer: OptimizerName
    hyperparameters: str  # the source of hyperparameters as text: tuned here, given, or from jobs
    tuning_trials: int
    tuned_batches: tuple[int, ...]
    lr_low: float | None  # lowest learning rate tried; None without completed tuning trials
    lr_high: float | None  # highest learning rate tried
    lr_octaves: float  # octaves from lr_low to lr_high
    weight_decays: tuple[float, ...]
    edges: tuple[str, ...]  # doubts about searches, such as a best learning rate at the edge
    tuning_tokens: int
    tuning_flops: float
    tuning_seconds: float
    seeds: int
    schedule: str
    fixed: str  # hyperparameters that were not tuned, as text
    precision: str
    trials: int  # number of trials, tuning included, as in the fields below
    diverged: int
    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class AtTarget:
    """The answer to one target loss."""

    target_loss: float
    reached: bool  # true if at least one run reached the loss
    # Muon's standing against AdamW, in tokens: ahead or behind if all batches with a resolved
    # standing agree; None if no run reached the loss, or if no batch allows a comparison
    muon: Standing | None
    sentence: str
    batches: BatchAnswer | None
    ratio: RatioAnswer | None
    # comparison of the iso-loss curves of AdamW (first) and Muon (second)
    dominance: Dominance | None
    # the reason why no run reached the loss; None if a run did, and in older reports
    because: NoAnswer | None = None


@dataclass(frozen=True)
class OptimizerComparison:
    """The report: verdict, answers, hyperparameters, ledger and cost."""

    final: bool
    verdict: ComparisonVerdict
    reason: str
    read: str  # how losses were read off the runs, as text
    # highest and lowest loss on any smoothed course, between which targets can be queried; None if
    # no loss was recorded
    highest_loss: float | None
    lowest_loss: float | None
    targets: tuple[AtTarget, ...]
    batches: tuple[BatchReport, ...]
    ledger: tuple[Granted, ...]
    trials: int
    reused: int  # number of trials that other jobs had trained
    tokens: int  # tokens of the trials that this job trained, as in flops and seconds
    flops: float
    seconds: float
    because: Reason | None = None  # the reason as a value; None in older reports
