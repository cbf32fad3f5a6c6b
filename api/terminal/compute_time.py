"""The terminal output of a compute-time study.

A compute-time study compares Muon and AdamW at several batch sizes, by the tokens and hours that
each optimizer needs to reach a target loss. `show` prints the report of a study: the answer for
each target loss, the verdict with its reason, the settings and runs at each batch, the tuning that
each optimizer received, and the cost. `show_bill` prints the least and the largest cost of a study.
`api.terminal.frontier` prints more detailed tables, for any target loss.
"""

from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.terminal.batch_tables import bound_prefix
from api.terminal.progress import duration
from api.terminal.words import amount, empty_table
from telescope.studies.compute_time.bill import BatchForecast
from telescope.studies.compute_time.report import (
    AtTarget,
    BatchReport,
    LedgerEntry,
    OptimizerComparison,
)
from telescope.studies.compute_time.rows import BatchRow
from telescope.trials.types import OPTIMIZER_TITLES

COLOURS = {"resolved": "green", "unresolved": "yellow"}


def parse_report(document: dict[str, Any]) -> OptimizerComparison:
    """Parse the JSON document of a report."""
    return TypeAdapter(OptimizerComparison).validate_python(document)


def show(report: OptimizerComparison, console: Console) -> None:
    """Print a report."""
    console.print()
    for target in report.targets:
        answer = f"Loss [bold]{target.target_loss:g}[/]: {escape(target.sentence)}."
        console.print(answer, soft_wrap=True)
        if target.dominance:
            ratio = target.dominance.ratio
            leader = "Muon" if ratio >= 1 else "AdamW"
            lead = f"{leader} needs fewer hours, by a factor of {max(ratio, 1 / ratio):.2f}"
            console.print(f"  On average over the device counts, {lead}.", soft_wrap=True)
        if target.batches:
            console.print(tokens_to_loss(target), "", sep="\n")
    state = "" if report.final else " so far"
    verdict = f"[{COLOURS[report.verdict]}]{report.verdict}[/]"
    console.print(f"{verdict}{state}: {escape(report.reason)}.", soft_wrap=True)
    console.print(f"Loss measured as: {report.read}.\n", soft_wrap=True)
    if report.batches:
        console.print(batch_settings(report.batches), "", sep="\n")
    console.print("Tuning that each optimizer received:", tuning_table(report.ledger), "", sep="\n")
    trials = f"{report.trials} trials"
    if report.reused:
        trials = f"{report.reused} of {report.trials} trials reused"
    cost = f"{amount(report.tokens)}tokens, {amount(report.flops)}FLOP"
    console.print(f"Bill: {trials}, {cost}, {report.seconds:.0f} s of training.\n")


def tokens_to_loss(target: AtTarget) -> Table:
    """Return the table of the tokens that each optimizer needs to reach a target loss.

    There is one row per batch size. Each row also has the ratio of AdamW's tokens to Muon's.
    """
    output = empty_table(
        "batch",
        "Muon's tokens",
        "AdamW's tokens",
        "steps (Muon, AdamW)",
        "AdamW / Muon",
        "90 % interval",
        "verdict",
    )
    assert target.batches is not None, "the table is printed only if a run reached the loss"
    rows = {(row.optimizer, row.batch_tokens): row for row in target.batches.rows}
    ratios = {row.batch_tokens: row for row in target.ratio.rows} if target.ratio else {}
    for batch in sorted({batch for _, batch in rows}):
        pair = [rows.get((optimizer, batch)) for optimizer in ("muon", "adamw")]
        tokens = ["" if row is None else tokens_cell(row) for row in pair]
        steps = ", ".join(
            "–" if row is None or row.steps is None else f"{row.steps:.0f}" for row in pair
        )
        ratio = ratios.get(batch)
        quotient = ""
        if ratio is not None and ratio.ratio is not None:
            quotient = f"{ratio.ratio:.2f}" if ratio.pairs else "a bound"
        has_interval = ratio is not None and None not in (ratio.ratio_low, ratio.ratio_high)
        interval = f"{ratio.ratio_low:.2f}–{ratio.ratio_high:.2f}" if ratio and has_interval else ""
        verdict = f"Muon {ratio.muon}" if ratio else ""
        output.add_row(str(batch), *tokens, steps, quotient, interval, verdict)
    return output


