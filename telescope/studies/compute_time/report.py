"""What does the answer of a compute-time study consist of?

The types of its report, from `Comparison` down: the answer to each target loss, what every batch was trained with, and what each
optimizer was granted. Frontier rows, of which there are many, are not in it: they are computed for any target loss (`analysis`).
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
    """One optimizer at one batch: what it was trained with, and how far the runs came."""

    optimizer: OptimizerName
    batch_tokens: int
    lr: float
    weight_decay: float
    source: Source
    doubt: str  # why these may be off; empty where nothing is known against them
    runs: int
    diverged: int
    trained_tokens: float  # of its longest run
    lowest_loss: float | None  # held-out, at any point of its courses
    step_seconds: float | None  # measured, alone on a worker
    run_seconds: float  # of workers, spent on its runs


@dataclass(frozen=True)
class Granted:
    """What one optimizer was granted: the ledger of a fair comparison."""

    optimizer: OptimizerName
    hyperparameters: str  # tuned here, given, or of jobs, in words
    tuning_trials: int
    tuned_batches: tuple[int, ...]
    lr_low: float | None  # of all that was tried; None where nothing was
    lr_high: float | None
    lr_octaves: float
    weight_decays: tuple[float, ...]
    edges: tuple[str, ...]  # searches whose best lies at an end
    tuning_tokens: int
    tuning_flops: float
    tuning_seconds: float
    seeds: int
    schedule: str
    fixed: str  # what was not searched for, in words
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
    muon: Standing | None  # beside AdamW, in tokens: ahead or behind where all batches with a clear standing agree; None without both
    sentence: str
    batches: BatchAnswer | None
    ratio: RatioAnswer | None
    dominance: Dominance | None  # of AdamW's iso-loss curve (first) and Muon's
    because: Unread | None = None  # of a loss that no run reached: why, as a value; None in reports from before it was kept


@dataclass(frozen=True)
class Comparison:
    """The study's answer."""

    final: bool
    verdict: Verdict
    reason: str
    read: str  # how losses were read, in words
    highest_loss: float | None  # between which targets can be asked for
    lowest_loss: float | None
    targets: tuple[AtTarget, ...]
    batches: tuple[BatchReport, ...]
    ledger: tuple[Granted, ...]
    trials: int
    reused: int
    tokens: int
    flops: float
    seconds: float
    because: Reason | None = None  # the reason as a value; None in reports from before it was kept
