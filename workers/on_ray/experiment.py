"""Callbacks for a Ray Tune experiment: searcher, scheduler and reporter.

Tune asks a searcher for the next trial (`Feed`) and a scheduler for trials that end early (`Ends`),
and tells a callback what happened (`Relay`). The three share `Flights`: the desk's assignments that
Tune holds, and since when.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from pydantic import TypeAdapter
from ray.tune.callback import Callback, CallbackList
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from telescope.trials.outcome import Failure
from workers.desk import Desk
from workers.interface import Assignment, Failed, Finished, Measured, Started, Stopped
from workers.on_ray.cluster import Demand
from workers.on_ray.slot import PAUSE_SECONDS, Placement

# between checks whether the experiment is to end, while there is nothing to do
IDLE_SECONDS = 2.0
WARM_UP = 0  # stands for a trial's id if there is no assignment
ASSIGNMENT = TypeAdapter(Assignment)


@dataclass
class Flight:
    """A trial that Tune holds; without an assignment, the one that warms up the first worker."""

    assignment: Assignment | None
    since: float = field(default_factory=time.monotonic)
    begun: bool = False
    actor: Any = None  # the worker that has it, once it has begun

    @property
    def trial_id(self) -> int:
        """The coordinator's id of its trial."""
        return self.assignment.trial_id if self.assignment else WARM_UP


class Flights:
    """Trials that one Tune experiment holds, by Tune's ids, and how long they have waited."""

    def __init__(
        self, desk: Desk, placement: Placement, demand: Demand, patience_seconds: float
    ) -> None:
        self.desk, self.demand = desk, demand
        self._placement, self._patience_seconds = placement, patience_seconds
        self._held: dict[str, Flight] = {}
        self.numerics: str | None = None  # of the latest worker that became warm
        self.over = False  # True once the experiment is to end

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, tune_id: str) -> Flight:
        return self._held[tune_id]

    def of(self, trial_id: int) -> Flight | None:
        """The flight of a trial, if Tune holds it; the latest one, since a failed attempt is held
        until its worker's error arrives."""
        return next(
            (
                flight
                for flight in reversed(list(self._held.values()))
                if flight.trial_id == trial_id
            ),
            None,
        )

    def hold(self, tune_id: str, assignment: Assignment | None) -> dict[str, Any]:
        """Record what Tune gets, as the plain document that loggers show."""
        self._held[tune_id] = Flight(assignment)
        return ASSIGNMENT.dump_python(assignment, mode="json") if assignment else {}

    def begin(self, tune_id: str, actor: Any) -> Flight:
        """Record that a worker has the trial."""
        flight = self._held[tune_id]
        flight.begun, flight.actor = True, actor
        self._placement.lacks(flight.trial_id, None)
        return flight

    def end(self, tune_id: str) -> Flight:
        """Record that Tune is done with the trial; a shortage during warm-up lasts until the next
        warm-up begins."""
        flight = self._held.pop(tune_id)
        if flight.assignment:
            self._placement.lacks(flight.trial_id, None)
        return flight

    def unwanted(self, tune_id: str) -> bool:
        """True if the trial is to end."""
        trial_id = self._held[tune_id].trial_id
        return self.over if trial_id == WARM_UP else self.desk.stopping(trial_id)

    def look(self) -> None:
        """Report a shortage if a trial has waited for longer than patience, or would wait for
        ever."""
        for flight in self._held.values():
            if not flight.begun:
                total = ray.cluster_resources()
                if time.monotonic() - flight.since > self._patience_seconds or not self.demand.fits(
                    total
                ):
                    self._placement.lacks(
                        flight.trial_id, self.demand.shortage(total, ray.available_resources())
                    )

    def not_started(self, reason: str) -> None:
        """Report that the first worker's process could not start, and pause before the next one."""
        self._placement.lacks(WARM_UP, f"a worker's process could not start: {reason}")
        self.desk.wait_closed(PAUSE_SECONDS)


class Feed(Searcher):  # type: ignore[misc]
    """The searcher, asked in each turn: first the warm-up, then the desk's assignments."""

    def __init__(self, flights: Flights) -> None:
        super().__init__()
        self._flights = flights

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A trial, or None for not now. With no flights it waits, since Tune itself would sleep for
        a second."""
        flights = self._flights
        while not flights.over:
            if flights.numerics is None:
                return None if flights else flights.hold(trial_id, None)
            if assignment := flights.desk.take(0 if flights else IDLE_SECONDS):
                return flights.hold(trial_id, assignment)
            if flights:
                return None
        return str(Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Do nothing: Tune tells `Relay`, too."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the coordinator keeps the record."""


