"""Export of a job's result in the format of another trainer.

`export_job` reads a job's study, its latest report and its completed trials, and passes them to
`telescope.export`. The service calls this function. The command line calls it if no service is
running.
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


def export_job(store: Store, job: JobRow, request: ExportRequest) -> str:
    """Export a job's result in the requested format.

    Raises:
        InvalidInput: jobs of this kind have no hyperparameters to export, the report does not have
            the requested optimizer or variant, or the request names no variant although the job
            compares several and none is known to be the best.
        NotExportable: the job has no report yet, the requested answer has no hyperparameters or has
            the verdict `refused`, or the format cannot express the answer.
    """
    exporter = EXPORTERS.get(job.kind)
    if exporter is None:
        kinds = ", ".join(EXPORTERS)
        message = (
            f"is a job of kind {job.kind}; only jobs of kind {kinds} have hyperparameters to export"
        )
        raise InvalidInput.of("job_id", message, job.id)
    question, document = registry.parse(store.study_document(job.id)).question, store.result(job.id)
    if document is None:
        is_running = job.state is JobState.RUNNING
        state = "has no report yet" if is_running else f"is {job.state}"
        message = "there is nothing to export until the job has a report"
        raise NotExportable(f"job {job.id} {state}; {message}")
    used_trials = tuple(
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
    source = SourceJob(
        job.id, job.name, job.ended_at or job.started_at or job.created_at, used_trials
    )
    return exporter(question, document, source, request)


def is_exportable(kind: str, report: dict[str, Any]) -> bool:
    """True if a report, as JSON, has an answer that can be exported in at least one format."""
    return kind in EXPORTERS and any(
        ladder["hyperparameters"] and ladder["verdict"] != "refused" for ladder in report["ladders"]
    )


def telescoping_export(
    question: Question, document: dict[str, Any], source: SourceJob, request: ExportRequest
) -> str:
    """Export the hyperparameters for the target width.

    `document` is the report of a job of kind telescope, as JSON.
    """
    report = TypeAdapter(Report).validate_python(document)
    return export.exported(question, report, source, request)


EXPORTERS: dict[str, Exporter] = {TELESCOPING.name: telescoping_export}
"""The exporter of each kind of job that has hyperparameters to export."""
