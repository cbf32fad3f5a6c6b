"""A patch changes only the fields that it names."""

from typing import Any

import pytest

from api.jobs.changes import merged, patch_of, patched
from telescope.errors import InvalidInput
from telescope.studies.registry import parse, to_document

# RFC 7396, appendix A, as far as both sides are JSON objects
APPENDIX = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), APPENDIX)
def test_a_patch_is_merged_by_rfc_7396(target: Any, patch: Any, result: Any) -> None:
    before = repr(target)
    assert merged(target, patch) == result
    assert repr(target) == before, "the target is not modified"


def test_another_corpus_drops_the_stored_content_and_another_context_does_not() -> None:
    study = {
        "kind": "telescope",
        "data": {
            "corpus": "a",
            "tokenizer": "bytes",
            "context": 64,
            "content": "abc",
            "vocab_size": 256,
        },
    }
    assert patched(study, {"data": {"corpus": "b"}})["data"] == {
        "corpus": "b",
        "tokenizer": "bytes",
        "context": 64,
    }
    assert patched(study, {"data": {"corpus": "b", "content": "abd"}})["data"]["content"] == "abd"
    assert patched(study, {"data": {"context": 32}})["data"] == study["data"] | {"context": 32}
    assert patched(study, {"name": "again"}) == study | {"name": "again"}


def test_another_preset_replaces_the_fields_that_the_old_preset_filled_in() -> None:
    document = {
        "kind": "telescope",
        "data": {"corpus": "python-stdlib"},
        "search": {"lr": {"low": 0.002, "high": 0.25, "points": 8}},
    }
    model = {
        "preset": "gpt2-like",
        "base_width": 32,
        "calibration_width": 64,
        "target_width": 128,
        "depth": 3,
        "mlp_ratio": 2.0,
    }
    stored = to_document(parse(document | {"model": model}))
    assert stored["model"]["positions"] == "learned"
    changes: list[dict[str, Any]] = [
        {"preset": "mla"},
        {"preset": None},
        {"preset": "mla", "mlp_ratio": 1.0},
        {"depth": 2},
    ]
    for change in changes:
        expected = parse(document | {"model": model | change}).question.model
        assert parse(patched(stored, {"model": change})).question.model == expected


def test_another_modulus_drops_the_hash_and_the_sizes_of_a_table() -> None:
    derived = {"content": "ab", "vocab_size": 99, "columns": 4, "train_rows": 8, "held_out_rows": 2}
    study: dict[str, Any] = {"kind": "grokking", "data": {"task": "add", "modulus": 97} | derived}
    assert patched(study, {"data": {"modulus": 113}})["data"] == {"task": "add", "modulus": 113}
    assert patched(study, {"seeds": 4})["data"] == study["data"]


def test_other_source_jobs_drop_the_hyperparameters_of_the_old_ones() -> None:
    by_hand: dict[str, Any] = {"kind": "compute_time", "given": [{"lr": 0.1}]}
    study = by_hand | {"from_jobs": {"jobs": ["job-1"]}}
    named = {"jobs": ["job-2"]}
    assert patched(study, {"from_jobs": named}) == {"kind": "compute_time", "from_jobs": named}
    assert patched(study, {"from_jobs": None}) == {"kind": "compute_time"}
    assert patched(study, {"seeds": 4}) == study | {"seeds": 4}
    assert patched(by_hand, {"from_jobs": None}) == by_hand


@pytest.mark.parametrize("patch", [[1], "limits", 7, None])
def test_a_patch_that_is_no_mapping_is_refused(patch: Any) -> None:
    with pytest.raises(InvalidInput, match="must be a mapping from the fields to change"):
        patched({}, patch)


def test_assignments_become_a_patch() -> None:
    words = [
        "limits.max_base_runs=400",
        "limits.max_flops=null",
        "search.lr.high=2e-1",
        "optimizer=[muon, adamw]",
        "name=a = b",
    ]
    limits = {"max_base_runs": 400, "max_flops": None}
    patch = {
        "limits": limits,
        "search": {"lr": {"high": 0.2}},
        "optimizer": ["muon", "adamw"],
        "name": "a = b",
    }
    assert patch_of(words) == patch


@pytest.mark.parametrize(
    "words",
    [
        ["limits"],
        ["=4"],
        ["limits..max=4"],
        ["name=[a"],
        ["name=2020-13-45"],
        ["limits=4", "limits.max_trials=4"],
        ["limits.max_trials=4", "limits=4"],
        ["seeds=4", "seeds=8"],
    ],
)
def test_invalid_assignments_are_refused(words: list[str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        patch_of(words)
    assert refused.value.problems[0].field == "--set"


@pytest.mark.parametrize(
    "word", ["limits={max_trials: 4, 1: 2}", "limits=2020-01-01", "limits=.nan"]
)
def test_an_assigned_value_that_json_cannot_hold_is_refused_by_its_field(word: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        patch_of([word])
    assert [problem.field for problem in refused.value.problems] == ["limits"]


def test_another_tokenizer_drops_the_stored_content_of_every_compared_text() -> None:
    texts = [
        {"name": "a", "content": "abc", "vocab_size": 256},
        {"name": "b", "corpus": "b", "content": "bcd", "vocab_size": 256},
    ]
    study = {"data": {"corpus": "a"}, "sweep_over": {"model": None, "data": texts}}
    before = repr(study)
    unresolved = [{"name": "a"}, {"name": "b", "corpus": "b"}]
    assert patched(study, {"data": {"tokenizer": "bpe-512"}})["sweep_over"] == {
        "model": None,
        "data": unresolved,
    }
    assert patched(study, {"data": {"context": 32}})["sweep_over"] == study["sweep_over"]
    assert patched(study, {"data": {"corpus": "c"}, "sweep_over": None}) == {
        "data": {"corpus": "c"}
    }
    assert repr(study) == before
