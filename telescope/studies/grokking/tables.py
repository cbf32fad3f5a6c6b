"""The table of a grokking report's cells, with one flat row per cell and event.

A *cell* is a task with a variant of softmax. The *event* is generalisation, in one of two readings:
the first crossing of 95 % accuracy on the held-out rows once a run has memorised the training rows
(`crossed`), or sustained generalisation (`sustained`).

JSON, CSV and the client have the same fields. A field whose name begins with an optimizer belongs
to that optimizer's runs in the cell; it is None if the study does not run the optimizer. The runs
have rows of their own (`telescope.studies.grokking.rows.RunRow`).

Parts: `CellTableRow` · `cell_table`, from the cells of a report.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from telescope.studies.grokking.rows import ArmRow, CellRow, CellVerdict
from telescope.studies.grokking.runs import EventName
from telescope.trials.types import SoftmaxName


@dataclass(frozen=True)
class CellTableRow:
    """A cell, for one reading of the event. Times are in steps unless their name says epochs, and
    None if unknown."""

    task: str
    softmax: SoftmaxName
    event: EventName
    verdict: CellVerdict
    reason: str
    pairs: int  # pairs of runs with equal seeds
    # AdamW's restricted mean time divided by Muon's, with 90 % intervals: above 1, Muon is faster
    steps_ratio: float | None
    steps_ratio_low: float | None
    steps_ratio_high: float | None
    flops_ratio: float | None
    flops_ratio_low: float | None
    flops_ratio_high: float | None
    seconds_ratio: float | None
    seconds_ratio_low: float | None
    seconds_ratio_high: float | None
    # bounds of the ratio in steps: a time is known only up to the interval between evaluations
    ratio_least: float | None
    ratio_most: float | None
    p: float | None  # p-value of the paired permutation test of the restricted means
    p_holm: float | None  # the same p-value, corrected for the number of cells
    smallest_p: float | None  # the smallest p that the test can give with this number of pairs
    # p-value of the Mann-Whitney test, in which runs that did not reach the event rank last
    rank_p: float | None
    rank_smallest_p: float | None
    chance_earlier: float | None  # chance that Muon is earlier than AdamW; ties count half
    log_rank_p: float | None
    spread_ratio: float | None  # spread of Muon's log times divided by AdamW's
    spread_p: float | None  # p-value of the test of equal spreads
    majority_share: float | None  # accuracy of always giving the most frequent answer
    budget_steps: int  # largest number of steps of a run
    budget_epochs: int
    evaluation_steps: int  # steps between evaluations
    muon_lr: float | None
    muon_weight_decay: float | None
    muon_adamw_lr_ratio: float | None
    muon_runs: int | None
    muon_generalised: int | None  # runs that reached the event
    muon_diverged: int | None
    muon_collapsed: int | None
    muon_median_steps: float | None  # Kaplan-Meier's median
    muon_median_low: float | None
    muon_median_high: float | None
    muon_median_epochs: float | None
    muon_mean_steps: float | None  # restricted mean, up to the budget
    muon_memorised_steps: float | None  # mean steps to memorising, up to the budget
    adamw_lr: float | None
    adamw_weight_decay: float | None
    adamw_runs: int | None
    adamw_generalised: int | None
    adamw_diverged: int | None
    adamw_collapsed: int | None
    adamw_median_steps: float | None
    adamw_median_low: float | None
    adamw_median_high: float | None
    adamw_median_epochs: float | None
    adamw_mean_steps: float | None
    adamw_memorised_steps: float | None


COLUMNS = tuple(field.name for field in fields(CellTableRow))
ARM_FIELDS = tuple(field.name for field in fields(ArmRow) if field.name != "optimizer")


def cell_table(cells: Iterable[CellRow]) -> tuple[CellTableRow, ...]:
    """The rows of these cells, in the order of the cells."""
    return tuple(map(table_row, cells))


def table_row(cell: CellRow) -> CellTableRow:
    """The row of a cell."""
    values: dict[str, Any] = dict.fromkeys(COLUMNS) | {
        name: value for name, value in vars(cell).items() if name in COLUMNS
    }
    for ratio in cell.ratios:
        values[f"{ratio.unit}_ratio"] = ratio.ratio
        values[f"{ratio.unit}_ratio_low"] = ratio.low
        values[f"{ratio.unit}_ratio_high"] = ratio.high
    for arm in cell.arms:
        values |= {
            column: getattr(arm, name)
            for name in ARM_FIELDS
            if (column := f"{arm.optimizer}_{name}") in COLUMNS
        }
    return CellTableRow(**values)
