"""The terminal output of a compute-time job's tables at a target loss.

A compute-time job compares Muon and AdamW by the cost of reaching a target loss. The cost is shown
in three tables, and each table is followed by sentences that summarise it:

1. the hours to the loss, by number of devices
2. the tokens and steps to the loss, by batch size
3. AdamW's tokens divided by Muon's tokens, by batch size

This module makes the first table, and `api.terminal.batch_tables` makes the other two. The first
table can have hundreds of rows, but only the rows on the frontier are printed. Two sorts of row are
not on the frontier: rows whose hours are unknown or only a bound, and rows that are worse than
another row of the same optimizer with known hours. The worse row needs more hours without fewer
devices, or more devices without fewer hours. The column `step time` holds the time of a training
step, and the last column tells whether this time was measured or modelled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.terminal.batch_tables import batch_table, batch_words, ratio_table, ratio_words
from api.terminal.words import empty_table, interval_cell, short_number
from telescope.errors import InvalidInput
from telescope.statistics.frontier import Dominance
from telescope.studies.compute_time.analysis import Analysis
from telescope.studies.compute_time.rows import (
    BatchAnswer,
    FrontierAnswer,
    FrontierRow,
    RatioAnswer,
)
from telescope.trials.types import OPTIMIZER_TITLES


@dataclass(frozen=True)
class TargetLossTables:
    """The three tables of a job at a target loss."""

    frontier: FrontierAnswer
    batch_sizes: BatchAnswer
    token_ratio: RatioAnswer


def parse_tables(documents: Mapping[str, Any]) -> TargetLossTables:
    """Parse the JSON documents of the three tables."""
    return TypeAdapter(TargetLossTables).validate_python(documents)


def tables_at(target_loss: float, analysis: Analysis) -> TargetLossTables:
    """Compute the three tables from the analysis of a job's runs."""
    return TargetLossTables(
        analysis.frontier(target_loss),
        analysis.batch_sizes(target_loss),
        analysis.token_ratio(target_loss),
    )


def lowest_target_loss(target_losses: Sequence[float]) -> float:
    """Return the lowest of a study's target losses. The plot of the study shows this target.

    Raises InvalidInput if the study names no target loss.
    """
    if not target_losses:
        message = "needs a target loss, but the study names no target loss"
        command = "telescope frontier JOB --target-loss X --plot FILE"
        remedy = f"run `{command}` instead, while the service (`telescope serve`) is running"
        raise InvalidInput.of("--plot", f"{message}; {remedy}")
    return min(target_losses)


def plot_tables(tables: TargetLossTables, path: Path, title: str) -> None:
    """Plot the three tables to a PNG file."""
    from telescope.studies.compute_time.plot import draw  # lazy import: loads matplotlib

    draw(tables.frontier, tables.batch_sizes, tables.token_ratio, path, title)


def show_tables(tables: TargetLossTables, console: Console) -> None:
    """Print the three tables and the sentences about each. Tables without rows are left out."""
    frontier, batches, ratio = tables.frontier, tables.batch_sizes, tables.token_ratio
    target_loss, read = frontier.target_loss, escape(frontier.read)
    console.print(f"\nTarget loss [bold]{target_loss:g}[/], measured as {read}.\n", soft_wrap=True)
    for title, table, sentences in (
        ("Hours against devices", frontier_table(frontier), frontier_words(frontier)),
        ("Tokens against batch size", batch_table(batches), batch_words(batches)),
        ("AdamW's tokens divided by Muon's", ratio_table(ratio), ratio_words(ratio)),
    ):
        console.rule(f"[bold]{title}", align="left", style="dim")
        if table.row_count:
            console.print(table, "", sep="\n")
        console.print(*sentences, "", sep="\n", soft_wrap=True)


def frontier_table(answer: FrontierAnswer) -> Table:
    """Return the table of hours against devices, with only the rows on the frontier."""
    output = empty_table(
        "optimizer",
        "devices",
        "batch",
        "hours",
        "90 % interval",
        "step time",
        "share of peak",
        "measured or modelled",
    )
    for row in answer.rows:
        if row.on_frontier:
            output.add_row(
                OPTIMIZER_TITLES[row.optimizer],
                str(row.devices),
                str(row.batch_tokens),
                short_number(row.hours),
                interval_cell(row.hours_low, row.hours_high),
                f"{row.step_seconds:.3g} s",
                "" if row.share_of_peak is None else f"{row.share_of_peak:.0%}",
                str(row.origin),
            )
    return output


def frontier_words(answer: FrontierAnswer) -> list[str]:
    """Return sentences on the leading optimizer, the omitted rows, and the times of steps."""
    sentences = [dominance_words(answer.dominance)]
    if omitted := [row for row in answer.rows if not row.on_frontier]:
        count = sum(row.bound for row in omitted)
        bounds = ""
        if count:
            cause = "a run never reached the loss, or was below the loss at its first measurement"
            bounds = f" In {count} of them, the hours are only a bound, because {cause}."
        rows = _row_count(omitted)
        hint = "`--csv frontier` prints all rows."
        sentences.append(f"The table leaves out {rows} not on the frontier.{bounds} {hint}")
    if answer.model:
        sentences.append(f"Step times: {escape(answer.model)}.")
    return sentences


def dominance_words(dominance: Dominance | None) -> str:
    """Return a sentence that compares the hours of both optimizers at equal numbers of devices."""
    if dominance is None:
        return "No comparison: no device count lies within the frontiers of both optimizers."
    first, last = (row.devices for row in (dominance.rows[0], dominance.rows[-1]))
    devices = f"on {first:g} devices" if first == last else f"over {first:g} to {last:g} devices"
    ratio = f"AdamW needs {dominance.ratio:.3g} times Muon's hours {devices}"
    if first == last:
        return f"{ratio}, the only device count that both frontiers share."
    if not (dominance.first_ahead or dominance.second_ahead):
        return f"{ratio}, in the geometric mean; neither optimizer is ahead anywhere."
    if not (dominance.first_ahead and dominance.second_ahead):
        leader = "Muon" if dominance.second_ahead else "AdamW"
        return f"{ratio}, in the geometric mean; {leader} is ahead everywhere."
    areas = f"an area of {dominance.second_ahead:.2g}, AdamW over {dominance.first_ahead:.2g}"
    unit = "doublings of hours x doublings of devices"
    crossing = f"the frontiers cross: Muon leads over {areas} ({unit})"
    return f"{ratio}, in the geometric mean; {crossing}."


def _row_count(rows: list[FrontierRow]) -> str:
    return "1 row" if len(rows) == 1 else f"{len(rows)} rows"
