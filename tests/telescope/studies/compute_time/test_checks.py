"""What a well-typed document is refused for: the field, and what to do."""

from typing import Any

import pytest

from telescope.errors import InvalidInput
from telescope.studies.compute_time.kind import KIND
from telescope.studies.registry import parse
from tests.telescope.studies.compute_time.laws import GIVEN, TUNED, document

LR = {"low": 0.001, "high": 0.1, "points": 5}
FEW = {"tokens": 400_000}
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"optimizer": []}, "optimizer", "name muon, adamw, or both"),
    ({"optimizer": ["muon", "muon"]}, "optimizer", "name each once"),
    ({"model": {"width": 40}}, "model.width", "use a multiple of 16"),
    ({"model": {"width": 32, "base_width": 40}}, "model.base_width", "use a multiple of 16"),
    ({"batch_tokens": []}, "batch_tokens", "list some"),
    ({"batch_tokens": {"low": 512, "high": 256}}, "batch_tokens", "with high at least low"),
    ({"batch_tokens": [16 * i for i in range(1, 66)]}, "batch_tokens", "more than 64; use fewer"),
    ({"batch_tokens": [128, 128]}, "batch_tokens", "name each once"),
    ({"batch_tokens": [100]}, "batch_tokens", "use 96 or 112"),
    (
        {"batch_tokens": [256], "runs": FEW | {"micro_batch_tokens": 48}},
        "runs.micro_batch_tokens",
        "use a multiple of the context (16 tokens) that divides every larger batch",
    ),
    (
        {"batch_tokens": [160], "runs": FEW | {"micro_batch_tokens": 40}},
        "runs.micro_batch_tokens",
        "not a multiple of the context, 16 tokens",
    ),
    (
        {"model": {"width": 32, "tied_embeddings": True, "head_form": "rescaled"}},
        "model.head_form",
        "use head_form: multiplier",
    ),
    (
        {"model": {"width": 32, "attention": "mla", "query_heads_per_kv": 2}},
        "model.query_heads_per_kv",
        "leave it at 1",
    ),
    (
        {"model": {"preset": "gemma-like", "width": 32}, "optimizer_options": {"qk_clip": 9.0}},
        "optimizer_options.qk_clip",
        "leave out qk_clip, or use model.qk_norm: false",
    ),
    (
        {"runs": {"tokens": 2**31 - 1, "doublings": 8}},
        "runs.tokens",
        "use fewer tokens, larger batches, or fewer doublings",
    ),
    ({"seeds": 10**9}, "limits.max_trials", " trials; use fewer batches, seeds"),
    (TUNED | {"tuning": {"lr": LR | {"points": 10**9}}}, "tuning.lr.points", "use fewer"),
    ({"runs": {"tokens": 50_000}}, "runs.tokens", "use 81920 tokens or more, or smaller batches"),
    (TUNED | {"tuning": {"lr": LR, "tokens": 50_000}}, "tuning.tokens", "use 81920 tokens or more"),
    ({"target_losses": [2.0, 2.0]}, "target_losses.1", "name each loss once"),
    ({"runs": FEW | {"warmup_tokens": 300_000}}, "runs.warmup_tokens", "use a twentieth"),
    (
        {"optimizer_options": {"lr_convention": "absolute"}},
        "optimizer_options.lr_convention",
        "leave it out",
    ),
    (GIVEN | TUNED, "tuning", "hyperparameters need exactly one source"),
    ({"given": []}, "tuning", "is missing; hyperparameters need exactly one source"),
    (
        TUNED | {"tuning": {"lr": LR, "batch_tokens": [64]}},
        "tuning.batch_tokens",
        "choose from batch_tokens",
    ),
    (
        TUNED | {"tuning": {"lr": LR, "batch_tokens": [128, 128]}},
        "tuning.batch_tokens",
        "name each once",
    ),
    (TUNED | {"tuning": {"lr": LR | {"low": 0.2}}}, "tuning.lr.low", "swap them, or use `given`"),
    (TUNED | {"tuning": {"lr": LR | {"low": 1e-12}}}, "tuning.lr.low", "choose a range within"),
    (TUNED | {"tuning": {"lr": LR | {"high": 1e12}}}, "tuning.lr.high", "choose a range within"),
    (TUNED | {"tuning": {"lr": LR | {"points": 2}}}, "tuning.lr.points", "use at least 3 points"),
    (TUNED | {"tuning": {"lr": LR | {"points": 900}}}, "tuning.lr.points", "use fewer"),
    (
        TUNED | {"tuning": {"lr": LR, "weight_decay": []}},
        "tuning.weight_decay",
        "one value, or several that differ",
    ),
    (
        TUNED | {"tuning": {"lr": LR, "weight_decay": [0.1, 0.1]}},
        "tuning.weight_decay",
        "several that differ",
    ),
    ({"given": [*GIVEN["given"], GIVEN["given"][0]]}, "given.2", "give each once"),
    ({"given": GIVEN["given"][:1]}, "given", "has no hyperparameters for adamw; give them"),
    (
        {"limits": {"max_trials": 47}},
        "limits.max_trials",
        "the study may need 48 trials; raise it to 48",
    ),
]


@pytest.mark.parametrize(
    ("change", "field", "words"), REFUSED, ids=[f"{field}: {words}" for _, field, words in REFUSED]
)
def test_what_cannot_be_run_is_refused_naming_field_and_remedy(
    change: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse(document(**change))
    named = [(problem.field, problem.message) for problem in refusal.value.problems]
    assert any(at == field and words in message for at, message in named), named


@pytest.mark.parametrize(
    "change",
    [
        {},
        TUNED,
        {"limits": {"max_trials": 48}},
        {"optimizer": "muon", "given": GIVEN["given"][:1]},
        {"optimizer_options": {"lr_convention": "absolute"}, "parametrisation": "mup-paper"},
        {"batch_tokens": [128]},
        {"target_losses": []},
        {"target_losses": [], "runs": {"tokens": 2**31 - 1, "doublings": 8}},
    ],
)
def test_what_can_be_run_is_accepted(change: dict[str, Any]) -> None:
    parse(document(**change))


def test_planning_without_the_hyperparameters_of_jobs_is_refused() -> None:
    waiting = parse(document(from_jobs={"jobs": ["job-1"]})).question
    with pytest.raises(
        InvalidInput, match="submit the study to a service, which takes them from the jobs"
    ):
        KIND.of(waiting).plan(())
