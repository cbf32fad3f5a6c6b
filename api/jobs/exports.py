"""Export of a job's result to another trainer.

`export_job` reads a job's study, its latest report and its completed trials, and passes them to
`telescope.export`. The service uses it, and so does the command line where no service is running.
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
from telescope.export import ExportRequest, SourceJob, UsedTrial
from telescope.studies import registry
from telescope.studies.telescoping.kind import KIND as TELESCOPING
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.report import Report
from telescope.trials.outcome import TrialState

Exporter = Callable[[Any, dict[str, Any], SourceJob, ExportRequest], str]


def export_job(store: Store, job: JobRow, wanted: ExportRequest) -> str:
    """Export a job's result in the wanted format.

    Raises:
        InvalidInput: the job's kind has no hyperparameters to export.
        NotExportable: the job has no report yet, or the format cannot express its result.
    """
    exporter = EXPORTERS.get(job.kind)
    if exporter is None:
        able = ", ".join(EXPORTERS)
        message = (
            f"is a job of kind {job.kind}; only jobs of kind {able} have hyperparameters to export"
        )
        raise InvalidInput.of("job_id", message, job.id)
    study, document = registry.parse(store.study_document(job.id)).question, store.result(job.id)
    if document is None:
        running = job.state is JobState.RUNNING
        state = "has not finished a level yet" if running else f"is {job.state}"
        message = "there are no hyperparameters to export before its first report"
        raise NotExportable(f"job {job.id} {state}; {message}")
    used = tuple(
        UsedTrial(
            trial.digest,
            trial.optimizer,
            trial.width,
            trial.seed,
            trial.numerics,
            trial.variant or "",
        )
        for trial in variants.every_trial(store, job.id, TrialState.COMPLETED)
        if trial.measure == "loss"
    )
    source = SourceJob(job.id, job.name, job.ended_at or job.started_at or job.created_at, used)
    return exporter(study, document, source, wanted)


def telescoping_export(
    question: Question, document: dict[str, Any], source: SourceJob, wanted: ExportRequest
) -> str:
    """Export the hyperparameters of a telescoping report at the target."""
    return export.exported(question, TypeAdapter(Report).validate_python(document), source, wanted)


EXPORTERS: dict[str, Exporter] = {TELESCOPING.name: telescoping_export}
"""The kinds with hyperparameters to export."""
