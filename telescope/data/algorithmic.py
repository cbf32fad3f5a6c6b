"""The tables of algorithmic tasks, split into training rows and held-out rows.

A row is a question of T tokens and its answer. For the arithmetic tasks, on numbers below p, the
question is `a op b =`, where a number is its own token, the operation is token p and `=` is token
p + 1, as in the public code for arXiv 2504.16041. For parity, the question is the bits of a number,
the highest first, and `=`, which is token 2. The bits are separate tokens, since a token for a
whole held-out number would never be trained. In a table from a file, the last column has the
answers. A computed table and its split depend on the specification alone. A table from a file and
its split also depend on the rows of the file.
"""

import csv
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from telescope.data.documents import absolute
from telescope.errors import CorpusLost, InvalidInput
from telescope.trials.table import TableSpec, TaskName

Ints = NDArray[np.int64]

DROPPED = -1  # the answer of a row that the specification leaves out
# limits on a table from a file: rows, input tokens of a row, and the largest token
MOST_ROWS = 512**2
MOST_COLUMNS = 64
MOST_TOKEN = 65_535
MOST_DIGITS = 100  # most characters of a number in a file; int() refuses thousands of digits
MOST_FILE_BYTES = 64_000_000
FEWEST_CLASSES = 2  # fewest different answers among the training rows
# the argument `number` of `permutation`: SPLIT for the split, EPOCHS + i for epoch i
SPLIT, EPOCHS = 0, 1


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of a task, and their split into training and held-out rows."""

    rows: Ints  # (rows, T + 1), with the answer in the last column
    train: Ints  # row numbers, in the order of the random split
    held_out: Ints  # row numbers
    # for each held-out row (a, b), whether (b, a) is a training row; all false unless the task is
    # commutative
    mirrored: NDArray[np.bool_]
    vocab_size: int

    @property
    def classes(self) -> int:
        """Number of different answers."""
        return len(np.unique(self.rows[:, -1]))

    @property
    def majority_share(self) -> float:
        """Share of the rows whose answer is the most frequent one."""
        return float(np.bincount(self.rows[:, -1]).max() / len(self.rows))

    @cached_property
    def content(self) -> str:
        """Hash of the rows and of the vocabulary's size; the split does not affect it."""
        digest = hashlib.sha256(f"{self.rows.shape} {self.vocab_size}\n".encode())
        digest.update(np.ascontiguousarray(self.rows).tobytes())
        return digest.hexdigest()[:32]


def resolve_table(spec: TableSpec) -> TableSpec:
    """The specification with its hash and sizes filled in.

    Raises InvalidInput if the file cannot be read or is not a table (`file_rows`), if there are no
    training rows or no held-out rows, if the training rows have fewer than two different answers,
    or if the specification states a hash or size that differs from the table's.
    """
    if spec.task == "table":
        spec = replace(spec, file=str(absolute(spec.file)))
    table = build_table(spec)
    train_answers = np.unique(table.rows[table.train, -1])
    if len(table.train) == 0 or len(table.held_out) == 0 or len(train_answers) < FEWEST_CLASSES:
        message = (
            f"splits {len(table.rows)} rows into {len(table.train)} training rows with "
            f"{len(train_answers)} different answers and {len(table.held_out)} held-out rows; "
            f"choose a share that leaves at least {FEWEST_CLASSES} different answers in the "
            "training rows and at least one held-out row, or use a table with more rows and answers"
        )
        raise InvalidInput.of("data.train_share", message, spec.share)
    facts = {
        "content": table.content,
        "vocab_size": table.vocab_size,
        "columns": table.rows.shape[1] - 1,
        "train_rows": len(table.train),
        "held_out_rows": len(table.held_out),
    }
    for name, fact in facts.items():
        given = getattr(spec, name)
        if given and given != fact:
            message = f"differs from the table's, {fact}; omit this field, or restore the table"
            raise InvalidInput.of(f"data.{name}", message, given)
    return replace(spec, **facts)


def open_table(spec: TableSpec) -> Table:
    """The table of a resolved specification. Raises CorpusLost if the file cannot be read any more,
    or if the table's hash is no longer `content`. Raises InvalidInput if the specification has no
    `content`."""
    if not spec.content:
        message = "is not filled in; pass the specification through resolve_table first"
        raise InvalidInput.of("data.content", message)
    try:
        table = build_table(spec)
    except InvalidInput as error:
        raise CorpusLost(f"{spec.title} cannot be read any more: {error}") from error
    if table.content != spec.content:
        raise CorpusLost(
            f"{spec.title} has changed since its job was accepted: its rows now have the "
            f"hash {table.content}, and had the hash {spec.content} then; restore the file, or "
            "submit the job again"
        )
    return table


