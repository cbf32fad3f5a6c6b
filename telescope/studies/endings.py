"""The reasons that reports of several kinds give while a study has no answer: the study ended
prematurely, or runs are still pending.

Parts: `StudyStopped`, `RunsPending` · `unfinished`, the reason that applies · `unfinished_words`.
"""

from dataclasses import dataclass
from typing import Literal

from telescope.studies.kind import Ended, end_text


@dataclass(frozen=True, kw_only=True)
class StudyStopped:
    """The study ended before its question was answered."""

    code: Literal["stopped"] = "stopped"
    by: str  # an `EndCause`
    detail: str | None = None  # the failure, if a failure ended the study


@dataclass(frozen=True, kw_only=True)
class RunsPending:
    """Runs are still pending."""

    code: Literal["running"] = "running"


Unfinished = StudyStopped | RunsPending


def unfinished(ended: Ended | None, pending: bool) -> Unfinished | None:
    """The reason why a study has no answer; None if it did not end prematurely and no run is
    pending."""
    if ended:
        return StudyStopped(by=ended.cause, detail=ended.detail)
    return RunsPending() if pending else None


def unfinished_words(reason: Unfinished) -> str:
    """The text of the reason why a study has no answer."""
    match reason:
        case StudyStopped(by=cause, detail=detail):
            return end_text(cause, detail)
        case RunsPending():
            return "runs are still pending"
