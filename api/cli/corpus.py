"""Commands about corpora.

`telescope corpus add` registers a file or folder under a name; `telescope corpus list` lists the
names that jobs can use. The names are stored in TELESCOPE_HOME, which `telescope serve` and
`telescope run` on this machine share.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from api.cli.options import AsJson
from api.cli.output import console, json_value, show_json

corpora = typer.Typer(
    help="Manage the corpora of this machine, which jobs name in data.corpus.", no_args_is_help=True
)


@corpora.command("add")
def corpus_add(
    name: Annotated[str, typer.Argument(help="Name that jobs give in data.corpus.")],
    path: Annotated[
        Path,
        typer.Argument(
            help="File or folder: text, .jsonl (or .gz, .zst), .parquet, or token ids in .bin."
        ),
    ],
    text_field: Annotated[
        str, typer.Option(help="Field of jsonl and parquet files that holds the text.")
    ] = "text",
    as_json: AsJson = False,
) -> None:
    """Register a file or folder of your own as a corpus.

    Example: telescope corpus add novels ~/novels
    """
    from telescope.data.corpora import register  # here, for a quick start

    corpus = register(name, path, text_field)
    if as_json:
        show_json(json_value(corpus))
    else:
        print(f"{corpus.name}: {corpus.path}. Use it in a job: data: {{corpus: {corpus.name}}}")


@corpora.command("list")
def corpus_list(as_json: AsJson = False) -> None:
    """List the corpora that jobs can name.

    Example: telescope corpus list
    """
    from telescope.data.corpora import available  # here, for a quick start

    if as_json:
        show_json({"items": json_value(list(available()))})
        return
    table = Table("corpus", "path", box=None, header_style="dim", pad_edge=False)
    for corpus in available():
        table.add_row(corpus.name, str(corpus.path or "built in"))
    console().print(table)
