"""Terminal output of a comparison of architectures or texts.

It has one row per ladder, with learning rate and weight decay at the target with their intervals,
drift, and size, cost and loss at the widest level that all have finished; then the distances
between optima, and a remark on how far the losses can be compared.
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
    """Print the comparison and the report's verdict."""
    comparison = report.comparison
    assert comparison is not None
    console.rule("[bold]Side by side", align="left", style="dim")
    console.print(ladder_rows(comparison), "", sep="\n")
    if comparison.differences:
        console.print(apart(comparison), "", sep="\n")
    console.print(f"{best(report)} ({comparison.remark}).", soft_wrap=True)
    state = "" if report.final else " so far"
    console.print(
        f"[{COLOURS[report.verdict]}]{report.verdict}[/]{state}: {escape(report.reason)}\n",
        soft_wrap=True,
    )


def ladder_rows(found: VariantComparison) -> Table:
    """One row per ladder."""
    at = "" if found.width is None else f" at {found.width}"
    fitted = ("lr", "90 % interval", "weight decay", "90 % interval", "drift")
    sizes = ("parameters", "FLOP of a run", f"loss{at}")
    output = empty_table("variant", "optimizer", *fitted, *sizes, "verdict")
    for row in found.rows:
        verdict = f"[{COLOURS[row.verdict]}]{row.verdict}[/]"
        values = (*_values(row.lr), *_values(row.weight_decay), *_sizes(row))
        output.add_row(row.variant, OPTIMIZER_TITLES[row.optimizer], *values, verdict)
    return output


def _values(one: Hyperparameter | None) -> tuple[str, str]:
    """The value and its interval, or its status where it has none."""
    if one is None:
        return "", ""
    return f"{one.value:.3g}", f"{one.low:.3g}–{one.high:.3g}" if one.low < one.high else one.status


def _sizes(one: Compared) -> tuple[str, ...]:
    """Drift, parameters, FLOPs and loss."""
    drift = ""
    if one.drift:
        interval = f"{one.drift.low:+.2f} to {one.drift.high:+.2f}"
        drift = f"{one.drift.octaves_per_doubling:+.2f} ({interval})"
    parameters = "" if one.parameters is None else f"{one.parameters:,}"
    flops = "" if one.flops is None else amount(one.flops).strip()
    loss = "" if one.loss is None else f"{one.loss:.4f}"
    return drift, parameters, flops, loss


def apart(found: VariantComparison) -> Table:
    """The distances between optima."""
    columns = ("optimizer", "of", "against", "octaves", "90 % interval", "verdict")
    output = empty_table("optimum of", *columns)
    for difference in found.differences:
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


def _verdict(one: Difference) -> str:
    return (
        "consistent with 0"
        if one.consistent
        else f"[bold]{'higher' if one.octaves > 0 else 'lower'}[/]"
    )


def best(report: Report) -> str:
    """The best variant, or the best optimizer of each, as far as they are known."""
    if report.best_variant and report.best:
        return f"Lowest loss: [bold]{report.best_variant}[/], {OPTIMIZER_TITLES[report.best]}"
    named = [f"{each.name}, {OPTIMIZER_TITLES[each.best]}" for each in report.variants if each.best]
    return f"Best optimizers: {'; '.join(named)}" if named else "No best variant yet"


def otherwise(ladder: LadderReport) -> str:
    """The fields in which a variant differs from its job's own block."""
    return ", ".join(
        f"{field_words(name)} {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in ladder.differs.items()
    )
