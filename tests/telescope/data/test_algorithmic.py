"""Tables of algorithmic tasks: the exact numbers of the reference, splits, epochs, users' files."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telescope.data.algorithmic import (
    Table,
    build_table,
    file_rows,
    open_table,
    resolve_table,
    rows_of_step,
)
from telescope.errors import CorpusLost, InvalidInput
from telescope.trials.table import TableSpec

REFERENCE = {
    # rows, training rows, held-out rows, classes, majority share in %
    "gcd": (9409, 4704, 4705, 97, 59.66),
    "add": (9409, 7527, 1882, 97, 1.03),
    "div": (9409, 7527, 1882, 97, 2.05),
    "pow": (9409, 6586, 2823, 97, 6.98),
    "mul": (9409, 4704, 4705, 97, 2.05),
    "parity": (1024, 512, 512, 2, 50.0),
}


@pytest.mark.parametrize("task", REFERENCE)
def test_a_table_has_the_sizes_classes_and_majority_share_of_the_reference(task: Any) -> None:
    table = build_table(TableSpec(task=task))
    sizes = (len(table.rows), len(table.train), len(table.held_out), table.classes)
    assert (*sizes, round(100 * table.majority_share, 2)) == REFERENCE[task]


def test_one_is_the_greatest_common_divisor_of_5613_pairs() -> None:
    assert int((build_table(TableSpec(task="gcd")).rows[:, -1] == 1).sum()) == 5613


def questions(table: Table) -> Iterator[tuple[int, int, int]]:
    """Both numbers and the answer of each row of an arithmetic task."""
    for a, _, b, _, answer in table.rows.tolist():
        yield a, b, answer


@pytest.mark.parametrize("modulus", [2, 7, 31])
def test_every_answer_of_the_arithmetic_tasks_is_right(modulus: int) -> None:
    for task, expected in {
        "add": lambda a, b: (a + b) % modulus,
        "sub": lambda a, b: (a - b) % modulus,
        "mul": lambda a, b: (a * b) % modulus,
        "pow": lambda a, b: a**b % modulus,
        "gcd": math.gcd,
    }.items():
        table = build_table(TableSpec(task=task, modulus=modulus))  # type: ignore[arg-type]
        rows = list(questions(table))
        assert [(a, b) for a, b, _ in rows] == [
            (a, b) for a in range(modulus) for b in range(modulus)
        ]
        assert [answer for _, _, answer in rows] == [expected(a, b) for a, b, _ in rows]
        assert set(map(tuple, table.rows[:, [1, 3]].tolist())) == {(modulus, modulus + 1)}
        assert table.vocab_size == modulus + 2
    for a, b, answer in questions(build_table(TableSpec(task="div", modulus=modulus))):
        assert (answer * b) % modulus == (a if b else 0)
        assert 0 <= answer < modulus


def answer(spec: TableSpec, a: int, b: int) -> int | None:
    """The answer to (a, b); None if the table leaves this question out."""
    return {(x, y): z for x, y, z in questions(build_table(spec))}.get((a, b))


def test_the_corners_are_answered_as_the_fields_say() -> None:
    div, power, gcd = (TableSpec(task=task, modulus=11) for task in ("div", "pow", "gcd"))  # type: ignore[arg-type]
    assert answer(div, 5, 0) == answer(div, 0, 0) == 0
    dropped = replace(div, division_by_zero="drop")
    assert answer(dropped, 5, 0) is answer(dropped, 0, 0) is None
    assert answer(dropped, 0, 5) == 0
    assert len(build_table(TableSpec(task="div", division_by_zero="drop")).rows) == 9312
    assert answer(power, 0, 0) == 1
    assert answer(replace(power, zero_to_zero="zero"), 0, 0) == 0
    assert answer(replace(power, zero_to_zero="drop"), 0, 0) is None
    assert answer(power, 0, 5) == 0
    assert answer(power, 5, 0) == 1
    assert answer(gcd, 0, 0) == 0
    assert answer(gcd, 0, 10) == 10
    assert answer(replace(gcd, gcd_of_zeros="drop"), 0, 0) is None
    for spec in (replace(power, zero_to_zero="drop"), replace(gcd, gcd_of_zeros="drop")):
        assert len(build_table(spec).rows) == 120


def test_a_number_of_parity_is_its_bits_and_not_one_token() -> None:
    table = build_table(TableSpec(task="parity", bits=3))
    assert table.vocab_size == 3
    assert table.rows.tolist() == [
        [0, 0, 0, 2, 0],
        [0, 0, 1, 2, 1],
        [0, 1, 0, 2, 1],
        [0, 1, 1, 2, 0],
        [1, 0, 0, 2, 1],
        [1, 0, 1, 2, 0],
        [1, 1, 0, 2, 0],
        [1, 1, 1, 2, 1],
    ]
    for *bits, _, parity in build_table(TableSpec(task="parity")).rows.tolist():
        assert parity == int("".join(map(str, bits)), 2).bit_count() % 2


TASKS = st.sampled_from(["add", "sub", "mul", "pow", "gcd"])
SHARES = st.floats(0.01, 0.99)


@settings(max_examples=60, deadline=None)
@given(TASKS, st.integers(2, 20), SHARES, st.integers(0, 2**63 - 1))
def test_both_parts_are_disjoint_and_together_the_table(
    task: Any, modulus: int, share: float, seed: int
) -> None:
    table = build_table(TableSpec(task=task, modulus=modulus, train_share=share, split_seed=seed))
    rows = np.concatenate([table.train, table.held_out])
    assert sorted(rows.tolist()) == list(range(modulus**2))
    assert len(table.train) == math.floor(share * modulus**2 + 1e-9)


def test_a_share_that_is_not_exact_in_binary_is_not_rounded_down_by_a_row() -> None:
    assert 0.29 * 100 < 29
    table = build_table(TableSpec(task="add", modulus=10, train_share=0.29))
    assert len(table.train) == 29


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["add", "mul", "gcd"]), st.integers(2, 20), SHARES, st.integers(0, 1000))
def test_an_unordered_split_keeps_mirrors_together_and_has_the_exact_share(
    task: Any, modulus: int, share: float, seed: int
) -> None:
    spec = TableSpec(
        task=task, modulus=modulus, train_share=share, split_seed=seed, split="unordered"
    )
    table = build_table(spec)
    train, held_out = (
        {tuple(row) for row in table.rows[part][:, [0, 2]].tolist()}
        for part in (table.train, table.held_out)
    )
    assert not {(b, a) for a, b in train} & held_out
    assert not table.mirrored.any()
    assert len(train) == math.floor(share * modulus**2 + 1e-9)
    assert len(train) + len(held_out) == modulus**2
    assert len(train | held_out) == modulus**2


def test_an_unordered_split_without_the_corner_keeps_the_exact_share() -> None:
    for seed in range(20):
        spec = TableSpec(
            task="gcd", modulus=7, gcd_of_zeros="drop", split="unordered", split_seed=seed
        )
        assert len(build_table(spec).train) == 24


@pytest.mark.parametrize(("task", "share"), [("add", 0.8), ("mul", 0.5), ("gcd", 0.5)])
def test_about_the_train_share_of_held_out_pairs_has_its_mirror_in_training(
    task: Any, share: float
) -> None:
    table = build_table(TableSpec(task=task))
    train = {tuple(row) for row in table.rows[table.train][:, [0, 2]].tolist()}
    pairs = table.rows[table.held_out][:, [0, 2]].tolist()
    assert table.mirrored.tolist() == [(b, a) in train for a, b in pairs]
    off_diagonal = table.mirrored[[a != b for a, b in pairs]]
    # four standard errors
    assert abs(off_diagonal.mean() - share) < 4 * math.sqrt(share * (1 - share) / len(pairs))


@pytest.mark.parametrize("task", ["sub", "div", "pow", "parity"])
def test_tasks_whose_mirror_has_another_answer_have_no_mirrored_rows(task: Any) -> None:
    table = build_table(TableSpec(task=task))
    assert table.mirrored.shape == table.held_out.shape
    assert not table.mirrored.any()


def test_a_split_depends_on_its_seed_alone() -> None:
    spec = TableSpec(task="add", modulus=31)
    again = build_table(replace(spec))
    assert build_table(spec).train.tolist() == again.train.tolist()
    other = build_table(replace(spec, split_seed=1))
    overlap = len(set(other.train.tolist()) & set(again.train.tolist()))
    # two random halves of 0.8 share 0.64 of the rows
    assert abs(overlap / 961 - 0.64) < 0.05


def test_splits_and_orders_stay_as_they_were_for_stored_results() -> None:
    spec = resolve_table(TableSpec(task="add"))
    table = open_table(spec)
    assert table.train[:6].tolist() == GOLDEN_SPLIT
    assert rows_of_step(table, 3, 20, 512)[:3, [0, 2, 4]].tolist() == GOLDEN_ROWS
    assert spec.content == GOLDEN_CONTENT


GOLDEN_SPLIT = [7552, 9232, 5820, 9334, 1926, 3556]
GOLDEN_ROWS = [[90, 81, 74], [68, 96, 67], [52, 21, 73]]
GOLDEN_CONTENT = "977e522529cef5171227ebc6d27b2eaf"


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**63 - 1), st.integers(0, 3))
def test_an_epoch_reads_each_training_row_once_in_an_order_of_its_own(
    batch_rows: int, seed: int, epoch: int
) -> None:
    table = build_table(TableSpec(task="sub", modulus=7))
    batch_rows = min(batch_rows, len(table.train))
    steps = -(-len(table.train) // batch_rows)

    def read(epoch: int) -> list[tuple[int, ...]]:
        batches = [rows_of_step(table, seed, epoch * steps + i, batch_rows) for i in range(steps)]
        assert [len(batch) for batch in batches[:-1]] == [batch_rows] * (steps - 1)
        return [tuple(row) for batch in batches for row in batch.tolist()]

    train = [tuple(row) for row in table.rows[table.train].tolist()]
    assert sorted(read(epoch)) == sorted(train)
    assert read(epoch) != read(epoch + 1)


def test_the_order_of_an_epoch_depends_on_the_seed_and_not_on_the_batch() -> None:
    table = build_table(TableSpec(task="sub", modulus=7))
    rows = rows_of_step(table, 5, 0, 39).tolist()
    assert rows == [row for i in range(4) for row in rows_of_step(table, 5, i, 10).tolist()]
    assert rows != rows_of_step(table, 6, 0, 39).tolist()


def test_the_content_is_the_hash_of_the_rows_whatever_their_split() -> None:
    spec = TableSpec(task="add", modulus=11)
    same = [spec, replace(spec, split_seed=5), replace(spec, train_share=0.3)]
    same.append(replace(spec, split="unordered"))
    assert len({resolve_table(other).content for other in same}) == 1
    div = TableSpec(task="div", modulus=11)
    others = [
        spec,
        TableSpec(task="sub", modulus=11),
        TableSpec(task="add", modulus=13),
        div,
        replace(div, division_by_zero="drop"),
    ]
    assert len({resolve_table(other).content for other in others}) == len(others)


def test_a_resolved_table_has_its_sizes_and_resolves_to_itself() -> None:
    spec = resolve_table(TableSpec(task="parity", bits=5))
    assert (spec.vocab_size, spec.columns, spec.train_rows, spec.held_out_rows) == (3, 6, 16, 16)
    assert resolve_table(spec) == spec


@pytest.mark.parametrize(
    ("name", "value"),
    [("content", "0" * 32), ("vocab_size", 5), ("columns", 3), ("train_rows", 1)],
)
def test_a_given_fact_that_differs_is_refused_at_its_field(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match="omit this field") as refusal:
        resolve_table(TableSpec(task="add", **{name: value}))
    assert [problem.field for problem in refusal.value.problems] == [f"data.{name}"]


@pytest.mark.parametrize(
    "spec",
    [
        TableSpec(task="add", modulus=7, train_share=0.001),  # no training row
        TableSpec(task="add", modulus=7, train_share=0.03),  # one
        TableSpec(task="parity", bits=2, train_share=0.25),
    ],
)
def test_a_share_that_leaves_fewer_than_two_answers_in_training_is_refused(
    spec: TableSpec,
) -> None:
    with pytest.raises(InvalidInput, match="choose a share that leaves at least 2") as refusal:
        resolve_table(spec)
    assert [problem.field for problem in refusal.value.problems] == ["data.train_share"]
    assert refusal.value.problems[0].value == spec.share


def test_a_table_that_was_not_resolved_cannot_be_opened() -> None:
    with pytest.raises(InvalidInput, match="resolve_table"):
        open_table(TableSpec(task="add"))


CSV = "0,1,1\n1,0,1\n0,0,0\n1,1,2\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(CSV)
    return path


def table_of(path: Path) -> TableSpec:
    return TableSpec(task="table", file=str(path))


def test_a_users_table_is_read_with_its_vocabulary_and_context(file: Path) -> None:
    spec = resolve_table(table_of(file))
    assert (spec.vocab_size, spec.columns, spec.context) == (3, 2, 2)
    assert (spec.train_rows, spec.held_out_rows) == (2, 2)
    assert spec.title == "the table table.csv"
    table = open_table(spec)
    assert table.rows.tolist() == [[0, 1, 1], [1, 0, 1], [0, 0, 0], [1, 1, 2]]
    assert not table.mirrored.any()


@pytest.mark.parametrize(
    "text",
    ["\ufeff" + CSV, CSV.replace("\n", "\r\n"), CSV.replace(",", " , "), CSV.replace("\n", "\n\n")],
    ids=["with a byte order mark", "of Windows", "with spaces", "with empty lines"],
)
def test_spellings_of_one_table_have_one_content(file: Path, text: str) -> None:
    expected = resolve_table(table_of(file)).content
    file.write_bytes(text.encode())
    assert resolve_table(table_of(file)).content == expected


def test_a_relative_path_becomes_absolute(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert resolve_table(TableSpec(task="table", file="table.csv")).file == str(file)


BAD_FILES = {
    # bytes, part of the message
    "empty": (b"", "has 0 rows; give 1 to 262,144"),
    "only empty lines": (b"\n\n", "has 0 rows"),
    "not UTF-8": (b"1,2\n\xff\xfe,3\n", "cannot be read"),
    "a column too few": (b"1\n2\n", "has 1 columns"),
    "too many columns": (b"1," * 65 + b"1\n", "has 66 columns"),
    "a header": (b"a,b,answer\n1,2,3\n", "row 1 is not 3 whole numbers"),
    "rows of different lengths": (b"1,2,3\n1,3\n", "row 2 is not 3 whole numbers"),
    "a negative number": (b"1,2\n3,-4\n", "row 2 is not"),
    "a fraction": (b"1,2\n3,4.0\n", "row 2 is not"),
    "an empty cell": (b"1,2\n,4\n", "row 2 is not"),
    "a superscript": ("1,2\n3,²\n".encode(), "row 2 is not"),
    "a token beyond the limit": (b"1,2\n65536,1\n", "row 2 is not 2 whole numbers from 0 to 65535"),
    "a number of 5,000 digits": (b"1,2\n" + b"9" * 5000 + b",1\n", "row 2 is not"),
    "a cell of 200,000 characters": (b"1,2\n" + b"9" * 200_000 + b",1\n", "cannot be read"),
    "a question twice": (b"1,2,5\n2,1,5\n1,2,6\n", "row 3 repeats the input tokens of row 1"),
    "a row twice": (b"1,2,5\n1,2,5\n", "row 2 repeats the input tokens of row 1"),
}


def test_a_cell_may_have_100_characters(file: Path) -> None:
    file.write_text(f"1,2\n{'3'.zfill(100)},4\n")
    assert file_rows(file)[0].tolist() == [[1, 2], [3, 4]]
    file.write_text(f"1,2\n{'3'.zfill(101)},4\n")
    with pytest.raises(InvalidInput, match="row 2 is not"):
        file_rows(file)


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_no_table_is_refused(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(InvalidInput) as refusal:
        resolve_table(table_of(file))
    (problem,) = refusal.value.problems
    assert problem.field == "data.file"
    assert message in problem.message
    assert len(str(problem.value)) < 1000


def test_a_file_that_is_missing_a_folder_or_too_large_is_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.csv"
    with large.open("wb") as stream:
        stream.truncate(64_000_001)
    for path, message in (
        (tmp_path / "missing.csv", "cannot be read"),
        (tmp_path, "cannot be read"),
        (large, "has more than 64,000,000 bytes"),
    ):
        with pytest.raises(InvalidInput, match=message):
            resolve_table(table_of(path))


def test_a_file_that_changed_or_disappeared_after_its_job_is_lost(file: Path) -> None:
    spec = resolve_table(table_of(file))
    assert len(open_table(spec).rows) == 4
    file.write_text(CSV.replace("1,1,2", "1,1,0"))
    with pytest.raises(CorpusLost, match="has changed since its job was accepted"):
        open_table(spec)
    with pytest.raises(InvalidInput, match="restore the table"):
        resolve_table(spec)
    file.unlink()
    with pytest.raises(CorpusLost, match="cannot be read any more"):
        open_table(spec)
    file.write_text(CSV)
    assert len(open_table(spec).rows) == 4


def test_a_new_job_reads_a_changed_file_anew(file: Path) -> None:
    first = resolve_table(table_of(file))
    file.write_text(CSV + "2,2,4\n")
    second = resolve_table(table_of(file))
    assert second.content != first.content
    assert len(open_table(second).rows) == 5
