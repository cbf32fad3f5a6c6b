"""docker-compose.yml with its variables filled in as compose fills them in.

`document` reads the file with its anchors and merges resolved; `filled_in` replaces
`${NAME:?message}` and refuses a missing variable with its message; `processes` splits a command
into the programs that a shell would run one after the other.
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


def filled_in(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: filled_in(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [filled_in(item, environment) for item in value]
    return (
        VARIABLE.sub(lambda found: _required(found, environment), value)
        if isinstance(value, str)
        else value
    )


def _required(found: re.Match[str], environment: Mapping[str, str]) -> str:
    assert found["operator"] == ":?", (
        f"{found[0]} has a default or none; write ${{NAME:?what to do}}"
    )
    if not environment.get(found["name"]):
        raise LookupError(f"{found['name']}: {found['operand']}")
    return environment[found["name"]]


def processes(command: Sequence[str]) -> list[list[str]]:
    """The programs that a service's command runs, each with its arguments."""
    if list(command[:2]) != ["bash", "-c"]:
        return [list(command)]
    parts = [shlex.split(part) for part in command[2].split("&&")]
    return [part[1:] if part[0] == "exec" else part for part in parts]
