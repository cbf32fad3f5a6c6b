"""What can go wrong, said so that a user can mend it.

Every error that telescope raises on purpose is a `TelescopeError`: it owns a stable `code`, the HTTP `status` it maps to,
a message, and, where fields of the user's input are at fault, the `problems` that name each field and its remedy.
The service turns one into problem+json, the command line into text and an exit status; nobody else translates.

A diverged training run is no error: it is data (see `telescope.trials.outcome`).
"""

import difflib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar


@dataclass(frozen=True)
class Problem:
    """One field at fault: where it is, what it was, what is wrong and what to do."""

    field: str  # dotted path in the user's document, "" for the whole
    message: str  # what is wrong, and the remedy
    value: Any = None  # the offending value as given

    def __str__(self) -> str:
        shown = "" if self.value is None else f" (given: {self.value!r})"
        return f"{self.field or 'document'}: {self.message}{shown}"

    def within(self, block: str) -> bool:
        """Whether its field is a block, or lies in it."""
        return self.field == block or self.field.startswith(f"{block}.")

    def moved(self, block: str, to: str) -> "Problem":
        """The problem of a block that stands elsewhere in the user's document; any other as it is."""
        return replace(self, field=to + self.field.removeprefix(block)) if self.within(block) else self


def under(block: str, problem: Problem) -> Problem:
    """The problem of a field of a block, named from outside of it."""
    return replace(problem, field=f"{block}.{problem.field}")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that was probably meant, or at all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(names)}"


def not_plain(value: object, path: str) -> Iterator[Problem]:
    """Everything in a document that JSON cannot hold."""
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
        yield Problem(path, "must be text, a number, true, false, null, a list or a mapping", repr(value))


def no_text(path: str, key: object) -> Problem:
    """The problem of a mapping with a key that JSON cannot hold."""
    return Problem(path, "keys must be text; quote it", repr(key))


class TelescopeError(Exception):
    """Base of the family; `code` is stable, `status` is HTTP's, `exit_status` the command line's."""

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
        """The usual case of one field at fault."""
        return cls.because((Problem(field, message, value),))

    @classmethod
    def because(cls, problems: tuple[Problem, ...]) -> "InvalidInput":
        """Several fields at fault, reported together."""
        return cls("; ".join(map(str, problems)), problems)


class NotFound(TelescopeError):
    """No such job, trial or corpus."""

    code, status, exit_status = "not_found", 404, 2


class Conflict(TelescopeError):
    """The resource is in a state that does not allow this verb, or a key was reused for another body."""

    code, status, exit_status = "conflict", 409, 2


class NotExportable(TelescopeError):
    """There is no answer to export, or its rules cannot be expressed in the form asked for; the problems name each that cannot."""

    code, status, exit_status = "not_exportable", 409, 2

    @classmethod
    def because(cls, reason: str, problems: tuple[Problem, ...]) -> "NotExportable":
        """Several rules that cannot be expressed, reported together."""
        return cls(f"{reason}: {'; '.join(map(str, problems))}", problems)


class Unavailable(TelescopeError):
    """Something telescope depends on (database, Ray, another process) is not there."""

    code, status, exit_status = "unavailable", 503, 3


class WorkersLost(TelescopeError):
    """Whoever runs the trials is gone for good (Ray's head died); its coordinator must end and start anew."""

    code, status, exit_status = "workers_lost", 503, 3


class CorpusLost(TelescopeError):
    """A corpus that a trial needs has disappeared or changed since its job was accepted; retrying cannot help."""

    code, status, exit_status = "corpus_lost", 500, 3


class FactoryLost(TelescopeError):
    """The code of a user's model has changed since its job was accepted; retrying cannot help."""

    code, status, exit_status = "factory_lost", 500, 3