class Ends(FIFOScheduler):  # type: ignore[misc]
    """The scheduler, which ends waiting trials in the next turn, running trials at their next
    event; and chooses the next trial."""

    def __init__(self, flights: Flights) -> None:
        super().__init__()
        self._flights = flights

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Any) -> str:
        """Asked at each event."""
        return str(self.STOP if self._flights.unwanted(trial.trial_id) else self.CONTINUE)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Asked in each turn: the waiting trial that a free worker takes. The newest one, since
        workers for the others are already starting.

        When a trial gets another worker, Tune gives up the worker that was starting for it. If the
        oldest trial came first, as by Tune's default, trials shorter than a process start would run
        on one worker for ever.
        """
        waiting = [
            trial for trial in tune_controller.get_live_trials() if trial.status == trial.PENDING
        ]
        for trial in waiting:
            if self._flights.unwanted(trial.trial_id):
                tune_controller.stop_trial(trial)
        pending = [trial for trial in waiting if trial.status == trial.PENDING]
        return max(pending, key=lambda trial: self._flights[trial.trial_id].since, default=None)


class Relay(Callback):  # type: ignore[misc]
    """Tune's callbacks as events; and as results for loggers, one point of a curve at a time."""

    def __init__(self, flights: Flights, loggers: Sequence[Callback]) -> None:
        self._flights = flights
        self._loggers = CallbackList(list(loggers))

    def setup(self, **info: Any) -> None:
        """The experiment begins."""
        self._loggers.setup(**info)

    def on_step_begin(self, **info: Any) -> None:
        """A turn begins."""
        self._flights.look()

    def on_trial_start(self, trial: Any, **info: Any) -> None:
        """A worker has the trial."""
        if self._flights.begin(trial.trial_id, trial.temporary_state.ray_actor).assignment:
            self._loggers.on_trial_start(trial=trial, **info)

    def on_trial_result(self, trial: Any, result: dict[str, Any], **info: Any) -> None:
        """A step has ended; the event goes no further, or Tune would keep it."""
        self._flights.numerics = result.pop("numerics", self._flights.numerics)
        event = result.pop("event", None)
        if event is None:
            return
        self._flights.desk.emit(event)
        if isinstance(event, Started):
            self._flights.numerics = event.numerics
        if isinstance(event, Measured | Finished):
            for point in event.points:
                counts = {
                    "training_iteration": point.step,
                    "tokens": point.tokens,
                    "flops": point.flops,
                    "seconds": point.seconds,
                }
                self._loggers.on_trial_result(
                    trial=trial, result={**counts, **point.metrics}, **info
                )

    def on_trial_complete(self, trial: Any, **info: Any) -> None:
        """The trial finished, which its event reported, or was stopped."""
        flight = self._flights.end(trial.trial_id)
        if flight.assignment:
            if flight.begun:
                self._loggers.on_trial_complete(trial=trial, **info)
            self._flights.desk.emit(Stopped(flight.trial_id, flight.assignment.attempt))

    def on_trial_error(self, trial: Any, **info: Any) -> None:
        """The trial failed, which its event reported (the desk drops a second event of the same
        attempt), or its worker died."""
        flight = self._flights.end(trial.trial_id)
        reason = _reason(trial)
        if flight.actor is not None:
            # Tune would end it in its next turn, which comes with the next trial
            ray.kill(flight.actor)
        if flight.assignment is None:
            self._flights.not_started(reason)
            return
        if flight.begun:
            self._loggers.on_trial_error(trial=trial, **info)
        trial_id, attempt = flight.trial_id, flight.assignment.attempt
        if self._flights.desk.stopping(trial_id):
            self._flights.desk.emit(Stopped(trial_id, attempt))
        else:
            self._flights.desk.emit(
                Failed(trial_id, attempt, Failure("operational", f"worker process died: {reason}"))
            )

    def on_experiment_end(self, **info: Any) -> None:
        """The experiment has ended."""
        self._loggers.on_experiment_end(**info)


def _reason(trial: Any) -> str:
    """Why Tune gave a trial up: the line after the header of its error file."""
    lines = Path(trial.error_file).read_text().splitlines() if trial.error_file else []
    return next((line.strip() for line in lines[1:] if line.strip()), "no reason given")
