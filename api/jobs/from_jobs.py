"""Hyperparameters of a compute-time study, taken from the results of other jobs.

A compute-time study compares optimizers over batch sizes, and needs hyperparameters for each of the
optimizers. A telescope job (a job of kind `telescope`) searches for hyperparameters at one batch
size. If the field `from_jobs` of a study names telescope jobs, the hyperparameters are taken from
these jobs when the study is submitted. If a job has a result for an optimizer of the study, the job
supplies the learning rate and weight decay that it found for this optimizer at its batch size. The
values are stored in the study's field `given`, so that the study no longer depends on the jobs.

A job must have the same architecture, base width, training and held-out tokens, context,
parametrisation and optimizer options as the study. If the study compares Muon, `adamw_lr_ratio`
must be the same too. The job must not have tuned any hyperparameter besides learning rate and
weight decay. A job that differs is refused, unless `from_jobs.force` is true. In that case its
values are used, and each carries a remark that names the differences (`Given.mark`).

A telescope job may compare several variants, which are models or texts. Such a job supplies the
hyperparameters of the variant that differs from the study in the fewest fields.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from api.job_states import JobState
from api.store.store import Store
from telescope.errors import InvalidInput, NotFound, Problem
from telescope.studies import registry
from telescope.studies.compute_time.kind import KIND as COMPUTE_TIME
from telescope.studies.compute_time.question import Given
from telescope.studies.compute_time.question import Question as ComputeTimeQuestion
from telescope.studies.kind import AnyStudy
from telescope.studies.ranges import Range
from telescope.studies.telescoping.axes import SCALES
from telescope.studies.telescoping.kind import KIND as TELESCOPING
from telescope.studies.telescoping.question.question import Question as TelescopingQuestion
from telescope.studies.telescoping.question.variants import Variant, variants
from telescope.trials.architecture import Architecture


def with_hyperparameters(study: AnyStudy, store: Store) -> AnyStudy:
    """Return the study with hyperparameters from the jobs that it names.

    A study that names no jobs, or already has the values, is returned unchanged. Raises
    InvalidInput if a job cannot supply hyperparameters (`supplied_values`), if two jobs supply them
    for the same optimizer and batch, or if no job has a result for one of the
    study's optimizers.
    """
    fill_in = FILLERS.get(study.kind.name)
    return study.kind.of(fill_in(study.question, store)) if fill_in else study


def with_given(question: ComputeTimeQuestion, store: Store) -> ComputeTimeQuestion:
    """Return a compute-time question with `given` filled in from the jobs that it names.

    A question that names no jobs is returned unchanged, and so is a question that has values in
    `given` already.
    """
    if question.from_jobs is None or question.given:
        return question
    hyperparameters, problems = list[Given](), list[Problem]()
    for i, job_id in enumerate(question.from_jobs.jobs):
        try:
            hyperparameters += supplied_values(question, job_id, store)
        except InvalidInput as error:
            problems += [
                replace(problem, field=f"from_jobs.jobs.{i}") for problem in error.problems
            ]
    problems += repeated_values(hyperparameters)
    supplied = {values.optimizer for values in hyperparameters}
    missing = [optimizer for optimizer in question.optimizers if optimizer not in supplied]
    if not problems and missing:
        remedy = "name a job that has one, or remove the optimizer from this study"
        message = f"none of these jobs has a result for {', '.join(missing)}; {remedy}"
        problems.append(Problem("from_jobs.jobs", message, list(question.from_jobs.jobs)))
    if problems:
        raise InvalidInput.because(tuple(problems))
    return replace(question, given=tuple(hyperparameters))


def repeated_values(given: Sequence[Given]) -> Iterator[Problem]:
    """Yield a problem for each entry that repeats the optimizer and batch of an earlier entry."""
    jobs: dict[tuple[str, int], str] = {}
    for values in given:
        key = values.optimizer, values.batch_tokens
        if key in jobs:
            at = f"{values.optimizer} at batch {values.batch_tokens}"
            message = (
                f"jobs {jobs[key]} and {values.job} both have a result for {at}; name only one"
            )
            yield Problem("from_jobs.jobs", message)
        jobs.setdefault(key, values.job)


def supplied_values(study: ComputeTimeQuestion, job_id: str, store: Store) -> Iterator[Given]:
    """Yield the hyperparameters that a job supplies, one `Given` per optimizer of the study.

    Optimizers that the job has no result for are left out. Raises InvalidInput if the job does not
    exist, is not a telescope job, or has not succeeded. Also raises InvalidInput if the job differs
    from the study and `from_jobs.force` is false.
    """
    assert study.from_jobs is not None, "only a study that names jobs takes values from them"
    try:
        job = store.job(job_id)
    except NotFound:
        message = "there is no such job; name a telescope job that has succeeded"
        raise InvalidInput.of("", message, job_id) from None
    source, report = registry.parse(store.study_document(job_id)), store.result(job_id)
    question: TelescopingQuestion = source.question
    if source.kind is not TELESCOPING or job.state is not JobState.SUCCEEDED or report is None:
        message = (
            f"the job is a {job.kind} job that is {job.state}; "
            "name a telescope job that has succeeded"
        )
        raise InvalidInput.of("", message, job_id)
    variant, differing = nearest_variant(study, question)
    if differing and not study.from_jobs.force:
        closest = f" (its closest variant is {variant.name})" if variant.name else ""
        remedy = (
            "name another job, make these fields equal, or set from_jobs.force to true to use the "
            "job's values with a note of the difference"
        )
        message = f"the job differs from this study in {', '.join(differing)}{closest}; {remedy}"
        raise InvalidInput.of("", message, job_id)
    for ladder in report["ladders"]:
        is_compared = ladder["optimizer"] in study.optimizers
        is_of_variant = ladder.get("variant", "") == variant.name
        if is_compared and is_of_variant and ladder["hyperparameters"]:
            yield values_of_ladder(ladder, question, job_id, differing)


def nearest_variant(
    study: ComputeTimeQuestion, question: TelescopingQuestion
) -> tuple[Variant, list[str]]:
    """Return the variant of a job that differs from a study in the fewest fields, and these fields.

    `question` is the job's question. A job without `sweep_over` has a single variant.
    """
    compared = [
        (variant, list(differing_fields(study, variant.question))) for variant in variants(question)
    ]
    return min(compared, key=lambda pair: len(pair[1]))


def values_of_ladder(
    ladder: dict[str, Any], question: TelescopingQuestion, job_id: str, differing: list[str]
) -> Given:
    """Return the hyperparameters that a job found for one optimizer, with remarks in `mark`.

    `ladder` is the part of the job's report on this optimizer, in the job's nearest variant.
    """
    values = ladder["hyperparameters"]
    marks = [f"forced: job {job_id} differs in {', '.join(differing)}"] if differing else []
    if ladder["verdict"] != "resolved":
        marks.append(
            f"the verdict of job {job_id} for {ladder['optimizer']} is {ladder['verdict']}"
        )
    return Given(
        optimizer=ladder["optimizer"],
        batch_tokens=question.horizon.batch_tokens,
        lr=values["lr"]["value"],
        weight_decay=values["weight_decay"]["value"],
        job=job_id,
        mark="; ".join(marks),
    )


def differing_fields(study: ComputeTimeQuestion, question: TelescopingQuestion) -> Iterator[str]:
    """Yield the fields that affect hyperparameters and differ between a study and a job.

    `question` is the job's question.
    """
    for name in Architecture.__dataclass_fields__:
        if getattr(study.model, name) != getattr(question.model, name, None):
            yield f"model.{name}"
    if (study.model.base_width or study.model.width) != question.model.base_width:
        yield "model.base_width"
    if study.data.content != question.data.content:
        yield "data"
    if study.data.context != question.data.context:
        yield "data.context"
    if study.parametrisation != question.parametrisation:
        yield "parametrisation"
    if study.optimizer_options != question.optimizer_options:
        yield "optimizer_options"
    for name in SCALES:
        if name not in ("lr", "weight_decay") and isinstance(getattr(question.search, name), Range):
            yield f"search.{name} (tuned by the job)"
    if "muon" in study.optimizers and study.adamw_lr_ratio != question.adamw_lr_ratio:
        yield "adamw_lr_ratio"


FILLERS: dict[str, Callable[[Any, Store], Any]] = {COMPUTE_TIME.name: with_given}
"""For each kind of study that may name jobs: the function that fills in values from these jobs."""
