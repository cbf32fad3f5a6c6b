"""Errors that tell a user what is wrong, where, and what to do.

Every error that telescope raises on purpose is a `TelescopeError`. It has a stable `code`, an HTTP
`status`, an exit status and a message; if fields of the user's input are at fault, its `problems`
name each field and its remedy. The service renders an error as problem+json, the command line as
text and an exit status; no other code translates errors.

A diverged training run is not an error but a result (telescope.trials.outcome).
"""

import difflib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar


@dataclass(frozen=True)
class Problem:
    """One invalid field: where it is, its value, what is wrong and what to do."""

    field: str  # dotted path in the user's document; "" for the document itself
    message: str  # what is wrong, and the remedy
    value: Any = None  # the offending value; None is not shown

    def __str__(self) -> str:
        value = "" if self.value is None else f" (given: {self.value!r})"
        return f"{self.field or 'document'}: {self.message}{value}"

    def within(self, section: str) -> bool:
        """True if the field is `section` or lies inside that section of the document."""
        return self.field == section or self.field.startswith(f"{section}.")

    def moved(self, section: str, to: str) -> "Problem":
        """The problem with its field moved from `section` to `to`; unchanged if the field is not
        within `section`."""
        if not self.within(section):
            return self
        return replace(self, field=to + self.field.removeprefix(section))


def under(section: str, problem: Problem) -> Problem:
    """The problem with the path of a section put before its field, which is relative to that
    section."""
    return replace(problem, field=f"{section}.{problem.field}")


def closest_name_hint(name: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: the closest known name, or all known names if no
    name is close."""
    ordered = sorted(names)
    close = difflib.get_close_matches(name, ordered, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(ordered)}"


def json_problems(value: object, path: str) -> Iterator[Problem]:
    """A problem for each value or key that JSON cannot hold; `path` is the path of `value` in the
    user's document."""
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, str):
                yield from json_problems(item, f"{path}.{key}".lstrip("."))
            else:
                yield key_problem(path, key)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from json_problems(item, f"{path}.{i}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(path, "must be a finite number", str(value))
    elif not isinstance(value, (str, int, float, bool, type(None))):
        message = "must be text, a number, true, false, null, a list or a mapping"
        yield Problem(path, message, repr(value))


def key_problem(path: str, key: object) -> Problem:
    """The problem of a key that is not text, in the mapping at `path`."""
    return Problem(path, "keys must be text; quote it", repr(key))


class TelescopeError(Exception):
    """Base class of all errors that telescope raises on purpose."""

    code: ClassVar[str] = "error"  # never changes, so that programs can rely on it
    status: ClassVar[int] = 500  # status of the HTTP response
    exit_status: ClassVar[int] = 3  # exit status of the command line

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.problems = problems


class InvalidInput(TelescopeError):
    """The user's document cannot be accepted; every problem names a field and a remedy."""

    code, status, exit_status = "invalid_input", 422, 2

    @classmethod
    def of(cls, field: str, message: str, value: Any = None) -> "InvalidInput":
        """The error for one invalid field."""
        return cls.because((Problem(field, message, value),))

    @classmethod
    def because(cls, problems: tuple[Problem, ...]) -> "InvalidInput":
        """The error for several invalid fields, reported together."""
        return cls("; ".join(map(str, problems)), problems)


class NotFound(TelescopeError):
    """There is no such job, trial or other resource."""

    code, status, exit_status = "not_found", 404, 2


class Conflict(TelescopeError):
    """The state of the resource does not allow the request, or an idempotency key was reused with
    another body."""

    code, status, exit_status = "conflict", 409, 2


class NotExportable(TelescopeError):
    """There is no answer to export, or the export format cannot express a rule of the answer; in
    the second case, each of the `problems` names such a rule."""

    code, status, exit_status = "not_exportable", 409, 2

    @classmethod
    def because(cls, reason: str, problems: tuple[Problem, ...]) -> "NotExportable":
        """The error for the rules that the format cannot express, reported together."""
        return cls(f"{reason}: {'; '.join(map(str, problems))}", problems)


class Unavailable(TelescopeError):
    """A database, a Ray cluster or a process that telescope depends on is not available."""

    code, status, exit_status = "unavailable", 503, 3


class MissingPackage(TelescopeError, ModuleNotFoundError):
    """A package of an extra is not installed; the message states how to install it."""

    code, status, exit_status = "missing_package", 500, 2


class WorkersLost(TelescopeError):
    """The executor has lost all its workers for good, because Ray's head node died; the coordinator
    must exit and restart."""

    code, status, exit_status = "workers_lost", 503, 3


class CorpusLost(TelescopeError):
    """A corpus that a trial needs has disappeared or changed since the job was accepted; a retry
    cannot help."""

    code, status, exit_status = "corpus_lost", 500, 3


class FactoryLost(TelescopeError):
    """The code of a user's model has changed since the job was accepted; a retry cannot help."""

    code, status, exit_status = "factory_lost", 500, 3
