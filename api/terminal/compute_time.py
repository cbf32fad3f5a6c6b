"""How does the answer of a compute-time study read?

First what each target loss says, then why it may be believed, then what every batch was trained with, and what each optimizer was
granted. `show` prints a report, `show_bill` the bill beforehand; answers to other target losses are `api.cli.frontier`'s.
"""

from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.terminal.progress import duration
from api.terminal.words import amount, table
from telescope.studies.compute_time.bill import Bill
from telescope.studies.compute_time.report import AtTarget, BatchReport, Comparison, Granted
from telescope.studies.compute_time.rows import BatchRow

COLOURS = {"resolved": "green", "unresolved": "yellow"}
NAMES = {"muon": "Muon", "adamw": "AdamW"}


def typed(document: dict[str, Any]) -> Comparison:
    """The report that a document spells."""
    return TypeAdapter(Comparison).validate_python(document)


def show(report: Comparison, console: Console) -> None:
    """Print a report."""
    console.print()
    for target in report.targets:
        console.print(f"Loss [bold]{target.target_loss:g}[/]: {escape(target.sentence)}.", soft_wrap=True)
        if target.dominance:
            faster = target.dominance.ratio
            who = "Muon" if faster >= 1 else "AdamW"
            ahead = max(faster, 1 / faster)
            console.print(
                f"  On the frontier of hours against devices {who} is ahead by a factor of {ahead:.2f} on the whole.", soft_wrap=True
            )
        if target.batches:
            console.print(tokens_to_loss(target), "", sep="\n")
    state = "" if report.final else " so far"
    console.print(f"[{COLOURS[report.verdict]}]{report.verdict}[/]{state}: {escape(report.reason)}.", soft_wrap=True)
    console.print(f"Read: {report.read}.\n", soft_wrap=True)
    if report.batches:
        console.print(batches(report.batches), "", sep="\n")
    console.print("Granted to each optimizer:", ledger(report.ledger), "", sep="\n")
    reused = f"{report.reused} of {report.trials} trials reused" if report.reused else f"{report.trials} trials"
    console.print(f"Bill: {reused}, {amount(report.tokens)}tokens, {amount(report.flops)}FLOP, {report.seconds:.0f} s of training.\n")


def tokens_to_loss(target: AtTarget) -> Table:
    """Tokens of both optimizers at each batch, and their ratio."""
    shown = table("batch", "Muon's tokens", "AdamW's tokens", "steps (Muon, AdamW)", "AdamW / Muon", "90 % interval", "verdict")
    assert target.batches is not None, "shown only where the loss was reached"
    rows = {(row.optimizer, row.batch_tokens): row for row in target.batches.rows}
    ratios = {row.batch_tokens: row for row in target.ratio.rows} if target.ratio else {}
    for batch in sorted({batch for _, batch in rows}):
        both = [rows.get((optimizer, batch)) for optimizer in ("muon", "adamw")]
        tokens = ["" if row is None else tokens_of(row) for row in both]
        steps = ", ".join("–" if row is None or row.steps is None else f"{row.steps:.0f}" for row in both)
        ratio = ratios.get(batch)
        said = "" if ratio is None or ratio.ratio is None else f"{ratio.ratio:.2f}" if ratio.pairs else "a bound"
        known = ratio is not None and None not in (ratio.ratio_low, ratio.ratio_high)
        interval = f"{ratio.ratio_low:.2f}–{ratio.ratio_high:.2f}" if ratio and known else ""
        verdict = f"Muon {ratio.muon}" if ratio else ""
        shown.add_row(str(batch), *tokens, steps, said, interval, verdict)
    return shown


def tokens_of(row: BatchRow) -> str:
    """Tokens of one optimizer at one batch, and which runs took no part."""
    if row.tokens is None:
        return "diverged"
    lost = f" ({row.diverged} diverged)" if row.diverged else ""
    return f"{'over ' if row.censored else 'under ' if row.early else ''}{amount(row.tokens).strip()}{lost}"


def batches(found: tuple[BatchReport, ...]) -> Table:
    """What every batch was trained with."""
    shown = table("", "batch", "lr", "weight decay", "from", "runs", "lowest loss", "tokens, longest", "step")
    for one in found:
        runs = f"{one.runs} ({one.diverged} diverged)" if one.diverged else str(one.runs)
        loss = "" if one.lowest_loss is None else f"{one.lowest_loss:.4f}"
        step = "" if one.step_seconds is None else f"{1e3 * one.step_seconds:.3g} ms"
        source = f"{one.source}, in doubt" if one.doubt else one.source
        numbers = (str(one.batch_tokens), f"{one.lr:.3g}", f"{one.weight_decay:.3g}", source)
        shown.add_row(NAMES[one.optimizer], *numbers, runs, loss, amount(one.trained_tokens).strip(), step)
    return shown


def ledger(found: tuple[Granted, ...]) -> Table:
    """What each optimizer was granted, side by side."""
    shown = table("", *(NAMES[one.optimizer] for one in found))
    rows: dict[str, list[str]] = {
        "hyperparameters": [one.hyperparameters for one in found],
        "tuning trials": [str(one.tuning_trials) for one in found],
        "lr tried": ["" if one.lr_low is None else f"{one.lr_low:.3g}–{one.lr_high:.3g} ({one.lr_octaves:.1f} octaves)" for one in found],
        "weight decays": [", ".join(f"{decay:g}" for decay in one.weight_decays) for one in found],
        "tuned at batches": [", ".join(map(str, one.tuned_batches)) for one in found],
        "tuning tokens": [amount(one.tuning_tokens).strip() for one in found],
        "seeds": [str(one.seeds) for one in found],
        "schedule": [one.schedule for one in found],
        "not searched for": [one.fixed for one in found],
        "precision": [one.precision for one in found],
        "trials in all": [f"{one.trials} ({one.diverged} diverged)" for one in found],
        "FLOP in all": [amount(one.flops).strip() for one in found],
    }
    for name, values in rows.items():
        if any(values):
            shown.add_row(name, *values)
    return shown


def show_bill(document: dict[str, Any], console: Console) -> None:
    """Print what a study would cost, by the document of its bill."""
    bill = TypeAdapter(Bill).validate_python(document)
    shown = table("", "batch", "least trials", "most", "least tokens", "most", "least FLOP", "most")
    for row in bill.batches:
        numbers = [(f"{cost.trials}", amount(cost.tokens).strip(), amount(cost.flops).strip()) for cost in (row.least, row.most)]
        shown.add_row(NAMES[row.optimizer], str(row.batch_tokens), *(numbers[i][column] for column in range(3) for i in range(2)))
    spans = (bill.trials, bill.tokens, bill.flops)
    totals = [f"{end:.0f}" if i == 0 else amount(end).strip() for i, span in enumerate(spans) for end in (span.least, span.most)]
    shown.add_section()
    shown.add_row("[bold]all[/]", "", *totals)
    console.print(shown)
    by = "[yellow]estimated[/]: " if bill.estimated else "by "
    sources = "; ".join(dict.fromkeys(row.pace.source for row in bill.batches))
    span = f"{duration(bill.seconds.least)} to {duration(bill.seconds.most)}"
    console.print(f"Time: {span}, {bill.parallel} at once ({by}{sources}).", soft_wrap=True)
    console.print(f"[dim]{bill.assumes}.[/]", soft_wrap=True)
