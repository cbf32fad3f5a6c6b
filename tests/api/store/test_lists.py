"""Lists of jobs and trials: complete pages, filters, and a constant number of queries."""

import base64
import json

import pytest

from api.job_states import JobState, Verb
from api.store.record import CoordinatorStore
from api.store.rows import Begun, TrialFilter
from telescope.errors import InvalidInput
from telescope.trials.outcome import TrialState
from tests.api.store.test_store import MAX_QUERIES, counted, first_trial, running_job
from tests.api.trials import DOCUMENT, labelled, outcome, spec


def test_pages_of_trials_join_to_the_complete_list_without_repetition(
    record: CoordinatorStore,
) -> None:
    job_id = running_job(record, trials=7)
    seeds, token = [], None
    while True:
        page = record.trials(job_id, 3, token)
        seeds += [trial.seed for trial in page.items]
        token = page.next_page_token
        if token is None:
            break
    assert seeds == list(range(7))


def test_jobs_are_listed_newest_first_and_filtered_by_state(record: CoordinatorStore) -> None:
    ids = sorted((record.create_job(DOCUMENT)[0].id for _ in range(5)), reverse=True)
    record.request(ids[2], Verb.CANCEL)
    first = record.jobs(3)
    assert [job.id for job in first.items] == ids[:3]
    assert [job.id for job in record.jobs(3, first.next_page_token).items] == ids[3:]
    assert [job.id for job in record.jobs(state=JobState.CANCELLED).items] == [ids[2]]


def test_trials_are_filtered_by_state_width_and_optimizer(record: CoordinatorStore) -> None:
    job_id = running_job(record, trials=2)
    record.plan_trials(job_id, labelled([spec(0, width=64), spec(0, optimizer="muon")]))
    record.trial_started(first_trial(record, job_id).id, 1, Begun(0, "worker", "cpu"))
    assert len(record.trials(job_id, only=TrialFilter(state=TrialState.PENDING)).items) == 3
    assert len(record.trials(job_id, only=TrialFilter(width=64)).items) == 1
    assert len(record.trials(job_id, only=TrialFilter(optimizer="adamw", width=32)).items) == 2


@pytest.mark.parametrize("token", ["nonsense", "bnVsbA", "WzFd", "é"])
def test_a_made_up_page_token_is_refused(record: CoordinatorStore, token: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        record.jobs(10, token)
    assert refused.value.problems[0].field == "page_token"


def test_a_page_token_of_another_list_is_refused(record: CoordinatorStore) -> None:
    job_id = running_job(record, trials=3)
    token = record.trials(job_id, 1).next_page_token
    assert token is not None
    # the format is fixed, so that tokens stay valid after an update
    text = json.dumps([f"trials {job_id} None None None", first_trial(record, job_id).id])
    assert token == base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    with pytest.raises(InvalidInput):
        record.trials(job_id, 1, token, only=TrialFilter(width=32))
    with pytest.raises(InvalidInput):
        record.jobs(1, token)


def test_large_page_sizes_are_capped_and_sizes_below_one_are_refused(
    record: CoordinatorStore,
) -> None:
    job_id = running_job(record, trials=3)
    assert len(record.trials(job_id, 10**9).items) == 3
    with pytest.raises(InvalidInput, match="page_size"):
        record.trials(job_id, 0)


def test_reading_takes_as_many_queries_for_two_thousand_trials_as_for_ten(
    record: CoordinatorStore, database_url: str
) -> None:
    def queries(trials: int) -> list[int]:
        job_id = running_job(record, trials)
        for trial in record.trials(job_id, 10).items:
            record.trial_started(trial.id, 1, Begun(0, "worker", "cpu"))
            record.trial_finished(trial.id, *outcome(spec(trial.seed)))
        stranger = CoordinatorStore(database_url)
        counts = []
        for ask in (
            stranger.job,
            stranger.trials,
            stranger.curves,
            stranger.terminal_trials,
            stranger.result,
        ):
            with counted(stranger) as statements:
                ask(job_id)
            counts.append(len(statements))
        with counted(stranger) as statements:
            stranger.jobs()
        stranger.close()
        return [*counts, len(statements)]

    few, many = queries(10), queries(2000)
    assert few == many
    assert max(many) <= MAX_QUERIES
