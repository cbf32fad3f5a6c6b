"""The report of a job, for HTTP and the command line."""

from typing import Any

from api.job_states import JobState
from api.store.rows import JobRow
from api.store.store import Store
from telescope.studies import registry
from telescope.studies.kind import EndCause, Ended


def latest(job: JobRow, store: Store) -> dict[str, Any]:
    """Return the latest report of a job as JSON, with the job's kind in the field `kind`.

    If the job has no report yet, make a report without trials.
    """
    document = store.result(job.id)
    if document is None:
        cancelled = job.state is JobState.CANCELLED  # cancelled before its first report
        study = registry.parse(store.study_document(job.id))
        report = study.report((), Ended(EndCause.CANCELLED) if cancelled else None)
        document = registry.report_document(report)
    return {"kind": job.kind} | document
