"""How does one slot keep a warm Ray actor, pack after pack?

The actor imports torch and warms its kernels before a trial arrives; each trial, or pack of them,
is a streaming call on it. One thread per slot looks after the actor: it waits until it is placed
(and says so when that takes long), hands it assignments, passes its events on, and replaces it when
it died, failed, or is worn. Ray retries and restarts nothing: that is the coordinator's business.

What was measured of Ray 2.60 shapes the code: cancelling a stream ends it as a whole, so a trial is
asked to leave its pack by a call of its own, in a second thread of the actor, heard within 10 ms;
dropping a stream does not stop it; a dead actor is seen within milliseconds.

Parts: `Worker` (the actor) · `Placement` (what the slots lack) · `Slot` (one actor and its thread).
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
from workers.packs import Interrupted, Pack, Packs

TRIALS_PER_WORKER = 500
# a worker that does not answer for so long after a trial, or does not let one go, is killed
STUCK_SECONDS = 10.0
# for the best program of a shape: a second where packs are worth it, but compiling a deep model
# takes minutes
MEASURING_SECONDS = 600.0
IDLE_SECONDS = 2.0  # between looks at an idle worker
FRESH_SECONDS = 0.25  # a worker heard of so lately is not asked whether it lives
POLL_SECONDS = 0.2  # between looks at a worker that is not placed yet
PAUSE_SECONDS = 5.0  # after a worker that could not start
ASIDE = "aside"  # the actor's second thread, for calls that do not wait for the stream


class Worker:
    """Runs inside an actor's process: warm when its constructor returns."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        # before torch is imported, hence the late import
        os.environ.update(environment, OMP_NUM_THREADS="1")
        if not ray.get_runtime_context().get_accelerator_ids()["GPU"]:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a CPU worker on a machine with GPUs
        from telescope.train.program import choose
        from telescope.trials.numerics import numerics
        from workers import runner

        self._run, self._choose = runner.run, choose
        self._leaving: set[tuple[int, int]] = set()  # attempts at trials that are to end
        runner.warm_up()
        self._numerics = numerics()

    def ready(self) -> str:
        """Answers when the worker is warm and idle, with what it computes with."""
        return self._numerics

    def choose(self, spec: TrialSpec, most: int, steps: float) -> Program:
        """How it trains trials of this shape best."""
        return self._choose(spec, most, steps)

    def run(self, pack: Pack) -> Iterator[Event]:
        """One attempt at each of these trials as a stream."""
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
                say = (
                    f"{len(self._lacking)} worker(s) not placed: "
                    f"{next(iter(self._lacking.values()))}"
                )
            if say != self._said:
                self._said = say
                self._desk.emit(Waiting(say))


@dataclass(frozen=True)
class Shared:
    """What all slots of an executor work with."""

    desk: Desk
    packs: Packs
    demand: Callable[[], Demand]
    placement: Placement
    patience_seconds: float  # before a shortage is said


class Slot:
    """One warm actor, and the thread that looks after it."""

    def __init__(self, index: int, shared: Shared) -> None:
        self._index = index
        self._shared = shared
        self._desk, self._packs, self._placement = shared.desk, shared.packs, shared.placement
        self._actor: Any = None
        self._assignments: tuple[Assignment, ...] = ()  # of the stream that runs
        self._heard = 0.0  # when the actor last gave a sign of life
        self._lock = threading.Lock()
        self.numerics: str | None = None  # of its latest warm worker
        self.broken: Exception | None = None
        self.thread = threading.Thread(target=self._serve, name=f"ray-slot-{index}", daemon=True)
        self.thread.start()

    def cancel(self, trial_id: int) -> None:
        """Let a trial end at its next step, if it is here; with the actor if need be, for a process
        that hangs lets none go."""
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
        """End the actor's process, whatever it does; the thread finds it dead."""
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
        # Ray itself is gone, or this code is wrong: the coordinator is to know
        except Exception as error:
            self.broken = error

    def _replace(self) -> None:
        """Start an actor and wait until it is warm; say what it lacks when that takes longer than
        patience.

        Returns without one when the cluster has changed so that a worker now asks for something
        else.
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
        """Whether the actor is alive and idle, or becomes so in time; not asked again when it was
        heard of just now."""
        if time.monotonic() - self._heard < FRESH_SECONDS:
            return True
        try:
            ray.get(self._actor.ready.remote(), timeout=STUCK_SECONDS)
        except RayError:
            return False
        self._heard = time.monotonic()
        return True

    def _choose(self, first: Assignment, most: int, steps: float) -> Program:
        """By a measurement on the actor, which is not used again where that hangs or is no longer
        wanted."""
        found, begun = self._actor.choose.remote(first.spec, most, steps), time.monotonic()
        while not ray.wait([found], timeout=POLL_SECONDS)[0]:
            if self._desk.closed or self._desk.stopping(first.trial_id):
                self._retire()
                raise Interrupted
            if time.monotonic() - begun > MEASURING_SECONDS:
                self._retire()
                raise TimeoutError(f"no answer within {MEASURING_SECONDS:.0f} s")
        program: Program = ray.get(found)
        return program

    def _follow(self, pack: Pack) -> bool:
        """Pass on the events of one attempt at each; False when the actor is not to be used
        again."""
        sound, error, assignments = True, "the worker's stream ended early", pack.assignments
        with self._lock:
            stream, self._assignments = self._actor.run.remote(pack), assignments
        for assignment in assignments:
            if self._desk.stopping(assignment.trial_id):  # asked before the trial was here
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
        self._retire()  # before it is said, for it may write checkpoints still
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
    """What a worker on any node takes over from this process: where files are, how often to write
    checkpoints, whether to compile.

    Of factories it runs what it was sent or has installed, and looks into no folders: those of
    another machine may hold other code.
    """
    environment = {"TELESCOPE_HOME": str(home().resolve()), factory.PATH: ""}
    for name in (CHECKPOINT_SECONDS, COMPILE):
        if given := os.environ.get(name):
            environment[name] = given
    return environment


_ACTOR = ray.remote(max_restarts=0, max_task_retries=0, concurrency_groups={ASIDE: 1})(Worker)


def first_line(error: BaseException) -> str:
    """An error in one line; Ray's messages go on for many."""
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
    )
