"""How do trials run on Ray workers that are warm before the first trial and after the last?

One actor per slot, with torch imported and its kernels warm before a trial arrives; each trial is a streaming call on it. One thread
per slot looks after the actor: it waits until it is placed (and says so when that takes long), hands it assignments, passes its events
on, and replaces it when it died, failed, or is worn. Ray retries and restarts nothing: that is the coordinator's business.

What was measured of Ray 2.60 shapes the code: cancelling a stream ends it for the consumer at once, but for the actor only at its next
yield, so `Stopped` is said when the actor answers again; dropping a stream does not stop it; a dead actor is seen within milliseconds.

Parts: `Worker` (the actor) · `Slot` (one actor and its thread) · `RayExecutor` · `Placement` (what the slots lack).
"""

import gc
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from telescope.errors import Unavailable
from telescope.trial import Failure
from workers.desk import TERMINAL, Desk
from workers.interface import Assignment, Event, Failed, Stopped, Waiting
from workers.ray_cluster import Cluster, Demand

TRIALS_PER_WORKER = 500
STUCK_SECONDS = 10.0  # a worker that does not answer for so long after a trial is killed
IDLE_SECONDS = 2.0  # between looks at an idle worker
POLL_SECONDS = 0.2  # between looks at a worker that is not placed yet
PAUSE_SECONDS = 5.0  # after a worker that could not start
HEAD_SECONDS = 3.0  # between looks at Ray's head
JOIN_SECONDS = 1.0


class Worker:
    """Runs inside an actor's process: warm when its constructor returns."""

    def __init__(self) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, hence the late import
        if not ray.get_runtime_context().get_accelerator_ids()["GPU"]:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a CPU worker on a machine with GPUs
        from workers import runner

        self._run = runner.run
        runner.warm_up()
        gc.collect()
        gc.freeze()  # collecting after each trial then takes a millisecond instead of fifty

    def ready(self) -> None:
        """Answers when the worker is warm and idle."""

    def run(self, assignment: Assignment) -> Iterator[Event]:
        """One attempt at one trial, as a stream."""
        return self._run(assignment, ray.get_runtime_context().is_canceled)


class Placement:
    """What the slots lack, said once when it has lasted long enough, and once when it is over."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._lacking: dict[int, str] = {}  # slot -> reason
        self._said: str | None = None

    def lacks(self, slot: int, reason: str | None) -> None:
        """Slot `slot` is without a worker for this reason; None: it has one."""
        with self._lock:
            if reason is None:
                self._lacking.pop(slot, None)
            else:
                self._lacking[slot] = reason
            say = None
            if self._lacking:
                say = f"{len(self._lacking)} worker(s) not placed: {next(iter(self._lacking.values()))}"
            if say != self._said:
                self._said = say
                self._desk.emit(Waiting(say))


class Slot:
    """One warm actor, and the thread that looks after it."""

    def __init__(self, index: int, desk: Desk, demand: Demand, placement: Placement, patience_seconds: float) -> None:
        self._index = index
        self._desk = desk
        self._demand = demand
        self._placement = placement
        self._patience_seconds = patience_seconds
        self._actor: Any = None
        self._stream: Any = None
        self._trial_id: int | None = None
        self._lock = threading.Lock()
        self.broken: Exception | None = None
        self.thread = threading.Thread(target=self._serve, name=f"ray-slot-{index}", daemon=True)
        self.thread.start()

    def cancel(self, trial_id: int) -> None:
        """End the stream if it is this trial's; the thread says `Stopped`."""
        with self._lock:
            if self._trial_id == trial_id and self._stream is not None:
                ray.cancel(self._stream)

    def kill(self) -> None:
        """End the actor's process, whatever it does."""
        if self._actor is not None:
            ray.kill(self._actor)
            self._actor = None

    def _serve(self) -> None:
        try:
            trials = 0
            while not self._desk.closed:
                if self._actor is None or not self._answers():
                    self._replace()
                    trials = 0
                elif assignment := self._desk.take(IDLE_SECONDS):
                    sound = self._follow(assignment)
                    trials += 1
                    if not sound or trials >= TRIALS_PER_WORKER:
                        self.kill()
        except Exception as error:  # Ray itself is gone, or this code is wrong: the coordinator is to know
            self.broken = error

    def _replace(self) -> None:
        """Start an actor and wait until it is warm; say what it lacks when that takes longer than patience."""
        self.kill()
        self._actor = _ACTOR.options(**self._demand.options).remote()
        ready = self._actor.ready.remote()
        begun = time.monotonic()
        while not self._desk.closed:
            done, _ = ray.wait([ready], timeout=POLL_SECONDS)
            if done:
                return self._placed(ready)
            if time.monotonic() - begun > self._patience_seconds or not self._demand.fits(ray.cluster_resources()):
                self._placement.lacks(self._index, self._demand.shortage(ray.cluster_resources(), ray.available_resources()))

    def _placed(self, ready: Any) -> None:
        try:
            ray.get(ready)
            self._placement.lacks(self._index, None)
        except RayError as error:
            self._actor = None
            self._placement.lacks(self._index, f"a worker's process could not start: {_first_line(error)}")
            self._desk.wait_closed(PAUSE_SECONDS)

    def _answers(self) -> bool:
        """Whether the actor is alive and idle, or becomes so in time."""
        try:
            ray.get(self._actor.ready.remote(), timeout=STUCK_SECONDS)
        except (RayError, GetTimeoutError):
            return False
        return True

    def _follow(self, assignment: Assignment) -> bool:
        """Pass on the events of one attempt; False when the actor is not to be used again."""
        trial_id, attempt = assignment.trial_id, assignment.attempt
        with self._lock:
            self._trial_id, self._stream = trial_id, self._actor.run.remote(assignment)
        if self._desk.stopping(trial_id):  # asked before there was a stream to cancel
            self.cancel(trial_id)
        try:
            for reference in self._stream:
                event: Event = ray.get(reference)
                self._desk.emit(event)
                if isinstance(event, TERMINAL):
                    return not (isinstance(event, Failed) and event.failure.retryable)
            error: Exception = RuntimeError("the worker's stream ended early")
        except RayError as failure:
            error = failure
        finally:
            with self._lock:
                self._trial_id = self._stream = None
        if self._desk.stopping(trial_id):
            answers = self._answers()
            if not answers:
                self.kill()
            self._desk.emit(Stopped(trial_id, attempt))
            return answers
        self._desk.emit(Failed(trial_id, attempt, Failure("operational", f"worker process died: {_first_line(error)}")))
        return False


