"""Are jobs' states explained, and their transitions those of the table?"""

import pytest

from api.job import TRANSITIONS, JobState, Verb, advance, prospect
from telescope.errors import Conflict


@pytest.mark.parametrize("state", JobState)
def test_every_state_says_what_it_means_and_is_in_the_table(state: JobState) -> None:
    assert state.meaning.endswith(".")
    assert state in TRANSITIONS


@pytest.mark.parametrize("current", JobState)
@pytest.mark.parametrize("to", JobState)
def test_only_the_tables_steps_are_legal(current: JobState, to: JobState) -> None:
    if to in TRANSITIONS[current]:
        assert advance(current, to) is to
    else:
        with pytest.raises(Conflict, match=f"{current}.*{to}"):
            advance(current, to)


def test_what_has_ended_stays_ended() -> None:
    assert {state for state in JobState if state.terminal} == {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


def test_a_request_decides_where_a_job_is_bound_for() -> None:
    assert prospect(JobState.RUNNING, None) is JobState.RUNNING
    assert prospect(JobState.RUNNING, Verb.PAUSE) is JobState.PAUSED
    assert prospect(JobState.PAUSED, Verb.CANCEL) is JobState.CANCELLED
