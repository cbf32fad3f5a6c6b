"""The folder in which telescope keeps its files: `TELESCOPE_HOME`, by default `~/.telescope`.

The folder holds tokenized corpora, the names and paths of registered corpora, compiled code, the
output of Ray Tune's loggers, and the log of a service that a command started. It also holds the
checkpoints and the SQLite database, unless settings place them elsewhere.
"""

import os
from pathlib import Path

from telescope.errors import InvalidInput


def home() -> Path:
    """Return the folder, and create it if it does not exist. Raise InvalidInput if the folder
    cannot be created."""
    path = Path(os.environ.get("TELESCOPE_HOME") or Path.home() / ".telescope").expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = "set it to a folder that you may write to"
        message = f"cannot be used as a folder ({error.strerror}); {remedy}"
        raise InvalidInput.of("TELESCOPE_HOME", message, str(path)) from error
    return path
