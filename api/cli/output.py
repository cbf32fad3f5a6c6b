"""The output of commands, as text for people or as JSON for programs.

Without `--json`, commands print results to standard output, and errors to standard error. An error
about invalid input names each invalid field.

With `--json`, commands print one JSON document to standard output: the result, or a document
`{"error": ...}`. If a plot fails after the result has been printed, the error follows the result.
All other output goes to standard error.
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
    """The error after an interruption, such as Ctrl-C.

    `job` is the id of the job that was being run or watched. It is None if there was no such job.
    """

    code, exit_status = "interrupted", 130

    def __init__(self, message: str, job: str | None = None) -> None:
        super().__init__(message)
        self.job = job


class Commands(TyperGroup):
    """A command group that turns each error into a message and an exit status."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command, with each paragraph of its help joined to one line.

        Typer then wraps these lines to the width of the terminal.
        """
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
        """Run the command in `args`, by default the arguments of this process, and then exit."""
        arguments = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in arguments
        try:
            status = super().main(
                arguments, "telescope", complete_var, standalone_mode=False, **extra
            )
            sys.exit(status or 0)
        except TyperException as error:  # for example, an unknown option
            if as_json:
                show_json(_error_document(_usage_problem(error)))
            else:
                error.show()  # type: ignore[attr-defined]
            sys.exit(error.exit_code)
        except TelescopeError as error:
            _exit_with(error, as_json)
        except Exception as error:  # a defect of telescope, or an unforeseen failure
            if logging.getLogger().hasHandlers() or os.environ.get("TELESCOPE_DEBUG"):
                traceback.print_exc()
            summary = f"{type(error).__name__}: {error}".splitlines()[0]
            hint = "unexpected error; set TELESCOPE_DEBUG=1 to see the traceback"
            _exit_with(TelescopeError(f"{summary} ({hint})"), as_json)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. If the user presses Ctrl-C, raises JobInterrupted."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise JobInterrupted("the command was stopped by Ctrl-C before it finished") from None


def console(as_json: bool = False) -> Console:
    """Return a console for standard output, or for standard error if `as_json` is true."""
    stream = sys.stderr if as_json else sys.stdout
    return Console(file=stream, highlight=False, width=None if stream.isatty() else PIPED_WIDTH)


def show_json(document: Any) -> None:
    """Print a document as JSON to standard output."""
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def json_value(value: Any) -> Any:
    """Convert an instance of a dataclass, or a list of instances, to plain JSON types."""
    if isinstance(value, list):
        return list(map(json_value, value))
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def explain(error: TelescopeError) -> None:
    """Print an error to standard error.

    The first line gives the kind of error. Each further line is one of the error's problems. If the
    error has no problems, its message follows instead.
    """
    lines = [f"  {problem}" for problem in error.problems] or [f"  {error.message}"]
    print("\n".join([f"telescope: {error.code.replace('_', ' ')}", *lines]), file=sys.stderr)


def _exit_with(error: TelescopeError, as_json: bool) -> NoReturn:
    """Print the error and exit with the exit status of the error."""
    if as_json:
        show_json(_error_document(error))
    else:
        explain(error)
    sys.exit(error.exit_status)


def _usage_problem(error: TyperException) -> InvalidInput:
    """Convert a usage error to InvalidInput.

    The field of the problem is the option or argument, spelled as in the help. If the error names
    neither, the field is `command`.
    """
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
    """Return the value if JSON can represent it. Otherwise, return the value's repr."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return repr(value)
    return value
