"""The report of a compute-time study, `OptimizerComparison`.

It contains the answer to each target loss, the hyperparameters at each batch, and a ledger of the
tuning and training that each optimizer received. Frontier rows are too many for a report;
`analysis` computes them for any target loss.
"""

from dataclasses import dataclass
from typing import Literal

from telescope.statistics.frontier import Dominance
from telescope.statistics.token_ratio import Standing
from telescope.studies.compute_time.reasons import Reason, Unread
from telescope.studies.compute_time.rows import BatchAnswer, RatioAnswer, Source
from telescope.trials.types import OptimizerName

Verdict = Literal["resolved", "unresolved"]


@dataclass(frozen=True)
class BatchReport:
    """An optimizer at a batch: its hyperparameters, and the progress of its runs."""

    optimizer: OptimizerName
    batch_tokens: int
    lr: float
    weight_decay: float
    source: Source
    doubt: str  # about the hyperparameters; empty if there is none
    runs: int
    diverged: int
    trained_tokens: float  # of the longest course
    lowest_loss: float | None  # held-out, at any point of its courses
    step_seconds: float | None  # measured by a run that had a worker to itself
    run_seconds: float  # seconds of workers that its runs took


@dataclass(frozen=True)
class Granted:
    """The tuning and training that an optimizer received: an entry of the ledger, by which the
    fairness of the comparison can be judged."""

    optimizer: OptimizerName
    hyperparameters: str  # their source as text: tuned here, given, or from jobs
    tuning_trials: int
    tuned_batches: tuple[int, ...]
    lr_low: float | None  # lowest learning rate tried; None without tuning
    lr_high: float | None
    lr_octaves: float
    weight_decays: tuple[float, ...]
    edges: tuple[str, ...]  # doubts about searches, such as a best learning rate at the edge
    tuning_tokens: int
    tuning_flops: float
    tuning_seconds: float
    seeds: int
    schedule: str
    fixed: str  # hyperparameters that were not tuned, as text
    precision: str
    trials: int  # tuning included, as in all that follow
    diverged: int
    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class AtTarget:
    """The answer to one target loss."""

    target_loss: float
    reached: bool  # by at least one run
    # Muon against AdamW, in tokens: ahead or behind if all batches with a resolved standing agree;
    # None if there is no batch to compare at
    muon: Standing | None
    sentence: str
    batches: BatchAnswer | None
    ratio: RatioAnswer | None
    dominance: Dominance | None  # of AdamW's iso-loss curve (first) and Muon's (second)
    because: Unread | None = None  # why no run reached the loss; None in older reports


@dataclass(frozen=True)
class OptimizerComparison:
    """The study's answer."""

    final: bool
    verdict: Verdict
    reason: str
    read: str  # how losses were read off the runs, as text
    highest_loss: float | None  # targets between this loss and the lowest can be queried
    lowest_loss: float | None
    targets: tuple[AtTarget, ...]
    batches: tuple[BatchReport, ...]
    ledger: tuple[Granted, ...]
    trials: int
    reused: int
    tokens: int
    flops: float
    seconds: float
    because: Reason | None = None  # the reason as a value; None in older reports
