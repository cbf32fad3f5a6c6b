"""Names, colours and tables that all terminal output shares."""

from rich.table import Table

from telescope.studies.telescoping.evidence import amount
from telescope.trials.types import OPTIMIZER_TITLES

__all__ = ["COLOURS", "amount", "empty_table", "field_words", "ladder"]

COLOURS = {
    "resolved": "green",
    "unresolved": "yellow",
    "unbracketed": "yellow",
    "refused": "red",
}  # of verdicts
LEFT = (
    "variant",
    "verdict",
    "reason",
    "optimizer",
    "edge",
    "layers",
    "what it means",
    "largest part",
)


def field_words(name: str) -> str:
    """Spell a field's name for people."""
    return "lr" if name == "lr" else name.replace("_", " ")


def ladder(optimizer: str, variant: str = "") -> str:
    """The name of a ladder: its optimizer, and its variant if the job compares several."""
    return ", ".join(filter(None, (OPTIMIZER_TITLES[optimizer], variant)))


def empty_table(first: str, *others: str) -> Table:
    """Make an empty table with these column titles; columns of numbers are right-aligned."""
    empty = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    empty.add_column(first)
    for title in others:
        empty.add_column(title, justify="left" if title in LEFT else "right", overflow="fold")
    return empty
