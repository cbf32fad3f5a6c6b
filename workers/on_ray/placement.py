"""Shortages: workers that Ray has not placed, reported as `Waiting` events."""

import threading

from workers.desk import Desk
from workers.interface import Waiting


class Placement:
    """The current shortages of an executor; emits an event when their description changes."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._shortages: dict[int, str] = {}  # reason by slot; under Tune, by trial
        self._reported: str | None = None

    def set_shortage(self, slot: int, reason: str | None) -> None:
        """Record why a slot has no worker; `reason` is None if the slot has a worker."""
        with self._lock:
            if reason is None:
                self._shortages.pop(slot, None)
            else:
                self._shortages[slot] = reason
            report = None
            if self._shortages:
                first = next(iter(self._shortages.values()))
                report = f"{len(self._shortages)} worker(s) not placed: {first}"
            if report != self._reported:
                self._reported = report
                self._desk.emit(Waiting(report))
