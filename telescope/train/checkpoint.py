"""Checkpoints: files from which an interrupted trial continues.

A new checkpoint is written to a temporary file and flushed to disk. Then the file is renamed, so a
checkpoint is never half written. The previous checkpoint is kept, and is used if the newest one
cannot be read. If neither file can be read in the current format, the trial starts as if it had no
checkpoint.

A *branch* is a trial that continues from a state of another trial, its *trunk*. The folder of a
job's checkpoints also holds the states that trunks store for their branches (`kept_path`). These
states are kept until the job ends. A branch without a readable checkpoint begins at its trunk's
state. If that state cannot be read either, the branch runs the trunk's steps itself.
"""

import os
import time
from pathlib import Path
from typing import Any

import torch

from telescope.trials.horizon import Branch

FORMAT = 3
"""Version of the format of a state. Increase the version with every change that makes older states
unusable. Since version 3, the names of Muon's momenta contain their shapes."""


def kept_path(folder: Path, digest: str, step: int) -> Path:
    """Path of the state that the trial with this digest stores at `step`. `folder` is the folder of
    the job's checkpoints."""
    return folder / f"{digest}@{step}.pt"


class CheckpointFile:
    """The checkpoint of one trial. `due` tells whether enough time has passed for the next save.
    The training loop decides what to save, and at which steps a state can be saved."""

    def __init__(self, path: str | Path, every_seconds: float = 30.0) -> None:
        self.path = Path(path)
        self.every_seconds = every_seconds
        self.step = 0  # step of the state that `load` returned; 0 if it returned none
        self._saved_at = time.monotonic()

    @property
    def _previous(self) -> Path:
        return self.path.with_name(self.path.name + ".previous")

    def load(self, branch: Branch | None = None) -> dict[str, Any] | None:
        """The newest readable state of the trial. If there is none, the state that the trunk stored
        at `branch.step`. None if neither state can be read. Sets `step` to the step of the returned
        state."""
        for path in (self.path, self._previous):
            try:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                if state["format"] != FORMAT:
                    continue
            except Exception:  # noqa: S112 (a damaged file can raise anything from the unpickler)
                continue
            self.step = state["step"]
            return state
        return self._load_trunk(branch) if branch else None

    def _load_trunk(self, branch: Branch) -> dict[str, Any] | None:
        """The state that the trunk stored at `branch.step`. The returned state has an empty curve
        and 0 seconds, since a branch records only the steps after `branch.step`. None if the
        trunk's state cannot be read, or belongs to another step."""
        state = CheckpointFile(kept_path(self.path.parent, branch.trunk, branch.step)).load()
        if state is None or state["step"] != branch.step:
            return None
        self.step = branch.step
        return state | {"curve": [], "seconds": 0.0}

    def keep(self, digest: str, state: dict[str, Any]) -> None:
        """Store a state in the checkpoint's folder, for branches of the trial with this digest."""
        CheckpointFile(kept_path(self.path.parent, digest, state["step"])).save(state)

    def due(self) -> bool:
        """True if at least `every_seconds` seconds have passed since the last save. Before the
        first save, the time counts from when this object was made."""
        return time.monotonic() - self._saved_at >= self.every_seconds

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint. The old one becomes the previous checkpoint. `state` must contain
        the key `step`."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}.writing")
        with fresh.open("wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        if self.path.exists():
            self.path.replace(self._previous)
        fresh.replace(self.path)
        self._saved_at = time.monotonic()

    def delete(self) -> None:
        """Delete the checkpoint, the previous checkpoint and unfinished files."""
        for path in self.path.parent.glob(self.path.name + "*"):
            path.unlink(missing_ok=True)
