"""What does every executor do with assignments and events, wherever trials run?

A `Desk` stands between the coordinator and the threads that look after workers. On one side it
takes assignments and stop requests and gives events (three of the executor's four methods); on the
other, a worker's thread takes the next assignment, asks whether its trial should stop, and emits
events. It keeps the law of `workers.interface` in one place: an attempt has one terminal event, and
nothing follows it, even when the trial's next attempt is running already.
"""

import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from telescope.train.flops import trial_flops
from workers.interface import TERMINAL, Assignment, Event, Measured, Started, Stopped, Waiting


class Running:
    """An assignment that a worker has, and how far it is."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.step = assignment.spec.branch_step
        self.stopping = False

    @property
    def flops_left(self) -> float:
        """Until its end."""
        spec = self.assignment.spec
        return trial_flops(spec) * (spec.horizon.steps - self.step) / spec.own_steps


class Desk:
    """Assignments in, events out; safe to use from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: list[Assignment] = []  # in the order of their coming
        self._running: dict[int, Running] = {}  # by trial
        self._closed = False
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def submit(self, *assignments: Assignment) -> None:
        """Queue one attempt at each."""
        with self._changed:
            self._pending += assignments
            self._changed.notify_all()

    def stop(self, trial_id: int) -> None:
        """End a queued trial here and now; mark a running one; ignore all others."""
        with self._changed:
            queued = next((a for a in self._pending if a.trial_id == trial_id), None)
            if queued is not None:
                self._pending.remove(queued)
                self._events.put(Stopped(queued.trial_id, queued.attempt))
            elif running := self._running.get(trial_id):
                running.stopping = True

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
            for running in self._running.values():
                running.stopping = True
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
        """The next assignment, of the job of which fewest run; None when `timeout` seconds passed
        or the desk closed."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._pending) or self._closed, timeout)
            if not self._pending:
                return None
            load = Counter(running.assignment.job for running in self._running.values())
            # the first of equals
            return self._begin(min(self._pending, key=lambda assignment: load[assignment.job]))

    def take_like(
        self, accepted: Callable[[Assignment], bool], most: int
    ) -> tuple[Assignment, ...]:
        """Up to so many more that wait and are accepted, now running."""
        with self._changed:
            return tuple(
                self._begin(assignment)
                for assignment in [a for a in self._pending if accepted(a)][: max(0, most)]
            )

    def give_back(self, assignments: Sequence[Assignment]) -> None:
        """These have not begun after all: they are next in line, or have ended where somebody asked
        for that."""
        with self._changed:
            for assignment in reversed(assignments):
                if not self.runs(assignment):
                    continue
                if self._running.pop(assignment.trial_id).stopping:
                    self._events.put(Stopped(assignment.trial_id, assignment.attempt))
                elif not self._closed:
                    self._pending.insert(0, assignment)
            self._changed.notify_all()

    def _begin(self, assignment: Assignment) -> Assignment:
        self._pending.remove(assignment)
        self._running[assignment.trial_id] = Running(assignment)
        return assignment

    def waiting(self) -> tuple[Assignment, ...]:
        """What no worker has yet."""
        with self._changed:
            return tuple(self._pending)

    def flops_left(self) -> float:
        """Of all that wait, and of what those that run have before them."""
        with self._changed:
            return sum(trial_flops(a.spec) for a in self._pending) + sum(
                running.flops_left for running in self._running.values()
            )

    def stopping(self, trial_id: int) -> bool:
        """Whether somebody asked for the end of this running trial."""
        running = self._running.get(trial_id)
        return running is not None and running.stopping

    def runs(self, assignment: Assignment) -> bool:
        """Whether this attempt has begun and not ended."""
        running = self._running.get(assignment.trial_id)
        return running is not None and running.assignment.attempt == assignment.attempt

    def emit(self, event: Event) -> None:
        """Pass an event on, unless its attempt has ended already or the desk closed."""
        with self._changed:
            if self._closed:
                return
            if not isinstance(event, Waiting):
                running = self._running.get(event.trial_id)
                if running is None or running.assignment.attempt != event.attempt:
                    return
                if isinstance(event, TERMINAL):
                    del self._running[event.trial_id]
                elif isinstance(event, Started):
                    running.step = event.resumed_step
                elif isinstance(event, Measured):
                    running.step = event.points[-1].step
            self._events.put(event)
