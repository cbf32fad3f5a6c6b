"""The report of a job, as HTTP and the command line give it."""

from typing import Any

from api.job_states import JobState
from api.store.rows import JobRow
from api.store.store import Store
from telescope.studies import registry
from telescope.studies.kind import EndCause, Ended


def latest(job: JobRow, store: Store) -> dict[str, Any]:
    """The latest report, with the kind that tells how to read it; before the first, that of no trials."""
    found = store.result(job.id)
    if found is None:
        ended = Ended(EndCause.CANCELLED) if job.state is JobState.CANCELLED else None  # before it began
        found = registry.report_document(registry.parse(store.study_document(job.id)).report((), ended))
    return {"kind": job.kind} | found
