"""How does a trial survive the death of its worker?

By a file that is replaced as a whole: written beside its place, flushed to disk, then renamed over
it. The one before is kept, and used where the newest cannot be read. A checkpoint that cannot be
read at all, or is of another format, is no checkpoint: the trial starts again.

Beside the checkpoints of a job's trials lie the states that trunks kept for their branches
(`kept_path`). They outlive their trial, and go with the job. A branch that has no checkpoint begins
there; where nothing usable lies, it makes its trunk's steps itself.
"""

import os
import time
from pathlib import Path
from typing import Any

import torch

from telescope.trials.horizon import Branch

FORMAT = 3
"""Of what a state holds. Raise it with every change after which an older state does not fit: 3
names Muon's momenta by their shape."""


def kept_path(folder: Path, digest: str, step: int) -> Path:
    """Where the state that a trial kept at a step lies, in the folder of its checkpoint."""
    return folder / f"{digest}@{step}.pt"


class CheckpointFile:
    """One trial's checkpoint. `due` asks the clock; what is saved and when it is safe to save is
    the training loop's business."""

    def __init__(self, path: str | Path, every_seconds: float = 30.0) -> None:
        self.path = Path(path)
        self.every_seconds = every_seconds
        self.step = 0  # the step that `load` resumed from
        self._saved_at = time.monotonic()

    @property
    def _previous(self) -> Path:
        return self.path.with_name(self.path.name + ".previous")

    def load(self, branch: Branch | None = None) -> dict[str, Any] | None:
        """The newest readable state, or else the one that a branch begins at, or None; sets
        `step`."""
        for path in (self.path, self._previous):
            try:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                if state["format"] != FORMAT:
                    continue
            except Exception:  # a damaged file can raise anything from the unpickler
                continue
            self.step = state["step"]
            return state
        return self._trunk(branch) if branch else None

    def _trunk(self, branch: Branch) -> dict[str, Any] | None:
        """What the trunk kept for its branches: they have curves and seconds of their own."""
        state = CheckpointFile(kept_path(self.path.parent, branch.trunk, branch.step)).load()
        if state is None or state["step"] != branch.step:
            return None
        self.step = branch.step
        return state | {"curve": [], "seconds": 0.0}

    def keep(self, digest: str, state: dict[str, Any]) -> None:
        """Leave a state beside the checkpoint, for branches of this digest at its step."""
        CheckpointFile(kept_path(self.path.parent, digest, state["step"])).save(state)

    def due(self) -> bool:
        """Has the interval passed since the last save (or since the file was opened)?"""
        return time.monotonic() - self._saved_at >= self.every_seconds

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; `state` carries its `step`."""
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
        """Forget the trial's state; nothing is left behind."""
        for path in self.path.parent.glob(self.path.name + "*"):
            path.unlink(missing_ok=True)
