"""The commands about corpora, the texts that models are trained on.

`telescope corpus add` registers a file or folder under a name. `telescope corpus list` lists the
names that jobs can use: the names of the built-in corpora, and the registered names. The registered
names are stored in the folder TELESCOPE_HOME. A service, or a run of `telescope run`, knows only
the built-in corpora and the names that are registered in its own TELESCOPE_HOME.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from api.cli.options import AsJson
from api.cli.output import console, json_value, show_json

corpora = typer.Typer(
    help="Manage this machine's corpora (training texts). A job names its corpus in data.corpus.",
    no_args_is_help=True,
)


@corpora.command("add")
def corpus_add(
    name: Annotated[str, typer.Argument(help="Name by which jobs refer to the corpus.")],
    path: Annotated[
        Path,
        typer.Argument(
            help=(
                "A file, or a folder of files. Formats: plain text, .jsonl, .jsonl.gz, .jsonl.zst, "
                ".parquet, and .bin (token ids)."
            )
        ),
    ],
    text_field: Annotated[
        str,
        typer.Option(
            help="Field of .jsonl files, or column of .parquet files, that holds the text."
        ),
    ] = "text",
    as_json: AsJson = False,
) -> None:
    """Register a file or folder of your own as a corpus.

    Example: telescope corpus add novels ~/novels
    """
    from telescope.data.corpora import register  # lazy import: slow to load

    corpus = register(name, path, text_field)
    if as_json:
        show_json(json_value(corpus))
    else:
        print(f"{corpus.name}: {corpus.path}. In a job, write: data: {{corpus: {corpus.name}}}")


@corpora.command("list")
def corpus_list(as_json: AsJson = False) -> None:
    """List the corpora that jobs can name.

    Example: telescope corpus list
    """
    from telescope.data.corpora import available  # lazy import: slow to load

    if as_json:
        show_json({"items": json_value(list(available()))})
        return
    table = Table("corpus", "path", box=None, header_style="dim", pad_edge=False)
    for corpus in available():
        table.add_row(corpus.name, str(corpus.path or "built in"))
    console().print(table)
