"""Cells of a sweep: a number or the problem, named by where it stands in a file or a document."""

import math

import pytest

from telescope.errors import Problem
from telescope.studies.telescoping.judge.records import (
    LOSS,
    LR,
    SEED,
    WEIGHT_DECAY,
    WIDTH,
    Column,
    RowAt,
    SourceLine,
    SweepRow,
    is_diverged,
)


@pytest.mark.parametrize(
    ("place", "text"), [(SourceLine(5), "line 5, lr"), (RowAt(4), "rows.4.lr")]
)
def test_a_cell_is_named_as_its_file_or_its_document_names_it(
    place: SourceLine | RowAt, text: str
) -> None:
    assert LR.read(SweepRow(place, {"lr": "0,1"})) == Problem(
        text, "must be a positive number, such as 0.01 or 1e-2", "0,1"
    )


@pytest.mark.parametrize(
    ("column", "cell", "number"),
    [
        (LR, "1e-2", 0.01),
        (LR, 0.01, 0.01),
        (LR, 0, None),
        (LR, math.inf, None),
        (LR, math.nan, None),
        (LR, True, None),
        (LR, None, None),
        (LR, 10**400, None),
        (WEIGHT_DECAY, "0", 0.0),
        (WEIGHT_DECAY, "-1", None),
        (WIDTH, "64", 64.0),
        (WIDTH, "64.5", None),
        (WIDTH, 0, None),
        (WIDTH, 2**31, None),
        (SEED, -3, -3.0),
        (LOSS, "", None),
    ],
)
def test_a_cell_is_its_number_or_its_problem(
    column: Column, cell: object, number: float | None
) -> None:
    read = column.read(SweepRow(SourceLine(2), {column.name: cell}))
    assert read == (
        Problem(f"line 2, {column.name}", column.requirement, cell) if number is None else number
    )


@pytest.mark.parametrize(
    ("cell", "diverged"),
    [("NaN", True), ("", True), (None, True), (math.inf, True), (-math.inf, False), ("2.3", False)],
)
def test_cells_that_say_a_run_diverged(cell: object, diverged: bool) -> None:
    assert is_diverged(cell) is diverged
