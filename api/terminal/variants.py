"""How do architectures, or texts, read side by side?

A row per ladder: its learning rate and weight decay at the target with their intervals, its drift, its size, cost and loss at the widest
level that all have finished; then how far their optima lie apart. What their losses say of each other is said too.
"""

import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.terminal.words import COLOURS, OPTIMIZERS, amount, table, words
from telescope.studies.telescoping.evidence import Hyperparameter
from telescope.studies.telescoping.report import Compared, Comparison, Difference, LadderReport, Report


def show(report: Report, console: Console) -> None:
    """Print the comparison, and the verdict on all of it."""
    found = report.comparison
    assert found is not None
    console.rule("[bold]Side by side", align="left", style="dim")
    console.print(rows(found), "", sep="\n")
    if found.differences:
        console.print(apart(found), "", sep="\n")
    console.print(f"{best(report)} ({found.remark}).", soft_wrap=True)
    state = "" if report.final else " so far"
    console.print(f"[{COLOURS[report.verdict]}]{report.verdict}[/]{state}: {escape(report.reason)}\n", soft_wrap=True)


def rows(found: Comparison) -> Table:
    """A row per ladder."""
    at = "" if found.width is None else f" at {found.width}"
    columns = ("optimizer", "lr", "90 % interval", "weight decay", "90 % interval", "drift", "parameters", "FLOP of a run", f"loss{at}")
    shown = table("variant", *columns, "verdict")
    for one in found.rows:
        verdict = f"[{COLOURS[one.verdict]}]{one.verdict}[/]"
        shown.add_row(one.variant, OPTIMIZERS[one.optimizer], *_values(one.lr), *_values(one.weight_decay), *_sizes(one), verdict)
    return shown


def _values(one: Hyperparameter | None) -> tuple[str, str]:
    """Value and interval."""
    if one is None:
        return "", ""
    return f"{one.value:.3g}", f"{one.low:.3g}–{one.high:.3g}" if one.low < one.high else one.status


def _sizes(one: Compared) -> tuple[str, ...]:
    """Drift, parameters, FLOPs and loss."""
    drift = f"{one.drift.octaves_per_doubling:+.2f} ({one.drift.low:+.2f} to {one.drift.high:+.2f})" if one.drift else ""
    flops = "" if one.flops is None else amount(one.flops).strip()
    return drift, "" if one.parameters is None else f"{one.parameters:,}", flops, "" if one.loss is None else f"{one.loss:.4f}"


def apart(found: Comparison) -> Table:
    """How far optima lie from each other."""
    shown = table("optimum of", "optimizer", "of", "against", "octaves", "90 % interval", "verdict")
    for one in found.differences:
        span = f"{one.low:+.2f} to {one.high:+.2f}"
        shown.add_row(
            words(one.hyperparameter), OPTIMIZERS[one.optimizer], one.second, one.first, f"{one.octaves:+.2f}", span, _verdict(one)
        )
    return shown


def _verdict(one: Difference) -> str:
    return "consistent with none" if one.consistent else f"[bold]{'higher' if one.octaves > 0 else 'lower'}[/]"


def best(report: Report) -> str:
    """Which one is best, as far as that can be said."""
    if report.best_variant and report.best:
        return f"Lowest loss: [bold]{report.best_variant}[/], {OPTIMIZERS[report.best]}"
    named = [f"{one.name}: {OPTIMIZERS[one.best]}" for one in report.variants if one.best]
    return f"Best optimizers, {'; '.join(named)}" if named else "None is the best one yet"


def otherwise(ladder: LadderReport) -> str:
    """What a variant has otherwise than its job's own block."""
    return ", ".join(f"{words(name)} {value if isinstance(value, str) else json.dumps(value)}" for name, value in ladder.differs.items())
