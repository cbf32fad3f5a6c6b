"""The terminal tables of a grokking job: its cells, and its finished runs.

A grokking job compares when Muon and AdamW generalise. A cell is a task with a variant of softmax.
Generalisation is defined by one of two events: sustained generalisation, or the first crossing of
95 % accuracy on the held-out rows once the run has memorised the training rows. A milestone is a
point in a run's training, such as this crossing.
"""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.terminal.words import empty_table, interval_cell, short_number, significant
from telescope.studies.grokking.reasons import CellName
from telescope.studies.grokking.rows import RunRow
from telescope.studies.grokking.tables import CellTableRow
from telescope.studies.grokking.wording import cell_title, verdict_words
from telescope.trials.types import OPTIMIZER_TITLES

COLOURS = {"faster": "green", "slower": "green", "not_told_apart": "cyan", "depends": "cyan"}
EVENT_TITLES = {
    "sustained": "Sustained generalisation",
    "crossed": "First crossing of 95 % accuracy",
}


def coloured(verdict: str) -> str:
    """Return the text of a verdict, coloured."""
    return f"[{COLOURS.get(verdict, 'yellow')}]{verdict_words(verdict)}[/]"


def show_cells(rows: Sequence[CellTableRow], console: Console) -> None:
    """Print the tables of all cells, with a section for each event."""
    for event, title in EVENT_TITLES.items():
        own = [row for row in rows if row.event == event]
        if own:
            show_event(own, title, console)


def show_event(rows: Sequence[CellTableRow], title: str, console: Console) -> None:
    """Print the times, the comparison and the reason of each cell, for one event."""
    console.rule(f"[bold]{title}", align="left", style="dim")
    console.print(times_table(rows), "", sep="\n")
    if any(row.pairs for row in rows):
        console.print(ratios_table(rows), "", sep="\n")
    for row in rows:
        console.print(f"{escape(cell_of(row))}: {escape(row.reason)}.", soft_wrap=True)
    console.print()


def cell_of(row: CellTableRow | RunRow) -> str:
    """Return the title of the cell that a row belongs to."""
    return cell_title(CellName(task=row.task, softmax=row.softmax))


def times_table(rows: Iterable[CellTableRow]) -> Table:
    """Return the table of median times in steps, with counts of runs that generalised or collapsed.

    In each pair of counts, Muon's count is the first, and AdamW's the second.
    """
    output = empty_table(
        "median steps",
        "verdict",
        "Muon",
        "90 % interval",
        "AdamW",
        "90 % interval",
        "generalised",
        "collapsed",
    )
    for row in rows:
        output.add_row(
            escape(cell_of(row)),
            coloured(row.verdict),
            median_cell(row.muon_median_steps, row.muon_runs, row.budget_steps),
            median_interval(row.muon_median_low, row.muon_median_high),
            median_cell(row.adamw_median_steps, row.adamw_runs, row.budget_steps),
            median_interval(row.adamw_median_low, row.adamw_median_high),
            counts((row.muon_generalised, row.muon_runs), (row.adamw_generalised, row.adamw_runs)),
            counts((row.muon_collapsed, row.muon_runs), (row.adamw_collapsed, row.adamw_runs)),
        )
    return output


def median_cell(median: float | None, runs: int | None, budget: int) -> str:
    """Return the table entry for a median.

    The median is None if too few runs generalised. The entry is then `over` and the budget. It is
    empty if there are no runs.
    """
    if not runs:
        return ""
    return f"over {short_number(budget)}" if median is None else short_number(median)


def median_interval(low: float | None, high: float | None) -> str:
    """Return the table entry for a median's interval; it is empty if too few runs generalised."""
    return "" if low is None and high is None else interval_cell(low, high)


def counts(*parts: tuple[int | None, int | None]) -> str:
    """Return the table entry for counts, such as `3/5, 4/5`.

    Each part is a count and the number of runs. A part is left out if its count is unknown, or if
    there are no runs.
    """
    return ", ".join(f"{count}/{runs}" for count, runs in parts if count is not None and runs)


def ratios_table(rows: Sequence[CellTableRow]) -> Table:
    """Return the table of AdamW's mean time divided by Muon's, and of the test of the difference.

    Intervals are 90 % intervals. p, and the smallest p that the test can give with these pairs, are
    corrected for the number of cells.
    """
    output = empty_table(
        "AdamW / Muon, mean time",
        "in steps (90 %)",
        "in FLOPs (90 %)",
        "in seconds (90 %)",
        "p (Holm)",
        "smallest p",
        "pairs",
    )
    for row in rows:
        smallest = None if row.smallest_p is None else min(1.0, row.smallest_p * len(rows))
        output.add_row(
            escape(cell_of(row)),
            ratio_cell(row.steps_ratio, row.steps_ratio_low, row.steps_ratio_high),
            ratio_cell(row.flops_ratio, row.flops_ratio_low, row.flops_ratio_high),
            ratio_cell(row.seconds_ratio, row.seconds_ratio_low, row.seconds_ratio_high),
            p_cell(row.p_holm),
            p_cell(smallest),
            str(row.pairs),
        )
    return output


def ratio_cell(ratio: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return the table entry for a ratio, with its interval if the ratio has one."""
    if ratio is None:
        return ""
    return f"{ratio:.2f}" if low is None or high is None else f"{ratio:.2f} ({low:.2f}–{high:.2f})"


def p_cell(p: float | None) -> str:
    """Return the table entry for a p-value."""
    return "" if p is None else f"{p:.2g}"


def crossed_table(rows: Iterable[CellTableRow]) -> Table:
    """Return a short table of the times to the first crossing of 95 % accuracy."""
    output = empty_table(
        "first crossing, median steps", "verdict", "Muon", "AdamW", "AdamW / Muon", "p (Holm)"
    )
    for row in rows:
        output.add_row(
            escape(cell_of(row)),
            coloured(row.verdict),
            median_cell(row.muon_median_steps, row.muon_runs, row.budget_steps),
            median_cell(row.adamw_median_steps, row.adamw_runs, row.budget_steps),
            ratio_cell(row.steps_ratio),
            p_cell(row.p_holm),
        )
    return output


def show_runs(rows: Sequence[RunRow], console: Console) -> None:
    """Print the table of the finished runs, with their milestones in epochs."""
    if not rows:
        console.print("No run has finished yet.")
        return
    output = empty_table(
        "cell",
        "optimizer",
        "stage",
        "seed",
        "lr",
        "decay",
        "memorised",
        "crossed",
        "sustained",
        "below",
        "collapsed",
        "accuracy",
    )
    for row in rows:
        output.add_row(
            escape(cell_of(row)),
            OPTIMIZER_TITLES[row.optimizer],
            row.stage,
            str(row.seed),
            significant(row.lr),
            significant(row.weight_decay),
            epoch_cell(row.memorised_epoch),
            epoch_cell(row.crossed_epoch),
            epoch_cell(row.sustained_epoch),
            str(row.below),
            epoch_cell(row.collapsed_epoch),
            "diverged" if row.diverged else percent(row.accuracy),
        )
    console.print("Epochs at which each run reached its milestones:", output, sep="\n")


def epoch_cell(epoch: float | None) -> str:
    """Return the table entry for an epoch; a dash if the run did not reach the milestone."""
    return "–" if epoch is None else f"{epoch:g}"


def percent(share: float | None) -> str:
    """Return the table entry for a share, in %."""
    return "" if share is None else f"{100 * share:.1f} %"
