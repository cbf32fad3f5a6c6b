"""Where does telescope keep what must outlive a process?

In one folder, `TELESCOPE_HOME` (default `~/.telescope`): token caches, registered corpora, checkpoints, and the SQLite database.
"""

import os
from pathlib import Path


def home() -> Path:
    """The folder, created if need be."""
    path = Path(os.environ.get("TELESCOPE_HOME") or Path.home() / ".telescope").expanduser()
    path.mkdir(parents=True, exist_ok=True)
    return path
