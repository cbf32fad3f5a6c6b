"""Job states have descriptions, and their transitions are those of the table."""

import pytest

from api.job_states import TRANSITIONS, JobState, Verb, next_job_state, prospect, state_after_verb
from telescope.errors import Conflict


@pytest.mark.parametrize("state", JobState)
def test_every_state_says_what_it_means_and_is_in_the_table(state: JobState) -> None:
    assert state.meaning.endswith(".")
    assert state in TRANSITIONS


@pytest.mark.parametrize("current", JobState)
@pytest.mark.parametrize("to", JobState)
def test_only_the_tables_steps_are_legal(current: JobState, to: JobState) -> None:
    if to in TRANSITIONS[current]:
        assert next_job_state(current, to) is to
    else:
        with pytest.raises(Conflict, match=f"{current}.*{to}"):
            next_job_state(current, to)


def test_what_has_ended_stays_ended_but_for_a_retry() -> None:
    ended = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
    assert {state for state in JobState if state.terminal} == ended
    assert {to for state in ended for to in TRANSITIONS[state]} == {JobState.QUEUED}
    for state in JobState:
        for verb in Verb:
            if state.terminal is not (verb is Verb.RETRY):
                with pytest.raises(Conflict, match="ended"):
                    state_after_verb(state, verb)


def test_an_answer_is_not_retried_but_cloned() -> None:
    assert (
        state_after_verb(JobState.FAILED, Verb.RETRY)
        is state_after_verb(JobState.CANCELLED, Verb.RETRY)
        is JobState.QUEUED
    )
    with pytest.raises(Conflict, match="clone it"):
        state_after_verb(JobState.SUCCEEDED, Verb.RETRY)


def test_a_request_decides_where_a_job_is_bound_for() -> None:
    assert prospect(JobState.RUNNING, None) is JobState.RUNNING
    assert prospect(JobState.RUNNING, Verb.PAUSE) is JobState.PAUSED
    assert prospect(JobState.PAUSED, Verb.CANCEL) is JobState.CANCELLED
