"""A sweep that was run without telescope, parsed and checked.

A sweep is a table with a row per finished run: `width`, `lr`, `loss` and, where they were swept,
`weight_decay` and `seed`. `read_csv` parses CSV and `read_rows` JSON rows into a `Sweep`, or raises
InvalidInput that names line, column and remedy. Columns may come in any order, their names in any
case; other columns are ignored, with a note.

A run diverged if its loss is empty, nan or infinite, or beyond EXPLODED times the best of its
width. Without a seed column, repeats of a point are taken as seeds 0, 1, .. in their order.
"""

import csv
import io
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace

from telescope.errors import InvalidInput, Problem
from telescope.studies.telescoping.judge.records import (
    LOSS,
    LR,
    SEED,
    WEIGHT_DECAY,
    WIDTH,
    Cells,
    RowAt,
    SourceLine,
    SweepRow,
    is_diverged,
)

NEEDED, OPTIONAL = ("width", "lr", "loss"), ("weight_decay", "seed")
EXPLODED = 1000.0  # times the best loss of the width
MOST_BYTES, MOST_ROWS, MOST_WIDTHS, MOST_SEEDS = 10_000_000, 4000, 12, 32
MOST_PROBLEMS = 10  # in one refusal


@dataclass(frozen=True, order=True)
class Row:
    """A finished run; its loss is infinite where it diverged."""

    width: int
    lr: float
    weight_decay: float | None
    seed: int
    loss: float

    @property
    def finite(self) -> bool:
        """Whether the run did not diverge."""
        return math.isfinite(self.loss)


@dataclass(frozen=True)
class Sweep:
    """Runs, and notes on how they were interpreted."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths, each once, ascending."""
        return tuple(sorted({row.width for row in self.rows}))


def read_csv(content: bytes) -> Sweep:
    """The sweep in a CSV file, with commas, semicolons or tabs between its cells.

    Raises InvalidInput with the problems of its lines.
    """
    if len(content) > MOST_BYTES:
        raise InvalidInput.of(
            "", f"is larger than {MOST_BYTES} bytes; keep one row per run, with its final loss"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput.of(
            "", f"is not UTF-8 text (byte {error.start}); save the table as CSV in UTF-8"
        ) from None
    if "\0" in text:
        raise InvalidInput.of("", "is binary, not text; save the table as CSV in UTF-8")
    if not text.strip():
        names = ",".join((*NEEDED[:2], *OPTIONAL, "loss"))
        raise InvalidInput.of("", f"is empty; begin with a line of column names: {names}")
    head = next(line for line in text.splitlines() if line.strip())
    delimiter = max(",;\t", key=head.count)
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
            str(SourceLine(reader.line_num)), f"is not CSV: {error}; look for an unclosed quote"
        ) from None
    (_, header), *body = lines
    columns = [name.strip().lower() for name in header]
    check_columns(columns)
    return sweep_of(records(columns, body), ignored(columns))


def check_columns(columns: Sequence[str]) -> None:
    """Raise InvalidInput where a needed column is missing, or a known one appears twice."""
    missing = [
        Problem(
            name,
            (
                f"no such column; rename the column that holds it (the columns are {', '.join(columns)})"
            ),
        )
        for name in NEEDED
        if name not in columns
    ]
    counts = Counter(columns)
    twice = [
        Problem(name, f"is the name of {counts[name]} columns; keep one")
        for name in NEEDED + OPTIONAL
        if counts[name] > 1
    ]
    if problems := missing + twice:
        raise InvalidInput.because(tuple(problems))


def records(columns: Sequence[str], lines: Iterable[tuple[int, list[str]]]) -> list[SweepRow]:
    """Each line with its cells by name."""
    found, problems = [], list[Problem]()
    for number, cells in lines:
        spare = [cell for cell in cells[len(columns) :] if cell.strip()]
        if spare or len(cells) < len(columns):
            remedy = "leave the loss of a diverged run empty, but keep its commas; write decimals with a point"
            message = (
                f"has {len(cells)} cells, but the first line names {len(columns)} columns; {remedy}"
            )
            problems.append(Problem(str(SourceLine(number)), message))
        found.append(
            SweepRow(
                SourceLine(number),
                {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if name},
            )
        )
    refuse(problems)
    return found


def ignored(columns: Iterable[str]) -> tuple[str, ...]:
    """The note on ignored columns."""
    names = sorted({name for name in columns if name and name not in NEEDED + OPTIONAL})
    return (f"ignored: {', '.join(names)}",) if names else ()


def read_rows(rows: Sequence[Cells]) -> Sweep:
    """The sweep in rows of a JSON document. Raises InvalidInput with the problems of its rows."""
    given = [
        {str(name).strip().lower(): value for name, value in row.items()}
        for row in rows[: MOST_ROWS + 1]
    ]
    found = [SweepRow(RowAt(i), row) for i, row in enumerate(given)]
    refuse(
        [
            Problem(one.place.at(name), "is missing; give it")
            for one in found
            for name in NEEDED
            if name not in one.cells
        ]
    )
    return sweep_of(found, ignored(name for row in given for name in row))


