"""The terminal output of a grokking study.

A grokking study compares when Muon and AdamW generalise on small tasks. A *cell* is a task with a
variant of softmax. "The paper" is arXiv 2504.16041. `show` prints the parts of the report, in this
order:

- the verdict
- the table of cells, with the times to sustained generalisation
- a short table of cells, with the times to the first crossing of 95 % accuracy
- the tests over all cells, among them the paper's pooled test and a list of this test's faults
- the hyperparameters under `protocol: tuned`
- the tuning that each optimizer received
- the assumptions and the cost

`show_bill` prints the expected cost. `api.terminal.grokking_tables` makes the tables of cells and
runs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.terminal.grokking_tables import (
    EVENT_TITLES,
    cell_of,
    coloured,
    crossed_table,
    p_cell,
    show_event,
)
from api.terminal.progress import duration
from api.terminal.words import amount, empty_table, significant
from telescope.client.resources import Curve
from telescope.studies.grokking.assumptions import Assumption
from telescope.studies.grokking.bill import GrokkingForecast
from telescope.studies.grokking.reasons import CellName
from telescope.studies.grokking.report import (
    ArmCost,
    GrokkingReport,
    OverCells,
    PooledTest,
)
from telescope.studies.grokking.tables import CellTableRow, cell_table
from telescope.studies.grokking.wording import cell_title
from telescope.trials.outcome import Measurement
from telescope.trials.types import OPTIMIZER_TITLES

PROTOCOLS = {
    "paper": "all optimizers share their hyperparameters, as in arXiv 2504.16041",
    "tuned": (
        "each optimizer searched the same values of lr and weight decay in each cell, and Muon's "
        "grid also had the given ratios of AdamW's lr to Muon's; the seeds of the searches take no "
        "part in the comparison"
    ),
}


def parse_report(document: dict[str, Any]) -> GrokkingReport:
    """Parse the JSON document of a report."""
    return TypeAdapter(GrokkingReport).validate_python(document)


def show(report: GrokkingReport, console: Console) -> None:
    """Print a report."""
    state = "" if report.final else " so far"
    verdict = f"\n[bold]{coloured(report.verdict)}[/]{state}: {escape(report.reason)}."
    console.print(verdict, soft_wrap=True)
    console.print(f"Protocol {report.protocol}: {PROTOCOLS[report.protocol]}.\n", soft_wrap=True)
    rows = cell_table(report.cells)
    show_event(
        [row for row in rows if row.event == "sustained"], EVENT_TITLES["sustained"], console
    )
    console.print(crossed_table(row for row in rows if row.event == "crossed"), "", sep="\n")
    console.print(*map(over_cells_words, report.over_cells), "", sep="\n", soft_wrap=True)
    if report.protocol == "tuned":
        console.print("Hyperparameters of the runs:", values_table(rows), "", sep="\n")
    console.print("Tuning that each optimizer received:", ledger_table(report.ledger), sep="\n")
    for cost in report.ledger:
        for edge in cost.edges:
            console.print(f"[yellow]Edge[/]: {escape(edge)}.", soft_wrap=True)
    console.print("", "Assumptions:", assumptions_table(report.assumptions), "", sep="\n")
    trials = f"{report.trials} trials"
    if report.reused:
        trials = f"{report.reused} of {report.trials} trials reused"
    cost_words = f"{amount(report.tokens)}tokens, {amount(report.flops)}FLOP"
    console.print(f"Bill: {trials}, {cost_words}, {report.seconds:.0f} s of training.\n")


def plot_grokking(report: GrokkingReport, path: Path, title: str) -> None:
    """Plot a report to a PNG file."""
    from telescope.studies.grokking.plot import draw  # lazy import: loads matplotlib

    draw(report, path, title)


def plot_run(curve: Curve, path: Path, title: str) -> None:
    """Plot the accuracies, losses, norms and largest logit of one run to a PNG file.

    Raises Conflict if the run has not been evaluated yet.
    """
    from telescope.studies.grokking.plot import draw_run  # lazy import: loads matplotlib

    draw_run(measurements_of(curve), path, title)


def measurements_of(curve: Curve) -> list[Measurement]:
    """Return the points of a curve. Each point has the metrics that are not null there."""
    columns = zip(curve.step, curve.tokens, curve.flops, curve.seconds, strict=True)
    return [Measurement(*spent, metrics_at(curve, index)) for index, spent in enumerate(columns)]


def metrics_at(curve: Curve, index: int) -> dict[str, float]:
    """Return the metrics of a point of a curve that are not null."""
    values = ((name, column[index]) for name, column in curve.metrics.items())
    return {name: value for name, value in values if value is not None}


def over_cells_words(tests: OverCells) -> str:
    """Return sentences on the tests over all cells, for one reading of when a run generalises.

    The paper's pooled test is added only for first crossings, to which the paper applies it.
    """
    p = p_cell(tests.log_rank_p)
    sentences = [
        f"{EVENT_TITLES[tests.event]}, log-rank test over all cells: "
        + (f"chi2 {tests.log_rank_chi2:.2f}, p {p}." if p else "no events to compare.")
    ]
    if tests.event == "crossed":
        sentences.append(pooled_words(tests.pooled))
    return "\n".join(sentences)


def pooled_words(test: PooledTest | None) -> str:
    """Return sentences on the pooled t-test of the paper and its faults."""
    if test is None:
        return (
            "The paper's pooled t-test cannot be repeated: each optimizer needs at least two runs "
            "that generalised, and at least one optimizer needs runs that did so at different "
            "epochs."
        )
    means = f"mean epoch {test.adamw_mean_epochs:.1f} (AdamW), {test.muon_mean_epochs:.1f} (Muon)"
    numbers = f"t {test.t:.2f}, df {test.df:.3g}, p {test.p:.2g}, {test.runs} runs"
    faults = "; ".join(test.faults)
    return f"The paper's pooled t-test: {means}, {numbers}. What is wrong with it: {faults}."


def values_table(rows: Sequence[CellTableRow]) -> Table:
    """Return the table of the hyperparameters that each optimizer runs with in each cell."""
    titles = ("Muon's lr", "decay", "AdamW lr ratio", "AdamW's lr", "decay")
    output = empty_table("", *titles)
    for row in rows:
        if row.event == "sustained":
            values = (
                row.muon_lr,
                row.muon_weight_decay,
                row.muon_adamw_lr_ratio,
                row.adamw_lr,
                row.adamw_weight_decay,
            )
            output.add_row(escape(cell_of(row)), *map(significant, values))
    return output


def ledger_table(ledger: tuple[ArmCost, ...]) -> Table:
    """Return the table of the tuning that each optimizer received, with one column per optimizer.

    Readers can judge from it whether the comparison is fair.
    """
    output = empty_table("", *(OPTIMIZER_TITLES[cost.optimizer] for cost in ledger))
    rows: dict[str, list[str]] = {
        "hyperparameters": [cost.hyperparameters for cost in ledger],
        "tuning trials": [str(cost.tuning_trials) for cost in ledger],
        "lr tried": [
            "" if cost.lr_low is None else f"{cost.lr_low:.3g}–{cost.lr_high:.3g}"
            for cost in ledger
        ],
        "weight decays": [listed(cost.weight_decays) for cost in ledger],
        "AdamW lr ratios": [listed(cost.adamw_lr_ratios) for cost in ledger],
        "trials in total": [f"{cost.trials} ({cost.diverged} diverged)" for cost in ledger],
        "FLOP in total": [amount(cost.flops).strip() for cost in ledger],
        "seconds in total": [f"{cost.seconds:.0f}" for cost in ledger],
    }
    for name, values in rows.items():
        if any(values):
            output.add_row(name, *values)
    return output


def listed(values: Sequence[float]) -> str:
    """Return a list of numbers with three significant digits, separated by commas."""
    return ", ".join(map(significant, values))


def assumptions_table(assumptions: Sequence[Assumption]) -> Table:
    """Return the table of the settings of the experiment, with their origins."""
    output = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for assumption in assumptions:
        output.add_row(assumption.name, escape(assumption.value), assumption.origin)
    return output


def show_bill(document: dict[str, Any], console: Console) -> None:
    """Print the expected cost of a study. `document` is the JSON document of a
    `GrokkingForecast`."""
    bill = TypeAdapter(GrokkingForecast).validate_python(document)
    counts = ("runs", "least tuning runs", "most tuning runs")
    output = empty_table("", "optimizer", *counts, "steps a run", "FLOP a run", "time a run")
    for arm in bill.arms:
        cell = cell_title(CellName(task=arm.task, softmax=arm.softmax))
        output.add_row(
            escape(cell),
            OPTIMIZER_TITLES[arm.optimizer],
            str(arm.runs),
            str(arm.tuning_least),
            str(arm.tuning_most),
            str(arm.steps),
            amount(arm.run_flops).strip(),
            duration(arm.run_seconds),
        )
    console.print(output, "", sep="\n")
    by = "[yellow]estimated[/]: " if bill.estimated else "by "
    sources = "; ".join(dict.fromkeys(arm.pace.source for arm in bill.arms))
    trials = f"{bill.trials.least:.0f} to {bill.trials.most:.0f} trials"
    flops = f"{amount(bill.flops.least).strip()} to {amount(bill.flops.most)}FLOP"
    span = f"{duration(bill.seconds.least)} to {duration(bill.seconds.most)}"
    parallel = f"{bill.parallel} trials at once"
    console.print(f"All cells: {trials}, {flops}.")
    console.print(f"Time: {span}, with {parallel} ({by}{escape(sources)}).", soft_wrap=True)
    console.print(f"[dim]Assumptions: {escape(bill.assumes)}.[/]", soft_wrap=True)
