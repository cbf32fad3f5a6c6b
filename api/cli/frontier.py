"""The command `telescope frontier JOB --target-loss X`, which shows the cost of reaching a loss.

A job of kind compute_time compares AdamW with Muon at several batch sizes. For the target loss X,
the service computes three tables: the hours to the loss by number of devices, the tokens to the
loss by batch size, and AdamW's tokens divided by Muon's tokens. The command prints all tables as
text or JSON, or one table as CSV. With `--plot`, the command also plots the tables. X need not be
one of the target losses that the job names, but at least one run must have reached X.
"""

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from api.cli.options import AsJson, Plot, ServiceUrl, require_one_format
from api.cli.output import console, show_json
from api.cli.service import configured, local_url
from telescope.client.client import Client
from telescope.trials.types import OptimizerName


class Csv(StrEnum):
    """The tables that can be printed as CSV."""

    FRONTIER = "frontier"
    TOKEN_RATIO = "token-ratio"  # noqa: S105
    BATCH_SIZES = "batch-sizes"


def frontier(
    job_id: Annotated[
        str,
        typer.Argument(metavar="JOB", help="Id of a job of kind compute_time.", show_default=False),
    ],
    target_loss: Annotated[
        float, typer.Option(help="Held-out loss to reach, in nats per token.", show_default=False)
    ],
    optimizer: Annotated[
        OptimizerName | None, typer.Option(help="Show the hours and tokens of this optimizer only.")
    ] = None,
    url: ServiceUrl = None,
    plot: Plot = None,
    csv: Annotated[
        Csv | None,
        typer.Option(
            help="Print one table as CSV, instead of all three as text. As CSV, the table "
            "`frontier` also has the rows that are not on the frontier."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how many hours and tokens each optimizer needs to reach a loss.

    Example: telescope frontier JOB --target-loss 2.1 --plot frontier.png
    """
    require_one_format(csv and csv.value, as_json)
    with Client(url or local_url(configured({})[0]), patience_seconds=3.0) as client:
        if csv:
            only = None if csv is Csv.TOKEN_RATIO else optimizer  # a ratio needs both optimizers
            sys.stdout.write(client.csv(job_id, csv.value, target_loss, optimizer=only))
        if csv and not plot:
            return
        documents = fetch_tables(client, job_id, target_loss, optimizer)
        name = client.job(job_id).name if plot else ""
    # lazy import: slow to load
    from api.terminal.frontier import parse_tables, plot_tables, show_tables

    tables = parse_tables(documents)
    if as_json:
        show_json(documents)
    elif not csv:
        show_tables(tables, console())
    if plot:
        plot_tables(tables, plot, name)


def fetch_tables(
    client: Client, job_id: str, target_loss: float, optimizer: str | None = None
) -> dict[str, Any]:
    """Fetch the three tables of a job from a service. Returns each table as a JSON document."""
    from telescope.studies import registry  # lazy import: slow to load

    tables = {
        "frontier": client.frontier(job_id, target_loss, optimizer=optimizer),
        "batch_sizes": client.batch_sizes(job_id, target_loss, optimizer=optimizer),
        "token_ratio": client.token_ratio(job_id, target_loss),
    }
    return {name: registry.report_document(table) for name, table in tables.items()}
