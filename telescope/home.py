"""The folder for files that outlive a process: `TELESCOPE_HOME`, by default `~/.telescope`.

It holds token caches, registered corpora and compiled code, the log of a service started by the
command line and, unless settings move them, the service's checkpoints and SQLite database.
"""

import os
from pathlib import Path

from telescope.errors import InvalidInput


def home() -> Path:
    """Return this folder, created if necessary; raise InvalidInput if it cannot be created."""
    path = Path(os.environ.get("TELESCOPE_HOME") or Path.home() / ".telescope").expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = "set it to a folder that you may write to"
        message = f"cannot be used as a folder ({error.strerror}); {remedy}"
        raise InvalidInput.of("TELESCOPE_HOME", message, str(path)) from error
    return path
