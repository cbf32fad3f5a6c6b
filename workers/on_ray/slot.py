"""A slot: one warm Ray actor that runs pack after pack.

The actor imports torch and warms its kernels before a trial arrives; each trial, or pack of trials,
is a streaming call on it. One thread per slot looks after the actor: it waits until it is placed
(and reports it if that takes long), hands it assignments, passes its events on, and replaces it
after it died, failed, or is worn. Ray does not retry or restart anything: the coordinator does.

Measurements of Ray 2.60 shape the code: cancelling a stream ends it as a whole, so a trial is told
to leave its pack by a separate call, in a second thread of the actor, which takes effect within 10
ms; dropping a stream does not stop it; a dead actor is noticed within milliseconds.

Parts: `Worker` (the actor) · `Placement` (shortages of the slots) · `Slot` (one actor and its
thread).
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from telescope.home import home
from telescope.models import factory
from telescope.train.compiled import COMPILE
from telescope.train.program import Program
from telescope.trials.outcome import Failure
from telescope.trials.spec import TrialSpec
from workers.desk import Desk
from workers.interface import CHECKPOINT_SECONDS, Assignment, Event, Failed, Stopped, Waiting
from workers.on_ray.cluster import Demand
from workers.packs import MeasurementAbandoned, Pack, Packs

TRIALS_PER_WORKER = 500
# a worker that does not answer for so long after a trial, or does not let a trial go, is killed
STUCK_SECONDS = 10.0
# to find the best program of a shape: a second if packs are worth it, but compiling a deep model
# takes minutes
MEASURING_SECONDS = 600.0
IDLE_SECONDS = 2.0  # between checks of an idle worker
# a worker that gave a sign of life so recently is not asked whether it is alive
FRESH_SECONDS = 0.25
POLL_SECONDS = 0.2  # between checks of a worker that is not placed yet
PAUSE_SECONDS = 5.0  # after a worker that could not start
ASIDE = "aside"  # the actor's second thread, for calls that do not wait for the stream


class Worker:
    """Runs inside an actor's process; warm when its constructor returns."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        # before torch is imported, hence the late import
        os.environ.update(environment, OMP_NUM_THREADS="1")
        if not ray.get_runtime_context().get_accelerator_ids()["GPU"]:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a CPU worker on a machine with GPUs
        from telescope.train.program import choose
        from telescope.trials.numerics import numerics
        from workers import runner

        self._run, self._choose = runner.run_attempts, choose
        self._leaving: set[tuple[int, int]] = set()  # attempts that are to end
        runner.warm_up()
        self._numerics = numerics()

    def ready(self) -> str:
        """Arithmetic of the worker; answers once it is warm and idle."""
        return self._numerics

    def choose(self, spec: TrialSpec, most: int, steps: float) -> Program:
        """The fastest program for trials of this shape on this worker."""
        return self._choose(spec, most, steps)

    def run(self, pack: Pack) -> Iterator[Event]:
        """Run an attempt at each of these trials, as a stream of events."""
        yield from self._run(
            pack.assignments,
            lambda each: (each.trial_id, each.attempt) in self._leaving,
            pack.compiled,
        )
        self._leaving -= {(each.trial_id, each.attempt) for each in pack.assignments}

    @ray.method(concurrency_group=ASIDE)  # type: ignore[untyped-decorator]
    def leave(self, assignment: Assignment) -> None:
        """End this attempt at its next step."""
        self._leaving.add((assignment.trial_id, assignment.attempt))


