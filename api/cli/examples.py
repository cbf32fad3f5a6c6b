"""The command `telescope examples`, which lists the packaged examples, or prints one of them."""

import sys
from typing import Annotated

import typer
from rich.table import Table

from api.cli.options import AsJson
from api.cli.output import console, json_value, show_json
from api.examples import EXAMPLES, example


def examples(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of the example to print (default: list all examples).", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the packaged examples, or print the example with the given name.

    Example: telescope examples quickstart > job.yaml
    """
    if name is not None:
        selected = example(name)
        text = selected.path.read_text(encoding="utf-8")
        if as_json:
            show_json({"name": name, **json_value(selected), "text": text})
        else:
            sys.stdout.write(text)
    elif as_json:
        entries = [{"name": key, **json_value(entry)} for key, entry in EXAMPLES.items()]
        show_json({"items": entries})
    else:
        table = Table("example", "file", "shows", box=None, header_style="dim", pad_edge=False)
        for key, entry in EXAMPLES.items():
            table.add_row(key, entry.file, entry.summary)
        console().print(table)
        print("\nTo save an example: telescope examples quickstart > job.yaml")
