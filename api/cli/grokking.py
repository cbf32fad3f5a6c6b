"""The command `telescope grokking JOB`, which shows the tables of a grokking job.

A job of kind grokking compares when Muon and AdamW generalise. A *cell* of the comparison is a task
together with a form of softmax in the loss. The table `cells` has two rows for each cell. One row
is about sustained generalisation. The other row is about the first evaluation with a held-out
accuracy of at least 95 % after a run has memorised the training rows. The table `runs` has a row
for each finished run. The command prints a table as text, CSV or JSON. With `--plot`, the command
also plots the job or one of its runs. `telescope result` prints the whole report.
"""

import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from api.cli.options import AsJson, Plot, ServiceUrl, require_one_format
from api.cli.output import console, json_value, show_json
from api.cli.service import configured, local_url
from telescope.client.client import Client
from telescope.client.resources import TrialSummary
from telescope.errors import InvalidInput
from telescope.trials.types import OPTIMIZER_TITLES

Row = TypeVar("Row")


class GrokkingTable(StrEnum):
    """The tables of a grokking job."""

    CELLS = "cells"
    RUNS = "runs"


def grokking(
    job_id: Annotated[
        str, typer.Argument(metavar="JOB", help="Id of a job of kind grokking.", show_default=False)
    ],
    table: Annotated[
        GrokkingTable,
        typer.Option(help="Show cells (each a task with a softmax), or finished runs."),
    ] = GrokkingTable.CELLS,
    run: Annotated[
        str | None,
        typer.Option(
            metavar="TRIAL",
            help="With --plot: plot this run instead of the comparison. Give the id of the run's "
            "trial, or the trial's digest, which is in the CSV and JSON of --table runs.",
        ),
    ] = None,
    url: ServiceUrl = None,
    plot: Plot = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show when each optimizer generalised: by task and softmax (cells), or by run.

    Example: telescope grokking JOB --plot grokking.png
    """
    require_one_format(csv, as_json)
    if run is not None and not plot:
        raise InvalidInput.of("--run", "chooses what --plot shows; give --plot FILE, too", run)
    with Client(url or local_url(configured({})[0]), patience_seconds=3.0) as client:
        if csv:
            sys.stdout.write(client.grokking_csv(job_id, table.value))
        else:
            show_table(client, job_id, table, as_json)
        if plot and run is not None:
            plot_trial(client, trial_named(client, job_id, run), plot)
        elif plot:
            plot_job(client, job_id, plot)


def show_table(client: Client, job_id: str, table: GrokkingTable, as_json: bool) -> None:
    """Fetch a table of a job, and print it as text or as one JSON document."""
    from api.terminal.grokking_tables import show_cells, show_runs  # lazy import: slow to load

    if table is GrokkingTable.CELLS:
        print_rows(client.grokking_cells(job_id), show_cells, table, as_json)
    else:
        print_rows(client.grokking_runs(job_id), show_runs, table, as_json)


def print_rows(
    rows: tuple[Row, ...],
    show: Callable[[Sequence[Row], Console], None],
    table: GrokkingTable,
    as_json: bool,
) -> None:
    """Print the rows of a table, as text by `show` or as one JSON document."""
    if as_json:
        show_json({"table": table.value, "items": json_value(list(rows))})
    else:
        show(rows, console())


def plot_job(client: Client, job_id: str, path: Path) -> None:
    """Plot the report of a job to a PNG file."""
    from api.terminal.grokking import parse_report, plot_grokking  # lazy import: slow to load

    plot_grokking(parse_report(client.document(job_id)), path, client.job(job_id).name)


def trial_named(client: Client, job_id: str, run: str) -> TrialSummary:
    """Return a job's trial. `run` is the trial's id or digest.

    Raises InvalidInput if the job has no such trial.
    """
    for trial in client.trials(job_id):
        if run in (str(trial.id), trial.digest):
            return trial
    message = (
        f"is no run of job {job_id}; give the id of a trial of this job, or a digest from "
        f"`telescope grokking {job_id} --table runs --csv`"
    )
    raise InvalidInput.of("--run", message, run)


def plot_trial(client: Client, trial: TrialSummary, path: Path) -> None:
    """Plot the curve of a trial to a PNG file."""
    from api.terminal.grokking import plot_run  # lazy import: slow to load

    cell = f"{trial.variant}, " if trial.variant else ""
    hyperparameters = f"lr {trial.lr:.3g}, weight decay {trial.weight_decay:.3g}"
    run = f"{cell}{OPTIMIZER_TITLES[trial.optimizer]}, {hyperparameters}, seed {trial.seed}"
    plot_run(client.curve(trial.id), path, f"{client.job(trial.job_id).name}: {run}")
