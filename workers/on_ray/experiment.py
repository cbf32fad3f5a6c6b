"""Callbacks of a Ray Tune experiment: searcher, scheduler and reporter.

Tune asks a searcher for the next trial (`DeskSearcher`), asks a scheduler whether to end a trial
early (`StopScheduler`), and tells a callback what happened (`EventReporter`). The three share
`Flights`, the trials that Tune holds.
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
from workers.on_ray.placement import Placement
from workers.on_ray.slot import PAUSE_SECONDS

IDLE_SECONDS = 2.0  # interval between checks for the experiment's end, while there is no work
WARM_UP = 0  # id of the warm-up, which has no assignment
ASSIGNMENT = TypeAdapter(Assignment)


@dataclass
class Flight:
    """A trial that Tune holds; without an assignment, it warms up the first worker."""

    assignment: Assignment | None
    since: float = field(default_factory=time.monotonic)  # time at which Tune received it
    begun: bool = False
    actor: Any = None  # the worker that runs the trial, once it has begun

    @property
    def trial_id(self) -> int:
        """The coordinator's id of the trial; WARM_UP without an assignment."""
        return self.assignment.trial_id if self.assignment else WARM_UP


class Flights:
    """The trials that one Tune experiment holds, by Tune's ids."""

    def __init__(
        self, desk: Desk, placement: Placement, demand: Demand, patience_seconds: float
    ) -> None:
        self.desk, self.demand = desk, demand
        self._placement, self._patience_seconds = placement, patience_seconds
        self._held: dict[str, Flight] = {}
        self.numerics: str | None = None  # the numerics that a worker reported last
        self.over = False  # True once the experiment should end

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, tune_id: str) -> Flight:
        return self._held[tune_id]

    def of(self, trial_id: int) -> Flight | None:
        """Return the latest flight of a trial; None if Tune does not hold the trial.

        A trial may have several flights, since Tune holds a failed attempt until the worker's error
        arrives.
        """
        flights = [flight for flight in self._held.values() if flight.trial_id == trial_id]
        return flights[-1] if flights else None

    def hold(self, tune_id: str, assignment: Assignment | None) -> dict[str, Any]:
        """Record that Tune holds an assignment; return the assignment as JSON, which loggers show.

        None stands for the warm-up, whose document is empty.
        """
        self._held[tune_id] = Flight(assignment)
        return ASSIGNMENT.dump_python(assignment, mode="json") if assignment else {}

    def begin(self, tune_id: str, actor: Any) -> Flight:
        """Record that a worker runs the trial."""
        flight = self._held[tune_id]
        flight.begun, flight.actor = True, actor
        self._placement.set_shortage(flight.trial_id, None)
        return flight

    def end(self, tune_id: str) -> Flight:
        """Record that Tune no longer holds the trial.

        A shortage during the warm-up lasts until the next warm-up begins.
        """
        flight = self._held.pop(tune_id)
        if flight.assignment:
            self._placement.set_shortage(flight.trial_id, None)
        return flight

    def should_stop(self, tune_id: str) -> bool:
        """True if the trial should end early."""
        trial_id = self._held[tune_id].trial_id
        return self.over if trial_id == WARM_UP else self.desk.stopping(trial_id)

    def report_shortages(self) -> None:
        """Report a shortage for each trial that has waited for too long, or can never begin."""
        for flight in self._held.values():
            if not flight.begun:
                total = ray.cluster_resources()
                is_late = time.monotonic() - flight.since > self._patience_seconds
                if is_late or not self.demand.fits(total):
                    shortage = self.demand.shortage(total, ray.available_resources())
                    self._placement.set_shortage(flight.trial_id, shortage)

    def report_failed_start(self, reason: str) -> None:
        """Report that the first worker's process could not start, and wait before the next one."""
        self._placement.set_shortage(WARM_UP, f"a worker's process could not start: {reason}")
        self.desk.wait_closed(PAUSE_SECONDS)


