"""States of a submitted job, and the transitions between them.

`JobState` lists the states, and `next_job_state` permits only legal transitions. `Verb` lists the
requests that users can make, and `state_after_verb` returns the state that a verb leads to. A verb
on a running job is recorded as a request, which the coordinator carries out, since it alone handles
the job's trials. Until then, further verbs are checked against the state that the request leads to
(`prospect`).
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
    # Final even for a job that ended at a limit: to change a limit, clone the job.
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}


def next_job_state(current: JobState, to: JobState) -> JobState:
    """Return the state `to`; raise Conflict if the transition is illegal."""
    if to not in TRANSITIONS[current]:
        raise Conflict(f"a job that is {current} cannot become {to}")
    return to


def state_after_verb(current: JobState, verb: Verb) -> JobState:
    """Return the state that a verb leads to; raise Conflict if the verb does not apply.

    Retry applies to failed and cancelled jobs. The other verbs apply to jobs that have not ended,
    as far as `TRANSITIONS` permits: only a paused job can be resumed, for example.
    """
    if current is JobState.SUCCEEDED and verb is Verb.RETRY:
        remedy = "clone it to change the question; finished trials are reused"
        raise Conflict(f"a job that is {current} has its result; {remedy}")
    if current.terminal is not (verb is Verb.RETRY):
        reason = "has ended" if current.terminal else "has not ended"
        raise Conflict(f"cannot {verb} a job that is {current}: the job {reason}")
    return next_job_state(current, TARGET[verb])


TARGET: Mapping[Verb, JobState] = {
    Verb.CANCEL: JobState.CANCELLED,
    Verb.PAUSE: JobState.PAUSED,
    Verb.RESUME: JobState.QUEUED,
    Verb.RETRY: JobState.QUEUED,
}
"""The state that each verb leads to."""


def prospect(state: JobState, requested: Verb | None) -> JobState:
    """Return the state of a job after its requested verb; without a request, its current state."""
    return TARGET[requested] if requested else state
