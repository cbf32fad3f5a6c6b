"""The dispatcher, which hands trials to the executor and records their events.

A trial is one training run, and an executor trains trials (`workers.interface`). An attempt is one
execution of a trial; a trial that was interrupted or failed may get another attempt. The executor
reports events, for example that an attempt has started, has measured points of its loss curve, or
has ended.

In `_flights`, the dispatcher keeps the attempts that it has submitted and that have not ended. It
records each event of an attempt in one transaction. An event changes a trial only if the event
belongs to the trial's current attempt. The store (`CoordinatorStore`) decides whether a failed
trial is tried again.
"""

import logging
import shutil
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from api.store.record import CoordinatorStore
from api.store.rows import Begun, JobRow
from telescope.errors import NotFound
from telescope.train.checkpoint import CheckpointFile
from telescope.trials.outcome import completed
from workers.interface import (
    Assignment,
    Event,
    Executor,
    Failed,
    Finished,
    Measured,
    Started,
    Stopped,
    Waiting,
)

log = logging.getLogger("telescope.coordinator")
Ending = Finished | Failed | Stopped


class Dispatcher:
    """Submits the trials of the running jobs to one executor, and records their events."""

    def __init__(
        self, record: CoordinatorStore, executor: Executor, checkpoints: Path, max_attempts: int
    ) -> None:
        self._record = record
        self._executor = executor
        self._checkpoints = checkpoints
        self._max_attempts = max_attempts
        self._flights: dict[int, Assignment] = {}  # by trial id
        # True if the last dispatch submitted all pending trials; the next dispatch needs no query.
        # Set to False by polls, by plans that insert trials, and by attempts that do not finish.
        self._nothing_pending = False
        self.waiting_for: str | None = None  # why workers are missing; None if all are there
        self.numerics: str | None = None  # numerics at the last call of `new_numerics`

    @property
    def held(self) -> Collection[int]:
        """Ids of the trials that the executor holds."""
        return self._flights.keys()

    def events(self, timeout: float) -> Sequence[Event]:
        """Return the new events of the executor; wait up to `timeout` seconds for the first."""
        return self._executor.events(timeout)

    def new_numerics(self) -> bool:
        """True if the numerics of the workers have changed since the last call.

        Numerics are a string that names the workers' version of torch, their kind of device, and
        the revision of telescope's arithmetic.
        """
        before, self.numerics = self.numerics, self._executor.numerics
        return self.numerics != before

    def expect_pending(self) -> None:
        """Make the next dispatch look for pending trials in the database."""
        self._nothing_pending = False

    def dispatch(self, jobs: Mapping[str, JobRow]) -> None:
        """Submit as many pending trials of these jobs as the executor has room for.

        No job exceeds its `max_parallel`. Each time, the next trial comes from the job with the
        fewest trials at the executor, among the jobs that may submit one. If several jobs have the
        fewest, it comes from the oldest of them. Nothing is submitted before a worker has reported
        its numerics (`new_numerics`): a result of another job is reused, instead of training the
        trial again, only if it was computed with the same numerics.
        """
        room = self._executor.room - len(self._flights)
        if self.numerics is None or self._nothing_pending or room <= 0:
            return
        pending = {
            job_id: deque(self._record.pending_trials(job_id, room, held=self._flights))
            for job_id in jobs
        }
        read_all = all(len(trials) < room for trials in pending.values())
        load = Counter(flight.job for flight in self._flights.values())
        assignments: list[Assignment] = []
        while len(assignments) < room:
            eligible = [
                id for id in pending if pending[id] and within_limit(jobs[id], load[id] + 1)
            ]
            if not eligible:
                break
            job_id = min(eligible, key=lambda job_id: (load[job_id], job_id))
            trial = pending[job_id].popleft()
            checkpoint = str(self._checkpoints / job_id / f"{trial.spec.digest}.pt")
            attempt, failures = trial.attempt, trial.failures
            assignments.append(
                Assignment(trial.trial_id, attempt, trial.spec, checkpoint, job_id, failures)
            )
            load[job_id] += 1
        self._nothing_pending = read_all and not any(pending.values())
        self._flights |= {assignment.trial_id: assignment for assignment in assignments}
        self._executor.submit(*assignments)  # in one call, so that several may train together

    def record(self, event: Event) -> Assignment | None:
        """Record an event.

        If the event ends an attempt in `_flights`, return the attempt's assignment; otherwise
        return None.
        """
        match event:
            case Started(trial_id, attempt, resumed_step, worker, numerics):
                flight = self._flights.get(trial_id)
                branch = flight.spec.branch if flight else None
                begun = Begun(resumed_step, worker, numerics, branch)
                if self._record.trial_started(trial_id, attempt, begun):
                    message = "trial %d attempt %d started on %s at step %d"
                    log.debug(message, trial_id, attempt, worker, resumed_step)
            case Measured(trial_id, attempt, points):
                self._record.trial_measured(trial_id, attempt, points)
            case Waiting(reason):
                self._record.set_waiting(reason)
                self.waiting_for = reason
                level = logging.WARNING if reason else logging.INFO
                log.log(level, "workers: %s", reason or "none is missing any more")
            case Finished() | Failed() | Stopped():
                return self._record_end(event)
        return None

    def stop(self, job_id: str) -> None:
        """Ask the executor to stop all trials of a job."""
        for trial_id, flight in self._flights.items():
            if flight.job == job_id:
                self._executor.stop(trial_id)

    def delete_checkpoints(self, job_id: str) -> None:
        """Delete the checkpoints of a job if the job and all its attempts have ended."""
        folder = self._checkpoints / job_id
        if not folder.exists() or any(flight.job == job_id for flight in self._flights.values()):
            return
        try:
            ended = self._record.job(job_id).state.terminal
        except NotFound:  # the job is in another installation's database
            return
        if ended:
            shutil.rmtree(folder, ignore_errors=True)

    def delete_leftovers(self) -> None:
        """Delete all checkpoints of jobs that have ended."""
        for folder in self._checkpoints.glob("job-*"):
            self.delete_checkpoints(folder.name)

    def _record_end(self, event: Ending) -> Assignment | None:
        """Record the end of an attempt, and return the attempt's assignment.

        Record nothing and return None if the attempt is not in `_flights`.
        """
        flight = self._flights.get(event.trial_id)
        if flight is None or flight.attempt != event.attempt:
            return None
        match event:
            case Finished(trial_id, attempt, points):
                outcome = completed(flight.spec, points, attempt)
                if self._record.trial_finished(trial_id, outcome, points):
                    log.debug("trial %d completed, loss %s", trial_id, outcome.loss)
            case Failed(trial_id, attempt, failure):
                if row := self._record.trial_failed(trial_id, attempt, failure, self._max_attempts):
                    message = "trial %d attempt %d failed; the trial is now %s: %s"
                    log.warning(message, trial_id, attempt, row.state, failure.message)
            case Stopped(trial_id, attempt):
                self._record.trial_released(trial_id, attempt)
        del self._flights[event.trial_id]
        if not isinstance(event, Finished):
            self._nothing_pending = False  # the trial may be pending again
        return flight


def delete_checkpoint(flight: Assignment) -> None:
    """Delete the checkpoint of a finished trial, given the assignment of its last attempt."""
    CheckpointFile(flight.checkpoint).delete()


def within_limit(job: JobRow, load: int) -> bool:
    """True if the job's `max_parallel` permits `load` trials at the same time."""
    return job.max_parallel is None or load <= job.max_parallel
