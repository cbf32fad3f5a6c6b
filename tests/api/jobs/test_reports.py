"""The latest report of a job, also before its first report."""

from typing import Any

from api.job_states import JobState, Verb
from api.jobs.reports import latest
from api.store.record import CoordinatorStore
from tests.api.coordinator.test_coordinator import document


def reported(record: CoordinatorStore, job_id: str) -> dict[str, Any]:
    return latest(record.job(job_id), record)


def test_a_job_without_a_report_has_the_report_on_no_trials(record: CoordinatorStore) -> None:
    job, _ = record.create_job(document())
    report = reported(record, job.id)
    assert [report[key] for key in ("kind", "final", "verdict")] == [
        "telescope",
        False,
        "unresolved",
    ]
    record.begin_job(job.id)
    record.finish_job(job.id, JobState.SUCCEEDED, None, {"verdict": "resolved"})
    assert reported(record, job.id) == {"kind": "telescope", "verdict": "resolved"}


def test_a_job_cancelled_while_queued_has_that_reason(record: CoordinatorStore) -> None:
    job, _ = record.create_job(document())
    record.request(job.id, Verb.CANCEL)
    report = reported(record, job.id)
    assert (report["final"], report["reason"]) == (True, "cancelled")
