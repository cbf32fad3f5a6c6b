"""The answer of a compute-time study.

The types of its report, from `OptimizerComparison` down: the answer to each target loss, the
settings of every batch, and the ledger of each optimizer's effort. Frontier rows are too many for
the report; `analysis` computes them for any target loss.
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
    doubt: str  # about the hyperparameters; empty without any
    runs: int
    diverged: int
    trained_tokens: float  # of its longest run
    lowest_loss: float | None  # held-out, at any point of its courses
    step_seconds: float | None  # measured, alone on a worker
    run_seconds: float  # of workers, spent on its runs


@dataclass(frozen=True)
class Granted:
    """The effort granted to an optimizer: the ledger of a fair comparison."""

    optimizer: OptimizerName
    hyperparameters: str  # their source as text: tuned here, given, or from jobs
    tuning_trials: int
    tuned_batches: tuple[int, ...]
    lr_low: float | None  # of all rates tried; None without any
    lr_high: float | None
    lr_octaves: float
    weight_decays: tuple[float, ...]
    edges: tuple[str, ...]  # searches whose best lies at an end
    tuning_tokens: int
    tuning_flops: float
    tuning_seconds: float
    seeds: int
    schedule: str
    fixed: str  # hyperparameters that were not tuned, in words
    precision: str
    trials: int  # all of them, the tuning's included
    diverged: int
    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class AtTarget:
    """The answer to one target loss."""

    target_loss: float
    reached: bool  # by some run
    # against AdamW, in tokens: ahead or behind where all batches with a clear standing agree; None
    # without both
    muon: Standing | None
    sentence: str
    batches: BatchAnswer | None
    ratio: RatioAnswer | None
    dominance: Dominance | None  # of AdamW's iso-loss curve (first) and Muon's
    because: Unread | None = None  # why no run reached the loss; None in older reports


@dataclass(frozen=True)
class OptimizerComparison:
    """The study's answer."""

    final: bool
    verdict: Verdict
    reason: str
    read: str  # the method by which losses were read, in words
    highest_loss: float | None  # targets between these two can be queried
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
