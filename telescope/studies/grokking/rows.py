"""The rows of a grokking report: one per run, and one per cell and event.

Times are evaluations: a run that crossed 95 % at epoch 40, evaluated every 4 epochs, did so after
epoch 36 and by epoch 40. A time is None if the run ended before the milestone.

Parts: `RunRow` · `ArmRow`, an optimizer in a cell · `RatioRow` · `CellRow`, a comparison.
"""

from dataclasses import dataclass
from typing import Literal

from telescope.studies.grokking.reasons import CellReason
from telescope.studies.grokking.runs import EventName, Unit
from telescope.trials.types import OptimizerName, SoftmaxName

CellVerdict = Literal["faster", "slower", "not_told_apart", "unbracketed", "pending"]
RunStage = Literal["tuning", "runs"]


@dataclass(frozen=True)
class RunRow:
    """A finished run."""

    task: str
    softmax: SoftmaxName
    optimizer: OptimizerName
    stage: RunStage
    seed: int
    lr: float
    weight_decay: float
    adamw_lr_ratio: float | None  # None for AdamW
    epochs: float  # epochs trained
    steps_per_epoch: int
    diverged: bool
    memorised_epoch: float | None
    crossed_epoch: float | None
    sustained_epoch: float | None
    gap_epochs: float | None  # from memorising to sustained generalisation; may be negative
    sustained_steps: float | None
    sustained_flops: float | None  # FLOPs and seconds are of training, without evaluations
    sustained_seconds: float | None
    collapsed_epoch: float | None
    below: int  # evaluations below 95 % after the first crossing
    loss: float | None  # final held-out loss
    accuracy: float | None  # final accuracy on the held-out rows
    balanced_accuracy: float | None
    unmirrored_accuracy: float | None
    train_accuracy: float | None
    saturated: float | None  # share of training rows with a probability of exactly 1
    digest: str


@dataclass(frozen=True)
class ArmRow:
    """The times of an optimizer in a cell; medians are Kaplan-Meier's."""

    optimizer: OptimizerName
    lr: float | None  # None while the search goes on
    weight_decay: float | None
    adamw_lr_ratio: float | None
    runs: int
    generalised: int  # runs that reached the event
    diverged: int
    collapsed: int | None  # None if runs end once they have generalised, before a later collapse
    median_steps: float | None
    median_low: float | None
    median_high: float | None
    median_epochs: float | None
    mean_steps: float | None  # restricted mean, up to the budget
    memorised_steps: float | None  # restricted mean of the steps to memorising


@dataclass(frozen=True)
class RatioRow:
    """AdamW's restricted mean time divided by Muon's, with its 90 % interval: above 1, Muon is
    faster."""

    unit: Unit
    ratio: float
    low: float
    high: float | None  # None without an upper end: a single pair gives no interval


@dataclass(frozen=True)
class CellRow:
    """The comparison of Muon with AdamW in a cell, for one reading of the event."""

    task: str
    softmax: SoftmaxName
    event: EventName
    verdict: CellVerdict
    reason: str
    # accuracy of always giving the most frequent answer; None for a user's own table
    majority_share: float | None
    budget_steps: int
    budget_epochs: int
    evaluation_steps: int  # steps between evaluations
    arms: tuple[ArmRow, ...]
    # in steps, FLOPs and seconds; empty without a comparison. Seconds are left out if a reused run
    # neither reached the event nor memorised, since its seconds belong to another job
    ratios: tuple[RatioRow, ...]
    # bounds of the ratio in steps, since a run generalises somewhere between two evaluations: the
    # lower bound with AdamW's times, the upper bound with Muon's times at the earlier of the two
    ratio_least: float | None
    ratio_most: float | None
    pairs: int
    p: float | None  # paired permutation test of the restricted means
    p_holm: float | None  # the same, corrected for the number of cells
    smallest_p: float | None  # the smallest p that the test can give with this number of pairs
    rank_p: float | None  # Mann-Whitney, censored runs last
    rank_smallest_p: float | None
    chance_earlier: float | None  # chance that Muon is earlier than AdamW; ties count half
    log_rank_p: float | None
    # spread of Muon's log times divided by AdamW's; None if a run never generalised, or if
    # AdamW's times are all equal
    spread_ratio: float | None
    spread_p: float | None
    because: CellReason
