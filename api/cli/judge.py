"""`telescope judge FILE.csv`: the verdict on a sweep that was run elsewhere.

The command needs no service: it reads a table of finished runs, applies the rules of a job's
report, and prints the verdict.
"""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.options import AsJson, Plot
from api.cli.output import console, show_json
from telescope.errors import InvalidInput

COLUMNS = "width, lr, loss (empty or nan if diverged) and, if swept, weight_decay and seed"


def judge(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.csv",
            help=f"CSV table with one row per finished run: {COLUMNS}.",
            show_default=False,
        ),
    ],
    target_width: Annotated[
        int | None, typer.Option(help="Width to train (default: twice the widest in the table).")
    ] = None,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Judge a sweep that you have already run: do its hyperparameters transfer to the target width?

    Example: telescope judge sweep.csv --target-width 1024
    """
    content = read_table(file)
    from api.terminal import telescoping  # here, for a quick start
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
        from api.terminal import pictures  # here: loads matplotlib

        pictures.plot_judgement(judgement, sweep.rows, plot, file.name)
    raise typer.Exit(0 if judgement.verdict == "resolved" else 1)


def read_table(file: Path) -> bytes:
    """Read a CSV table, or only so much of it that `read_csv` refuses it as too large."""
    from telescope.studies.telescoping.judge.sweep import MOST_BYTES  # here, for a quick start

    try:
        with file.open("rb") as stream:
            return stream.read(MOST_BYTES + 1)
    except OSError as error:
        message = f"cannot read {file}: {error.strerror}; give the path of a CSV table"
        raise InvalidInput.of("", message) from None
