"""States of a submitted job, and the transitions between them.

`JobState` lists the states, and `next_job_state` permits only legal transitions. A verb is a user's
request to change the state of a job: cancel, pause, resume or retry. `state_after_verb` returns the
state that a verb leads to.

One process, the coordinator, starts and stops the training runs of all jobs. Verbs that stop
training runs are therefore recorded first, and the coordinator carries them out later. Until then,
further verbs, except retry, are checked against the state that the recorded verb leads to.
`prospect` returns this state.
"""

from collections.abc import Mapping

from telescope.client.resources import JobState as JobState
from telescope.client.resources import Verb as Verb
from telescope.errors import Conflict

TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.PAUSED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset(
        {JobState.PAUSED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    # A job that ended because a limit of its study was used up is SUCCEEDED, too.
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}


def next_job_state(current: JobState, to: JobState) -> JobState:
    """Return the state `to`. Raises Conflict if the transition to `to` is illegal."""
    if to not in TRANSITIONS[current]:
        raise Conflict(f"a job that is {current} cannot become {to}")
    return to


def state_after_verb(current: JobState, verb: Verb) -> JobState:
    """Return the state that a verb leads to. Raises Conflict if the verb does not apply.

    Retry applies to failed and cancelled jobs, and resume to paused jobs. Cancel and pause apply to
    jobs that have not ended, if `TRANSITIONS` permits the change of state.
    """
    if current is JobState.SUCCEEDED and verb is Verb.RETRY:
        remedy = "clone it to change the question; finished trials can be reused"
        raise Conflict(f"a job that is {current} has its result; {remedy}")
    if current.terminal is not (verb is Verb.RETRY):
        reason = "has ended" if current.terminal else "has not ended"
        raise Conflict(f"a job that is {current} {reason}")
    if verb is Verb.RESUME and current is not JobState.PAUSED:
        raise Conflict(f"a job that is {current} is not paused")
    return next_job_state(current, TARGET[verb])


TARGET: Mapping[Verb, JobState] = {
    Verb.CANCEL: JobState.CANCELLED,
    Verb.PAUSE: JobState.PAUSED,
    Verb.RESUME: JobState.QUEUED,
    Verb.RETRY: JobState.QUEUED,
}
"""The state that each verb leads to."""


def prospect(state: JobState, requested: Verb | None) -> JobState:
    """Return the state that the requested verb leads to, or `state` if no verb is requested."""
    return TARGET[requested] if requested else state
