"""What becomes of a study that somebody submitted?

`JobState` lists the states, `advance` the only legal transitions, `Verb` what users may ask for; `follow` says where each verb leads.
A verb on a job that runs is a request: the coordinator, which alone knows the job's trials, carries it out. Until then the job's
`prospect` is the state that the request leads to, and further verbs are judged by that.
"""

from collections.abc import Mapping

from telescope.client.resources import JobState as JobState
from telescope.client.resources import Verb as Verb
from telescope.errors import Conflict

TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.PAUSED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.PAUSED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),  # answered, if only up to a limit: other limits are another question, for a clone
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}


def advance(current: JobState, to: JobState) -> JobState:
    """The next state, or Conflict where the table has no such step."""
    if to not in TRANSITIONS[current]:
        raise Conflict(f"a job that is {current} cannot become {to}")
    return to


def follow(current: JobState, verb: Verb) -> JobState:
    """Where a verb leads, or Conflict: what has ended is retried, and nothing else is."""
    if current is JobState.SUCCEEDED and verb is Verb.RETRY:
        raise Conflict(f"a job that is {current} has its answer; clone it to ask further, and its finished trials are reused")
    if current.terminal is not (verb is Verb.RETRY):
        raise Conflict(f"a job that is {current} has {'' if current.terminal else 'not '}ended")
    return advance(current, TARGET[verb])


TARGET: Mapping[Verb, JobState] = {
    Verb.CANCEL: JobState.CANCELLED,
    Verb.PAUSE: JobState.PAUSED,
    Verb.RESUME: JobState.QUEUED,
    Verb.RETRY: JobState.QUEUED,
}


def prospect(state: JobState, requested: Verb | None) -> JobState:
    """The state that a job is bound for once its request is carried out."""
    return TARGET[requested] if requested else state