def build_table(spec: TableSpec) -> Table:
    """The table of a specification; a file is read anew at each call. Raises InvalidInput if the
    file cannot be read or is not a table (`file_rows`)."""
    if spec.task == "table":
        return with_split(spec, *file_rows(Path(spec.file)))
    return computed_table(spec)


@lru_cache(maxsize=32)
def computed_table(spec: TableSpec) -> Table:
    """The table of a task that does not come from a file."""
    if spec.task == "parity":
        return with_split(spec, parity_rows(spec.bits), 3)
    return with_split(spec, arithmetic_rows(spec), spec.modulus + 2)


def with_split(spec: TableSpec, rows: Ints, vocab_size: int) -> Table:
    """The table of these rows, split as the specification asks."""
    train, held_out = split_rows(spec, rows)
    return Table(rows, train, held_out, mirrored(spec, rows, train, held_out), vocab_size)


def arithmetic_rows(spec: TableSpec) -> Ints:  # (rows, 5)
    """All questions `a op b =` with their answers, except the rows whose answer is DROPPED."""
    p = spec.modulus
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(p), np.arange(p), indexing="ij"))
    answers = ANSWERS[spec.task](a, b, spec)
    operation, equals = np.full_like(a, p), np.full_like(a, p + 1)
    rows = np.stack([a, operation, b, equals, answers], axis=1).astype(np.int64)
    kept: Ints = rows[answers != DROPPED]
    return kept


def parity_rows(bits: int) -> Ints:  # (2^bits, bits + 2)
    """One row for each number below 2^`bits`: the bits, `=`, and the answer, which is the sum of
    the bits modulo 2."""
    numbers = np.arange(2**bits)
    columns = (numbers[:, None] >> np.arange(bits)[::-1]) & 1  # (rows, bits), highest bit first
    equals = np.full((len(numbers), 1), 2)
    answers = columns.sum(axis=1, keepdims=True) % 2
    return np.concatenate([columns, equals, answers], axis=1).astype(np.int64)


def quotients(a: Ints, b: Ints, spec: TableSpec) -> Ints:
    """a / b modulo a prime: the number whose product with b is a. 0 or DROPPED if b is 0."""
    inverses = np.array([0, *(pow(x, -1, spec.modulus) for x in range(1, spec.modulus))])
    answer_for_zero = 0 if spec.division_by_zero == "zero" else DROPPED
    answers: Ints = np.where(b == 0, answer_for_zero, a * inverses[b] % spec.modulus)
    return answers


def powers(a: Ints, b: Ints, spec: TableSpec) -> Ints:
    """a^b modulo p, or the specified answer to 0^0."""
    answer_for_zeros = {"one": 1 % spec.modulus, "zero": 0, "drop": DROPPED}[spec.zero_to_zero]
    values = [pow(int(x), int(y), spec.modulus) for x, y in zip(a, b, strict=True)]
    return np.where((a == 0) & (b == 0), answer_for_zeros, values)


def divisors(a: Ints, b: Ints, spec: TableSpec) -> Ints:
    """The greatest common divisor of a and b. 0 or DROPPED if both are 0."""
    answer_for_zeros = 0 if spec.gcd_of_zeros == "zero" else DROPPED
    return np.where((a == 0) & (b == 0), answer_for_zeros, np.gcd(a, b))


ANSWERS: Mapping[TaskName, Callable[[Ints, Ints, TableSpec], Ints]] = {
    "add": lambda a, b, spec: (a + b) % spec.modulus,
    "sub": lambda a, b, spec: (a - b) % spec.modulus,
    "mul": lambda a, b, spec: a * b % spec.modulus,
    "div": quotients,
    "pow": powers,
    "gcd": divisors,
}


