"""The command `telescope export JOB --to FORMAT`, which converts a result for another trainer.

The format is `torch`, `megatron` or `json`. The command gets the converted text from the service,
and prints the text or writes it to a file. If no URL is given and the service on this machine is
not available, the command makes the text from the database of this installation. So the results of
`telescope run` can be exported without a service.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from api.cli.options import AsJson, ServiceUrl
from api.cli.output import show_json
from api.cli.service import configured, local_url
from telescope.client.client import Client
from telescope.errors import InvalidInput, Unavailable
from telescope.trials.types import OptimizerName

Format = Literal["torch", "megatron", "json"]


def export(
    job_id: Annotated[
        str,
        typer.Argument(metavar="JOB", help="Id of a job of kind telescope.", show_default=False),
    ],
    to: Annotated[
        Format,
        typer.Option(
            help="torch: Python code; megatron: flags for Megatron-LM; json: a JSON document.",
            show_default=False,
        ),
    ],
    optimizer: Annotated[
        OptimizerName | None,
        typer.Option(
            help="Optimizer to export (default: the better one if known, or else the job's first)."
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            help="Architecture or text to export, if the job compares several of them (default: "
            "the best). Required if none is known to be the best."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write to this file instead of standard output."),
    ] = None,
    url: ServiceUrl = None,
    as_json: AsJson = False,
) -> None:
    """Print a job's hyperparameters for the target model in the format of another trainer.

    Example: telescope export JOB --to torch -o train.py
    """
    text = fetch_export(job_id, to, optimizer, variant, url)
    if output:
        write(text, output)
    if as_json:
        show_json({"job": job_id, "to": to, "file": str(output) if output else None, "text": text})
    elif output:
        print(f"Wrote {output}.")
    else:
        sys.stdout.write(text)


def write(text: str, path: Path) -> None:
    """Write a text to a file. Raises InvalidInput if the file cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"cannot be written: {error.strerror}; give another path"
        raise InvalidInput.of("--output", message, str(path)) from None


def fetch_export(
    job_id: str, to: Format, optimizer: OptimizerName | None, variant: str | None, url: str | None
) -> str:
    """Return the text of an export, made by the service.

    If the service is unavailable and `url` is None, makes the text from the local database.
    """
    settings, _ = configured({})
    try:
        with Client(url or local_url(settings), patience_seconds=3.0 if url else 0.0) as client:
            return client.export(job_id, to, optimizer=optimizer, variant=variant)
    except Unavailable:
        if url:
            raise
    from api.cli import solo  # lazy import: slow to load
    from api.jobs.exports import export_job
    from telescope.export import ExportRequest

    with solo.installation(settings) as store:
        return export_job(store, store.job(job_id), ExportRequest(to, optimizer, variant))
