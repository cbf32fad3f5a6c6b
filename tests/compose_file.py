"""docker-compose.yml, parsed and interpolated as compose does it.

`document` reads the file and resolves its anchors and merges; `interpolated` replaces
`${NAME:?message}` and raises LookupError with the message if the variable is missing; `processes`
splits a command into the programs that a shell would run one after the other.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<operator>:?[-?+])?(?P<operand>[^}]*)\}")


def document() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def interpolated(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: interpolated(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolated(item, environment) for item in value]
    if isinstance(value, str):
        return VARIABLE.sub(lambda match: _required(match, environment), value)
    return value


def _required(match: re.Match[str], environment: Mapping[str, str]) -> str:
    assert match["operator"] == ":?", f"{match[0]} is not required; write ${{NAME:?what to do}}"
    if not environment.get(match["name"]):
        raise LookupError(f"{match['name']}: {match['operand']}")
    return environment[match["name"]]


def processes(command: Sequence[str]) -> list[list[str]]:
    """The programs that the command of a service runs, each with its arguments."""
    if list(command[:2]) != ["bash", "-c"]:
        return [list(command)]
    parts = [shlex.split(part) for part in command[2].split("&&")]
    return [part[1:] if part[0] == "exec" else part for part in parts]
