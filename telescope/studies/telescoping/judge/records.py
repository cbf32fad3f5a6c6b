"""The rows of a sweep as submitted: their places, and the numbers in their cells.

A *sweep* is a table with one row per training run.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from telescope.errors import Problem

# texts in the column `loss` that mark a diverged run, in lower case
DIVERGED = frozenset(
    {"", "nan", "-nan", "inf", "+inf", "infinity", "na", "n/a", "none", "null", "diverged"}
)
WIDEST = 2**31 - 1  # largest width and largest seed that a cell may hold

Cells = Mapping[str, object]


@dataclass(frozen=True)
class SourceLine:
    """The place of a row in a CSV file, for messages. A row in the fifth line is at `line 5`, and
    its cell in the column `lr` is at `line 5, lr`.
    """

    number: int

    def __str__(self) -> str:
        return f"line {self.number}"

    def at(self, column: str) -> str:
        """The place of this row's cell in a column."""
        return f"{self}, {column}"


@dataclass(frozen=True)
class RowAt:
    """The place of a row in JSON, for messages. The fifth row is at `rows.4`, and its cell in the
    column `lr` is at `rows.4.lr`.
    """

    index: int

    def __str__(self) -> str:
        return f"rows.{self.index}"

    def at(self, column: str) -> str:
        """The place of this row's cell in a column."""
        return f"{self}.{column}"


@dataclass(frozen=True)
class SweepRow:
    """A row as submitted, with its place and its cells by column name."""

    place: SourceLine | RowAt
    cells: Cells


@dataclass(frozen=True)
class Column:
    """A column, and the numbers that its cells may hold. They lie from `least` to `most`. If
    `integer` is true, they are whole numbers.
    """

    name: str
    requirement: str  # message if a cell holds anything else
    least: float = math.ulp(0.0)
    most: float = sys.float_info.max
    integer: bool = False

    def read(self, row: SweepRow) -> float | Problem:
        """The number in this column's cell of a row, or the problem to report if the cell holds no
        allowed number.
        """
        cell = row.cells.get(self.name)
        value = as_number(cell)
        if (
            value is None
            or not self.least <= value <= self.most
            or (self.integer and value != round(value))
        ):
            return Problem(row.place.at(self.name), self.requirement, cell)
        return value


WIDTH = Column(
    "width",
    f"must be a whole number from 1 to {WIDEST}; give the width of the model",
    1,
    WIDEST,
    integer=True,
)
LR = Column("lr", "must be a positive number, such as 0.01 or 1e-2")
WEIGHT_DECAY = Column(
    "weight_decay", "must be 0 or a positive number; fill it in, or drop the column", 0.0
)
SEED = Column(
    "seed",
    f"must be a whole number from {-WIDEST} to {WIDEST}; number the repeats, or drop the column",
    -WIDEST,
    WIDEST,
    integer=True,
)
LOSS = Column("loss", "must be a positive number; leave it empty if the run diverged")


def as_number(cell: object) -> float | None:
    """The number in a cell, which may be text. `None` if the cell holds no number."""
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        return None
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return None


def is_diverged(cell: object) -> bool:
    """Whether a cell in the column `loss` says that the run diverged."""
    if isinstance(cell, float):
        return math.isnan(cell) or cell == math.inf
    return cell is None or (isinstance(cell, str) and cell.lower() in DIVERGED)
