"""The objects that Ray Tune calls during an experiment: searcher, scheduler and reporter.

Ray Tune runs trials in experiments, and an experiment proceeds in turns. In a turn, Tune asks a
searcher for new trials (`DeskSearcher`), and asks a scheduler which trial to run next and whether a
trial should end early (`StopScheduler`). Tune also tells a callback what has happened
(`EventReporter`). The three objects share a `Flights`, a record of the trials that Tune holds.

An experiment begins with a *warm-up*, a trial that trains nothing. The warm-up starts a worker and
reports the worker's numerics, a string that names the version of torch, the device, and the
revision of telescope's arithmetic. If the warm-up fails, another one follows. The later trials are
assignments from a desk, the executor's queue (`workers.desk`). An assignment is one attempt at a
trial of the coordinator. The desk passes the events of assignments on to the coordinator.
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

IDLE_SECONDS = 2.0  # an idle searcher checks at this interval whether the experiment should end
WARM_UP = 0  # trial id of the warm-up; the trial ids of assignments begin at 1
ASSIGNMENT = TypeAdapter(Assignment)


@dataclass
class Flight:
    """A trial that Tune holds: it has been given to Tune, and has not ended."""

    assignment: Assignment | None  # None for the warm-up
    since: float = field(default_factory=time.monotonic)  # when Tune received the trial
    begun: bool = False
    actor: Any = None  # the Ray actor that runs the trial; None until the trial begins

    @property
    def trial_id(self) -> int:
        """The coordinator's id of the trial, or WARM_UP for the warm-up."""
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
        """Return the latest flight of a trial, or None if Tune does not hold the trial.

        A trial may have several flights: Tune holds a failed attempt until its worker's error
        arrives, and may receive the next attempt before that.
        """
        flights = [flight for flight in self._held.values() if flight.trial_id == trial_id]
        return flights[-1] if flights else None

    def hold(self, tune_id: str, assignment: Assignment | None) -> dict[str, Any]:
        """Record that Tune holds an assignment. Return the assignment as a JSON document for Tune.

        `assignment` is None for the warm-up, whose document is empty.
        """
        self._held[tune_id] = Flight(assignment)
        return ASSIGNMENT.dump_python(assignment, mode="json") if assignment else {}

    def begin(self, tune_id: str, actor: Any) -> Flight:
        """Record that the trial has begun on a worker."""
        flight = self._held[tune_id]
        flight.begun, flight.actor = True, actor
        self._placement.set_shortage(flight.trial_id, None)
        return flight

    def end(self, tune_id: str) -> Flight:
        """Record that Tune no longer holds the trial.

        This ends a shortage of workers that was reported for the trial. But a shortage that was
        reported for a warm-up lasts until the next warm-up begins.
        """
        flight = self._held.pop(tune_id)
        if flight.assignment:
            self._placement.set_shortage(flight.trial_id, None)
        return flight

    def should_stop(self, tune_id: str) -> bool:
        """True if the trial should end early.

        The warm-up should end early if the experiment should end. Any other trial should end early
        if its stop was requested.
        """
        trial_id = self._held[tune_id].trial_id
        return self.over if trial_id == WARM_UP else self.desk.stopping(trial_id)

    def report_shortages(self) -> None:
        """Report a shortage for each trial that waits for too long or needs a larger cluster."""
        for flight in self._held.values():
            if not flight.begun:
                total = ray.cluster_resources()
                is_late = time.monotonic() - flight.since > self._patience_seconds
                if is_late or not self.demand.fits(total):
                    shortage = self.demand.shortage(total, ray.available_resources())
                    self._placement.set_shortage(flight.trial_id, shortage)

    def report_failed_start(self, reason: str) -> None:
        """Report that a worker's process could not start. Then wait for `PAUSE_SECONDS`, or until
        the desk closes.
        """
        self._placement.set_shortage(WARM_UP, f"a worker's process could not start: {reason}")
        self.desk.wait_closed(PAUSE_SECONDS)


class DeskSearcher(Searcher):  # type: ignore[misc]
    """The searcher. It suggests warm-ups until one succeeds, then the assignments of the desk."""

    def __init__(self, flights: Flights) -> None:
        super().__init__()
        self._flights = flights

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the document of the next trial, or FINISHED once the experiment should end.

        If Tune holds no trial, wait for an assignment, since Tune would sleep for a second after
        None. If Tune holds a trial, do not wait, and return None if no assignment is queued. During
        the warm-up, return None.
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
    """The scheduler. It chooses the next trial, and ends trials that should stop.

    A trial that waits for a worker ends in the next turn, and a running trial at its next event.
    """

    def __init__(self, flights: Flights) -> None:
        super().__init__()
        self._flights = flights

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Any) -> str:
        """Decide after an event whether the trial goes on."""
        return str(self.STOP if self._flights.should_stop(trial.trial_id) else self.CONTINUE)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """End the waiting trials that should stop. Then return the newest trial that waits for a
        worker, or None if no trial waits.

        The newest trial goes first for this reason: Tune starts a worker for a waiting trial, but
        abandons the start if the trial gets a free worker instead. If the oldest trial went first,
        as in Tune's default, and trials were shorter than the start of a worker, the first worker
        would take all trials. A second worker would not start.
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
    """The callback. It emits events, and passes each point of a curve to loggers as one result."""

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
        """Emit the event that a result of Tune holds, and pass the event's points to the loggers.

        The event is removed from the result, since Tune keeps all results in memory.
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
        """Emit `Stopped`. The desk drops this event if the attempt has already ended."""
        flight = self._flights.end(trial.trial_id)
        if flight.assignment:
            if flight.begun:
                self._loggers.on_trial_complete(trial=trial, **info)
            self._flights.desk.emit(Stopped(flight.trial_id, flight.assignment.attempt))

    def on_trial_error(self, trial: Any, **info: Any) -> None:
        """Emit `Stopped` if the trial's stop was requested, and `Failed` otherwise.

        The desk drops this event if the attempt has already ended. For a warm-up, report instead
        that a worker could not start.
        """
        flight = self._flights.end(trial.trial_id)
        reason = _reason(trial)
        if flight.actor is not None:
            # Tune itself would end the actor only in the next turn, when it has another trial
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
    """Return why a trial failed: the first line after the header of Tune's error file."""
    lines = Path(trial.error_file).read_text().splitlines() if trial.error_file else []
    return next((line.strip() for line in lines[1:] if line.strip()), "Tune gave no reason")
