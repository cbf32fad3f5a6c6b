"""How are numbers, names and tables written on a terminal? What all that is printed for people has in common."""

from rich.table import Table

from telescope.studies.telescoping.report import amount

__all__ = ["amount", "table", "words"]

LEFT = ("verdict", "reason", "optimizer", "edge", "layers", "what it means", "largest part")


def words(name: str) -> str:
    """A field's name as people write it."""
    return "lr" if name == "lr" else name.replace("_", " ")


def table(first: str, *others: str) -> Table:
    """An empty table; numbers are aligned to the right."""
    made = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(first)
    for title in others:
        made.add_column(title, justify="left" if title in LEFT else "right", overflow="fold")
    return made
