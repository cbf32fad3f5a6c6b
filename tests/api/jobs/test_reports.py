"""The report of a job has its kind, before its first report too."""

from typing import Any

from api.job_states import JobState, Verb
from api.jobs.reports import latest
from api.store.record import CoordinatorStore
from tests.api.coordinator.test_coordinator import document


def reported(record: CoordinatorStore, job_id: str) -> dict[str, Any]:
    return latest(record.job(job_id), record)


def test_a_job_without_a_report_has_that_of_no_trials_and_then_its_own(
    record: CoordinatorStore,
) -> None:
    job, _ = record.create_job(document())
    assert {"kind": "telescope", "final": False, "verdict": "unresolved"}.items() <= reported(
        record, job.id
    ).items()
    record.begin_job(job.id)
    record.finish_job(job.id, JobState.SUCCEEDED, None, {"verdict": "resolved"})
    assert reported(record, job.id) == {"kind": "telescope", "verdict": "resolved"}


def test_a_job_that_was_cancelled_before_it_began_says_so(record: CoordinatorStore) -> None:
    job, _ = record.create_job(document())
    record.request(job.id, Verb.CANCEL)
    report = reported(record, job.id)
    assert (report["final"], report["reason"]) == (True, "cancelled")
