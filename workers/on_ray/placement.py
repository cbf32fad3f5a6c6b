"""Shortages of workers, reported as `Waiting` events.

A *shortage* is the lack of one worker. There are three reasons: the cluster lacks resources, the
worker takes long to start, or its process could not start.
"""

import threading

from workers.desk import Desk
from workers.interface import Waiting


class Placement:
    """The current shortages of an executor. Emits an event when the text about them changes."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._shortages: dict[int, str] = {}  # reason by slot; with Ray Tune, by trial id
        self._reported: str | None = None

    def set_shortage(self, slot: int, reason: str | None) -> None:
        """Record why a slot has no worker. With None as `reason`, end the slot's shortage.

        A slot is the place of one worker. The executor on Ray Tune has no slots. Instead, it passes
        the id of the trial that waits for a worker.
        """
        with self._lock:
            if reason is None:
                self._shortages.pop(slot, None)
            else:
                self._shortages[slot] = reason
            report = None
            if self._shortages:
                first = next(iter(self._shortages.values()))
                report = f"{len(self._shortages)} worker(s) are missing: {first}"
            if report != self._reported:
                self._reported = report
                self._desk.emit(Waiting(report))
