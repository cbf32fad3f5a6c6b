"""Specification of an algorithmic task: a finite table of questions and answers.

A row of the table consists of a question, which is a short sequence of tokens, and an answer, which
is one token. The model predicts the answer at the question's last position. Some rows are training
rows, and the others are held out. The tasks are those of "Muon Optimizer Accelerates Grokking"
(arXiv 2504.16041), subtraction, and tables that users bring. The paper leaves some corner cases
open, such as division by zero; `TableSpec` has fields for them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from pathlib import PurePath
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from telescope.errors import Problem
from telescope.trials.types import STRICT, require_none

TaskName = Literal["add", "sub", "mul", "div", "pow", "gcd", "parity", "table"]


@plain_dataclass(frozen=True)
class Task:
    """Facts about a task."""

    title: str  # {p} stands for the modulus, {bits} for the number of bits, {file} for the file
    train_share: float  # default share of training rows
    commutative: bool = False  # (a, b) and (b, a) have the same answer
    prime_modulus: bool = False  # the task is defined for prime moduli only


TASKS: Mapping[TaskName, Task] = {
    # The train shares are those of arXiv 2504.16041, except for sub and table. The paper does not
    # have these two tasks.
    "add": Task("a + b mod {p}", 0.8, commutative=True),
    "sub": Task("a - b mod {p}", 0.8),
    "mul": Task("a * b mod {p}", 0.5, commutative=True),
    "div": Task("a / b mod {p}", 0.8, prime_modulus=True),
    "pow": Task("a ^ b mod {p}", 0.7),
    "gcd": Task("gcd(a, b), a and b below {p}", 0.5, commutative=True),
    "parity": Task("parity of a {bits}-bit number", 0.5),
    "table": Task("the table {file}", 0.5),
}
MOST_MODULUS = 512  # a table has up to modulus^2 rows
MOST_BITS = 16  # a table has 2^bits rows
# fields of TableSpec that telescope derives from the rows of the table
FROM_TABLE = ("content", "vocab_size", "columns", "train_rows", "held_out_rows")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TableSpec:
    """The table of an algorithmic task, and its split into training and held-out rows. telescope
    fills in `content` and the fields after it when it accepts a job."""

    task: TaskName
    """Task to learn: add, sub, mul, div and pow modulo `modulus`; gcd, the greatest common divisor
    of two numbers below `modulus`; parity of a number of `bits` bits; table, the rows of `file`."""
    modulus: Annotated[int, Field(ge=2, le=MOST_MODULUS)] = 97
    """Modulus of the arithmetic; the numbers are 0 to modulus - 1. Under div, it must be a prime.
    table and parity have no modulus."""
    bits: Annotated[int, Field(ge=2, le=MOST_BITS)] = 10
    """For parity: number of bits. Each bit is a token."""
    file: str = ""
    """For table: path of a CSV file without a header. Each row holds the input tokens and, in the
    last column, the answer. All are whole numbers from 0 to 65,535."""
    train_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of training rows among all rows. The number of training rows is rounded down. By
    default, the share is that of arXiv 2504.16041: 0.8 for add and div, 0.7 for pow, 0.5 for mul,
    gcd and parity. The paper does not have sub and table; their defaults are 0.8 and 0.5."""
    division_by_zero: Literal["zero", "drop"] = "zero"
    """For div: zero sets the answer to a / 0 to 0. drop leaves these rows out."""
    zero_to_zero: Literal["one", "zero", "drop"] = "one"
    """For pow: one or zero is the answer to 0^0. drop leaves this row out."""
    gcd_of_zeros: Literal["zero", "drop"] = "zero"
    """For gcd: zero sets the answer to gcd(0, 0) to 0. drop leaves this row out."""
    split: Literal["ordered", "unordered"] = "ordered"
    """How rows are split at random. ordered: each row by itself, as in arXiv 2504.16041. For many
    held-out rows (a, b), the row (b, a) is then a training row. unordered: (a, b) and (b, a)
    together, so that both are training rows or both are held out. unordered is only for add, mul
    and gcd."""
    split_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the random split. Leave it out of a job, since the seed of a run also sets its
    split."""
    content: str = ""
    """Hash of the rows and of vocab_size, filled in by telescope; a given hash must match."""
    vocab_size: Annotated[int, Field(ge=0)] = 0
    """Size of the vocabulary, filled in by telescope; a given size must match."""
    columns: Annotated[int, Field(ge=0)] = 0
    """Number of input tokens of a row, filled in by telescope; a given number must match."""
    train_rows: Annotated[int, Field(ge=0)] = 0
    """Number of training rows, filled in by telescope; a given number must match."""
    held_out_rows: Annotated[int, Field(ge=0)] = 0
    """Number of held-out rows, filled in by telescope; a given number must match."""

    has_answers: ClassVar[bool] = True
    """The last token of a row is the answer, and only this token is predicted."""

    @model_validator(mode="after")
    def _require_consistent(self) -> "TableSpec":
        require_none(table_problems(self))
        return self

    @property
    def facts(self) -> Task:
        """The facts of the task."""
        return TASKS[self.task]

    @property
    def title(self) -> str:
        """The task in a few words, such as `a + b mod 97`, and the options that differ from the
        task's defaults."""
        name = PurePath(self.file).name
        title = self.facts.title.format(p=self.modulus, bits=self.bits, file=name)
        return ", ".join((title, *self._options()))

    def _options(self) -> Iterator[str]:
        """The options that differ from the task's defaults."""
        if self.share != self.facts.train_share:
            yield f"{100 * self.share:.3g} % for training"
        if self.split == "unordered":
            yield "unordered split"
        if self.division_by_zero == "drop":
            yield "no b = 0"
        if self.zero_to_zero != "one":
            yield "no 0^0" if self.zero_to_zero == "drop" else "0^0 = 0"
        if self.gcd_of_zeros == "drop":
            yield "no gcd(0, 0)"

    @property
    def share(self) -> float:
        """Share of training rows among all rows."""
        return self.facts.train_share if self.train_share is None else self.train_share

    @property
    def context(self) -> int:
        """Number of input tokens of a row. For arithmetic, these are a, the operation, b and `=`.
        For parity, they are the bits and `=`. For a file, they are the columns before the last; the
        number is 0 until the file has been read."""
        if self.task == "table":
            return self.columns
        return self.bits + 1 if self.task == "parity" else 4

    @property
    def sources(self) -> tuple[tuple[str, str], ...]:
        """The pair (`file`, path of the file). Empty for a task without a file."""
        return (("file", self.file),) if self.file else ()

    def windows(self, batch_tokens: int) -> int:
        """Number of rows in a batch. The last batch of an epoch may have fewer."""
        return min(batch_tokens // self.context, self.train_rows)

    def steps_per_epoch(self, batch_tokens: int) -> int:
        """Number of batches that cover the training rows once."""
        return -(-self.train_rows // self.windows(batch_tokens))

    def tokens_until(self, step: int, batch_tokens: int) -> int:
        """Number of tokens in the first `step` batches."""
        epochs, steps = divmod(step, self.steps_per_epoch(batch_tokens))
        return self.context * (epochs * self.train_rows + steps * self.windows(batch_tokens))

    def evaluated_windows(self, evaluation_tokens: int) -> int:
        """Number of rows that an evaluation reads: all rows, whatever `evaluation_tokens` is."""
        return self.train_rows + self.held_out_rows

    def without_split_seed(self) -> "TableSpec":
        """The specification with fixed values of `split_seed` and `content`."""
        return replace(self, split_seed=0, content="")


def table_problems(table: TableSpec) -> Iterator[Problem]:
    """Problems of fields that contradict each other."""
    facts = table.facts
    if facts.prime_modulus and not is_prime(table.modulus):
        message = (
            f"{table.task} needs a prime modulus, since otherwise some b > 0 have no inverse; "
            f"use {nearest_prime(table.modulus)}"
        )
        yield Problem("modulus", message, table.modulus)
    if table.split == "unordered" and not facts.commutative:
        names = ", ".join(name for name in get_args(TaskName) if TASKS[name].commutative)
        message = (
            f"unordered keeps (a, b) and (b, a) together, but they have the same answer only for "
            f"{names}; leave split out"
        )
        yield Problem("split", message, table.split)
    if (table.task == "table") != bool(table.file):
        message = (
            "is missing; give the path of a CSV file of input tokens and answers"
            if table.task == "table"
            else "is read only under task: table; leave it out, or use task: table"
        )
        yield Problem("file", message, table.file or None)
    for name, needed in NEEDS.items():
        is_default = getattr(table, name) == TableSpec.__dataclass_fields__[name].default
        if not is_default and table.task not in needed:
            message = f"has no meaning for {table.task}, only for {', '.join(needed)}; leave it out"
            yield Problem(name, message, getattr(table, name))


NEEDS: Mapping[str, tuple[TaskName, ...]] = {
    "modulus": ("add", "sub", "mul", "div", "pow", "gcd"),
    "bits": ("parity",),
    "division_by_zero": ("div",),
    "zero_to_zero": ("pow",),
    "gcd_of_zeros": ("gcd",),
}
"""For some fields, the tasks for which the field has a meaning."""


def is_prime(number: int) -> bool:
    """True if `number` is a prime."""
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def nearest_prime(number: int) -> int:
    """The prime nearest to a number. If two primes are equally near, the smaller one."""
    candidates = range(2, 2 * number + 2)
    return min(filter(is_prime, candidates), key=lambda prime: (abs(prime - number), prime))
