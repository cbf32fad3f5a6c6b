"""The desk: the queues of assignments and events that every executor has.

An assignment is one attempt at a trial (`workers.interface`). A `Desk` stands between the
coordinator and the threads that look after workers. The coordinator submits assignments, requests
stops, and receives events. The thread of a worker takes assignments, asks whether their trials
should stop, and emits events.

The desk enforces one part of the executors' contract (`workers.interface`): an attempt has at most
one terminal event. Later events of the attempt are dropped, even if the next attempt at the trial
is already running.
"""

import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from telescope.train.flops import trial_flops
from workers.interface import TERMINAL, Assignment, Event, Measured, Started, Stopped, Waiting


class RunningAssignment:
    """An assignment that a worker has taken, its progress, and whether it should stop."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.step = assignment.spec.branch_step
        self.stopping = False

    @property
    def flops_left(self) -> float:
        """FLOPs of the steps that the trial has left."""
        spec = self.assignment.spec
        return trial_flops(spec) * (spec.horizon.steps - self.step) / spec.own_steps


class Desk:
    """Hands assignments to workers, and events to the coordinator; thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        # in the order of submission; assignments that were given back come first
        self._pending: list[Assignment] = []
        self._running: dict[int, RunningAssignment] = {}  # by trial id
        self._closed = False
        # not a SimpleQueue: its `get` waits forever if a signal handler runs past the timeout
        self._events: queue.Queue[Event] = queue.Queue()

    def submit(self, *assignments: Assignment) -> None:
        """Queue the assignments."""
        with self._changed:
            self._pending += assignments
            self._changed.notify_all()

    def stop(self, trial_id: int) -> None:
        """End a queued trial at once, or mark a running trial to stop. Ignore any other trial."""
        with self._changed:
            queued = next((a for a in self._pending if a.trial_id == trial_id), None)
            if queued is not None:
                self._pending.remove(queued)
                self._events.put(Stopped(queued.trial_id, queued.attempt))
            elif running := self._running.get(trial_id):
                running.stopping = True

    def events(self, timeout: float) -> Sequence[Event]:
        """Return the events since the last call; wait up to `timeout` seconds for the first."""
        events: list[Event] = []
        try:
            events.append(self._events.get(block=timeout > 0, timeout=timeout))
            while True:
                events.append(self._events.get_nowait())
        except queue.Empty:
            return events

    def close(self) -> None:
        """Drop all queued assignments, and mark running trials to stop.

        Threads that wait in `take` get None. `emit` drops all events from now on. But an attempt
        that is given back still ends as `Stopped`.
        """
        with self._changed:
            self._closed = True
            self._pending.clear()
            for running in self._running.values():
                running.stopping = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._closed

    def wait_closed(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as the desk closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)

    def take(self, timeout: float | None = None) -> Assignment | None:
        """Wait for an assignment and take it from the queue.

        Assignments of the job with the fewest running trials go first, in the order of the queue.
        Return None if there is no assignment for `timeout` seconds, or if the desk closes.
        """
        with self._changed:
            self._changed.wait_for(lambda: bool(self._pending) or self._closed, timeout)
            if not self._pending:
                return None
            load = Counter(running.assignment.job for running in self._running.values())
            first = min(self._pending, key=lambda assignment: load[assignment.job])
            return self._begin(first)

    def take_matching(
        self, matches: Callable[[Assignment], bool], limit: int
    ) -> tuple[Assignment, ...]:
        """Take up to `limit` queued assignments for which `matches` is true, without waiting."""
        with self._changed:
            matching = [assignment for assignment in self._pending if matches(assignment)]
            return tuple(self._begin(assignment) for assignment in matching[: max(0, limit)])

    def give_back(self, assignments: Sequence[Assignment]) -> None:
        """Return assignments that were taken, but not begun, to the front of the queue.

        An attempt whose trial is marked to stop ends as `Stopped` instead. Attempts that have ended
        are ignored.
        """
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
        self._running[assignment.trial_id] = RunningAssignment(assignment)
        return assignment

    def waiting(self) -> tuple[Assignment, ...]:
        """The queued assignments, in the order of the queue."""
        with self._changed:
            return tuple(self._pending)

    def flops_left(self) -> float:
        """FLOPs that running trials have left, plus the FLOPs of all steps of queued trials."""
        with self._changed:
            queued = sum(trial_flops(assignment.spec) for assignment in self._pending)
            return queued + sum(running.flops_left for running in self._running.values())

    def stopping(self, trial_id: int) -> bool:
        """True if the trial is running and is marked to stop."""
        running = self._running.get(trial_id)
        return running is not None and running.stopping

    def runs(self, assignment: Assignment) -> bool:
        """True if a worker has taken this attempt and the attempt has not ended."""
        running = self._running.get(assignment.trial_id)
        return running is not None and running.assignment.attempt == assignment.attempt

    def emit(self, event: Event) -> None:
        """Queue an event for the coordinator.

        Drop the event of an attempt that is not running. Drop any event if the desk is closed.
        """
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