def file_rows(path: Path) -> tuple[Ints, int]:
    """The rows of a CSV file, (rows, columns), and the size of their vocabulary. Raises
    InvalidInput if the file cannot be read, is empty or exceeds a limit above, if a row does not
    consist of as many whole numbers as the first row, or if two rows have the same question."""
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            message = f"has more than {MOST_FILE_BYTES:,} bytes; give a smaller table"
            raise InvalidInput.of("data.file", message, str(path))
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = [line for line in csv.reader(stream) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"cannot be read ({error}); give the path of a CSV file of whole numbers"
        raise InvalidInput.of("data.file", message, str(path)) from error
    if not lines or len(lines) > MOST_ROWS:
        message = f"has {len(lines):,} rows; give 1 to {MOST_ROWS:,}"
        raise InvalidInput.of("data.file", message, str(path))
    columns = len(lines[0])
    if not 2 <= columns <= MOST_COLUMNS + 1:
        message = f"has {columns} columns; give 1 to {MOST_COLUMNS} input tokens and the answer"
        raise InvalidInput.of("data.file", message, str(path))
    for number, line in enumerate(lines, start=1):
        is_valid = len(line) == columns and all(
            cell.strip().isdecimal() and len(cell) <= MOST_DIGITS and int(cell) <= MOST_TOKEN
            for cell in line
        )
        if not is_valid:
            message = (
                f"row {number} is not {columns} whole numbers from 0 to {MOST_TOKEN}; give every "
                "row as many numbers as the first row, and leave out any header"
            )
            raise InvalidInput.of("data.file", message, ",".join(line)[:100])
    rows = np.array([[int(cell) for cell in line] for line in lines], np.int64)
    _, firsts, groups = np.unique(rows[:, :-1], axis=0, return_index=True, return_inverse=True)
    repeats = np.flatnonzero(firsts[groups.ravel()] != np.arange(len(rows)))
    if len(repeats):
        row, first = repeats[0] + 1, firsts[groups.ravel()][repeats[0]] + 1
        message = f"row {row} repeats the input tokens of row {first}; give each question once"
        raise InvalidInput.of("data.file", message, str(path))
    return rows, int(rows.max()) + 1


def split_rows(spec: TableSpec, rows: Ints) -> tuple[Ints, Ints]:
    """The row numbers of the training rows and of the held-out rows, both in random order. The
    number of training rows is the specified share of all rows, rounded down."""
    training_rows = int(spec.share * len(rows) + 1e-9)  # 0.29 * 100 is below 29
    if spec.split == "ordered":
        order = permutation(len(rows), spec.split_seed, SPLIT)
        return order[:training_rows], order[training_rows:]
    return split_pairs(spec, rows, training_rows)


def split_pairs(spec: TableSpec, rows: Ints, training_rows: int) -> tuple[Ints, Ints]:
    """The split that keeps rows (a, b) and (b, a) together. A group consists of two such rows, or
    of one row (a, a). The groups are taken in random order, and each one that fits into the number
    of missing training rows goes to training. If one training row is missing in the end, a group of
    two rows replaces a group of one row."""
    low, high = np.sort(rows[:, [0, 2]], axis=1).T
    _, group_of_row = np.unique(low * spec.modulus + high, return_inverse=True)
    sizes = np.bincount(group_of_row)  # 1 for (a, a), otherwise 2
    order = permutation(len(sizes), spec.split_seed, SPLIT)
    chosen, missing = list[int](), training_rows
    for group in order:
        if sizes[group] <= missing:
            chosen.append(int(group))
            missing -= int(sizes[group])
    if missing:
        chosen.remove(next(group for group in chosen if sizes[group] == 1))
        chosen.append(next(int(g) for g in order if sizes[g] > 1 and g not in chosen))
    rank = np.empty(len(sizes), np.int64)
    rank[order] = np.arange(len(sizes))
    row_order = np.argsort(rank[group_of_row], kind="stable")
    in_training = np.isin(group_of_row[row_order], chosen)
    return row_order[in_training], row_order[~in_training]


def mirrored(spec: TableSpec, rows: Ints, train: Ints, held_out: Ints) -> NDArray[np.bool_]:
    """For each held-out row (a, b), whether (b, a) is a training row. All false for tasks that
    are not commutative, such as parity and tables from files."""
    if not spec.facts.commutative:
        return np.zeros(len(held_out), bool)
    a, b = rows[:, 0], rows[:, 2]
    in_training = np.zeros((spec.modulus, spec.modulus), bool)
    in_training[a[train], b[train]] = True
    return in_training[b[held_out], a[held_out]]


def rows_of_step(table: Table, seed: int, step: int, batch_rows: int) -> torch.Tensor:  # (B, T + 1)
    """The B rows of one step. Each epoch reads all training rows once, in its own random order. The
    last batch of an epoch holds the rows that are left. In any other batch, B is `batch_rows`."""
    epoch, batch = divmod(step, -(-len(table.train) // batch_rows))
    order = permutation(len(table.train), seed, EPOCHS + epoch)
    chosen = order[batch * batch_rows :][:batch_rows]
    return torch.from_numpy(table.rows[table.train[chosen]])


@lru_cache(maxsize=64)
def permutation(length: int, seed: int, number: int) -> Ints:
    """A random order of `length` items, determined by the three arguments."""
    # raw draws and a stable sort, so that changes in numpy's distributions cannot change an order
    draws = np.random.Philox(key=np.array([seed % 2**64, number], np.uint64)).random_raw(length)
    return np.argsort(draws, kind="stable")
