"""The rows of a grokking report: one row per run, and one row per cell and event.

A *cell* is a task with a variant of softmax. The milestones of a run (telescope.trials.milestones)
tell when it memorised, generalised and collapsed. The *event* is generalisation, of which there are
two readings: `crossed` and `sustained`.

The time of a milestone is the time of an evaluation. For example, if a run is evaluated every 4
epochs and crossed a held-out accuracy of 95 % at epoch 40, it did so after epoch 36 and by epoch
40. A time is None if the run did not reach the milestone.

Parts: `RunRow` · `ArmRow`, an optimizer in a cell · `RatioRow`, the ratio of two times · `CellRow`,
the comparison of the optimizers in a cell.
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
    sustained_flops: float | None  # FLOPs and seconds are those of training, without evaluations
    sustained_seconds: float | None
    collapsed_epoch: float | None
    below: int  # number of evaluations with an accuracy below 95 % after the first crossing
    # metrics at the end of the run; telescope.train.table_evaluation defines them
    loss: float | None  # on the held-out rows
    accuracy: float | None  # on the held-out rows
    balanced_accuracy: float | None  # on the held-out rows, as a mean over the answers
    unmirrored_accuracy: float | None  # on held-out rows (a, b) if (b, a) is not a training row
    train_accuracy: float | None
    saturated: float | None  # share of training rows whose answer has a probability of exactly 1
    digest: str  # identifies the trial


@dataclass(frozen=True)
class ArmRow:
    """The times of an optimizer in a cell. Medians are Kaplan-Meier estimates, with 90 %
    intervals."""

    optimizer: OptimizerName
    lr: float | None  # None while the search goes on
    weight_decay: float | None
    adamw_lr_ratio: float | None
    runs: int
    generalised: int  # runs that reached the event
    diverged: int
    collapsed: int | None  # None if runs end early (`runs.stop`), before a later collapse
    median_steps: float | None
    median_low: float | None
    median_high: float | None
    median_epochs: float | None
    # mean number of steps to the event; a run that did not reach it counts with its whole budget
    mean_steps: float | None
    memorised_steps: float | None  # the same mean for memorising


@dataclass(frozen=True)
class RatioRow:
    """AdamW's restricted mean time to the event divided by Muon's, with a 90 % interval. If the
    ratio is above 1, Muon is faster. A restricted mean cuts off all times at the earliest end
    among the runs that did not reach the event."""

    unit: Unit
    ratio: float
    low: float
    high: float | None  # None if the interval has no upper end, as with a single pair of runs


@dataclass(frozen=True)
class CellRow:
    """The comparison of Muon with AdamW in a cell, for one reading of generalisation."""

    task: str
    softmax: SoftmaxName
    event: EventName
    verdict: CellVerdict
    reason: str
    # accuracy of always giving the most frequent answer; None for a user's own table
    majority_share: float | None
    budget_steps: int  # largest number of steps of a run
    budget_epochs: int
    evaluation_steps: int  # steps between evaluations
    arms: tuple[ArmRow, ...]
    # in steps, FLOPs and seconds. A unit is left out if no run of a finished pair reached the event
    # before the restricted means are cut off: if only Muon's runs reached it, with more FLOPs than
    # AdamW's runs had in all, there is no ratio in FLOPs. Seconds are also left out if a reused run
    # neither reached the event nor memorised, since the seconds of its budget are then unknown
    ratios: tuple[RatioRow, ...]
    # bounds of the ratio in steps. A run generalises between two evaluations. `ratios` uses the
    # later one for all runs. The lower bound uses the earlier one for AdamW's runs, and the upper
    # bound uses the earlier one for Muon's runs
    ratio_least: float | None
    ratio_most: float | None
    pairs: int  # pairs of finished runs with equal seeds
    p: float | None  # paired permutation test of the restricted means
    p_holm: float | None  # `p`, corrected for the number of cells
    smallest_p: float | None  # the smallest p that the test can give with this number of pairs
    rank_p: float | None  # Mann-Whitney test; runs that did not reach the event rank last
    rank_smallest_p: float | None  # the smallest p that this test can give
    # chance that a Muon run reaches the event before an AdamW run; ties count half
    chance_earlier: float | None
    log_rank_p: float | None
    # spread of Muon's log times divided by AdamW's; None if a run did not reach the event, or if
    # AdamW's times do not vary
    spread_ratio: float | None
    spread_p: float | None  # test of equal spreads
    because: CellReason
