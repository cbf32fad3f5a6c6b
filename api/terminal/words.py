"""How are numbers, names and tables written on a terminal? What all that is printed for people has in common."""

from rich.table import Table

from telescope.studies.telescoping.evidence import amount

__all__ = ["COLOURS", "OPTIMIZERS", "amount", "ladder", "table", "words"]

OPTIMIZERS = {"muon": "Muon", "adamw": "AdamW"}
COLOURS = {"resolved": "green", "unresolved": "yellow", "unbracketed": "yellow", "refused": "red"}  # of verdicts
LEFT = ("variant", "verdict", "reason", "optimizer", "edge", "layers", "what it means", "largest part")


def words(name: str) -> str:
    """A field's name as people write it."""
    return "lr" if name == "lr" else name.replace("_", " ")


def ladder(optimizer: str, variant: str = "") -> str:
    """What a ladder is called: its optimizer, and its variant where a job compares several."""
    return ", ".join(filter(None, (OPTIMIZERS[optimizer], variant)))


def table(first: str, *others: str) -> Table:
    """An empty table; numbers are aligned to the right."""
    made = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(first)
    for title in others:
        made.add_column(title, justify="left" if title in LEFT else "right", overflow="fold")
    return made
