"""Errors that tell a user what is wrong, where, and what to do.

Every error that telescope raises on purpose is a `TelescopeError`: it has a stable `code`, the HTTP
`status` it maps to, a message, and, where fields of the user's input are at fault, the `problems`
that name each field and its remedy. The service renders an error as problem+json, the command line
as text and an exit status; nothing else translates errors.

A diverged training run is not an error but data (see `telescope.trials.outcome`).
"""

import difflib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar


@dataclass(frozen=True)
class Problem:
    """One invalid field: where it is, its value, what is wrong and what to do."""

    field: str  # dotted path in the user's document, "" for the whole
    message: str  # what is wrong, and the remedy
    value: Any = None  # the offending value as the user wrote it

    def __str__(self) -> str:
        value = "" if self.value is None else f" (given: {self.value!r})"
        return f"{self.field or 'document'}: {self.message}{value}"

    def within(self, block: str) -> bool:
        """True if the field is the block itself or lies inside it."""
        return self.field == block or self.field.startswith(f"{block}.")

    def moved(self, block: str, to: str) -> "Problem":
        """The problem with its field renamed if it lies in `block`, which stands at `to` in the
        user's document."""
        return (
            replace(self, field=to + self.field.removeprefix(block)) if self.within(block) else self
        )


def under(block: str, problem: Problem) -> Problem:
    """The problem of a field of a block, named from the root of the document."""
    return replace(problem, field=f"{block}.{problem.field}")


def closest_name_hint(name: str, known: Iterable[str]) -> str:
    """A hint at the closest name, or at every known name if none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(names)}"


def not_plain(value: object, path: str) -> Iterator[Problem]:
    """Problems of everything in a document that JSON cannot hold."""
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, str):
                yield from not_plain(item, f"{path}.{key}".lstrip("."))
            else:
                yield no_text(path, key)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from not_plain(item, f"{path}.{i}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(path, "must be a finite number", str(value))
    elif not isinstance(value, (str, int, float, bool, type(None))):
        yield Problem(
            path, "must be text, a number, true, false, null, a list or a mapping", repr(value)
        )


def no_text(path: str, key: object) -> Problem:
    return Problem(path, "keys must be text; quote it", repr(key))


class TelescopeError(Exception):
    """Base class; `code` is stable, `status` is the HTTP status, `exit_status` the command
    line's."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit_status: ClassVar[int] = 3

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.problems = problems


class InvalidInput(TelescopeError):
    """The user's document cannot be accepted; every problem names a field and a remedy."""

    code, status, exit_status = "invalid_input", 422, 2

    @classmethod
    def of(cls, field: str, message: str, value: Any = None) -> "InvalidInput":
        """The usual case: one invalid field."""
        return cls.because((Problem(field, message, value),))

    @classmethod
    def because(cls, problems: tuple[Problem, ...]) -> "InvalidInput":
        """Several invalid fields, reported together."""
        return cls("; ".join(map(str, problems)), problems)


class NotFound(TelescopeError):
    """No such job, trial or corpus."""

    code, status, exit_status = "not_found", 404, 2


class Conflict(TelescopeError):
    """The state of the resource does not allow this verb, or a key was reused for another body."""

    code, status, exit_status = "conflict", 409, 2


class NotExportable(TelescopeError):
    """There is no answer to export, or the format cannot express its rules; the problems name each
    such rule."""

    code, status, exit_status = "not_exportable", 409, 2

    @classmethod
    def because(cls, reason: str, problems: tuple[Problem, ...]) -> "NotExportable":
        """Several rules that the format cannot express, reported together."""
        return cls(f"{reason}: {'; '.join(map(str, problems))}", problems)


class Unavailable(TelescopeError):
    """Something that telescope depends on (database, Ray, another process) is not available."""

    code, status, exit_status = "unavailable", 503, 3


class MissingPackage(TelescopeError, ModuleNotFoundError):
    """A package of an extra is not installed; the message has the command that installs it."""

    code, status, exit_status = "missing_package", 500, 2


class WorkersLost(TelescopeError):
    """The executor's workers are gone for good (Ray's head died); the coordinator must exit and
    restart."""

    code, status, exit_status = "workers_lost", 503, 3


class CorpusLost(TelescopeError):
    """A corpus that a trial needs has disappeared or changed since the job was accepted; a retry
    cannot help."""

    code, status, exit_status = "corpus_lost", 500, 3


class FactoryLost(TelescopeError):
    """The code of a user's model has changed since the job was accepted; a retry cannot help."""

    code, status, exit_status = "factory_lost", 500, 3