class Placement:
    """Shortages of the slots; reported once when a shortage has lasted long enough, and once when
    it is over."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._lacking: dict[int, str] = {}  # slot -> reason
        self._said: str | None = None

    def lacks(self, slot: int, reason: str | None) -> None:
        """Record that a slot has no worker for this reason; None: it has one."""
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


@dataclass(frozen=True)
class Shared:
    """Values that all slots of an executor share."""

    desk: Desk
    packs: Packs
    demand: Callable[[], Demand]
    placement: Placement
    patience_seconds: float  # before a shortage is reported


class Slot:
    """One warm actor, and the thread that looks after it."""

    def __init__(self, index: int, shared: Shared) -> None:
        self._index = index
        self._shared = shared
        self._desk, self._packs, self._placement = shared.desk, shared.packs, shared.placement
        self._actor: Any = None
        self._assignments: tuple[Assignment, ...] = ()  # of the running stream
        self._heard = 0.0  # when the actor last gave a sign of life
        self._lock = threading.Lock()
        self.numerics: str | None = None  # of its latest warm worker
        self.broken: Exception | None = None
        self.thread = threading.Thread(target=self._serve, name=f"ray-slot-{index}", daemon=True)
        self.thread.start()

    def cancel(self, trial_id: int) -> None:
        """Let a trial end at its next step, if this slot runs it; end the actor if need be, since a
        process that hangs lets no trial go."""
        with self._lock:
            assignment = next(
                (each for each in self._assignments if each.trial_id == trial_id), None
            )
            if assignment is None:
                return
            self._actor.leave.remote(assignment)
        watch = threading.Timer(STUCK_SECONDS, self._kill_stuck, (self._actor, assignment))
        watch.daemon = True
        watch.start()

    def _kill_stuck(self, actor: Any, assignment: Assignment) -> None:
        with self._lock:
            if (
                self._actor is actor
                and assignment in self._assignments
                and self._desk.runs(assignment)
            ):
                self.kill()

    def kill(self) -> None:
        """End the actor's process, whatever it is doing; the thread then notices its death."""
        if (actor := self._actor) is not None:
            ray.kill(actor)

    def _serve(self) -> None:
        try:
            pack, trials = Pack(), 0
            while not self._desk.closed:
                if self._actor is None or not self._answers():
                    self._desk.give_back(pack.assignments)
                    pack, trials = Pack(), 0
                    self._replace()
                elif not pack.assignments:
                    pack = self._packs.take(IDLE_SECONDS, self._choose)
                else:
                    sound = self._follow(pack)
                    pack, trials = Pack(), trials + len(pack.assignments)
                    if not sound or trials >= TRIALS_PER_WORKER:
                        self._retire()
        # Ray itself is gone, or this code is wrong: the coordinator must know
        except Exception as error:
            self.broken = error

    def _replace(self) -> None:
        """Start an actor and wait until it is warm; report the shortage if that takes longer than
        patience.

        Returns without an actor if the cluster has changed so that a worker now needs other
        resources.
        """
        self._retire()
        demand = self._shared.demand()
        self._actor = _ACTOR.options(**demand.options).remote(handed_down())
        ready = self._actor.ready.remote()
        begun = time.monotonic()
        while not self._desk.closed:
            done, _ = ray.wait([ready], timeout=POLL_SECONDS)
            if done:
                return self._placed(ready)
            if self._shared.demand() != demand:
                return self._retire()
            if time.monotonic() - begun > self._shared.patience_seconds or not demand.fits(
                ray.cluster_resources()
            ):
                self._placement.lacks(
                    self._index, demand.shortage(ray.cluster_resources(), ray.available_resources())
                )

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
            self._placement.lacks(
                self._index, f"a worker's process could not start: {first_line(error)}"
            )
            self._desk.wait_closed(PAUSE_SECONDS)

    def _answers(self) -> bool:
        """True if the actor is alive and idle, or becomes so in time; not asked again if it gave a
        sign of life just now."""
        if time.monotonic() - self._heard < FRESH_SECONDS:
            return True
        try:
            ray.get(self._actor.ready.remote(), timeout=STUCK_SECONDS)
        except RayError:
            return False
        self._heard = time.monotonic()
        return True

    def _choose(self, first: Assignment, most: int, steps: float) -> Program:
        """Measure on the actor; retire it if the measurement hangs or is cancelled."""
        found, begun = self._actor.choose.remote(first.spec, most, steps), time.monotonic()
        while not ray.wait([found], timeout=POLL_SECONDS)[0]:
            if self._desk.closed or self._desk.stopping(first.trial_id):
                self._retire()
                raise MeasurementAbandoned
            if time.monotonic() - begun > MEASURING_SECONDS:
                self._retire()
                raise TimeoutError(f"no answer within {MEASURING_SECONDS:.0f} s")
        program: Program = ray.get(found)
        return program

    def _follow(self, pack: Pack) -> bool:
        """Pass on the events of an attempt at each trial; returns False if the actor must not be
        used again."""
        sound, error, assignments = True, "the worker's stream ended early", pack.assignments
        with self._lock:
            stream, self._assignments = self._actor.run.remote(pack), assignments
        for assignment in assignments:
            # a stop was requested before the trial arrived here
            if self._desk.stopping(assignment.trial_id):
                self.cancel(assignment.trial_id)
        try:
            for reference in stream:
                event: Event = ray.get(reference)
                self._desk.emit(event)
                self._heard = time.monotonic()
                if isinstance(event, Failed) and event.failure.retryable and sound:
                    sound = False
                    self._packs.broke(pack)
                if not any(map(self._desk.runs, assignments)):
                    return sound
        except RayError as failure:
            error = first_line(failure)
        finally:
            with self._lock:
                self._assignments = ()
        # before the failure is reported, since the actor may still write checkpoints
        self._retire()
        self._packs.broke(pack)
        died = Failure("operational", f"worker process died: {error}")
        for trial_id, attempt in (
            (each.trial_id, each.attempt) for each in filter(self._desk.runs, assignments)
        ):
            self._desk.emit(
                Stopped(trial_id, attempt)
                if self._desk.stopping(trial_id)
                else Failed(trial_id, attempt, died)
            )
        return False


def handed_down() -> dict[str, str]:
    """Settings that a worker on any node takes over from this process: paths, checkpoint interval,
    whether to compile.

    Workers run factories that were sent or are installed, and search no folders: those of another
    machine may hold other code.
    """
    environment = {"TELESCOPE_HOME": str(home().resolve()), factory.PATH: ""}
    for name in (CHECKPOINT_SECONDS, COMPILE):
        if given := os.environ.get(name):
            environment[name] = given
    return environment


_ACTOR = ray.remote(max_restarts=0, max_task_retries=0, concurrency_groups={ASIDE: 1})(Worker)


def first_line(error: BaseException) -> str:
    """An error in one line; Ray's messages have many."""
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
    )
