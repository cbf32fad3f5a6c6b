"""Two reasons why a study has no answer: it ended prematurely, or runs are still pending.

Several kinds of study share these reasons.

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
    """Runs of the study are still pending."""

    code: Literal["running"] = "running"


Unfinished = StudyStopped | RunsPending


def unfinished(ended: Ended | None, pending: bool) -> Unfinished | None:
    """The reason that applies. A premature end takes precedence over pending runs. None if neither
    reason applies."""
    if ended:
        return StudyStopped(by=ended.cause, detail=ended.detail)
    return RunsPending() if pending else None


def unfinished_words(reason: Unfinished) -> str:
    """The text of a reason."""
    match reason:
        case StudyStopped(by=cause, detail=detail):
            return end_text(cause, detail)
        case RunsPending():
            return "runs are still pending"
