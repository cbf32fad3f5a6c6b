"""A slot: one warm Ray actor that runs pack after pack.

One thread per slot looks after the actor. The thread waits until Ray has placed the actor, and
reports a shortage if placement takes long; it hands packs to the actor, passes events on, and
replaces an actor that has died, failed, or run many trials. The coordinator retries trials; Ray is
configured to retry and restart nothing.

The code relies on measurements of Ray 2.60. A pack runs as one streaming call. Cancelling this
stream would end all trials of the pack, so a single trial leaves the pack through a separate call,
in a second thread of the actor, which takes effect within 10 ms. Dropping the stream does not
stop the pack. The death of an actor is noticed within milliseconds.

Parts: `Shared`, values for all slots of an executor · `Slot`, one actor and its thread ·
`report_death` · `first_line`, of an error. The actor's class is `workers.on_ray.worker.Worker`.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from telescope.train.program import Program
from telescope.trials.outcome import Failure
from workers.desk import Desk
from workers.interface import Assignment, Event, Failed, Stopped
from workers.on_ray.cluster import Demand
from workers.on_ray.placement import Placement
from workers.on_ray.worker import ASIDE, Worker, worker_environment
from workers.packs import MeasurementAbandoned, Pack, Packs

TRIALS_PER_WORKER = 500  # number of trials after which a worker is replaced
# A worker is killed if it does not answer within this time after a trial, or does not end a trial
# within this time after its stop was requested.
STUCK_SECONDS = 10.0
# Time limit for finding the fastest program by measurement: the measurement takes a second without
# compiling, but minutes if a deep model is compiled.
MEASURING_SECONDS = 600.0
IDLE_SECONDS = 2.0  # interval between checks of an idle worker
FRESH_SECONDS = 0.25  # time after a response in which a worker counts as alive
POLL_SECONDS = 0.2  # interval between checks of a worker that is not placed yet
PAUSE_SECONDS = 5.0  # pause after a worker's process could not start


@dataclass(frozen=True)
class Shared:
    """Values that all slots of an executor share."""

    desk: Desk
    packs: Packs
    demand: Callable[[], Demand]
    placement: Placement
    patience_seconds: float  # time before a shortage is reported

    def report_shortage(self, slot: int, demand: Demand) -> None:
        """Report that a slot has no worker, and what the cluster lacks."""
        total, free = ray.cluster_resources(), ray.available_resources()
        self.placement.set_shortage(slot, demand.shortage(total, free))


class Slot:
    """One warm actor, and the thread that looks after it."""

    def __init__(self, index: int, shared: Shared) -> None:
        self._index = index
        self._shared = shared
        self._desk, self._packs, self._placement = shared.desk, shared.packs, shared.placement
        self._actor: Any = None
        self._assignments: tuple[Assignment, ...] = ()  # assignments of the running stream
        self._last_response = 0.0  # time of the actor's last response
        self._lock = threading.Lock()
        self.numerics: str | None = None  # numerics of the slot's latest warm worker
        self.broken: Exception | None = None  # the exception that ended the thread
        self.thread = threading.Thread(target=self._serve, name=f"ray-slot-{index}", daemon=True)
        self.thread.start()

    def cancel(self, trial_id: int) -> None:
        """If this slot runs the trial, end the trial at its next step; kill an actor that hangs."""
        with self._lock:
            running = [item for item in self._assignments if item.trial_id == trial_id]
            if not running:
                return
            self._actor.leave.remote(running[0])
        timer = threading.Timer(STUCK_SECONDS, self._kill_stuck, (self._actor, running[0]))
        timer.daemon = True
        timer.start()

    def _kill_stuck(self, actor: Any, assignment: Assignment) -> None:
        with self._lock:
            is_running = assignment in self._assignments and self._desk.runs(assignment)
            if self._actor is actor and is_running:
                self.kill()

    def kill(self) -> None:
        """Kill the actor's process; the slot's thread then notices its death."""
        if (actor := self._actor) is not None:
            ray.kill(actor)

    def _serve(self) -> None:
        try:
            pack, trial_count = Pack(), 0
            while not self._desk.closed:
                if self._actor is None or not self._answers():
                    self._desk.give_back(pack.assignments)
                    pack, trial_count = Pack(), 0
                    self._replace()
                elif not pack.assignments:
                    pack = self._packs.take(IDLE_SECONDS, self._choose)
                else:
                    reusable = self._follow(pack)
                    pack, trial_count = Pack(), trial_count + len(pack.assignments)
                    if not reusable or trial_count >= TRIALS_PER_WORKER:
                        self._retire()
        # Ray is gone, or this code has a bug; the executor raises WorkersLost in the coordinator
        except Exception as error:
            self.broken = error

    def _replace(self) -> None:
        """Start an actor and wait until it is warm; report a shortage if the wait is too long.

        Returns without a warm actor if the demand changes, the start fails, or the desk closes.
        """
        self._retire()
        demand = self._shared.demand()
        self._actor = _ACTOR.options(**demand.options).remote(worker_environment())
        ready = self._actor.ready.remote()
        begun = time.monotonic()
        while not self._desk.closed:
            done, _ = ray.wait([ready], timeout=POLL_SECONDS)
            if done:
                return self._record_start(ready)
            if self._shared.demand() != demand:
                return self._retire()
            is_late = time.monotonic() - begun > self._shared.patience_seconds
            if is_late or not demand.fits(ray.cluster_resources()):
                self._shared.report_shortage(self._index, demand)

    def _retire(self) -> None:
        self.kill()
        self._actor = None

    def _record_start(self, ready: Any) -> None:
        """Record that the actor is warm, or report that its process could not start."""
        try:
            self.numerics = ray.get(ready)
            self._last_response = time.monotonic()
            self._placement.set_shortage(self._index, None)
        except RayError as error:
            self._actor = None
            reason = f"a worker's process could not start: {first_line(error)}"
            self._placement.set_shortage(self._index, reason)
            self._desk.wait_closed(PAUSE_SECONDS)

    def _answers(self) -> bool:
        """True if the actor has just responded, or is alive and becomes idle in time."""
        if time.monotonic() - self._last_response < FRESH_SECONDS:
            return True
        try:
            ray.get(self._actor.ready.remote(), timeout=STUCK_SECONDS)
        except RayError:
            return False
        self._last_response = time.monotonic()
        return True

    def _choose(self, first: Assignment, max_members: int, steps: float) -> Program:
        """Find the fastest program by measurement on the actor; retire an actor that has no result
        in time (TimeoutError), or whose trial should stop (MeasurementAbandoned)."""
        program = self._actor.choose.remote(first.spec, max_members, steps)
        begun = time.monotonic()
        while not ray.wait([program], timeout=POLL_SECONDS)[0]:
            if self._desk.closed or self._desk.stopping(first.trial_id):
                self._retire()
                raise MeasurementAbandoned
            if time.monotonic() - begun > MEASURING_SECONDS:
                self._retire()
                raise TimeoutError(f"no answer within {MEASURING_SECONDS:.0f} s")
        measured: Program = ray.get(program)
        return measured

    def _follow(self, pack: Pack) -> bool:
        """Run a pack and pass its events on; return False if the actor must not be used again."""
        assignments, error = pack.assignments, "the worker's stream ended early"
        reusable = True
        with self._lock:
            stream, self._assignments = self._actor.run.remote(pack), assignments
        for assignment in assignments:
            # a stop may have been requested before the stream began
            if self._desk.stopping(assignment.trial_id):
                self.cancel(assignment.trial_id)
        try:
            for reference in stream:
                event: Event = ray.get(reference)
                self._desk.emit(event)
                self._last_response = time.monotonic()
                if isinstance(event, Failed) and event.failure.retryable and reusable:
                    reusable = False
                    self._packs.record_failure(pack)
                if not any(map(self._desk.runs, assignments)):
                    return reusable
        except RayError as failure:
            error = first_line(failure)
        finally:
            with self._lock:
                self._assignments = ()
        # retired before the failure is reported, since the actor may still write checkpoints
        self._retire()
        self._packs.record_failure(pack)
        report_death(self._desk, assignments, error)
        return False


def report_death(desk: Desk, assignments: Iterable[Assignment], error: str) -> None:
    """End the running attempts of a dead worker, as `Stopped` if a stop was requested."""
    failure = Failure("operational", f"worker process died: {error}")
    for assignment in filter(desk.runs, assignments):
        trial_id, attempt = assignment.trial_id, assignment.attempt
        if desk.stopping(trial_id):
            desk.emit(Stopped(trial_id, attempt))
        else:
            desk.emit(Failed(trial_id, attempt, failure))


_ACTOR = ray.remote(max_restarts=0, max_task_retries=0, concurrency_groups={ASIDE: 1})(Worker)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the error's type if the message is empty.

    Ray's messages have many lines.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
