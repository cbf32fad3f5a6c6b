"""A slot: one Ray actor, and the thread that looks after it.

A Ray actor is a process of Ray that holds one object, here a `Worker` (`workers.on_ray.worker`).
The worker trains pack after pack; a pack is a group of trials that are trained together. The thread
of a slot starts the actor, hands packs to it, and passes their events on. If the start takes long,
the thread reports a shortage of workers. An actor is replaced, for example, if it dies or hangs, if
it fails to train a trial, or if it has run many trials. Only the coordinator retries trials. Ray is
configured to retry and restart nothing.

The code relies on measured properties of Ray 2.60:

- A pack runs as one call of the actor, which streams events. Cancelling the call would end all
  trials of the pack. To end one trial, the slot therefore makes a separate call, in a second thread
  of the actor. This call takes effect within 10 ms.
- A call goes on if its stream is dropped.
- The death of an actor is noticed within milliseconds.
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
# Longest time that a worker may take to answer a call between two packs, and longest time that a
# trial may take to end after its stop was requested. After that, the worker is killed.
STUCK_SECONDS = 10.0
# Longest time for measuring which program trains a pack fastest (`telescope.train.program`). The
# measurement takes a second if nothing is compiled, but minutes if a deep model is compiled.
MEASURING_SECONDS = 600.0
IDLE_SECONDS = 2.0  # interval between checks that an idle worker is alive
FRESH_SECONDS = 0.25  # a worker counts as alive for this time after a response
POLL_SECONDS = 0.2  # interval between checks of a worker that is starting or measuring
PAUSE_SECONDS = 5.0  # pause after a worker's process could not start


@dataclass(frozen=True)
class Shared:
    """Values that all slots of an executor share."""

    desk: Desk
    packs: Packs
    demand: Callable[[], Demand]  # returns the resources that a worker needs
    placement: Placement
    patience_seconds: float  # time after which a worker that has not started is reported

    def report_shortage(self, slot: int, demand: Demand) -> None:
        """Report that a slot has no worker, and why."""
        total, free = ray.cluster_resources(), ray.available_resources()
        self.placement.set_shortage(slot, demand.shortage(total, free))


class Slot:
    """One actor, and the thread that looks after it."""

    def __init__(self, index: int, shared: Shared) -> None:
        self._index, self._shared = index, shared
        self._desk, self._packs, self._placement = shared.desk, shared.packs, shared.placement
        self._actor: Any = None
        self._assignments: tuple[Assignment, ...] = ()  # the running pack; empty if none runs
        self._last_response = 0.0  # time of the actor's last response
        self._lock = threading.Lock()
        self.numerics: str | None = None  # of the latest worker (`telescope.trials.numerics`)
        self.broken: Exception | None = None  # the exception that ended the thread
        self.thread = threading.Thread(target=self._serve, name=f"ray-slot-{index}", daemon=True)
        self.thread.start()

    def cancel(self, trial_id: int) -> None:
        """If the trial runs here, end it at its next step. Kill an actor that does not react."""
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
        """Kill the actor, if there is one. The thread then notices the death."""
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
        # Ray is gone, or this code has a bug; the executor's `events` then raises WorkersLost
        except Exception as error:
            self.broken = error

    def _replace(self) -> None:
        """Start an actor and wait until it is ready.

        Report a shortage of workers if the start takes long or the cluster is too small. Return
        without a ready actor if the demand changes, the start fails, or the desk closes.
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
        """Record that the actor is ready, or report that its process could not start."""
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
        """True if the actor has responded recently (`FRESH_SECONDS`), or responds within
        STUCK_SECONDS.
        """
        if time.monotonic() - self._last_response < FRESH_SECONDS:
            return True
        try:
            ray.get(self._actor.ready.remote(), timeout=STUCK_SECONDS)
        except RayError:
            return False
        self._last_response = time.monotonic()
        return True

    def _choose(self, first: Assignment, max_members: int, steps: float) -> Program:
        """Measure on the actor which program trains trials like `first` fastest.

        Raises MeasurementAbandoned if the trial should stop or the desk closes, and TimeoutError
        after MEASURING_SECONDS. In both cases, the actor is killed. Raises RayError if the actor
        dies or its measurement fails.
        """
        program = self._actor.choose.remote(first.spec, max_members, steps)
        begun = time.monotonic()
        while not ray.wait([program], timeout=POLL_SECONDS)[0]:
            if self._desk.closed or self._desk.stopping(first.trial_id):
                self._retire()
                raise MeasurementAbandoned
            if time.monotonic() - begun > MEASURING_SECONDS:
                self._retire()
                raise TimeoutError(f"the worker did not answer within {MEASURING_SECONDS:.0f} s")
        measured: Program = ray.get(program)
        return measured

    def _follow(self, pack: Pack) -> bool:
        """Run a pack and pass its events on. Return whether the actor may be used again."""
        assignments, error = pack.assignments, "its stream of events ended early"
        reusable = True
        with self._lock:
            stream, self._assignments = self._actor.run.remote(pack), assignments
        for assignment in assignments:
            if self._desk.stopping(assignment.trial_id):  # requested before the stream began
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
        # killed before the failure is reported, since the actor may still write checkpoints
        self._retire()
        self._packs.record_failure(pack)
        report_death(self._desk, assignments, error)
        return False


def report_death(desk: Desk, assignments: Iterable[Assignment], error: str) -> None:
    """End the running attempts of a dead worker.

    They end as `Stopped` if a stop was requested, and as `Failed` otherwise.
    """
    failure = Failure("operational", f"worker process died: {error}")
    for assignment in filter(desk.runs, assignments):
        trial_id, attempt = assignment.trial_id, assignment.attempt
        if desk.stopping(trial_id):
            desk.emit(Stopped(trial_id, attempt))
        else:
            desk.emit(Failed(trial_id, attempt, failure))


_ACTOR = ray.remote(max_restarts=0, max_task_retries=0, concurrency_groups={ASIDE: 1})(Worker)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's type if the message is empty.

    The messages of Ray's errors have many lines.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
