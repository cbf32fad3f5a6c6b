"""How does a trial survive the death of its worker?

By a file that is replaced as a whole: written beside its place, flushed to disk, then renamed over it. The one before is kept, and used
where the newest cannot be read. A checkpoint that cannot be read at all, or is of another format, is no checkpoint: the trial starts again.
"""

import os
import time
from pathlib import Path
from typing import Any

import torch

FORMAT = 2
"""Of what a state holds. Raise it with every change after which an older state does not fit: 2 has Muon's momenta lying."""


class CheckpointFile:
    """One trial's checkpoint. `due` asks the clock; what is saved and when it is safe to save is the training loop's business."""

    def __init__(self, path: str | Path, every_seconds: float = 30.0) -> None:
        self.path = Path(path)
        self.every_seconds = every_seconds
        self.step = 0  # the step that `load` resumed from
        self._saved_at = time.monotonic()

    @property
    def _previous(self) -> Path:
        return self.path.with_name(self.path.name + ".previous")

    def load(self) -> dict[str, Any] | None:
        """The newest readable state, or None; sets `step`."""
        for path in (self.path, self._previous):
            try:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                if state["format"] != FORMAT:
                    continue
            except Exception:  # a damaged file can raise anything from the unpickler
                continue
            self.step = state["step"]
            return state
        return None

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
