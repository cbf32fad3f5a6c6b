"""The command `telescope judge FILE.csv`, which gives a verdict on a sweep that was run elsewhere.

The command reads a table of finished runs, applies the rules by which telescope judges its own
jobs, and prints the verdict. It needs no service.
"""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.options import AsJson, Plot
from api.cli.output import console, show_json
from telescope.errors import InvalidInput

COLUMNS = "width, lr, loss (empty or nan if the run diverged); optionally weight_decay and seed"


def judge(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.csv",
            help=f"CSV table with one row per finished run, and the columns {COLUMNS}.",
            show_default=False,
        ),
    ],
    target_width: Annotated[
        int | None,
        typer.Option(
            help="Width that you want to train (default: twice the largest width in the table)."
        ),
    ] = None,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Judge whether the optimum of a sweep that you have already run transfers to a target width.

    The exit status is 0 if the verdict is resolved, and 1 otherwise.

    Example: telescope judge sweep.csv --target-width 1024
    """
    content = read_table(file)
    from api.terminal import telescoping  # lazy import: slow to load
    from telescope.studies import registry
    from telescope.studies.telescoping.judge.formats import read_csv
    from telescope.studies.telescoping.judge.judge import judge

    sweep = read_csv(content)
    judgement = judge(sweep, target_width)
    if as_json:
        show_json(registry.report_document(judgement))
    else:
        telescoping.show_judgement(judgement, console())
    if plot:
        from api.terminal import pictures  # lazy import: loads matplotlib

        pictures.plot_judgement(judgement, sweep.rows, plot, file.name)
    raise typer.Exit(0 if judgement.verdict == "resolved" else 1)


def read_table(file: Path) -> bytes:
    """Return the content of a CSV table.

    If the file is larger than `MOST_BYTES`, return only its first `MOST_BYTES` + 1 bytes. Then
    `read_csv` refuses the table as too large.
    """
    from telescope.studies.telescoping.judge.sweep import MOST_BYTES  # lazy import: slow to load

    try:
        with file.open("rb") as stream:
            return stream.read(MOST_BYTES + 1)
    except OSError as error:
        message = f"cannot read {file}: {error.strerror}; give a readable CSV table"
        raise InvalidInput.of("", message) from None
