"""What becomes of a study that somebody submitted?

`JobState` lists the states, `advance` the only legal transitions, `Verb` what users may ask for; `follow` says where each verb leads.
A verb on a job that runs is a request: the coordinator, which alone knows the job's trials, carries it out. Until then the job's
`prospect` is the state that the request leads to, and further verbs are judged by that.
"""

from collections.abc import Mapping
from enum import StrEnum

from telescope.errors import Conflict


class JobState(StrEnum):
    """Where a job stands; each state's sentence is its `meaning`."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def meaning(self) -> str:
        """One sentence for people."""
        return MEANING[self]

    @property
    def terminal(self) -> bool:
        """It has ended; only a retry leads on."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


MEANING = {
    JobState.QUEUED: "Accepted, resumed or retried; the coordinator has not begun with it.",
    JobState.RUNNING: "Its trials are being planned and run; `waiting_for` says what it lacks, if anything.",
    JobState.PAUSED: "Nothing of it runs or starts until it is resumed; its trials keep their checkpoints.",
    JobState.SUCCEEDED: "It has its final report, whatever the verdict.",
    JobState.FAILED: "It could not be answered, and `reason` says why; a retry runs again what failed or was stopped, and nothing else.",
    JobState.CANCELLED: "Somebody cancelled it; what had been measured stays readable, and a retry goes on from there.",
}

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


def follow(current: JobState, verb: "Verb") -> JobState:
    """Where a verb leads, or Conflict: what has ended is retried, and nothing else is."""
    if current is JobState.SUCCEEDED and verb is Verb.RETRY:
        raise Conflict(f"a job that is {current} has its answer; clone it to ask further, and its finished trials are reused")
    if current.terminal is not (verb is Verb.RETRY):
        raise Conflict(f"a job that is {current} has {'' if current.terminal else 'not '}ended")
    return advance(current, TARGET[verb])


class Verb(StrEnum):
    """What users may ask of a job."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"


TARGET: Mapping[Verb, JobState] = {
    Verb.CANCEL: JobState.CANCELLED,
    Verb.PAUSE: JobState.PAUSED,
    Verb.RESUME: JobState.QUEUED,
    Verb.RETRY: JobState.QUEUED,
}


def prospect(state: JobState, requested: Verb | None) -> JobState:
    """The state that a job is bound for once its request is carried out."""
    return TARGET[requested] if requested else state
