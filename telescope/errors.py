"""Errors that telescope reports to users.

`TelescopeError` is the base class. An error has a `code` for programs, an HTTP `status`, an exit
status for the command line, and a message. If the user's input is invalid, `problems` describes the
invalid fields. The service sends errors as problem+json (RFC 9457). The command line prints an
error and ends with its exit status.

A training run that diverges raises no error, because divergence is a result
(telescope.trials.outcome).
"""

import difflib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar


@dataclass(frozen=True)
class Problem:
    """A field that telescope cannot accept or export, and the reason."""

    # dotted path of the field in the user's document, or in the answer that cannot be exported;
    # "" for the whole document
    field: str
    message: str  # what is wrong and, in most cases, how to correct it
    value: Any = None  # the value of the field; None if the text of the problem shows no value

    def __str__(self) -> str:
        value = "" if self.value is None else f" (given: {self.value!r})"
        return f"{self.field or 'document'}: {self.message}{value}"

    def within(self, section: str) -> bool:
        """True if the field is `section` or lies inside that section of the document."""
        return self.field == section or self.field.startswith(f"{section}.")

    def moved(self, section: str, to: str) -> "Problem":
        """A copy whose field begins with `to` instead of `section`. If the field is not within
        `section`, the problem itself is returned."""
        if not self.within(section):
            return self
        return replace(self, field=to + self.field.removeprefix(section))


def under(section: str, problem: Problem) -> Problem:
    """A copy of the problem whose field begins with `section`, followed by a dot."""
    return replace(problem, field=f"{section}.{problem.field}")


def similar_name_hint(name: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: a suggestion of the closest known name. Empty if
    no known name is close."""
    close = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def closest_name_hint(name: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: a suggestion of the closest known name. If no
    known name is close, the end is a list of all known names."""
    ordered = sorted(names)
    return similar_name_hint(name, ordered) or f"; known are {', '.join(ordered)}"


def json_problems(value: object, path: str) -> Iterator[Problem]:
    """The problems of a value that JSON cannot represent. `path` is the path of the value in the
    user's document; problems inside a mapping or a list have longer paths."""
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
    return Problem(path, "keys must be text; put this key in quotes", repr(key))


class TelescopeError(Exception):
    """Base class of the errors that telescope reports to users."""

    code: ClassVar[str] = "error"  # programs rely on the codes: do not change them
    status: ClassVar[int] = 500  # status of the HTTP response
    exit_status: ClassVar[int] = 3  # exit status of the command line

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.problems = problems


class InvalidInput(TelescopeError):
    """The user's input cannot be accepted. `problems` describes the invalid fields."""

    code, status, exit_status = "invalid_input", 422, 2

    @classmethod
    def of(cls, field: str, message: str, value: Any = None) -> "InvalidInput":
        """The error for one invalid field."""
        return cls.because((Problem(field, message, value),))

    @classmethod
    def because(cls, problems: tuple[Problem, ...]) -> "InvalidInput":
        """One error for several invalid fields."""
        return cls("; ".join(map(str, problems)), problems)


class NotFound(TelescopeError):
    """The requested job, trial or other resource does not exist."""

    code, status, exit_status = "not_found", 404, 2


class Conflict(TelescopeError):
    """The state of a job or another resource does not allow the request."""

    code, status, exit_status = "conflict", 409, 2


class NotExportable(TelescopeError):
    """There is no answer to export, or the export format cannot express the answer. `problems`
    names the parts of the answer that the format cannot express. It is empty if there is no answer,
    or if the format cannot describe the model at all."""

    code, status, exit_status = "not_exportable", 409, 2

    @classmethod
    def because(cls, reason: str, problems: tuple[Problem, ...]) -> "NotExportable":
        """One error for several parts of the answer. `reason` begins the message."""
        return cls(f"{reason}: {'; '.join(map(str, problems))}", problems)


class Unavailable(TelescopeError):
    """Something that telescope depends on, such as the database or the Ray cluster, is not
    available."""

    code, status, exit_status = "unavailable", 503, 3


class MissingPackage(TelescopeError, ModuleNotFoundError):
    """A Python package that belongs to one of telescope's extras (sets of optional packages) is not
    installed. The message says how to install the extra."""

    code, status, exit_status = "missing_package", 500, 2


class WorkersLost(TelescopeError):
    """The executor, which runs the trials, cannot run any more trials, for instance because Ray's
    head node died. The coordinator, which plans the trials, must exit and be started again."""

    code, status, exit_status = "workers_lost", 503, 3


class CorpusLost(TelescopeError):
    """A corpus or a table that a trial needs has disappeared or changed since the job was accepted.
    The trial cannot run until the corpus or the table is restored."""

    code, status, exit_status = "corpus_lost", 500, 3


class FactoryLost(TelescopeError):
    """The code of a user's model has changed since the job was accepted. Trials with this model
    cannot run until the code is restored."""

    code, status, exit_status = "factory_lost", 500, 3