def read_document(document: object) -> tuple[Sweep, int | None]:
    """The sweep in `{rows: [..], target_width: N}`, and the target width, if any. Raises
    InvalidInput.
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
    wanted = "must be a mapping with width, lr and loss"
    refuse(
        [
            Problem(str(RowAt(i)), wanted, row)
            for i, row in enumerate(rows)
            if not isinstance(row, dict)
        ]
    )
    if target is not None and (isinstance(target, bool) or not isinstance(target, int)):
        raise InvalidInput.of("target_width", "must be a whole number", target)
    return read_rows(rows), target


def sweep_of(found: Sequence[SweepRow], notes: tuple[str, ...]) -> Sweep:
    """The runs in the records, checked one by one and together."""
    if not found:
        raise InvalidInput.of(
            "", "has no runs; give a row per finished run, with its width, lr and loss"
        )
    if len(found) > MOST_ROWS:
        raise InvalidInput.of(
            "", f"has more than {MOST_ROWS} rows; keep one row per run, with its final loss"
        )
    given = {
        name
        for name in OPTIONAL
        if any(record.cells.get(name) not in (None, "") for record in found)
    }
    read = [row_of(record, given) for record in found]
    rows = [row for row in read if isinstance(row, Row)]
    refuse([problem for problems in read if not isinstance(problems, Row) for problem in problems])
    seeded = "seed" in given
    rows, notes = (rows, notes) if seeded else numbered(rows, notes)
    refuse(list(clashes(found, rows, seeded)))
    return exploded(rows, notes)


def row_of(record: SweepRow, given: Set[str]) -> Row | tuple[Problem, ...]:
    """A run with those optional columns that the sweep has, or all its problems."""
    columns = [column for column in (WEIGHT_DECAY, SEED) if column.name in given] + [WIDTH, LR]
    lost = is_diverged(record.cells["loss"])
    read = {column.name: column.read(record) for column in (columns if lost else [*columns, LOSS])}
    if problems := tuple(one for one in read.values() if isinstance(one, Problem)):
        return problems
    numbers = {name: one for name, one in read.items() if not isinstance(one, Problem)}
    return Row(
        width=int(numbers["width"]),
        lr=numbers["lr"],
        weight_decay=numbers.get("weight_decay"),
        seed=int(numbers.get("seed", 0)),
        loss=numbers.get("loss", math.inf),
    )


def numbered(rows: Sequence[Row], notes: tuple[str, ...]) -> tuple[list[Row], tuple[str, ...]]:
    """Repeats of a point as seeds, in the order given."""
    seen = Counter[Row]()
    found = []
    for row in rows:
        point = replace(row, loss=0.0)
        found.append(replace(row, seed=seen[point]))
        seen[point] += 1
    repeats = sum(count > 1 for count in seen.values())
    points = f"{repeats} of {len(seen)} points have some"
    note = f"no seed column: repeats of a point ({points}) are taken as seeds, in their order"
    return found, (*notes, note) if repeats else notes


def clashes(found: Sequence[SweepRow], rows: Sequence[Row], seeded: bool) -> Iterable[Problem]:
    """Problems of the runs together."""
    first: dict[Row, SourceLine | RowAt] = {}
    for record, row in zip(found, rows, strict=True):
        before = first.setdefault(replace(row, loss=0.0), record.place)
        if before != record.place:
            remedy = "give each repeat its own seed; if an ignored column tells them apart, judge each of its values separately"
            yield Problem(
                str(record.place),
                f"repeats the width, lr, weight decay and seed of {before}; {remedy}",
            )
    seeds: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        seeds[row.width].add(row.seed)
    most = max(seeds, key=lambda width: len(seeds[width]))
    if len(seeds[most]) > MOST_SEEDS:
        what = "seeds" if seeded else "repeats of a point"
        yield Problem(
            "seed",
            (
                f"width {most} has {len(seeds[most])} {what}, more than {MOST_SEEDS}; keep one row per run, with its final loss"
            ),
        )
    if len(seeds) > MOST_WIDTHS:
        yield Problem(
            "width",
            (
                f"there are {len(seeds)} widths, more than {MOST_WIDTHS}; keep those nearest to the target"
            ),
        )
    decays = {row.weight_decay for row in rows}
    if 0.0 in decays and len(decays) > 1:
        yield Problem(
            "weight_decay",
            "0 does not fit on a logarithmic axis; judge the runs without weight decay separately",
        )


def exploded(rows: Sequence[Row], notes: tuple[str, ...]) -> Sweep:
    """The sweep, with losses far beyond the rest counted as diverged."""
    best = {
        width: min(row.loss for row in rows if row.width == width)
        for width in {row.width for row in rows}
    }
    beyond = sum(row.finite and row.loss / EXPLODED > best[row.width] for row in rows)
    taken = [
        replace(row, loss=math.inf) if row.loss / EXPLODED > best[row.width] else row
        for row in rows
    ]
    note = f"{beyond} losses beyond {EXPLODED:g} times the best of their width count as diverged"
    return Sweep(tuple(sorted(taken)), (*notes, note) if beyond else notes)


def refuse(problems: Sequence[Problem]) -> None:
    """Raise InvalidInput with the first of the problems, if there are any."""
    if not problems:
        return
    more = len(problems) - MOST_PROBLEMS
    several = "s" if more != 1 else ""
    rest = Problem("", f"{more} more problem{several} of this kind; fix these first")
    raise InvalidInput.because((*problems[:MOST_PROBLEMS], *((rest,) if more > 0 else ())))
