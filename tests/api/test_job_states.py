"""Job states have descriptions, and only the transitions of the table are legal."""

import pytest

from api.job_states import TRANSITIONS, JobState, Verb, next_job_state, prospect, state_after_verb
from telescope.errors import Conflict


@pytest.mark.parametrize("state", JobState)
def test_every_state_has_a_description_and_an_entry_in_the_table(state: JobState) -> None:
    assert state.meaning.endswith(".")
    assert state in TRANSITIONS


@pytest.mark.parametrize("current", JobState)
@pytest.mark.parametrize("target", JobState)
def test_only_the_transitions_of_the_table_are_legal(current: JobState, target: JobState) -> None:
    if target in TRANSITIONS[current]:
        assert next_job_state(current, target) is target
    else:
        with pytest.raises(Conflict, match=f"{current}.*{target}"):
            next_job_state(current, target)


def test_a_job_that_has_ended_changes_only_by_a_retry() -> None:
    ended = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
    assert {state for state in JobState if state.terminal} == ended
    assert {to for state in ended for to in TRANSITIONS[state]} == {JobState.QUEUED}
    for state in JobState:
        for verb in Verb:
            if state.terminal is not (verb is Verb.RETRY):
                with pytest.raises(Conflict, match="ended"):
                    state_after_verb(state, verb)


def test_failed_and_cancelled_jobs_are_retried_and_succeeded_ones_are_cloned() -> None:
    for state in (JobState.FAILED, JobState.CANCELLED):
        assert state_after_verb(state, Verb.RETRY) is JobState.QUEUED
    with pytest.raises(Conflict, match="clone it"):
        state_after_verb(JobState.SUCCEEDED, Verb.RETRY)


def test_the_prospect_of_a_job_is_the_state_that_its_request_leads_to() -> None:
    assert prospect(JobState.RUNNING, None) is JobState.RUNNING
    assert prospect(JobState.RUNNING, Verb.PAUSE) is JobState.PAUSED
    assert prospect(JobState.PAUSED, Verb.CANCEL) is JobState.CANCELLED
