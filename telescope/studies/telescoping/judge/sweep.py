"""A sweep that was run without telescope, as a checked table.

A sweep has one row per finished run, with the columns `width`, `lr` and `loss`. The columns
`weight_decay` and `seed` are optional; such a column counts as missing if all its cells are empty.
A run counts as diverged if its loss is empty, nan, inf or a word such as `diverged`. It also counts
as diverged if its loss exceeds EXPLODED times the lowest loss at its width. Without a column
`seed`, runs with equal width, learning rate and weight decay are numbered as seeds 0, 1 and so on,
in the order of their rows.
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
EXPLODED = 1000.0  # multiple of the width's lowest loss beyond which a loss counts as diverged
# largest numbers of bytes in a file, of rows, of widths, and of seeds at one width
MOST_BYTES, MOST_ROWS, MOST_WIDTHS, MOST_SEEDS = 10_000_000, 4000, 12, 32
MOST_PROBLEMS = 10  # largest number of problems that one error lists


@dataclass(frozen=True, order=True)
class SweepRun:
    """A finished run. Its loss is infinite if the run diverged."""

    width: int
    lr: float
    weight_decay: float | None
    seed: int
    loss: float

    @property
    def finite(self) -> bool:
        """Whether the loss is finite, so the run did not diverge."""
        return math.isfinite(self.loss)


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep, and notes on how they were interpreted."""

    rows: tuple[SweepRun, ...]
    notes: tuple[str, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """The distinct widths, ascending."""
        return tuple(sorted({row.width for row in self.rows}))


def sweep_of(submitted: Sequence[SweepRow], notes: tuple[str, ...]) -> Sweep:
    """The sweep in the submitted rows, with `notes` and further notes. Raises InvalidInput if there
    are no rows or more than MOST_ROWS, if single rows have problems, or if the rows do not fit
    together (`joint_problems`).
    """
    if not submitted:
        message = "has no runs; give a row per finished run, with its width, lr and loss"
        raise InvalidInput.of("", message)
    if len(submitted) > MOST_ROWS:
        remedy = "keep one row per run, with its final loss; if needed, also leave out some runs"
        raise InvalidInput.of("", f"has more than {MOST_ROWS} rows; {remedy}")
    optional = {
        name for name in OPTIONAL if any(row.cells.get(name) not in (None, "") for row in submitted)
    }
    parsed = [row_of(row, optional) for row in submitted]
    rows = [row for row in parsed if isinstance(row, SweepRun)]
    refuse([problem for item in parsed if not isinstance(item, SweepRun) for problem in item])
    seeded = "seed" in optional
    if not seeded:
        rows, notes = with_seeds(rows, notes)
    refuse(list(joint_problems(submitted, rows, seeded)))
    return without_exploded(rows, notes)


def row_of(submitted: SweepRow, optional: Set[str]) -> SweepRun | tuple[Problem, ...]:
    """The run in a row, or all problems of the row. `optional` are the optional columns that some
    row uses.
    """
    columns = [column for column in (WEIGHT_DECAY, SEED) if column.name in optional] + [WIDTH, LR]
    if not is_diverged(submitted.cells["loss"]):
        columns.append(LOSS)
    cells = {column.name: column.read(submitted) for column in columns}
    if problems := tuple(cell for cell in cells.values() if isinstance(cell, Problem)):
        return problems
    numbers = {name: cell for name, cell in cells.items() if not isinstance(cell, Problem)}
    return SweepRun(
        width=int(numbers["width"]),
        lr=numbers["lr"],
        weight_decay=numbers.get("weight_decay"),
        seed=int(numbers.get("seed", 0)),
        loss=numbers.get("loss", math.inf),
    )


def with_seeds(
    rows: Sequence[SweepRun], notes: tuple[str, ...]
) -> tuple[list[SweepRun], tuple[str, ...]]:
    """The rows and the notes. Runs with equal width, learning rate and weight decay are numbered as
    seeds 0, 1 and so on, in the order of the rows. If there are such repeats, a note is added.
    """
    repeats = Counter[SweepRun]()
    seeded = []
    for row in rows:
        point = replace(row, loss=0.0)
        seeded.append(replace(row, seed=repeats[point]))
        repeats[point] += 1
    repeated = sum(count > 1 for count in repeats.values())
    points = f"{repeated} of {len(repeats)} points have repeats"
    note = f"no seeds given: repeats of a point count as seeds, in the order of rows ({points})"
    return seeded, (*notes, note) if repeated else notes


def joint_problems(
    submitted: Sequence[SweepRow], rows: Sequence[SweepRun], seeded: bool
) -> Iterable[Problem]:
    """The problems of the rows together. These are rows with equal width, learning rate, weight
    decay and seed; too many seeds at a width; too many widths; and a weight decay of 0 in some rows
    but not in all. `seeded` says whether the sweep has a column `seed`.
    """
    places: dict[SweepRun, SourceLine | RowAt] = {}
    for source, row in zip(submitted, rows, strict=True):
        first = places.setdefault(replace(row, loss=0.0), source.place)
        if first != source.place:
            separately = (
                "if the runs differ in an ignored column, judge the rows with each value of that "
                "column separately"
            )
            repeat = f"repeats the width, lr, weight decay and seed of {first}"
            message = f"{repeat}; give each repeat its own seed; {separately}"
            yield Problem(str(source.place), message)
    seeds: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        seeds[row.width].add(row.seed)
    width = max(seeds, key=lambda width: len(seeds[width]))
    if len(seeds[width]) > MOST_SEEDS:
        count = f"{len(seeds[width])} {'seeds' if seeded else 'repeats of a point'}"
        remedy = "keep one row per run, with its final loss; if needed, also leave out some runs"
        yield Problem("seed", f"width {width} has {count}, more than {MOST_SEEDS}; {remedy}")
    if len(seeds) > MOST_WIDTHS:
        message = f"there are {len(seeds)} widths, more than {MOST_WIDTHS}"
        yield Problem("width", f"{message}; keep those nearest to the target")
    decays = {row.weight_decay for row in rows}
    if 0.0 in decays and len(decays) > 1:
        message = "0 does not fit on a logarithmic axis"
        remedy = "judge the runs without weight decay separately"
        yield Problem("weight_decay", f"{message}; {remedy}")


def without_exploded(rows: Sequence[SweepRun], notes: tuple[str, ...]) -> Sweep:
    """The rows as a sweep. Losses beyond EXPLODED times the lowest loss of their width are set to
    infinity. If there are such losses, a note is added.
    """
    widths = {row.width for row in rows}
    best = {width: min(row.loss for row in rows if row.width == width) for width in widths}
    exploded = [row.loss / EXPLODED > best[row.width] for row in rows]
    count = sum(row.finite and above for row, above in zip(rows, exploded, strict=True))
    checked_rows = (
        replace(row, loss=math.inf) if above else row
        for row, above in zip(rows, exploded, strict=True)
    )
    note = (
        f"runs with a loss of over {EXPLODED:g} times the lowest loss of their width "
        f"count as diverged: {count}"
    )
    return Sweep(tuple(sorted(checked_rows)), (*notes, note) if count else notes)


def refuse(problems: Sequence[Problem]) -> None:
    """Raise InvalidInput if there are any problems. The error lists the first MOST_PROBLEMS
    problems, and states the number of further problems.
    """
    if not problems:
        return
    more = len(problems) - MOST_PROBLEMS
    plural = "s" if more != 1 else ""
    rest = Problem("", f"{more} more problem{plural} of this kind; fix the listed problems first")
    raise InvalidInput.because((*problems[:MOST_PROBLEMS], *((rest,) if more > 0 else ())))
