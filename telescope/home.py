"""The folder in which telescope keeps its files.

The environment variable `TELESCOPE_HOME` sets the folder; the default is `~/.telescope`. The folder
holds tokenized corpora, the names and paths of registered corpora, compiled code, the output of Ray
Tune's loggers, and the log of a service that a command started. Checkpoints and the SQLite database
are kept there, too, unless settings place them elsewhere.
"""

import os
from pathlib import Path

from telescope.errors import InvalidInput


def home() -> Path:
    """Return the folder, after creating it if needed. Raise InvalidInput if the folder cannot be
    created."""
    path = Path(os.environ.get("TELESCOPE_HOME") or Path.home() / ".telescope").expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = "set it to a folder that you may write to"
        message = f"cannot be used as a folder ({error.strerror}); {remedy}"
        raise InvalidInput.of("TELESCOPE_HOME", message, str(path)) from error
    return path
