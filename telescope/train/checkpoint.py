"""Checkpoints, from which a trial continues after the death of its worker.

A checkpoint is replaced as a whole: it is written to a temporary file, flushed to disk, then
renamed. The previous checkpoint stays, and is used if the newest cannot be read. If neither can be
read in the current format, the trial starts as if it had no checkpoint.

The folder of a job's checkpoints also holds the states that trunks stored for their branches
(`kept_path`). These states are kept until the job ends. A branch without a checkpoint begins at its
trunk's state; without a readable state, the branch runs the trunk's steps itself.
"""

import os
import time
from pathlib import Path
from typing import Any

import torch

from telescope.trials.horizon import Branch

FORMAT = 3
"""Version of the format of a state. Increase the version with every change that makes older states
unusable; since version 3, Muon's momenta are named by their shape."""


def kept_path(folder: Path, digest: str, step: int) -> Path:
    """Path of the state that a trial stored at a step, in the folder of its checkpoint."""
    return folder / f"{digest}@{step}.pt"


class CheckpointFile:
    """A trial's checkpoint. `due` tells whether a save is due; the training loop decides what to
    save, and at which step saving is safe."""

    def __init__(self, path: str | Path, every_seconds: float = 30.0) -> None:
        self.path = Path(path)
        self.every_seconds = every_seconds
        self.step = 0  # step of the state that `load` returned
        self._saved_at = time.monotonic()

    @property
    def _previous(self) -> Path:
        return self.path.with_name(self.path.name + ".previous")

    def load(self, branch: Branch | None = None) -> dict[str, Any] | None:
        """The newest readable state of the trial, or else its trunk's state at which `branch`
        begins, or else None. Sets `step` to the step of this state."""
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
        """The state that the trunk stored, with an empty curve and no seconds, since a branch
        records only its own. None if the trunk's state cannot be read."""
        state = CheckpointFile(kept_path(self.path.parent, branch.trunk, branch.step)).load()
        if state is None or state["step"] != branch.step:
            return None
        self.step = branch.step
        return state | {"curve": [], "seconds": 0.0}

    def keep(self, digest: str, state: dict[str, Any]) -> None:
        """Store a state beside the checkpoint, for branches of the trial with this digest."""
        CheckpointFile(kept_path(self.path.parent, digest, state["step"])).save(state)

    def due(self) -> bool:
        """True if `every_seconds` have passed since the last save or, before the first save, since
        this object was made."""
        return time.monotonic() - self._saved_at >= self.every_seconds

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; `state` must contain `step`."""
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
