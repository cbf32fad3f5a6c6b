"""Names, numbers, tables and colours in the form in which the terminal output shows them."""

from rich.table import Table

from telescope.studies.telescoping.evidence import amount
from telescope.trials.types import OPTIMIZER_TITLES

__all__ = [
    "COLOURS",
    "amount",
    "empty_table",
    "field_words",
    "interval_cell",
    "ladder_name",
    "short_amount",
    "short_number",
    "signed_amount",
    "significant",
]

COLOURS = {  # colours of verdicts
    "resolved": "green",
    "unresolved": "yellow",
    "unbracketed": "yellow",
    "refused": "red",
}
LEFT_ALIGNED = (
    "variant",
    "against variant",
    "verdict",
    "reason",
    "optimizer",
    "edge",
    "layers",
    "what it means",
    "largest part",
)


def field_words(name: str) -> str:
    """Return a name, such as the name of a field, with spaces in place of underscores."""
    return name.replace("_", " ")


def ladder_name(optimizer: str, variant: str = "") -> str:
    """Return the name of a ladder: its optimizer and, if the job compares variants, its variant.

    A ladder consists of the runs of one optimizer at increasing widths. A variant is one of the
    architectures or texts that a job compares.
    """
    return ", ".join(filter(None, (OPTIMIZER_TITLES[optimizer], variant)))


def empty_table(first: str, *further: str) -> Table:
    """Return a table without rows, with these column titles.

    The first column and the columns in `LEFT_ALIGNED` are aligned to the left, the others to the
    right.
    """
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first)
    for title in further:
        table.add_column(
            title, justify="left" if title in LEFT_ALIGNED else "right", overflow="fold"
        )
    return table


def significant(value: float | None) -> str:
    """Format a number with three significant digits. The text for None is empty."""
    return "" if value is None else f"{value:.3g}"


def short_number(value: float | None) -> str:
    """Format a number with three significant digits. Numbers from 1000 on have an SI prefix."""
    return short_amount(value) if value is not None and value >= 1000 else significant(value)


def short_amount(value: float | None) -> str:
    """Format a number without spaces. Numbers from 1000 on have an SI prefix.

    The text for None is empty.
    """
    return "" if value is None else amount(value).replace(" ", "")


def signed_amount(value: float | None) -> str:
    """Format a number like `short_amount`, but with its sign. The text for None is empty."""
    return "" if value is None else f"{'-' if value < 0 else '+'}{short_amount(abs(value))}"


def interval_cell(low: float | None, high: float | None) -> str:
    """Format an interval of positive numbers.

    If `low` is None, the interval starts at 0. If `high` is None, the interval ends at ∞. An
    interval from 0 to ∞ gives an empty text.
    """
    if not low and high is None:
        return ""
    return f"{short_number(low) or '0'} to {short_number(high) or '∞'}"
