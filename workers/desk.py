"""What does every executor do with assignments and events, wherever trials run?

A `Desk` stands between the coordinator and the threads that look after workers. On one side it takes assignments and stop requests
and gives events (three of the executor's four methods); on the other, a worker's thread takes the next assignment, asks whether its
trial should stop, and emits events. It keeps the law of `workers.interface` in one place: an attempt
has one terminal event, and nothing follows it, even when the trial's next attempt is running already.
"""

import queue
import threading
from collections import deque
from collections.abc import Sequence

from workers.interface import Assignment, Event, Failed, Finished, Stopped, Waiting

TERMINAL = (Finished, Failed, Stopped)


class Desk:
    """Assignments in, events out; safe to use from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: deque[Assignment] = deque()
        self._running: dict[int, int] = {}  # trial -> attempt
        self._stopping: set[int] = set()
        self._closed = False
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def submit(self, assignment: Assignment) -> None:
        """Queue one attempt."""
        with self._changed:
            self._pending.append(assignment)
            self._changed.notify()

    def stop(self, trial_id: int) -> None:
        """End a queued trial here and now; mark a running one; ignore all others."""
        with self._changed:
            queued = next((a for a in self._pending if a.trial_id == trial_id), None)
            if queued is not None:
                self._pending.remove(queued)
                self._events.put(Stopped(queued.trial_id, queued.attempt))
            elif trial_id in self._running:
                self._stopping.add(trial_id)

    def events(self, timeout: float) -> Sequence[Event]:
        """Wait for the first event, then take all there are."""
        events: list[Event] = []
        try:
            events.append(self._events.get(block=timeout > 0, timeout=timeout))
            while True:
                events.append(self._events.get_nowait())
        except queue.Empty:
            return events

    def close(self) -> None:
        """Hand out nothing more and say nothing more; whoever waits in `take` returns."""
        with self._changed:
            self._closed = True
            self._pending.clear()
            self._stopping.update(self._running)
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def wait_closed(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as the desk closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)

    def take(self, timeout: float | None = None) -> Assignment | None:
        """The next assignment, now running; None when `timeout` seconds passed or the desk closed."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._pending) or self._closed, timeout)
            if not self._pending:
                return None
            assignment = self._pending.popleft()
            self._running[assignment.trial_id] = assignment.attempt
            return assignment

    def stopping(self, trial_id: int) -> bool:
        """Whether somebody asked for the end of this running trial."""
        return trial_id in self._stopping

    def emit(self, event: Event) -> None:
        """Pass an event on, unless its attempt has ended already or the desk closed."""
        with self._changed:
            if self._closed:
                return
            if not isinstance(event, Waiting):
                if self._running.get(event.trial_id) != event.attempt:
                    return
                if isinstance(event, TERMINAL):
                    del self._running[event.trial_id]
                    self._stopping.discard(event.trial_id)
            self._events.put(event)
