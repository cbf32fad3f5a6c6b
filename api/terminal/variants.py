"""The terminal output of a comparison of variants, which are architectures or training texts.

Each variant has a ladder per optimizer: runs at increasing widths. The output has two tables. The
first table has a row per ladder. It shows the learning rate and the weight decay for the target
width, with their intervals, and the drift of the optimal learning rate. It also shows the number
of parameters, the FLOPs of a run and the loss at the widest width that all compared ladders have
reached. The second table shows the distances between the optima of the variants. A remark states
whether the losses can be compared.

If a ladder has no hyperparameters or the verdict *refused*, its row in the first table has no
learning rate, weight decay, parameters, FLOPs or loss. The second table then has no row for the
optima of this ladder.
"""

import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.terminal.words import COLOURS, amount, empty_table, field_words
from telescope.studies.telescoping.evidence import Hyperparameter
from telescope.studies.telescoping.report import (
    Compared,
    Difference,
    LadderReport,
    Report,
    VariantComparison,
)
from telescope.trials.types import OPTIMIZER_TITLES


def show_comparison(report: Report, console: Console) -> None:
    """Print the comparison of variants, and the verdict of the report."""
    comparison = report.comparison
    assert comparison is not None
    console.rule("[bold]Side by side", align="left", style="dim")
    console.print(ladder_rows(comparison), "", sep="\n")
    if comparison.differences:
        console.print(distance_table(comparison), "", sep="\n")
    console.print(f"{best_words(report)} ({comparison.remark}).", soft_wrap=True)
    state = "" if report.final else " so far"
    verdict = f"[{COLOURS[report.verdict]}]{report.verdict}[/]{state}"
    console.print(f"{verdict}: {escape(report.reason)}\n", soft_wrap=True)


def ladder_rows(comparison: VariantComparison) -> Table:
    """Return the table of the compared ladders, with one row per ladder.

    The drift is in octaves (factors of 2) per doubling of the width.
    """
    at = "" if comparison.width is None else f" at {comparison.width}"
    fit_columns = ("lr", "90 % interval", "weight decay", "90 % interval", "drift")
    size_columns = ("parameters", "FLOP of a run", f"loss{at}")
    output = empty_table("variant", "optimizer", *fit_columns, *size_columns, "verdict")
    for row in comparison.rows:
        verdict = f"[{COLOURS[row.verdict]}]{row.verdict}[/]"
        values = (*_values(row.lr), *_values(row.weight_decay), *_sizes(row))
        output.add_row(row.variant, OPTIMIZER_TITLES[row.optimizer], *values, verdict)
    return output


def _values(estimate: Hyperparameter | None) -> tuple[str, str]:
    """Return the two cells of a hyperparameter: its value and its interval.

    If the hyperparameter has no interval, the second cell is its status.
    """
    if estimate is None:
        return "", ""
    has_interval = estimate.low < estimate.high
    interval = f"{estimate.low:.3g}–{estimate.high:.3g}" if has_interval else estimate.status
    return f"{estimate.value:.3g}", interval


def _sizes(row: Compared) -> tuple[str, ...]:
    """Return the cells of drift, parameters, FLOPs and loss."""
    drift = ""
    if row.drift:
        interval = f"{row.drift.low:+.2f} to {row.drift.high:+.2f}"
        drift = f"{row.drift.octaves_per_doubling:+.2f} ({interval})"
    parameters = "" if row.parameters is None else f"{row.parameters:,}"
    flops = "" if row.flops is None else amount(row.flops).strip()
    loss = "" if row.loss is None else f"{row.loss:.4f}"
    return drift, parameters, flops, loss


def distance_table(comparison: VariantComparison) -> Table:
    """Return the table of the distances between the optima of each pair of variants."""
    columns = ("optimizer", "variant", "against variant", "octaves", "90 % interval", "verdict")
    output = empty_table("optimum of", *columns)
    for difference in comparison.differences:
        output.add_row(
            field_words(difference.hyperparameter),
            OPTIMIZER_TITLES[difference.optimizer],
            difference.second,
            difference.first,
            f"{difference.octaves:+.2f}",
            f"{difference.low:+.2f} to {difference.high:+.2f}",
            _verdict(difference),
        )
    return output


def _verdict(difference: Difference) -> str:
    if difference.consistent:
        return "consistent with 0"
    return "[bold]higher[/]" if difference.octaves > 0 else "[bold]lower[/]"


def best_words(report: Report) -> str:
    """State the best variant and its optimizer.

    If the best variant is unknown, state the best optimizer of each variant whose best optimizer is
    known.
    """
    if report.best_variant and report.best:
        return f"Lowest loss: [bold]{report.best_variant}[/], {OPTIMIZER_TITLES[report.best]}"
    best = [
        f"{variant.name}, {OPTIMIZER_TITLES[variant.best]}"
        for variant in report.variants
        if variant.best
    ]
    return f"Best optimizers: {'; '.join(best)}" if best else "No best variant yet"


def differing_values(ladder: LadderReport) -> str:
    """Return the names and values of the fields in which a variant differs from the job."""
    return ", ".join(
        f"{field_words(name)} {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in ladder.differs.items()
    )
