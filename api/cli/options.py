"""The arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from telescope.errors import InvalidInput
from telescope.extras import require_extra


def require_one_format(csv: object, as_json: bool) -> None:
    """Raise InvalidInput if both --csv and --json are given."""
    if csv and as_json:
        message = "cannot be combined with --json; give only one of the two"
        raise InvalidInput.of("--csv", message, csv)


def _plottable(file: Path | None) -> Path | None:
    """Return the file unchanged.

    If a plot is requested but matplotlib is not installed, raises MissingPackage, so that the
    command fails before it does any work.
    """
    if file:
        require_extra("plots")
    return file


JobFile = Annotated[Path, typer.Argument(help="Job file in YAML 1.2 or JSON.", show_default=False)]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.", show_default=False)]
ServiceUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="TELESCOPE_URL",
        help="URL of the service (default: the service on this machine).",
    ),
]
ForecastUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="TELESCOPE_URL",
        help="URL of a service that makes the forecast (default: this command makes it itself).",
    ),
]
Plot = Annotated[
    Path | None, typer.Option(help="Also write a plot to this PNG file.", callback=_plottable)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
