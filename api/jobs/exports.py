"""What leaves of a job, for somebody else's trainer?

`exported` reads a job's study, its latest report and its completed trials, and hands them to `telescope.export`. The service answers with
it, and so does the command line where no service is at work.
"""

from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter

from api.job_states import JobState
from api.jobs import variants
from api.store.rows import JobRow
from api.store.store import Store
from telescope import export
from telescope.errors import InvalidInput, NotExportable
from telescope.export import Source, UsedTrial, Wanted
from telescope.studies import registry
from telescope.studies.telescoping.kind import KIND as TELESCOPING
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.report import Report
from telescope.trials.outcome import TrialState

Exporter = Callable[[Any, dict[str, Any], Source, Wanted], str]


def exported(store: Store, job: JobRow, wanted: Wanted) -> str:
    """A job's answer as it is wanted; NotExportable where there is none, or where it is refused."""
    exporter = EXPORTERS.get(job.kind)
    if exporter is None:
        able = ", ".join(EXPORTERS)
        raise InvalidInput.of("job_id", f"is a job of kind {job.kind}; of kind {able} are those with hyperparameters to export", job.id)
    study, document = registry.parse(store.study_document(job.id)).question, store.result(job.id)
    if document is None:
        said = f"is {job.state}" if job.state is not JobState.RUNNING else "has not finished a level yet"
        raise NotExportable(f"job {job.id} {said}; there are no hyperparameters to export before its first report")
    used = tuple(
        UsedTrial(trial.digest, trial.optimizer, trial.width, trial.seed, trial.numerics, trial.variant or "")
        for trial in variants.every_trial(store, job.id, TrialState.COMPLETED)
        if trial.measure == "loss"
    )
    source = Source(job.id, job.name, job.ended_at or job.started_at or job.created_at, used)
    return exporter(study, document, source, wanted)


def telescoping_export(question: Question, document: dict[str, Any], source: Source, wanted: Wanted) -> str:
    """The hyperparameters of a telescoping report at the target."""
    return export.exported(question, TypeAdapter(Report).validate_python(document), source, wanted)


EXPORTERS: dict[str, Exporter] = {TELESCOPING.name: telescoping_export}
"""The kinds with hyperparameters to export."""
