"""A compute-time study takes hyperparameters from the results of matching telescope jobs."""

from typing import Any

import pytest

from api.job_states import JobState
from api.jobs.from_jobs import differing_fields, with_hyperparameters
from api.store.record import CoordinatorStore
from telescope.errors import InvalidInput
from telescope.studies import registry, run_study
from telescope.studies.compute_time.kind import KIND
from telescope.studies.compute_time.question import Question
from tests.executors import train_one

DATA = {"corpus": "none", "context": 16, "content": "none", "vocab_size": 256}
MODEL = {"depth": 1, "head_dim": 16}
SEARCH: dict[str, Any] = {"lr": {"low": 0.005, "high": 0.25, "points": 4}, "weight_decay": 0.2}


def finished(record: CoordinatorStore, **changes: Any) -> str:
    """The id of a succeeded telescope job with batches of 32 tokens."""
    document = {
        "kind": "telescope",
        "optimizer": ["muon", "adamw"],
        "model": MODEL | {"base_width": 32, "calibration_width": 64, "target_width": 128},
        "data": DATA,
        "horizon": {"steps": 5, "batch_tokens": 32},
        "search": SEARCH,
        "schedule": "paper",
        "coordinates": "skip",
    }
    study = registry.parse(document | changes)
    job, _ = record.create_job(registry.to_document(study))
    record.begin_job(job.id)
    record.finish_job(
        job.id, JobState.SUCCEEDED, None, registry.report_document(run_study(study, train_one))
    )
    return job.id


def question_from(*jobs: str, force: bool = False, **changes: Any) -> Question:
    """A study that takes values from jobs."""
    document = {
        "kind": "compute_time",
        "model": MODEL | {"width": 64, "base_width": 32},
        "data": DATA,
        "batch_tokens": [32, 64],
        "runs": {"tokens": 2000},
        "from_jobs": {"jobs": list(jobs), "force": force},
    }
    study = registry.parse(document | changes).question
    assert isinstance(study, Question)
    return study


def resolved(study: Question, record: CoordinatorStore) -> Question:
    """The study with its hyperparameters."""
    question = with_hyperparameters(KIND.of(study), record).question
    assert isinstance(question, Question)
    return question


def refusal(study: Question, record: CoordinatorStore) -> str:
    """The reason why the jobs are refused."""
    with pytest.raises(InvalidInput) as caught:
        with_hyperparameters(KIND.of(study), record)
    return str(caught.value)


def test_a_jobs_result_is_used_at_its_batch_for_every_optimizer(record: CoordinatorStore) -> None:
    job = finished(record)
    report = record.result(job)
    assert report is not None
    question = resolved(question_from(job), record)
    rates = {
        ladder["optimizer"]: ladder["hyperparameters"]["lr"]["value"]
        for ladder in report["ladders"]
    }
    assert {entry.optimizer: entry.lr for entry in question.given} == rates
    assert {(entry.batch_tokens, entry.weight_decay, entry.job) for entry in question.given} == {
        (32, 0.2, job)
    }


def test_several_jobs_give_several_batches(record: CoordinatorStore) -> None:
    first, second = finished(record), finished(record, horizon={"steps": 5, "batch_tokens": 64})
    assert {
        entry.batch_tokens for entry in resolved(question_from(first, second), record).given
    } == {32, 64}


def test_two_jobs_of_the_same_batch_are_refused(record: CoordinatorStore) -> None:
    first, second = finished(record), finished(record)
    reason = refusal(question_from(first, second), record)
    for optimizer in ("muon", "adamw"):
        assert f"both have a result for {optimizer} at batch 32; name only one" in reason


