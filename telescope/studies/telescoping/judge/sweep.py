"""A sweep that was run without telescope, as a checked table.

A sweep has a row per finished run: `width`, `lr`, `loss` and, where they were swept, `weight_decay`
and `seed`. A run diverged if its loss is empty, nan or infinite, or beyond EXPLODED times the best
loss of its width. Without a seed column, repeats of a point are taken as seeds 0, 1, .. in their
order.

Parts: `Row` · `Sweep` · `sweep_of`, which checks rows one by one and together · `refuse`.
"""

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


def sweep_of(records: Sequence[SweepRow], notes: tuple[str, ...]) -> Sweep:
    """The runs in the records, checked one by one and together."""
    if not records:
        raise InvalidInput.of(
            "", "has no runs; give a row per finished run, with its width, lr and loss"
        )
    if len(records) > MOST_ROWS:
        raise InvalidInput.of(
            "", f"has more than {MOST_ROWS} rows; keep one row per run, with its final loss"
        )
    columns = {
        name
        for name in OPTIONAL
        if any(record.cells.get(name) not in (None, "") for record in records)
    }
    read = [row_of(record, columns) for record in records]
    rows = [row for row in read if isinstance(row, Row)]
    refuse([problem for problems in read if not isinstance(problems, Row) for problem in problems])
    seeded = "seed" in columns
    rows, notes = (rows, notes) if seeded else numbered(rows, notes)
    refuse(list(clashes(records, rows, seeded)))
    return exploded(rows, notes)


def row_of(record: SweepRow, optional: Set[str]) -> Row | tuple[Problem, ...]:
    """A run with those optional columns that the sweep has, or all its problems."""
    columns = [column for column in (WEIGHT_DECAY, SEED) if column.name in optional] + [WIDTH, LR]
    lost = is_diverged(record.cells["loss"])
    read = {column.name: column.read(record) for column in (columns if lost else [*columns, LOSS])}
    if problems := tuple(value for value in read.values() if isinstance(value, Problem)):
        return problems
    numbers = {name: value for name, value in read.items() if not isinstance(value, Problem)}
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
    seeded = []
    for row in rows:
        point = replace(row, loss=0.0)
        seeded.append(replace(row, seed=seen[point]))
        seen[point] += 1
    repeats = sum(count > 1 for count in seen.values())
    points = f"{repeats} of {len(seen)} points have some"
    note = f"no seed column: repeats of a point ({points}) are taken as seeds, in their order"
    return seeded, (*notes, note) if repeats else notes


def clashes(records: Sequence[SweepRow], rows: Sequence[Row], seeded: bool) -> Iterable[Problem]:
    """Problems of the runs together."""
    first: dict[Row, SourceLine | RowAt] = {}
    for record, row in zip(records, rows, strict=True):
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
    widest_seeds = max(seeds, key=lambda width: len(seeds[width]))
    if len(seeds[widest_seeds]) > MOST_SEEDS:
        what = "seeds" if seeded else "repeats of a point"
        yield Problem(
            "seed",
            (
                f"width {widest_seeds} has {len(seeds[widest_seeds])} {what}, more than {MOST_SEEDS}; keep one row per run, with its final loss"
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
    counted = [
        replace(row, loss=math.inf) if row.loss / EXPLODED > best[row.width] else row
        for row in rows
    ]
    note = f"{beyond} losses beyond {EXPLODED:g} times the best of their width count as diverged"
    return Sweep(tuple(sorted(counted)), (*notes, note) if beyond else notes)


def refuse(problems: Sequence[Problem]) -> None:
    """Raise InvalidInput with the first of the problems, if there are any."""
    if not problems:
        return
    more = len(problems) - MOST_PROBLEMS
    several = "s" if more != 1 else ""
    rest = Problem("", f"{more} more problem{several} of this kind; fix these first")
    raise InvalidInput.because((*problems[:MOST_PROBLEMS], *((rest,) if more > 0 else ())))
