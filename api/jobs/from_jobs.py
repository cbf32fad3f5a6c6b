"""Hyperparameters of a compute-time study, taken from the results of telescope jobs.

They are taken at submission: each job named in `from_jobs` supplies, for every optimizer that the
study compares, the base learning rate and weight decay of its result, at its own batch size. The
job must equal the study in model, base width, corpus, context, parametrisation and optimizer
options. A job that differs is refused, unless `force` is set; then each value is marked with what
differs. The values are written into `given`, so that the study no longer depends on the jobs.

Of a job that compares architectures or texts, the variant that differs least is used.

Parts: `with_hyperparameters`, the study with its hyperparameters · `nearest_variant`, a job's
variant · `differing_fields`, of a study and a job's.
"""

from collections.abc import Callable, Iterator
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
    """Fill in a resolved study's hyperparameters from the jobs that it names.

    Raises InvalidInput where a job has none, or differs from the study.
    """
    with_hyperparameters = FILLED.get(study.kind.name)
    return (
        study
        if with_hyperparameters is None
        else study.kind.of(with_hyperparameters(study.question, store))
    )


def with_given(question: ComputeTimeQuestion, store: Store) -> ComputeTimeQuestion:
    """Return a compute-time question with the values of the jobs that it names in `given`."""
    if question.from_jobs is None or question.given:
        return question
    given, problems = list[Given](), list[Problem]()
    for i, job_id in enumerate(question.from_jobs.jobs):
        try:
            given += supplied_values(question, job_id, store)
        except InvalidInput as error:
            problems += [
                replace(problem, field=f"from_jobs.jobs.{i}") for problem in error.problems
            ]
    lacking = [
        optimizer
        for optimizer in question.optimizers
        if optimizer not in {one.optimizer for one in given}
    ]
    if not problems and lacking:
        message = f"none of these jobs has a result for {', '.join(lacking)}; name a job that has, or drop the optimizer"
        problems.append(Problem("from_jobs.jobs", message, list(question.from_jobs.jobs)))
    if problems:
        raise InvalidInput.because(tuple(problems))
    return replace(question, given=tuple(given))


def supplied_values(study: ComputeTimeQuestion, job_id: str, store: Store) -> Iterator[Given]:
    """Yield the values that one job supplies for each optimizer of the study."""
    assert study.from_jobs is not None, "only studies that name jobs draw from them"
    try:
        job = store.job(job_id)
    except NotFound:
        message = "there is no such job; name a telescope job that has succeeded"
        raise InvalidInput.of("", message, job_id) from None
    their_study, report = registry.parse(store.study_document(job_id)), store.result(job_id)
    theirs: TelescopingQuestion = their_study.question
    if their_study.kind is not TELESCOPING or job.state is not JobState.SUCCEEDED or report is None:
        message = (
            f"is a {job.kind} job that is {job.state}; name a telescope job that has succeeded"
        )
        raise InvalidInput.of("", message, job_id)
    variant, differing = nearest_variant(study, theirs)
    if differing and not study.from_jobs.force:
        which = f" (its closest variant is {variant.name})" if variant.name else ""
        remedy = "make them equal, or set from_jobs.force: true; the result is then marked"
        raise InvalidInput.of(
            "", f"differs from this study in {', '.join(differing)}{which}; {remedy}", job_id
        )
    for ladder in report["ladders"]:
        ours = ladder["optimizer"] in study.optimizers and ladder.get("variant", "") == variant.name
        if ours and ladder["hyperparameters"]:
            yield given_by(ladder, theirs, job_id, differing)


def nearest_variant(
    study: ComputeTimeQuestion, theirs: TelescopingQuestion
) -> tuple[Variant, list[str]]:
    """Return the variant of a job that differs least from a study, and how it differs.

    Most jobs have a single variant.
    """
    compared = [
        (variant, list(differing_fields(study, variant.question))) for variant in variants(theirs)
    ]
    return min(compared, key=lambda pair: len(pair[1]))


def given_by(
    ladder: dict[str, Any], theirs: TelescopingQuestion, job_id: str, differing: list[str]
) -> Given:
    """Return the values of one ladder, with marks where they need a caveat."""
    values = ladder["hyperparameters"]
    marks = [f"forced: job {job_id} differs in {', '.join(differing)}"] if differing else []
    marks += (
        [f"job {job_id} is {ladder['verdict']} for {ladder['optimizer']}"]
        if ladder["verdict"] != "resolved"
        else []
    )
    return Given(
        optimizer=ladder["optimizer"],
        batch_tokens=theirs.horizon.batch_tokens,
        lr=values["lr"]["value"],
        weight_decay=values["weight_decay"]["value"],
        job=job_id,
        mark="; ".join(marks),
    )


def differing_fields(study: ComputeTimeQuestion, theirs: TelescopingQuestion) -> Iterator[str]:
    """Yield the fields that differ, of those that the hyperparameters depend on."""
    for name in Architecture.__dataclass_fields__:
        if getattr(study.model, name) != getattr(theirs.model, name, None):
            yield f"model.{name}"
    if (study.model.base_width or study.model.width) != theirs.model.base_width:
        yield "model.base_width"
    if study.data.content != theirs.data.content:
        yield "data"
    if study.data.context != theirs.data.context:
        yield "data.context"
    if study.parametrisation != theirs.parametrisation:
        yield "parametrisation"
    if study.optimizer_options != theirs.optimizer_options:
        yield "optimizer_options"
    for name in SCALES:
        if name not in ("lr", "weight_decay") and isinstance(getattr(theirs.search, name), Range):
            yield f"search.{name}, which the job tuned too"
    if "muon" in study.optimizers and study.adamw_lr_ratio != theirs.adamw_lr_ratio:
        yield "adamw_lr_ratio"


FILLED: dict[str, Callable[[Any, Store], Any]] = {COMPUTE_TIME.name: with_given}
"""The kinds whose hyperparameters may come from jobs."""