_ACTOR = ray.remote(max_restarts=0, max_task_retries=0)(Worker)


class RayExecutor:
    """Warm Ray actors; see `workers.interface` for what the four methods promise."""

    def __init__(
        self,
        workers: int | None = None,
        *,
        address: str | None = None,
        shared_storage: bool = False,
        gpus_per_worker: float | None = None,
        patience_seconds: float = 30.0,
    ) -> None:
        """Start a local Ray, or join the one at `address` (default: RAY_ADDRESS), and start the actors; does not wait for them.

        `workers`: at most so many, by default what fits. `shared_storage`: checkpoints and corpora lie where every node sees them.
        `gpus_per_worker`: a number or share; by default 1 where there are GPUs, and 0 makes CPU workers anywhere.
        """
        self._cluster = Cluster.connect(address or os.environ.get("RAY_ADDRESS") or None, workers, shared_storage)
        total = ray.cluster_resources()
        demand = Demand.suited(total, gpus_per_worker)
        fitting = max(1, demand.fits(total))  # one that never fits says so by a Waiting
        self.slots = min(workers or fitting, fitting)
        self._desk = Desk()
        placement = Placement(self._desk)
        self._slots = [Slot(index, self._desk, demand, placement, patience_seconds) for index in range(self.slots)]
        self._head_seen = time.monotonic()
        self._closed = False

    def submit(self, assignment: Assignment) -> None:
        """Queue one attempt for the next free worker."""
        self._desk.submit(assignment)

    def stop(self, trial_id: int) -> None:
        """End a trial: at once when it is queued, at its next point when it runs."""
        self._desk.stop(trial_id)
        for slot in self._slots:
            slot.cancel(trial_id)

    def events(self, timeout: float) -> Sequence[Event]:
        """What happened, waiting up to `timeout` seconds for the first of it; Unavailable when Ray's head is gone."""
        events = self._desk.events(timeout)
        if not events:
            self._require_ray()
        return events

    def close(self) -> None:
        """End all workers, and a Ray that was started here with every process of it; idempotent."""
        if self._closed:
            return
        self._closed = True
        self._desk.close()
        for slot in self._slots:
            slot.kill()
        for slot in self._slots:
            slot.thread.join(JOIN_SECONDS)
        self._cluster.close()

    def _require_ray(self) -> None:
        broken = next((slot.broken for slot in self._slots if slot.broken), None)
        if broken:
            raise Unavailable(f"Ray failed: {_first_line(broken)}") from broken
        now = time.monotonic()
        if now - self._head_seen < HEAD_SECONDS:
            return
        if not self._cluster.alive():
            raise Unavailable(f"Ray's head at {self._cluster.address} does not answer")
        self._head_seen = now


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
