"""`telescope frontier JOB --target-loss X`: the tables of a compute-time job at a target loss.

The service computes three tables; the command prints them, plots them, or writes one of them as
CSV. The target may be any loss that the job's runs reached.
"""

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from api.cli.output import Plot, console, show_json
from api.cli.service import configured, local_url
from telescope.client.client import Client
from telescope.errors import InvalidInput
from telescope.trials.types import OptimizerName


class Csv(StrEnum):
    """The tables that can be printed as CSV."""

    FRONTIER = "frontier"
    TOKEN_RATIO = "token-ratio"
    BATCH_SIZES = "batch-sizes"


def frontier(
    job_id: Annotated[
        str, typer.Argument(metavar="JOB", help="Id of a compute_time job.", show_default=False)
    ],
    target_loss: Annotated[float, typer.Option(help="Held-out loss to reach.", show_default=False)],
    optimizer: Annotated[
        OptimizerName | None, typer.Option(help="Show hours and tokens of this optimizer only.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(envvar="TELESCOPE_URL", help="URL of the service (default: this machine's)."),
    ] = None,
    plot: Plot = None,
    csv: Annotated[
        Csv | None, typer.Option(help="Print all rows of this table as CSV instead.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document to standard output.")
    ] = False,
) -> None:
    """Show hours to a loss against devices, and whether Muon's advantage lasts as batches grow.

    Example: telescope frontier JOB --target-loss 2.1 --plot frontier.png
    """
    if csv and as_json:
        raise InvalidInput.of(
            "--csv", "cannot be combined with --json; give only one of the two", csv.value
        )
    with Client(url or local_url(configured({})[0]), patience_seconds=3.0) as client:
        if csv:
            chosen = None if csv is Csv.TOKEN_RATIO else optimizer
            sys.stdout.write(client.csv(job_id, csv.value, target_loss, optimizer=chosen))
        if csv and not plot:
            return
        documents = fetch_tables(client, job_id, target_loss, optimizer)
        name = client.job(job_id).name if plot else ""
    from api.terminal.frontier import (
        parse_tables,
        plot_tables,
        show_tables,
    )  # late, for a quick start

    answers = parse_tables(documents)
    if as_json:
        show_json(documents)
    elif not csv:
        show_tables(answers, console())
    if plot:
        plot_tables(answers, plot, name)


def fetch_tables(
    client: Client, job_id: str, target_loss: float, optimizer: str | None = None
) -> dict[str, Any]:
    """Fetch the three tables of a job from a service, as documents."""
    from telescope.studies import registry  # late, for a quick start

    return {
        "frontier": registry.report_document(
            client.frontier(job_id, target_loss, optimizer=optimizer)
        ),
        "batch_sizes": registry.report_document(
            client.batch_sizes(job_id, target_loss, optimizer=optimizer)
        ),
        "token_ratio": registry.report_document(client.token_ratio(job_id, target_loss)),
    }
