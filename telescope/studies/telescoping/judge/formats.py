"""The parser of a sweep in CSV or JSON.

A *sweep* is a table with one row per training run. Columns may come in any order. Their names may
be in upper or lower case. Unknown columns are ignored, and a note names them. The problem of a row
is reported with the row's line (CSV) or the row's number, counted from 0 (JSON). If a single cell
is wrong, the problem also names the column.
"""

import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

from telescope.errors import InvalidInput, Problem
from telescope.studies.telescoping.judge.records import Cells, RowAt, SourceLine, SweepRow
from telescope.studies.telescoping.judge.sweep import (
    MOST_BYTES,
    MOST_ROWS,
    NEEDED,
    OPTIONAL,
    Sweep,
    refuse,
    sweep_of,
)


def read_csv(content: bytes) -> Sweep:
    """The sweep in a CSV file. The separator of cells is a comma, a semicolon or a tab: whichever
    of them is most frequent in the line of column names. Raises InvalidInput with the problems of
    the file.
    """
    if len(content) > MOST_BYTES:
        names = ", ".join((*NEEDED, *OPTIONAL))
        message = f"is larger than {MOST_BYTES} bytes; keep one row per run, and only the columns"
        raise InvalidInput.of("", f"{message} {names}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput.of(
            "", f"is not UTF-8 text (byte {error.start}); save the table as CSV in UTF-8"
        ) from None
    if "\0" in text:
        raise InvalidInput.of("", "is binary, not text; save the table as CSV in UTF-8")
    first_line = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=first_line.count)
    reader = csv.reader(
        io.StringIO(text, newline=None), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    try:
        filled = (
            (reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)
        )
        lines = list(itertools.islice(filled, MOST_ROWS + 2))
    except csv.Error as error:
        raise InvalidInput.of(
            str(SourceLine(reader.line_num)),
            f"is not CSV: {error}; check the quotes and the length of the cells, in this line and "
            "the lines above",
        ) from None
    if not lines:
        names = ",".join((*NEEDED[:2], *OPTIONAL, "loss"))
        raise InvalidInput.of("", f"is empty; begin with a line of column names: {names}")
    (_, header), *body = lines
    columns = [name.strip().lower() for name in header]
    check_columns(columns)
    return sweep_of(records(columns, body), ignored(columns))


def check_columns(columns: Sequence[str]) -> None:
    """Raise InvalidInput if a needed column is missing, or if a needed or optional column occurs
    more than once.
    """
    remedy = "rename the column with these values, or add the column"
    hint = f"{remedy} (the columns are {', '.join(columns)})"
    missing = [Problem(name, f"no such column; {hint}") for name in NEEDED if name not in columns]
    counts = Counter(columns)
    repeated = [
        Problem(name, f"is the name of {counts[name]} columns; keep one")
        for name in NEEDED + OPTIONAL
        if counts[name] > 1
    ]
    if problems := missing + repeated:
        raise InvalidInput.because(tuple(problems))


def records(columns: Sequence[str], lines: Iterable[tuple[int, list[str]]]) -> list[SweepRow]:
    """The rows in the lines of a CSV file, as cells by column name. Raises InvalidInput if a line
    has fewer cells than columns, or filled cells beyond the last column.
    """
    rows, problems = [], list[Problem]()
    for number, cells in lines:
        line = SourceLine(number)
        extra_cells = [cell for cell in cells[len(columns) :] if cell.strip()]
        if extra_cells or len(cells) < len(columns):
            remedy = "separate empty cells too, and quote a cell that contains the separator"
            counts = f"has {len(cells)} cells, but the first line names {len(columns)} columns"
            message = f"{counts}; {remedy}; write decimals with a point, not a comma"
            problems.append(Problem(str(line), message))
        named = zip(columns, cells, strict=False)
        rows.append(SweepRow(line, {name: cell.strip() for name, cell in named if name}))
    refuse(problems)
    return rows


def ignored(columns: Iterable[str]) -> tuple[str, ...]:
    """One note that names the ignored columns, or no note if no column is ignored."""
    names = sorted({name for name in columns if name and name not in NEEDED + OPTIONAL})
    return (f"ignored: {', '.join(names)}",) if names else ()


def read_rows(rows: Sequence[Cells]) -> Sweep:
    """The sweep in rows from JSON. Raises InvalidInput with the problems of the rows."""
    lowered = [
        {str(name).strip().lower(): value for name, value in row.items()}
        for row in rows[: MOST_ROWS + 1]
    ]
    submitted = [SweepRow(RowAt(i), cells) for i, cells in enumerate(lowered)]
    remedies = {"loss": "give it, or null if the run diverged"}
    refuse(
        [
            Problem(row.place.at(name), f"is missing; {remedies.get(name, 'give it')}")
            for row in submitted
            for name in NEEDED
            if name not in row.cells
        ]
    )
    return sweep_of(submitted, ignored(name for cells in lowered for name in cells))


def read_document(document: object) -> tuple[Sweep, int | None]:
    """The sweep and the target width in a JSON document `{rows: [..], target_width: N}`. The target
    width is `None` if the document has none. Raises InvalidInput with the problems of the document.
    """
    if not isinstance(document, dict):
        raise InvalidInput.of(
            "",
            "must be a mapping with rows (a list of runs) and, optionally, target_width",
            document,
        )
    refuse(
        [
            Problem(str(name), "unknown key; the keys are rows and target_width")
            for name in document
            if name not in ("rows", "target_width")
        ]
    )
    rows, target = document.get("rows"), document.get("target_width")
    if not isinstance(rows, list):
        raise InvalidInput.of(
            "rows", "must be a list of runs, each with its width, lr and loss", rows
        )
    message = "must be a mapping with width, lr and loss"
    refuse(
        [
            Problem(str(RowAt(i)), message, row)
            for i, row in enumerate(rows)
            if not isinstance(row, dict)
        ]
    )
    if target is not None and (isinstance(target, bool) or not isinstance(target, int)):
        raise InvalidInput.of("target_width", "must be a whole number", target)
    return read_rows(rows), target
