"""How does one slot keep a warm Ray actor, trial after trial?

The actor imports torch and warms its kernels before a trial arrives; each trial is a streaming call on it. One thread per slot looks
after the actor: it waits until it is placed (and says so when that takes long), hands it assignments, passes its events on, and
replaces it when it died, failed, or is worn. Ray retries and restarts nothing: that is the coordinator's business.

What was measured of Ray 2.60 shapes the code: cancelling a stream ends it for the consumer at once, but for the actor only at its next
yield, so `Stopped` is said when the actor answers again; dropping a stream does not stop it; a dead actor is seen within milliseconds.

Parts: `Worker` (the actor) · `Placement` (what the slots lack) · `Slot` (one actor and its thread).
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray
from ray.exceptions import RayError

from telescope.home import home
from telescope.trial import Failure
from workers.desk import TERMINAL, Desk
from workers.interface import CHECKPOINT_SECONDS, Assignment, Event, Failed, Stopped, Waiting
from workers.ray_cluster import Demand

TRIALS_PER_WORKER = 500
STUCK_SECONDS = 10.0  # a worker that does not answer for so long after a trial is killed
IDLE_SECONDS = 2.0  # between looks at an idle worker
FRESH_SECONDS = 0.25  # a worker heard of so lately is not asked whether it lives
POLL_SECONDS = 0.2  # between looks at a worker that is not placed yet
PAUSE_SECONDS = 5.0  # after a worker that could not start


class Worker:
    """Runs inside an actor's process: warm when its constructor returns."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        os.environ.update(environment, OMP_NUM_THREADS="1")  # before torch is imported, hence the late import
        if not ray.get_runtime_context().get_accelerator_ids()["GPU"]:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a CPU worker on a machine with GPUs
        from telescope.numerics import numerics
        from workers import runner

        self._run = runner.run
        runner.warm_up()
        self._numerics = numerics()

    def ready(self) -> str:
        """Answers when the worker is warm and idle, with what it computes with."""
        return self._numerics

    def run(self, assignment: Assignment) -> Iterator[Event]:
        """One attempt at one trial, as a stream."""
        yield from self._run(assignment, ray.get_runtime_context().is_canceled)


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

    def __init__(self, index: int, desk: Desk, demand: Callable[[], Demand], placement: Placement, patience_seconds: float) -> None:
        self._index = index
        self._desk = desk
        self._demand = demand
        self._placement = placement
        self._patience_seconds = patience_seconds
        self._actor: Any = None
        self._stream: Any = None
        self._trial_id: int | None = None
        self._heard = 0.0  # when the actor last gave a sign of life
        self._lock = threading.Lock()
        self.numerics: str | None = None  # of its latest warm worker
        self.broken: Exception | None = None
        self.thread = threading.Thread(target=self._serve, name=f"ray-slot-{index}", daemon=True)
        self.thread.start()

    def cancel(self, trial_id: int) -> None:
        """End the stream if it is this trial's, with the actor if need be; the thread says `Stopped`."""
        with self._lock:
            stream = self._stream if self._trial_id == trial_id else None
        if stream is not None:
            ray.cancel(stream)
            watch = threading.Timer(STUCK_SECONDS, self._kill_stuck, (stream,))  # a process that hangs as a whole ends no stream
            watch.daemon = True
            watch.start()

    def _kill_stuck(self, stream: Any) -> None:
        with self._lock:
            if self._stream is stream:
                self.kill()

    def kill(self) -> None:
        """End the actor's process, whatever it does; the thread finds it dead."""
        if (actor := self._actor) is not None:
            ray.kill(actor)

    def _serve(self) -> None:
        try:
            assignment: Assignment | None = None
            trials = 0
            while not self._desk.closed:
                if self._actor is None or not self._answers(FRESH_SECONDS):
                    self._replace()
                    trials = 0
                elif assignment is None:
                    assignment = self._desk.take(IDLE_SECONDS)
                else:
                    sound = self._follow(assignment)
                    assignment, trials = None, trials + 1
                    if not sound or trials >= TRIALS_PER_WORKER:
                        self._retire()
        except Exception as error:  # Ray itself is gone, or this code is wrong: the coordinator is to know
            self.broken = error

    def _replace(self) -> None:
        """Start an actor and wait until it is warm; say what it lacks when that takes longer than patience.

        Returns without one when the cluster has changed so that a worker now asks for something else.
        """
        self._retire()
        demand = self._demand()
        self._actor = _ACTOR.options(**demand.options).remote(handed_down())
        ready = self._actor.ready.remote()
        begun = time.monotonic()
        while not self._desk.closed:
            done, _ = ray.wait([ready], timeout=POLL_SECONDS)
            if done:
                return self._placed(ready)
            if self._demand() != demand:
                return self._retire()
            if time.monotonic() - begun > self._patience_seconds or not demand.fits(ray.cluster_resources()):
                self._placement.lacks(self._index, demand.shortage(ray.cluster_resources(), ray.available_resources()))

    def _retire(self) -> None:
        self.kill()
        self._actor = None

    def _placed(self, ready: Any) -> None:
        try:
            self.numerics = ray.get(ready)
            self._heard = time.monotonic()
            self._placement.lacks(self._index, None)
        except RayError as error:
            self._actor = None
            self._placement.lacks(self._index, f"a worker's process could not start: {first_line(error)}")
            self._desk.wait_closed(PAUSE_SECONDS)

    def _answers(self, fresh_seconds: float = 0.0) -> bool:
        """Whether the actor is alive and idle, or becomes so in time; not asked again within `fresh_seconds`."""
        if time.monotonic() - self._heard < fresh_seconds:
            return True
        try:
            ray.get(self._actor.ready.remote(), timeout=STUCK_SECONDS)
        except RayError:
            return False
        self._heard = time.monotonic()
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
                self._heard = time.monotonic()
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
                self._retire()  # before it is said, for it may write the trial's checkpoint still
            self._desk.emit(Stopped(trial_id, attempt))
            return answers
        self._desk.emit(Failed(trial_id, attempt, Failure("operational", f"worker process died: {first_line(error)}")))
        return False


def handed_down() -> dict[str, str]:
    """What a worker on any node takes over from this process: where telescope's files are, and how often to write checkpoints."""
    environment = {"TELESCOPE_HOME": str(home().resolve())}
    if every := os.environ.get(CHECKPOINT_SECONDS):
        environment[CHECKPOINT_SECONDS] = every
    return environment


_ACTOR = ray.remote(max_restarts=0, max_task_retries=0)(Worker)


def first_line(error: BaseException) -> str:
    """An error in one line; Ray's messages go on for many."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
