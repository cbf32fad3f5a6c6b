"""How does a command speak: to people, and to programs?

People read standard output, and what went wrong on standard error: field, remedy, value. Programs ask for `--json` and get one
document on standard output, the answer or `{"error": ...}`; whatever else there is to say goes to standard error.

Parts: `Commands` (the group that turns errors into words and exit statuses) · `Interrupted` · `explain` · `show_json`, `plain` · `console`.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from pydantic import TypeAdapter
from rich.console import Console
from typer.core import TyperGroup
from typer.exceptions import TyperException

from telescope.errors import InvalidInput, TelescopeError

PIPED_WIDTH = 120  # columns of tables that nobody sees on a terminal


class Interrupted(TelescopeError):
    """Ctrl-C; `job` is the job that it came upon."""

    code, exit_status = "interrupted", 130

    def __init__(self, message: str, job: str | None = None) -> None:
        super().__init__(message)
        self.job = job


class Commands(TyperGroup):
    """Ends the program with the status and the words of whatever its commands raise on purpose."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = "telescope",
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command that `args` spell, then exit."""
        words = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in words
        try:
            sys.exit(super().main(words, "telescope", complete_var, standalone_mode=False, **extra) or 0)
        except TyperException as error:  # a missing argument, an unknown option
            if as_json:
                show_json(_error_document(_misused(error)))
            else:
                error.show()  # type: ignore[attr-defined]
            sys.exit(error.exit_code)
        except TelescopeError as error:
            _end(error, as_json)
        except Exception as error:  # a defect, or a failure that nobody foresaw
            if logging.getLogger().hasHandlers() or os.environ.get("TELESCOPE_DEBUG"):
                traceback.print_exc()
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            _end(TelescopeError(f"{said} (unexpected; TELESCOPE_DEBUG=1 shows where)"), as_json)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an interruption is an error like others."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("stopped by Ctrl-C before it was done") from None


def console(as_json: bool = False) -> Console:
    """Where people look: standard output, or standard error while a program reads the other."""
    stream = sys.stderr if as_json else sys.stdout
    return Console(file=stream, highlight=False, width=None if stream.isatty() else PIPED_WIDTH)


def show_json(document: Any) -> None:
    """The one document of a `--json` command."""
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def plain(value: Any) -> Any:
    """A frozen value, or several, as JSON has them."""
    return TypeAdapter(type(value)).dump_python(value, mode="json") if not isinstance(value, list) else list(map(plain, value))


def explain(error: TelescopeError) -> None:
    """Tell people: a line per field at fault, with its remedy and its value."""
    lines = [f"  {problem}" for problem in error.problems] or [f"  {error.message}"]
    print("\n".join([f"telescope: {error.code.replace('_', ' ')}", *lines]), file=sys.stderr)


def _end(error: TelescopeError, as_json: bool) -> NoReturn:
    """Say it, and exit with its status."""
    if as_json:
        show_json(_error_document(error))
    else:
        explain(error)
    sys.exit(error.exit_status)


def _misused(error: TyperException) -> InvalidInput:
    """A command that cannot be understood, by the option or the argument at fault, as the help spells it."""
    param = getattr(error, "param", None)
    if param is None:
        return InvalidInput.of(getattr(error, "option_name", "command"), error.format_message())
    name = param.opts[0] if param.param_type_name == "option" else param.metavar or param.name.upper()
    return InvalidInput.of(name, error.message or "is missing; give it")


def _error_document(error: TelescopeError) -> dict[str, Any]:
    problems = [{"field": p.field, "message": p.message, "value": _shown(p.value)} for p in error.problems]
    job = {"job": error.job} if isinstance(error, Interrupted) and error.job else {}
    return {"error": {"code": error.code, "message": error.message, "problems": problems, **job}}


def _shown(value: Any) -> Any:
    """The offending value, as itself where JSON can hold it."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return repr(value)
    return value
