"""`telescope examples`: list the packaged examples, or print one of them."""

import sys
from typing import Annotated

import typer
from rich.table import Table

from api.cli.output import console, json_value, show_json
from api.examples import EXAMPLES, example


def examples(
    name: Annotated[
        str | None, typer.Argument(help="Example to print (default: list all).", show_default=False)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document to standard output.")
    ] = False,
) -> None:
    """List the packaged examples, or print one of them.

    Example: telescope examples quickstart > job.yaml
    """
    if name is not None:
        chosen = example(name)
        text = chosen.path.read_text(encoding="utf-8")
        if as_json:
            show_json({"name": name, **json_value(chosen), "text": text})
        else:
            sys.stdout.write(text)
    elif as_json:
        show_json(
            {"items": [{"name": each, **json_value(entry)} for each, entry in EXAMPLES.items()]}
        )
    else:
        table = Table("example", "file", "shows", box=None, header_style="dim", pad_edge=False)
        for each, entry in EXAMPLES.items():
            table.add_row(each, entry.file, entry.summary)
        console().print(table)
        print("\nTo save one: telescope examples quickstart > job.yaml")
