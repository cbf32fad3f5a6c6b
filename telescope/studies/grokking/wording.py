"""The texts of the reasons and verdicts of a grokking study.

Parts: `cell_words`, the reason for a cell's verdict · `words`, the reason for the study's verdict ·
`edge_words`, a best value that is the lowest or highest tried · `verdict_words`, a verdict.
"""

from collections.abc import Sequence

from telescope.studies.endings import RunsPending, StudyStopped, unfinished_words
from telescope.studies.grokking.reasons import (
    Agreed,
    AxisEdge,
    CellName,
    CellPending,
    CellReason,
    MeanRatio,
    Mixed,
    NoneGeneralised,
    NotTold,
    OneOptimizer,
    Reason,
    SingleCell,
    Told,
    Unbracketed,
)
from telescope.trials.types import OPTIMIZER_TITLES, OptimizerName

AXIS_TITLES = {
    "lr": "learning rate",
    "weight_decay": "weight decay",
    "adamw_lr_ratio": "ratio of AdamW's learning rate to Muon's",
}
VERDICT_TITLES = {
    "faster": "Muon generalises faster",
    "slower": "Muon generalises slower",
    "not_told_apart": "not told apart",
    "unbracketed": "unbracketed",
    "pending": "pending",
    "depends": "depends on the cell",
    "unresolved": "unresolved",
}


def verdict_words(verdict: str) -> str:
    """A verdict as printed."""
    return VERDICT_TITLES[verdict]


def cell_title(cell: CellName) -> str:
    """A cell as printed: its task, and its softmax unless that is the usual one."""
    return cell.task if cell.softmax == "softmax" else f"{cell.task}, {cell.softmax}"


def edge_words(edge: AxisEdge) -> str:
    """The best value of an axis, and whether it is the lowest or the highest value tried."""
    end = "lowest" if edge.side == "low" else "highest"
    axis = AXIS_TITLES[edge.axis]
    return f"{OPTIMIZER_TITLES[edge.optimizer]}'s best {axis}, {edge.value:.3g}, is the {end} tried"


def cell_words(reason: CellReason) -> str:
    """The reason for a cell's verdict, as text."""
    match reason:
        case CellPending():
            return "runs are still pending"
        case OneOptimizer():
            return "a single optimizer was run; name both to compare them"
        case Unbracketed(edges=edges):
            found = "; ".join(map(edge_words, edges))
            extend = "raise tuning.extensions (for lr, also set tuning.lr.extend: true)"
            return f"{found}; widen the grid, or let it be extended further: {extend}"
        case NoneGeneralised(epochs=epochs):
            return f"no run of either optimizer generalised within {epochs} epochs"
        case Told():
            more, less = ("AdamW", "Muon") if reason.direction == "faster" else ("Muon", "AdamW")
            return (
                f"{more} needs more steps than {less}: AdamW's mean time is "
                f"{mean_ratio_words(reason.ratio)} times Muon's "
                f"(p {reason.p:.2g}, {reason.pairs} pairs)"
                f"{search_words(reason.failed_searches)}"
            )
        case NotTold():
            pairs = "1 pair" if reason.pairs == 1 else f"{reason.pairs} pairs"
            return (
                f"AdamW's mean time is {mean_ratio_words(reason.ratio)} times "
                f"Muon's (p {reason.p:.2g}, {pairs}); {seeds_words(reason)}"
                f"{search_words(reason.failed_searches)}"
            )


def search_words(failed: Sequence[OptimizerName]) -> str:
    """A warning about the searches that had no run that generalised; empty if there is none."""
    if not failed:
        return ""
    search = "either search" if len(failed) > 1 else f"{OPTIMIZER_TITLES[failed[0]]}'s search"
    return (
        f"; no run of {search} generalised, so the final loss alone chose the hyperparameters: "
        "widen the grid or raise runs.epochs"
    )


def mean_ratio_words(ratio: MeanRatio) -> str:
    """A ratio with its 90 % interval."""
    if ratio.high is None:
        return f"{ratio.value:.2f}"
    return f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def seeds_words(reason: NotTold) -> str:
    """The number of seeds with which this difference would have an even chance to be significant,
    as far as it is known."""
    limit = ""
    if reason.smallest_p >= 0.05:
        seeds = "1 seed" if reason.pairs == 1 else f"{reason.pairs} seeds"
        limit = f"with {seeds} the test cannot give p below {reason.smallest_p:.2g}; "
    if reason.pairs == 1:
        return f"{limit}add seeds: one seed does not show how much the times vary between seeds"
    if reason.pairs_needed is None:
        return f"{limit}even with 1000 seeds, so small a difference is unlikely to be significant"
    seeds = f"with {reason.pairs_needed} seeds"
    return f"{limit}{seeds}, such a difference would have an even chance to be significant"


def words(reason: Reason) -> str:
    """The reason for the study's verdict, as text."""
    match reason:
        case StudyStopped() | RunsPending():
            return unfinished_words(reason)
        case SingleCell(cell=cell):
            return cell_words(cell)
        case Agreed():
            test = "" if reason.p is None else f"; log-rank over all cells: p {reason.p:.2g}"
            return f"{verdict_words(reason.verdict)} in all {reason.cells} cells{test}"
        case Mixed():
            groups = (
                ("faster", reason.faster),
                ("slower", reason.slower),
                ("not told apart", reason.not_told),
                ("unbracketed", reason.unbracketed),
            )
            return "; ".join(f"{title} in {cell_titles(cells)}" for title, cells in groups if cells)


def cell_titles(cells: Sequence[CellName]) -> str:
    """The titles of cells, joined."""
    return " · ".join(map(cell_title, cells))