class DeskSearcher(Searcher):  # type: ignore[misc]
    """The searcher, called in each turn: it suggests the warm-up, then the desk's assignments."""

    def __init__(self, flights: Flights) -> None:
        super().__init__()
        self._flights = flights

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return a trial's document; None if there is no trial now; FINISHED at the end.

        If Tune holds no trial, wait for an assignment, since Tune itself would sleep for a second.
        """
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
        """Do nothing: Tune calls `EventReporter` too."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the coordinator stores all trials."""


class StopScheduler(FIFOScheduler):  # type: ignore[misc]
    """The scheduler: it chooses the next trial, and ends trials whose stop was requested.

    Waiting trials end in the next turn, running trials at their next event.
    """

    def __init__(self, flights: Flights) -> None:
        super().__init__()
        self._flights = flights

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Any) -> str:
        """Decide at each event whether the trial goes on."""
        return str(self.STOP if self._flights.should_stop(trial.trial_id) else self.CONTINUE)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the trial that a free worker takes: the newest waiting trial, or None.

        Tune starts a worker for each waiting trial, and abandons this start if the trial gets a
        free worker instead. If the oldest trial came first, as in Tune's default, trials shorter
        than the start of a process would all run on one worker, since no second worker would ever
        start.
        """
        waiting = [
            trial for trial in tune_controller.get_live_trials() if trial.status == trial.PENDING
        ]
        for trial in waiting:
            if self._flights.should_stop(trial.trial_id):
                tune_controller.stop_trial(trial)
        pending = [trial for trial in waiting if trial.status == trial.PENDING]
        return max(pending, key=lambda trial: self._flights[trial.trial_id].since, default=None)


class EventReporter(Callback):  # type: ignore[misc]
    """Converts Tune's callbacks to events, and to results for loggers, one result per point."""

    def __init__(self, flights: Flights, loggers: Sequence[Callback]) -> None:
        self._flights = flights
        self._loggers = CallbackList(list(loggers))

    def setup(self, **info: Any) -> None:
        self._loggers.setup(**info)

    def on_step_begin(self, **info: Any) -> None:
        """Check for shortages at the beginning of each turn."""
        self._flights.report_shortages()

    def on_trial_start(self, trial: Any, **info: Any) -> None:
        if self._flights.begin(trial.trial_id, trial.temporary_state.ray_actor).assignment:
            self._loggers.on_trial_start(trial=trial, **info)

    def on_trial_result(self, trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Emit a step's event, and pass its points to the loggers.

        The event is removed from the result, since Tune keeps all results.
        """
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
        """Emit `Stopped`, which the desk drops if the trial has already emitted `Finished`."""
        flight = self._flights.end(trial.trial_id)
        if flight.assignment:
            if flight.begun:
                self._loggers.on_trial_complete(trial=trial, **info)
            self._flights.desk.emit(Stopped(flight.trial_id, flight.assignment.attempt))

    def on_trial_error(self, trial: Any, **info: Any) -> None:
        """Emit `Failed` or `Stopped` for a trial whose worker died.

        The desk drops this event if the trial has already emitted `Failed`.
        """
        flight = self._flights.end(trial.trial_id)
        reason = _reason(trial)
        if flight.actor is not None:
            # Tune itself would end the actor only in the next turn, which comes with the next trial
            ray.kill(flight.actor)
        if flight.assignment is None:
            self._flights.report_failed_start(reason)
            return
        if flight.begun:
            self._loggers.on_trial_error(trial=trial, **info)
        trial_id, attempt = flight.trial_id, flight.assignment.attempt
        if self._flights.desk.stopping(trial_id):
            self._flights.desk.emit(Stopped(trial_id, attempt))
        else:
            failure = Failure("operational", f"worker process died: {reason}")
            self._flights.desk.emit(Failed(trial_id, attempt, failure))

    def on_experiment_end(self, **info: Any) -> None:
        self._loggers.on_experiment_end(**info)


def _reason(trial: Any) -> str:
    """Return the reason for a trial's failure: the line after the header of Tune's error file."""
    lines = Path(trial.error_file).read_text().splitlines() if trial.error_file else []
    return next((line.strip() for line in lines[1:] if line.strip()), "no reason given")
