"""How do the answers of telescope jobs become the hyperparameters of a compute-time study?

When it is handed in: each job named in `from_jobs` gives, for every optimizer that the study compares, the base learning rate and weight
decay of its answer, at its own batch size. Nothing else of the study may differ from the job: model, base width, corpus, context,
parametrisation, optimizer's options. Where something does, the job is refused, unless `force` is said; then each value carries what
differs as its mark. What was drawn is written into `given`, so that the study stands by itself from then on.

Of a job that compares architectures or texts, the variant counts that differs least.

Parts: `filled`, the study with its hyperparameters · `nearest`, a job's variant · `differences`, of a study and a job's.
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
from telescope.trials.model import Architecture


def filled(study: AnyStudy, store: Store) -> AnyStudy:
    """A resolved study with the hyperparameters of the jobs that it names; InvalidInput where they cannot be taken."""
    with_hyperparameters = FILLED.get(study.kind.name)
    return study if with_hyperparameters is None else study.kind.of(with_hyperparameters(study.question, store))


def with_given(question: ComputeTimeQuestion, store: Store) -> ComputeTimeQuestion:
    """A compute-time question with the answers of the jobs that it names."""
    if question.from_jobs is None or question.given:
        return question
    given, problems = list[Given](), list[Problem]()
    for i, job_id in enumerate(question.from_jobs.jobs):
        try:
            given += drawn(question, job_id, store)
        except InvalidInput as error:
            problems += [replace(problem, field=f"from_jobs.jobs.{i}") for problem in error.problems]
    lacking = [optimizer for optimizer in question.optimizers if optimizer not in {one.optimizer for one in given}]
    if not problems and lacking:
        message = f"none of these jobs has an answer for {', '.join(lacking)}; name one that has, or drop the optimizer"
        problems.append(Problem("from_jobs.jobs", message, list(question.from_jobs.jobs)))
    if problems:
        raise InvalidInput.because(tuple(problems))
    return replace(question, given=tuple(given))


def drawn(study: ComputeTimeQuestion, job_id: str, store: Store) -> Iterator[Given]:
    """What one job answers, for each optimizer of the study."""
    assert study.from_jobs is not None, "only studies that name jobs draw from them"
    try:
        job = store.job(job_id)
    except NotFound:
        raise InvalidInput.of("", "there is no such job; name a telescope job that has succeeded", job_id) from None
    their_study, report = registry.parse(store.study_document(job_id)), store.result(job_id)
    theirs: TelescopingQuestion = their_study.question
    if their_study.kind is not TELESCOPING or job.state is not JobState.SUCCEEDED or report is None:
        raise InvalidInput.of("", f"is a {job.kind} job that is {job.state}; name a telescope job that has succeeded", job_id)
    variant, differing = nearest(study, theirs)
    if differing and not study.from_jobs.force:
        which = f" ({variant.name} of its variants the least)" if variant.name else ""
        remedy = "make them the same, or say from_jobs.force: true; the result is then marked"
        raise InvalidInput.of("", f"differs from this study in {', '.join(differing)}{which}; {remedy}", job_id)
    for ladder in report["ladders"]:
        ours = ladder["optimizer"] in study.optimizers and ladder.get("variant", "") == variant.name
        if ours and ladder["hyperparameters"]:
            yield given_by(ladder, theirs, job_id, differing)


def nearest(study: ComputeTimeQuestion, theirs: TelescopingQuestion) -> tuple[Variant, list[str]]:
    """The architecture and text of a job that differ least from a study's, the only ones of most jobs, and what they differ in."""
    found = [(variant, list(differences(study, variant.question))) for variant in variants(theirs)]
    return min(found, key=lambda one: len(one[1]))


def given_by(ladder: dict[str, Any], theirs: TelescopingQuestion, job_id: str, differing: list[str]) -> Given:
    """One ladder's answer, and what is to be known about it."""
    found = ladder["hyperparameters"]
    marks = [f"forced: job {job_id} differs in {', '.join(differing)}"] if differing else []
    marks += [f"job {job_id} is {ladder['verdict']} for {ladder['optimizer']}"] if ladder["verdict"] != "resolved" else []
    return Given(
        optimizer=ladder["optimizer"],
        batch_tokens=theirs.horizon.batch_tokens,
        lr=found["lr"]["value"],
        weight_decay=found["weight_decay"]["value"],
        job=job_id,
        mark="; ".join(marks),
    )


def differences(study: ComputeTimeQuestion, theirs: TelescopingQuestion) -> Iterator[str]:
    """What a job's study has otherwise, of what its hyperparameters depend on."""
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
