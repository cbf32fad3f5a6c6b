"""Specifications of tables: titles, sizes of batches by hand, and refusals that name a field."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from telescope.data.algorithmic import resolve_table
from telescope.trials.data import AnyData, DataSpec
from telescope.trials.horizon import HorizonSpec
from telescope.trials.spec import TrialSpec
from telescope.trials.table import TASKS, TableSpec, is_prime, nearest_prime
from tests.telescope.small import ADAMW, HORIZON, MODEL, trial

TITLES = {
    "add": "a + b mod 97",
    "sub": "a - b mod 97",
    "mul": "a * b mod 97",
    "div": "a / b mod 97",
    "pow": "a ^ b mod 97",
    "gcd": "gcd(a, b), a and b below 97",
    "parity": "parity of a 10-bit number",
}


@pytest.mark.parametrize("task", TITLES)
def test_a_task_has_its_title_and_the_context_of_its_questions(task: Any) -> None:
    table = TableSpec(task=task)
    assert table.title == TITLES[task]
    assert table.context == (11 if task == "parity" else 4)


def test_train_shares_are_the_papers_unless_a_document_gives_another() -> None:
    paper = {"gcd": 0.5, "add": 0.8, "div": 0.8, "pow": 0.7, "mul": 0.5, "parity": 0.5}
    assert {name: TASKS[name].train_share for name in paper} == paper  # type: ignore[index]
    assert TableSpec(task="add").share == 0.8
    assert TableSpec(task="add", train_share=0.3).share == 0.3


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    # document, field, part of the remedy
    "a modulus without inverses": ({"task": "div", "modulus": 96}, "modulus", "use 97"),
    "a square of a prime": ({"task": "div", "modulus": 49}, "modulus", "use 47"),
    "a split of pairs for division": (
        {"task": "div", "split": "unordered"},
        "split",
        "leave split out",
    ),
    "a split of pairs for parity": (
        {"task": "parity", "split": "unordered"},
        "split",
        "leave split out",
    ),
    "a table without a file": ({"task": "table"}, "file", "give the path"),
    "a file of another task": ({"task": "add", "file": "a.csv"}, "file", "use task: table"),
    "a corner of another task": (
        {"task": "add", "division_by_zero": "drop"},
        "division_by_zero",
        "only for div",
    ),
    "0^0 of division": ({"task": "div", "zero_to_zero": "drop"}, "zero_to_zero", "only for pow"),
    "gcd(0, 0) of powers": ({"task": "pow", "gcd_of_zeros": "drop"}, "gcd_of_zeros", "for gcd"),
    "bits of addition": ({"task": "add", "bits": 8}, "bits", "only for parity"),
    "a modulus of parity": ({"task": "parity", "modulus": 31}, "modulus", "only for add, sub"),
}


@pytest.mark.parametrize(("document", "field", "remedy"), REFUSED.values(), ids=REFUSED)
def test_fields_that_contradict_each_other_are_refused_by_name_with_a_remedy(
    document: dict[str, Any], field: str, remedy: str
) -> None:
    with pytest.raises(ValidationError, match=rf"Value error, {field}: .*{remedy}"):
        TypeAdapter(AnyData).validate_python(document)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"task": "multiply"}, "task"),
        ({"task": "add", "modulus": 1}, "modulus"),
        ({"task": "add", "modulus": 513}, "modulus"),
        ({"task": "parity", "bits": 17}, "bits"),
        ({"task": "add", "train_share": 0}, "train_share"),
        ({"task": "add", "train_share": 1}, "train_share"),
        ({"task": "add", "train_share": float("nan")}, "train_share"),
        ({"task": "add", "split": "random"}, "split"),
        ({"task": "add", "split_seed": -1}, "split_seed"),
        ({"task": "add", "corpus": "python-stdlib"}, "corpus"),
    ],
)
def test_values_out_of_range_are_refused_at_their_field(
    document: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as refusal:
        TypeAdapter(AnyData).validate_python(document)
    assert [error["loc"][-1] for error in refusal.value.errors()] == [field]


def test_a_section_with_a_task_is_a_table_and_any_other_a_text() -> None:
    data: TypeAdapter[Any] = TypeAdapter(AnyData)
    assert data.validate_python({"task": "add"}) == TableSpec(task="add")
    assert isinstance(data.validate_python({"corpus": "python-stdlib"}), DataSpec)
    assert data.validate_json(data.dump_json(TableSpec(task="gcd"))) == TableSpec(task="gcd")


def test_texts_and_tables_answer_the_same_questions_about_batches_and_evaluations() -> None:
    text = DataSpec(corpus="python-stdlib", context=8)
    table = TableSpec(task="add", train_rows=39, held_out_rows=10)
    sizes = [
        (data.windows(64), data.tokens_until(3, 64), data.evaluated_windows(100))
        for data in (text, table)
    ]
    assert sizes == [(8, 192, 12), (16, 39 * 4, 49)]
    assert text.evaluated_windows(7) == 1
    assert (text.has_answers, table.has_answers) == (False, True)


def test_data_name_their_sources_by_field() -> None:
    mixture: Any = {"python-stdlib": 1, "./notes": 3}
    text = DataSpec(corpus=mixture, tokenizer="bpe-512")
    assert text.sources == (
        ("corpus", "./notes"),
        ("corpus", "python-stdlib"),
        ("tokenizer", "bpe-512"),
    )
    assert TableSpec(task="table", file="a.csv").sources == (("file", "a.csv"),)
    assert TableSpec(task="add").sources == ()


def test_a_run_on_a_table_whose_file_has_not_been_read_is_refused() -> None:
    unread = TableSpec(task="table", file="a.csv")
    with pytest.raises(ValueError, match="resolve_table"):
        TrialSpec(model=MODEL, optimizer=ADAMW, data=unread, horizon=HORIZON)


def test_without_the_seed_of_their_split_only_equal_tables_are_equal() -> None:
    table = resolve_table(TableSpec(task="add", modulus=7))
    assert replace(table, split_seed=3).without_split_seed() == table.without_split_seed()
    other = resolve_table(TableSpec(task="add", modulus=11))
    assert other.without_split_seed() != table.without_split_seed()
    text = DataSpec(corpus="python-stdlib", content="a")
    assert text.without_split_seed() == text


def test_primes_are_those_of_the_sieve_of_eratosthenes() -> None:
    composite = {multiple for n in range(2, 40) for multiple in range(2 * n, 1500, n)}
    assert [n for n in range(1500) if is_prime(n)] == sorted(set(range(2, 1500)) - composite)


def test_the_nearest_prime_is_the_smaller_of_two_equally_near_ones() -> None:
    assert [nearest_prime(n) for n in (2, 4, 8, 9, 96, 97, 98, 512)] == [
        *(2, 3, 7, 7, 97, 97, 97, 509)
    ]


@pytest.mark.parametrize(
    ("task", "steps", "last"),
    [("add", 15, 359), ("div", 15, 359), ("pow", 13, 442), ("gcd", 10, 96), ("parity", 1, 512)],
)
def test_an_epoch_at_batch_512_has_as_many_steps_as_the_reference_says(
    task: Any, steps: int, last: int
) -> None:
    table = resolve_table(TableSpec(task=task))
    batch_tokens = 512 * table.context
    assert table.steps_per_epoch(batch_tokens) == steps
    assert table.windows(batch_tokens) == 512
    before = table.tokens_until(steps - 1, batch_tokens)
    assert table.tokens_until(steps, batch_tokens) - before == last * table.context
    assert table.tokens_until(steps, batch_tokens) == table.train_rows * table.context


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 100), st.integers(0, 300))
def test_tokens_are_the_sum_of_the_batches(train_rows: int, batch: int, steps: int) -> None:
    table = TableSpec(task="add", train_rows=train_rows)
    rows = list[int]()
    while len(rows) < steps:  # batches of an epoch, one after the other
        left = train_rows
        while left:
            rows.append(min(left, batch))
            left -= rows[-1]
    assert table.tokens_until(steps, 4 * batch) == 4 * sum(rows[:steps])


def table_trial(horizon: HorizonSpec = HORIZON, **fields: Any) -> TrialSpec:
    table = resolve_table(TableSpec(task="add", modulus=7))
    return TrialSpec(model=MODEL, optimizer=ADAMW, data=table, horizon=horizon, **fields)


def test_options_of_tables_are_refused_for_text_and_those_of_text_for_tables() -> None:
    with pytest.raises(ValidationError, match="softmax stablemax is for tables only"):
        replace(trial(), softmax="stablemax")
    sustained = replace(HORIZON, evaluate_every=4, sustained_evaluations=2)
    with pytest.raises(ValidationError, match="sustained_evaluations is for tables only"):
        trial(horizon=sustained)
    assert table_trial(sustained, softmax="stablemax").softmax == "stablemax"
    with pytest.raises(ValidationError, match="micro_batch_tokens is for text only"):
        table_trial(replace(HORIZON, micro_batch_tokens=32))
    with pytest.raises(ValidationError, match="stop_below_loss is for text only"):
        table_trial(replace(HORIZON, evaluate_every=4, stop_below_loss=1.0))
    with pytest.raises(ValidationError, match="batch_tokens 66 is not a multiple of the context"):
        table_trial(replace(HORIZON, batch_tokens=66))


def test_sustained_evaluations_need_evaluations() -> None:
    with pytest.raises(ValidationError, match="give evaluate_every, too"):
        replace(HORIZON, sustained_evaluations=2)
    with pytest.raises(ValidationError, match="stop_when_sustained: needs sustained_evaluations"):
        replace(HORIZON, evaluate_every=2, stop_when_sustained=True)


def test_the_identity_of_a_run_tells_splits_tasks_and_softmaxes_apart() -> None:
    spec = table_trial()
    assert isinstance(spec.data, TableSpec)
    others = [
        replace(spec, data=replace(spec.data, split_seed=1)),
        replace(spec, data=resolve_table(TableSpec(task="sub", modulus=7))),
        replace(spec, softmax="sparsemax"),
        replace(spec, model=replace(MODEL, dropout=0.1)),
        replace(spec, model=replace(MODEL, initial_values="torch")),
    ]
    assert len({other.digest for other in (spec, *others)}) == 1 + len(others)
    assert table_trial(softmax="softmax").digest == spec.digest
