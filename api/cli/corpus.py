"""Which commands are about texts?

`telescope corpus add` gives one of your own a name, `telescope corpus list` tells the names that jobs can use. Both work on the
TELESCOPE_HOME of this machine, which `telescope serve` and `telescope run` share.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from api.cli.output import console, plain, show_json

corpora = typer.Typer(help="Texts that jobs can name in data.corpus, on this machine.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


@corpora.command("add")
def corpus_add(
    name: Annotated[str, typer.Argument(help="What jobs will call it.")],
    path: Annotated[Path, typer.Argument(help="A file or folder: text, .jsonl(.gz/.zst), .parquet, or tokens in .bin.")],
    text_field: Annotated[str, typer.Option(help="Where jsonl and parquet keep their text.")] = "text",
    as_json: AsJson = False,
) -> None:
    """Give a text of your own a name.

    Example: telescope corpus add novels ~/novels
    """
    from telescope.data.corpora import register  # late, for a quick start

    corpus = register(name, path, text_field)
    if as_json:
        show_json(plain(corpus))
    else:
        print(f"{corpus.name}: {corpus.path}. Jobs name it by: data: {{corpus: {corpus.name}}}")


@corpora.command("list")
def corpus_list(as_json: AsJson = False) -> None:
    """List the texts that jobs can name.

    Example: telescope corpus list
    """
    from telescope.data.corpora import available  # late, for a quick start

    if as_json:
        show_json({"items": plain(list(available()))})
        return
    table = Table("corpus", "path", box=None, header_style="dim", pad_edge=False)
    for corpus in available():
        table.add_row(corpus.name, str(corpus.path or "built in"))
    console().print(table)