def test_a_study_with_values_from_jobs_no_longer_needs_the_jobs(record: CoordinatorStore) -> None:
    question = resolved(question_from(finished(record)), record)
    parsed = registry.parse(registry.to_document(KIND.of(question))).question
    assert parsed == question
    assert with_hyperparameters(KIND.of(parsed), record).question == question
    assert KIND.of(parsed).plan(()).start


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"model": MODEL | {"depth": 2, "width": 64, "base_width": 32}}, "model.depth"),
        ({"model": MODEL | {"width": 64}}, "model.base_width"),
        ({"data": DATA | {"content": "other"}}, "data"),
        ({"data": DATA | {"context": 8}}, "data.context"),
        ({"parametrisation": "standard"}, "parametrisation"),
        ({"optimizer_options": {"beta2": 0.99}}, "optimizer_options"),
        ({"adamw_lr_ratio": 1.0}, "adamw_lr_ratio"),
    ],
)
def test_a_job_with_another_model_corpus_or_rule_is_refused_or_if_forced_marked(
    record: CoordinatorStore, changes: dict[str, Any], difference: str
) -> None:
    job = finished(record)
    assert f"differs from this study in {difference}" in refusal(
        question_from(job, **changes), record
    )
    forced = resolved(question_from(job, force=True, **changes), record)
    assert all(f"forced: job {job} differs in {difference}" in entry.mark for entry in forced.given)


def test_a_users_model_differs_in_every_field_that_it_does_not_declare() -> None:
    model = {
        "family": "module",
        "factory": "tests.telescope.user_models:mixture",
        "base_width": 32,
        "calibration_width": 64,
    }
    document = {
        "kind": "telescope",
        "model": model | {"target_width": 128},
        "data": DATA,
        "horizon": {"steps": 5, "batch_tokens": 32},
    }
    user_question = registry.parse(document | {"search": SEARCH}).question
    assert {"model.family", "model.depth", "model.head_dim"} <= set(
        differing_fields(question_from("a job"), user_question)
    )


def test_a_job_that_tuned_a_value_that_the_study_fixes_is_refused(
    record: CoordinatorStore,
) -> None:
    job = finished(record, search=SEARCH | {"momentum": {"low": 0.9, "high": 0.97, "points": 2}})
    assert "differs from this study in search.momentum (tuned by the job)" in refusal(
        question_from(job), record
    )


def test_an_unresolved_result_is_used_and_marked(record: CoordinatorStore) -> None:
    job = finished(record)
    report = record.result(job)
    assert report is not None
    assert {ladder["verdict"] for ladder in report["ladders"]} == {"unresolved"}, (
        "Algorithm 1 has no interval"
    )
    assert {entry.mark for entry in resolved(question_from(job), record).given} == {
        f"the verdict of job {job} for {name} is unresolved" for name in ("muon", "adamw")
    }


def test_the_variant_with_the_architecture_of_the_study_is_used(
    record: CoordinatorStore,
) -> None:
    entries = [
        {"name": "gelu", "mlp": "gelu"},
        {"name": "own"},
        {"name": "tied gelu", "mlp": "gelu", "tied_embeddings": True},
    ]
    job = finished(record, sweep_over={"model": entries})
    report = record.result(job)
    assert report is not None
    rates = {
        ladder["optimizer"]: ladder["hyperparameters"]["lr"]["value"]
        for ladder in report["ladders"]
        if ladder["variant"] == "own"
    }
    assert {
        entry.optimizer: entry.lr for entry in resolved(question_from(job), record).given
    } == rates
    squared = question_from(
        job, model=MODEL | {"width": 64, "base_width": 32, "mlp": "relu2", "tied_embeddings": True}
    )
    assert "differs from this study in model.mlp (its closest variant is tied gelu)" in refusal(
        squared, record
    )


def test_an_unknown_or_unfinished_job_is_refused_by_its_index(
    record: CoordinatorStore,
) -> None:
    waiting, _ = record.create_job(registry.to_document(KIND.of(question_from("job-0"))))
    message = refusal(question_from("job-nowhere", waiting.id), record)
    assert "from_jobs.jobs.0: there is no such job" in message
    assert "from_jobs.jobs.1: the job is a compute_time job that is QUEUED" in message


def test_jobs_without_an_answer_for_an_optimizer_are_refused(record: CoordinatorStore) -> None:
    assert "none of these jobs has a result for adamw" in refusal(
        question_from(finished(record, optimizer="muon")), record
    )
