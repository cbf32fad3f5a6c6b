"""Documents that are refused, by field and with a remedy, and round trips of the others."""

from typing import Any

import pytest

from telescope.errors import InvalidInput
from telescope.studies.registry import parse, resolved, to_document
from tests.telescope.studies.grokking.simulated import document, tuned

MODULE = {"family": "module", "factory": "models:Model", "width": 8}
REFUSED = [
    ({"data": {"task": "ad"}}, "data.task", "add"),
    ({"data": {"task": "div", "modulus": 96}}, "data.modulus", "use 97"),
    ({"data": [{"task": "add"}, {"task": "div", "modulus": 96}]}, "data.1.modulus", "use 97"),
    ({"data": {"task": "div", "split": "unordered"}}, "data.split", "add, mul, gcd"),
    ({"data": {"task": "parity", "modulus": 7}}, "data.modulus", "no meaning for parity"),
    ({"data": {"task": "table"}}, "data.file", "path of a CSV file"),
    ({"data": []}, "data", "at least 1"),
    ({"data": [{"task": "add"}, {"task": "add"}]}, "data.1", "is the same as data.0"),
    ({"data": {"task": "add", "split_seed": 3}}, "data.split_seed", "leave it out"),
    (
        {"data": [{"task": "add"}, {"task": "sub", "split_seed": 3}]},
        "data.1.split_seed",
        "leave it out",
    ),
    (
        {"data": [{"task": "add", "train_share": 0.5}, {"task": "add", "train_share": 0.5001}]},
        "data.1",
        "has the same title as data.0",
    ),
    ({"softmax": "softplus"}, "softmax", "sparsemax"),
    ({"softmax": ["softmax", "softmax"]}, "softmax", "twice"),
    ({"optimizer": []}, "optimizer", "empty"),
    ({"runs": {"epochs": 3, "evaluate_epochs": 5}}, "runs.evaluate_epochs", "use 3 or fewer"),
    (
        {"runs": {"epochs": 10, "evaluate_epochs": 4, "sustained_evaluations": 3}},
        "runs.sustained_evaluations",
        "use 2 or fewer",
    ),
    (
        {"model": MODULE, "optimizer_options": {"measure_max_logit": True}},
        "optimizer_options.measure_max_logit",
        "leave it out",
    ),
    (
        {"model": MODULE, "optimizer_options": {"muon_split": "heads"}},
        "optimizer_options.muon_split",
        "model.splits",
    ),
    (
        {"optimizer_options": {"lr_convention": "absolute"}},
        "optimizer_options.lr_convention",
        "mup-paper",
    ),
    ({"tuning": {"lr": {"low": 0.1, "high": 1, "points": 3}}}, "tuning", "protocol: tuned"),
    ({"protocol": "tuned"}, "tuning", "is missing"),
    ({"model": {"width": 12, "head_dim": 8}}, "model.width", "not divisible"),
    (
        {
            "optimizer_options": {"qk_clip": 3.0},
            "model": {"qk_norm": True, "width": 8, "head_dim": 8},
        },
        "optimizer_options",
        "",
    ),
    ({"limits": {"max_trials": 3}}, "limits.max_trials", "raise it to 16"),
    ({"epochs": 3}, "epochs", "unknown key"),
]


@pytest.mark.parametrize(("changes", "field", "words"), REFUSED)
def test_a_bad_document_is_refused_by_field(
    changes: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(document(**changes))
    problem = caught.value.problems[0]
    assert problem.field.startswith(field)
    assert words in problem.message


@pytest.mark.parametrize(
    ("tuning", "field"),
    [
        ({"lr": {"low": 1.0, "high": 0.1, "points": 3}}, "tuning.lr.low"),
        ({"lr": {"low": 0.1, "high": 0.1, "points": 3}}, "tuning.lr.low"),
        ({"lr": {"low": 1e-12, "high": 0.1, "points": 3}}, "tuning.lr.low"),
        ({"lr": {"low": 0.1, "high": 1e12, "points": 3}}, "tuning.lr.high"),
        ({"lr": {"low": 0.1, "high": 0.1001, "points": 3}}, "tuning.lr.points"),
        ({"lr": {"low": 0.1, "high": 1.0, "points": 1}}, "tuning.lr.points"),
        ({"weight_decay": [1.0, 1.0]}, "tuning.weight_decay"),
        ({"weight_decay": [1.0, 1.001]}, "tuning.weight_decay"),
        ({"weight_decay": []}, "tuning.weight_decay"),
        ({"weight_decay": [0.0]}, "tuning.weight_decay"),
    ],
)
def test_a_bad_grid_is_refused_by_field(tuning: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(tuned(tuning=tuning))
    assert caught.value.problems[0].field.startswith(field)


def test_values_of_the_other_protocol_are_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(tuned(fixed={"lr": 0.1}))
    assert caught.value.problems[0].field == "fixed"


def test_all_problems_of_a_table_are_reported() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(document(data={"task": "sub", "split": "unordered", "bits": 4}))
    assert [(problem.field, problem.value) for problem in caught.value.problems] == [
        ("data.split", "unordered"),
        ("data.bits", 4),
    ]


def test_more_steps_than_a_run_can_have_are_refused() -> None:
    changes = document(runs={"epochs": 2**31 - 1, "batch_rows": 1})
    with pytest.raises(InvalidInput) as caught:
        resolved(parse(changes))
    assert caught.value.problems[0].field == "runs.epochs"
    assert "limit is 2147483647" in caught.value.problems[0].message


def test_a_split_without_two_answers_in_training_is_refused() -> None:
    changes = document(data={"task": "add", "modulus": 7, "train_share": 0.03})
    with pytest.raises(InvalidInput) as caught:
        resolved(parse(changes))
    assert caught.value.problems[0].field == "data.train_share"
    assert "at least 2 different answers" in caught.value.problems[0].message


@pytest.mark.parametrize(
    "changes",
    [
        document(),
        tuned(),
        document(data=[{"task": "add", "modulus": 7}, {"task": "gcd", "modulus": 6}]),
        document(softmax=["softmax", "sparsemax"], optimizer="muon"),
        document(model={"preset": "grokking"}),
    ],
)
def test_a_document_survives_a_round_trip(changes: dict[str, Any]) -> None:
    study = resolved(parse(changes))
    assert parse(to_document(study)) == study
    assert resolved(study) == study
