"""The dispatcher: from rows of trials that wait to the executor, and from the executor's events to rows.

It knows which trials the executor holds (`_flights`). Each event is recorded in one transaction that names its attempt, so an
event about an attempt that is over changes nothing. Retries are decided by the record and nowhere else.
"""

import logging
import shutil
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from api.store.record import Record
from api.store.rows import Begun, JobRow
from telescope.errors import NotFound
from telescope.train.checkpoint import CheckpointFile
from telescope.trials.outcome import completed
from workers.interface import Assignment, Event, Executor, Failed, Finished, Measured, Started, Stopped, Waiting

log = logging.getLogger("telescope.coordinator")
Ending = Finished | Failed | Stopped


class Dispatcher:
    """Hands the trials of the running jobs to one executor, and records what becomes of them."""

    def __init__(self, record: Record, executor: Executor, checkpoints: Path, max_attempts: int) -> None:
        self._record = record
        self._executor = executor
        self._checkpoints = checkpoints
        self._max_attempts = max_attempts
        self._flights: dict[int, Assignment] = {}  # by trial
        self._nothing_waits = False  # as of the last hand-out, until a poll, a plan or the end of a trial may have changed that
        self.waiting_for: str | None = None
        self.numerics: str | None = None  # of the workers, as last heard

    @property
    def held(self) -> Collection[int]:
        """Trials that the executor holds."""
        return self._flights.keys()

    def events(self, timeout: float) -> Sequence[Event]:
        """What happened since, waiting up to `timeout` seconds for the first of it."""
        return self._executor.events(timeout)

    def new_numerics(self) -> bool:
        """Whether the workers compute with something else than when last asked."""
        before, self.numerics = self.numerics, self._executor.numerics
        return self.numerics != before

    def look_again(self) -> None:
        """Trials may wait that did not at the last hand-out."""
        self._nothing_waits = False

    def hand_out(self, jobs: Mapping[str, JobRow]) -> None:
        """Give what the executor has room for: to the job that holds fewest, the oldest first.

        Nothing before a worker has said what it computes with: until then it is not known what need not be trained again.
        """
        free = self._executor.room - len(self._flights)
        if self.numerics is None or self._nothing_waits or free <= 0:
            return
        waiting = {job_id: deque(self._record.pending_trials(job_id, free, held=self._flights)) for job_id in jobs}
        all_told = all(len(pending) < free for pending in waiting.values())
        load = Counter(flight.job for flight in self._flights.values())
        assignments: list[Assignment] = []
        while len(assignments) < free and (open_jobs := [id for id in waiting if waiting[id] and may_have(jobs[id], load[id] + 1)]):
            job_id = min(open_jobs, key=lambda job_id: (load[job_id], job_id))
            trial = waiting[job_id].popleft()
            checkpoint = self._checkpoints / job_id / f"{trial.spec.digest}.pt"
            assignments.append(Assignment(trial.trial_id, trial.attempt, trial.spec, str(checkpoint), job_id, trial.failures))
            load[job_id] += 1
        self._nothing_waits = all_told and not any(waiting.values())
        self._flights |= {assignment.trial_id: assignment for assignment in assignments}
        self._executor.submit(*assignments)  # all at once: those of one shape may share a worker

    def record(self, event: Event) -> Assignment | None:
        """Write an event down; the assignment that it ends, where it ends one."""
        match event:
            case Started(trial_id, attempt, resumed_step, worker, numerics):
                flight = self._flights.get(trial_id)
                branch = flight.spec.branch if flight else None
                if self._record.trial_started(trial_id, attempt, Begun(resumed_step, worker, numerics, branch)):
                    log.debug("trial %d attempt %d began on %s at step %d", trial_id, attempt, worker, resumed_step)
            case Measured(trial_id, attempt, points):
                self._record.trial_measured(trial_id, attempt, points)
            case Waiting(reason):
                self._record.set_waiting(reason)
                self.waiting_for = reason
                log.log(logging.WARNING if reason else logging.INFO, "workers: %s", reason or "placed again")
            case Finished() | Failed() | Stopped():
                return self._land(event)
        return None

    def stop(self, job_id: str) -> None:
        """Ask the executor to end what it holds of a job."""
        for trial_id, flight in self._flights.items():
            if flight.job == job_id:
                self._executor.stop(trial_id)

    def clear(self, job_id: str) -> None:
        """Delete the checkpoints of a job that has ended, once nothing of it runs any more."""
        folder = self._checkpoints / job_id
        if not folder.exists() or any(flight.job == job_id for flight in self._flights.values()):
            return
        try:
            ended = self._record.job(job_id).state.terminal
        except NotFound:  # another installation's
            return
        if ended:
            shutil.rmtree(folder, ignore_errors=True)

    def clear_all(self) -> None:
        """Delete the checkpoints that ended jobs left behind."""
        for folder in self._checkpoints.glob("job-*"):
            self.clear(folder.name)

    def _land(self, event: Ending) -> Assignment | None:
        """The last event of an attempt: record it and free its slot."""
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
                    log.warning("trial %d attempt %d failed, now %s: %s", trial_id, attempt, row.state, failure.message)
            case Stopped(trial_id, attempt):
                self._record.trial_released(trial_id, attempt)
        del self._flights[event.trial_id]
        self._nothing_waits &= isinstance(event, Finished)  # another end may have made it wait again
        return flight


def drop_checkpoint(flight: Assignment) -> None:
    """Delete the checkpoint of a trial that has finished."""
    CheckpointFile(flight.checkpoint).delete()


def may_have(job: JobRow, load: int) -> bool:
    """Whether so many of a job's trials may be in flight."""
    return job.max_parallel is None or load <= job.max_parallel
