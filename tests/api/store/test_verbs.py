"""Each verb has its effect in each state, and paused time does not count."""

import itertools

import pytest

from api.job_states import JobState, Verb
from api.store.record import CoordinatorStore
from api.store.rows import JobRow
from telescope.errors import Conflict
from telescope.trials.outcome import TrialState
from tests.api.store.test_store import counted, first_trial, running_job
from tests.api.trials import DOCUMENT


def in_state(record: CoordinatorStore, state: JobState) -> JobRow:
    """A job in a state, by the transitions that lead there."""
    job, _ = record.create_job(DOCUMENT)
    if state is JobState.PAUSED:
        return record.request(job.id, Verb.PAUSE)
    if state is JobState.CANCELLED:
        return record.request(job.id, Verb.CANCEL)
    if state is not JobState.QUEUED:
        job = record.begin_job(job.id)
    return record.finish_job(job.id, state, "because", {}) if state.terminal else job


AT_ONCE = {
    (JobState.QUEUED, Verb.CANCEL): JobState.CANCELLED,
    (JobState.QUEUED, Verb.PAUSE): JobState.PAUSED,
    (JobState.QUEUED, Verb.RESUME): JobState.QUEUED,
    (JobState.PAUSED, Verb.CANCEL): JobState.CANCELLED,
    (JobState.PAUSED, Verb.PAUSE): JobState.PAUSED,
    (JobState.PAUSED, Verb.RESUME): JobState.QUEUED,
    (JobState.CANCELLED, Verb.CANCEL): JobState.CANCELLED,
    (JobState.QUEUED, Verb.RETRY): JobState.QUEUED,
    (JobState.FAILED, Verb.RETRY): JobState.QUEUED,
    (JobState.CANCELLED, Verb.RETRY): JobState.QUEUED,
}
ON_REQUEST = {
    (JobState.RUNNING, Verb.CANCEL): JobState.CANCELLED,
    (JobState.RUNNING, Verb.PAUSE): JobState.PAUSED,
}


def test_each_verb_leads_from_each_state_to_the_state_of_the_table(
    record: CoordinatorStore,
) -> None:
    for state, verb in itertools.product(JobState, Verb):
        job = in_state(record, state)
        if (state, verb) in AT_ONCE:
            assert record.request(job.id, verb).state is AT_ONCE[state, verb]
        elif (state, verb) in ON_REQUEST:
            requested = record.request(job.id, verb)
            assert (requested.state, requested.requested) == (state, verb)
            assert requested.version > job.version
            carried_out = record.carry_out(job.id)
            assert (carried_out.state, carried_out.requested) == (ON_REQUEST[state, verb], None)
        else:
            with pytest.raises(Conflict, match=job.id):
                record.request(job.id, verb)
            assert record.job(job.id) == job


def test_a_requested_pause_can_be_withdrawn_and_a_requested_cancel_cannot(
    record: CoordinatorStore,
) -> None:
    job_id = running_job(record)
    record.request(job_id, Verb.PAUSE)
    assert record.request(job_id, Verb.RESUME).requested is None
    record.request(job_id, Verb.PAUSE)
    assert record.request(job_id, Verb.CANCEL).requested is Verb.CANCEL
    for verb in (Verb.PAUSE, Verb.RESUME):
        with pytest.raises(Conflict):
            record.request(job_id, verb)
    assert record.carry_out(job_id).state is JobState.CANCELLED


def test_cancelling_a_paused_job_with_trials_is_left_to_the_coordinator(
    record: CoordinatorStore,
) -> None:
    job_id = running_job(record)
    record.request(job_id, Verb.PAUSE)
    record.carry_out(job_id)
    assert record.request(job_id, Verb.CANCEL).state is JobState.PAUSED
    assert [job.id for job in record.active_jobs()] == [job_id]
    record.carry_out(job_id)
    assert first_trial(record, job_id).state is TrialState.STOPPED
    assert record.active_jobs() == []


def test_running_time_excludes_pauses(record: CoordinatorStore) -> None:
    job_id = running_job(record)
    assert record.job(job_id).running_since is not None
    record.request(job_id, Verb.PAUSE)
    paused = record.carry_out(job_id)
    assert (paused.running_since, paused.running_seconds > 0) == (None, True)
    record.request(job_id, Verb.RESUME)
    resumed = record.begin_job(job_id)
    assert resumed.running_since is not None
    assert (resumed.started_at, resumed.running_seconds) == (
        paused.started_at,
        paused.running_seconds,
    )


def test_cancelling_two_thousand_trials_is_one_statement(record: CoordinatorStore) -> None:
    job_id = running_job(record, trials=2000)
    record.request(job_id, Verb.CANCEL)
    with counted(record) as statements:
        record.carry_out(job_id)
    assert sum(statement.startswith("UPDATE trials") for statement in statements) == 1
    assert {trial.state for trial in record.trials(job_id, 1000).items} == {TrialState.STOPPED}