def tokens_cell(row: BatchRow) -> str:
    """Return the table cell for the tokens that one optimizer needs to reach the loss at one batch.

    The cell also states how many runs diverged, if any did. If all runs diverged, the cell is
    `diverged`. The tokens are a lower bound (prefix `over`) if a run ended above the loss without
    diverging, and an upper bound (prefix `under`) if a run was below the loss at its first
    measurement. If there are runs of both sorts, the tokens are no bound and have no prefix.
    """
    if row.tokens is None:
        return "diverged"
    diverged = f" ({row.diverged} diverged)" if row.diverged else ""
    return f"{bound_prefix(row)}{amount(row.tokens).strip()}{diverged}"


def batch_settings(reports: tuple[BatchReport, ...]) -> Table:
    """Return the table of the settings and runs of each optimizer at each batch."""
    columns = (
        "batch",
        "lr",
        "weight decay",
        "source of lr",
        "runs",
        "lowest loss",
        "tokens of longest run",
        "step time",
    )
    output = empty_table("", *columns)
    for report in reports:
        runs = str(report.runs)
        if report.diverged:
            runs = f"{report.runs} ({report.diverged} diverged)"
        loss = "" if report.lowest_loss is None else f"{report.lowest_loss:.4f}"
        step = "" if report.step_seconds is None else f"{1e3 * report.step_seconds:.3g} ms"
        source = f"{report.source}, in doubt" if report.doubt else report.source
        numbers = (
            str(report.batch_tokens),
            f"{report.lr:.3g}",
            f"{report.weight_decay:.3g}",
            source,
        )
        tokens = amount(report.trained_tokens).strip()
        output.add_row(OPTIMIZER_TITLES[report.optimizer], *numbers, runs, loss, tokens, step)
    return output


def tuning_table(entries: tuple[LedgerEntry, ...]) -> Table:
    """Return the table of the tuning that each optimizer received, with one column per optimizer.

    A reader can judge from this table whether the comparison is fair.
    """
    output = empty_table("", *(OPTIMIZER_TITLES[entry.optimizer] for entry in entries))
    rows: dict[str, list[str]] = {
        "hyperparameters": [entry.hyperparameters for entry in entries],
        "tuning trials": [str(entry.tuning_trials) for entry in entries],
        "lr tried": [_lr_tried(entry) for entry in entries],
        "weight decays": [
            ", ".join(f"{decay:g}" for decay in entry.weight_decays) for entry in entries
        ],
        "tuned at batches": [", ".join(map(str, entry.tuned_batches)) for entry in entries],
        "tuning tokens": [amount(entry.tuning_tokens).strip() for entry in entries],
        "seeds": [str(entry.seeds) for entry in entries],
        "schedule": [entry.schedule for entry in entries],
        "not searched": [entry.fixed for entry in entries],
        "precision": [entry.precision for entry in entries],
        "trials in total": [f"{entry.trials} ({entry.diverged} diverged)" for entry in entries],
        "FLOP in total": [amount(entry.flops).strip() for entry in entries],
    }
    for name, values in rows.items():
        if any(values):
            output.add_row(name, *values)
    return output


def _lr_tried(entry: LedgerEntry) -> str:
    if entry.lr_low is None:
        return ""
    return f"{entry.lr_low:.3g}–{entry.lr_high:.3g} ({entry.lr_octaves:.1f} octaves)"


def show_bill(document: dict[str, Any], console: Console) -> None:
    """Print the least and the largest cost of a study, from the JSON of a `BatchForecast`."""
    bill = TypeAdapter(BatchForecast).validate_python(document)
    columns = [
        f"{end} {unit}" for unit in ("trials", "tokens", "FLOP") for end in ("least", "most")
    ]
    output = empty_table("", "batch", *columns)
    for row in bill.batches:
        numbers = [
            (f"{cost.trials}", amount(cost.tokens).strip(), amount(cost.flops).strip())
            for cost in (row.least, row.most)
        ]
        cells = (numbers[i][column] for column in range(3) for i in range(2))
        output.add_row(OPTIMIZER_TITLES[row.optimizer], str(row.batch_tokens), *cells)
    spans = (bill.trials, bill.tokens, bill.flops)
    totals = [
        f"{end:.0f}" if i == 0 else amount(end).strip()
        for i, span in enumerate(spans)
        for end in (span.least, span.most)
    ]
    output.add_section()
    output.add_row("[bold]all[/]", "", *totals)
    console.print(output)
    by = "[yellow]estimated[/]: " if bill.estimated else "by "
    sources = "; ".join(dict.fromkeys(row.pace.source for row in bill.batches))
    span = f"{duration(bill.seconds.least)} to {duration(bill.seconds.most)}"
    trials = f"{bill.parallel} trials at once"
    console.print(f"Time: {span}, with {trials} ({by}{sources}).", soft_wrap=True)
    console.print(f"[dim]Assumptions: {bill.assumes}.[/]", soft_wrap=True)
