"""Output of commands, for people and for programs.

People read results on standard output and errors on standard error; an error names the field, the
remedy and the value. With `--json`, programs get one document on standard output, the result or
`{"error": ...}`; all other output goes to standard error.

Parts: `JobInterrupted`, the error after Ctrl-C · `Commands`, the group that turns errors into
messages and exit statuses · `console`, `show_json`, `json_value`, for results · `explain`, for
errors.
"""

import inspect
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

PIPED_WIDTH = 120  # characters per line if output does not go to a terminal


class JobInterrupted(TelescopeError):
    """The user pressed Ctrl-C; `job` is the id of the job that was run or watched, if any."""

    code, exit_status = "interrupted", 130

    def __init__(self, message: str, job: str | None = None) -> None:
        super().__init__(message)
        self.job = job


class Commands(TyperGroup):
    """A command group that turns errors into a message and an exit status."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command, its help in paragraphs that fit any terminal."""
        command = super().get_command(ctx, cmd_name)
        if command is not None and command.help:
            paragraphs = inspect.cleandoc(command.help).split("\n\n")
            command.help = "\n\n".join(" ".join(text.split()) for text in paragraphs)
        return command

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = "telescope",
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command in `args`, then exit."""
        arguments = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in arguments
        try:
            status = super().main(
                arguments, "telescope", complete_var, standalone_mode=False, **extra
            )
            sys.exit(status or 0)
        except TyperException as error:  # a missing argument, an unknown option
            if as_json:
                show_json(_error_document(_usage_problem(error)))
            else:
                error.show()  # type: ignore[attr-defined]
            sys.exit(error.exit_code)
        except TelescopeError as error:
            _exit_with(error, as_json)
        except Exception as error:  # a defect, or an unforeseen failure
            if logging.getLogger().hasHandlers() or os.environ.get("TELESCOPE_DEBUG"):
                traceback.print_exc()
            summary = f"{type(error).__name__}: {error}".splitlines()[0]
            hint = "unexpected; set TELESCOPE_DEBUG=1 for the traceback"
            _exit_with(TelescopeError(f"{summary} ({hint})"), as_json)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C raises JobInterrupted."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise JobInterrupted("the command was stopped by Ctrl-C before it finished") from None


def console(as_json: bool = False) -> Console:
    """Return a console on standard output, or on standard error if standard output carries JSON."""
    stream = sys.stderr if as_json else sys.stdout
    return Console(file=stream, highlight=False, width=None if stream.isatty() else PIPED_WIDTH)


def show_json(document: Any) -> None:
    """Print the one JSON document of a `--json` command to standard output."""
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def json_value(value: Any) -> Any:
    """Convert a value of a dataclass, or a list of such values, to plain JSON types."""
    if isinstance(value, list):
        return list(map(json_value, value))
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def explain(error: TelescopeError) -> None:
    """Print an error to standard error: one line per wrong field, with its remedy and value."""
    lines = [f"  {problem}" for problem in error.problems] or [f"  {error.message}"]
    print("\n".join([f"telescope: {error.code.replace('_', ' ')}", *lines]), file=sys.stderr)


def _exit_with(error: TelescopeError, as_json: bool) -> NoReturn:
    """Print the error and exit with its status."""
    if as_json:
        show_json(_error_document(error))
    else:
        explain(error)
    sys.exit(error.exit_status)


def _usage_problem(error: TyperException) -> InvalidInput:
    """Convert a usage error to InvalidInput, with the option or argument spelled as in the help."""
    parameter = getattr(error, "param", None)
    if parameter is None:
        return InvalidInput.of(getattr(error, "option_name", "command"), error.format_message())
    is_option = parameter.param_type_name == "option"
    name = parameter.opts[0] if is_option else parameter.metavar or parameter.name.upper()
    return InvalidInput.of(name, error.message or "is missing; give it")


def _error_document(error: TelescopeError) -> dict[str, Any]:
    problems = [
        {"field": p.field, "message": p.message, "value": _json_or_repr(p.value)}
        for p in error.problems
    ]
    job = {"job": error.job} if isinstance(error, JobInterrupted) and error.job else {}
    return {"error": {"code": error.code, "message": error.message, "problems": problems, **job}}


def _json_or_repr(value: Any) -> Any:
    """Return the value if JSON can represent it, else its repr."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return repr(value)
    return value
