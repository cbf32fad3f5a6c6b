"""The coordinator's loop, which plans the trials of all running jobs and records their results.

The coordinator is the only process that writes trials and curves. Its loop repeats
`Coordinator.step`:

    poll jobs and verbs -> wait for events -> record the events -> dispatch trials -> plan trials
    -> dispatch the new trials

To poll is to read jobs and verbs from the database. A verb is a user's request to change the state
of a job, such as cancel. To plan is to insert the trials that a job's study needs next. To dispatch
is to hand trials to the executor, which trains them on workers and reports events
(`workers.interface`).

The loop dispatches trials before it plans, and queues trials at the executor before workers are
free for them. A worker that ends a trial therefore usually finds the next trial already queued, and
waits neither for a transaction nor for a plan. Within a job, the pending trial with the most
planned FLOPs goes first.

The state of the loop may be lost at any moment. A new coordinator then reads the database, resumes
interrupted trials from their checkpoints, and plans every study again. This is safe because a
study's plan is a pure function of its trials, and because every record of an event names the
attempt (the execution of the trial) that the event belongs to.

If an attempt fails for an operational reason, such as the death of a worker, the trial is usually
tried again. The trial and its job fail once `max_attempts` attempts have failed, or if another
attempt would fail in the same way. If a study raises an exception, only its own job fails. While
the database is unreachable, events wait in `_inbox`, so that none is lost.
"""

import logging
import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

from api.coordinator.dispatcher import Dispatcher, delete_checkpoint
from api.coordinator.planner import End, Planner, out_of_time
from api.job_states import JobState, Verb
from api.store.engines import CoordinatorLock, Superseded
from api.store.record import CoordinatorStore
from api.store.rows import JobRow
from telescope.errors import TelescopeError, Unavailable
from telescope.studies.kind import EndCause, Ended
from workers.interface import Event, Executor, Finished

log = logging.getLogger("telescope.coordinator")
RECONNECT_SECONDS = 1.0  # pause between attempts to reach the database


class Coordinator:
    """Runs the jobs of one database on one executor."""

    def __init__(
        self,
        record: CoordinatorStore,
        executor: Executor,
        checkpoints: Path,
        *,
        poll_seconds: float = 0.25,
        max_attempts: int = 3,
    ) -> None:
        self._record = record
        self._planner = Planner(record)
        self._dispatcher = Dispatcher(record, executor, checkpoints, max_attempts)
        self._poll_seconds = poll_seconds
        self._next_poll = 0.0
        self._jobs: dict[str, JobRow] = {}  # running jobs, oldest first
        self._stale: set[str] = set()  # ids of jobs that must be planned again
        self._inbox: deque[Event] = deque()  # events that are not recorded yet

    def recover(self) -> None:
        """Take over from the last coordinator.

        Trials that were running become pending again. The checkpoints of ended jobs are deleted.
        """
        lost = self._record.requeue_lost()
        self._record.set_waiting(None)
        if lost:
            when = "were running when the last coordinator ended"
            log.info("%d trials %s; they resume from their checkpoints", lost, when)
        self._dispatcher.delete_leftovers()

    def run(self, stop: threading.Event, lock: CoordinatorLock) -> None:
        """Recover, then step until `stop` is set; wait while the database is unreachable.

        Raises Superseded if another coordinator has taken over, and WorkersLost if the executor can
        no longer run anything.
        """
        recovered = False
        while not stop.is_set():
            try:
                require_lock(lock)
                if not recovered:
                    self.recover()
                    recovered = True
                self.step()
            except Unavailable as error:
                log.warning("%s; trying again", error)
                # not stop.wait(): a signal handler that calls stop.set() meanwhile could deadlock
                time.sleep(RECONNECT_SECONDS)

    def step(self) -> None:
        """Take the steps of the loop once; poll only if a poll is due."""
        if time.monotonic() >= self._next_poll:
            self._poll()
            self._next_poll = time.monotonic() + self._poll_seconds
            self._dispatcher.expect_pending()
        if not self._inbox:
            timeout = 0.0 if self._stale else self._next_poll - time.monotonic()
            self._inbox += self._dispatcher.events(max(0.0, timeout))
        while self._inbox:
            self._handle(self._inbox[0])
            self._inbox.popleft()
        self._dispatch()
        if self._dispatcher.new_numerics():
            self._stale |= self._jobs.keys()
        for job_id in sorted(self._stale):
            if job := self._jobs.get(job_id):
                self._advance(job)
            self._stale.discard(job_id)
        self._dispatch()

    def _poll(self) -> None:
        """Carry out verbs, start queued jobs, and drop jobs that no longer run.

        New running jobs, and jobs that are out of time, are marked for planning.
        """
        running = {}
        for active in self._record.active_jobs():
            job = take_up(active, self._record, self._planner)
            if job.state is JobState.RUNNING:
                running[job.id] = job
        for job_id in self._jobs.keys() - running.keys():
            self._drop(job_id)
        self._stale |= running.keys() - self._jobs.keys()
        self._stale |= {job_id for job_id, job in running.items() if out_of_time(job)}
        self._jobs = running
        if self._dispatcher.waiting_for:
            self._record.set_waiting(self._dispatcher.waiting_for)  # shown in new jobs, too

    def _dispatch(self) -> None:
        self._dispatcher.dispatch(self._jobs)

    def _handle(self, event: Event) -> None:
        """Record one event. If the event ends an attempt, dispatch more trials at once."""
        ended = self._dispatcher.record(event)
        if ended is None:
            return
        self._stale.add(ended.job)
        self._dispatch()
        if isinstance(event, Finished):
            delete_checkpoint(ended)
        if ended.job not in self._jobs:
            self._dispatcher.delete_checkpoints(ended.job)

    def _advance(self, job: JobRow) -> None:
        """Plan a job until a plan reuses no trials. If the study raises an error, the job fails."""
        try:
            while self._plan(job):
                pass
        except Unavailable:
            raise
        except TelescopeError as error:
            self._end_job(job, End(JobState.FAILED, f"its study failed: {error}"))
        except Exception as error:
            log.exception("the study of job %s raised an exception", job.id)
            reason = f"its study failed: {type(error).__name__}: {error}"
            self._end_job(job, End(JobState.FAILED, reason))

    def _plan(self, job: JobRow) -> bool:
        """Plan a job once. Return True if trials of other jobs were reused: then plan again."""
        outcome = self._planner.plan(job, self._dispatcher.numerics, self._dispatcher.held)
        if outcome.end:
            self._end_job(job, outcome.end)
            return False
        if outcome.new:
            self._dispatcher.expect_pending()
        if outcome.trials_to_report:
            self._dispatch()  # before the report, so that no worker waits for it
            report = self._planner.report(job.id, outcome.trials_to_report)
            self._record.put_result(job.id, report, final=False)
        return outcome.reused > 0

    def _end_job(self, job: JobRow, end: End) -> None:
        if end.state is JobState.FAILED:
            report = self._planner.summary(job.id, Ended(EndCause.FAILED, end.reason))
            end = replace(end, result=report)
        ended = self._record.finish_job(job.id, end.state, end.reason, end.result)
        level = logging.ERROR if end.state is JobState.FAILED else logging.INFO
        log.log(level, "job %s %s: %s", ended.id, ended.state, end.reason)
        self._drop(job.id)

    def _drop(self, job_id: str) -> None:
        """Forget a job that no longer runs, and stop its trials."""
        self._jobs.pop(job_id, None)
        self._planner.forget(job_id)
        self._dispatcher.stop(job_id)
        self._dispatcher.delete_checkpoints(job_id)


def take_up(job: JobRow, record: CoordinatorStore, planner: Planner) -> JobRow:
    """Carry out the requested verb of a job, or start the job if it is queued.

    Return the job as it is afterwards.
    """
    if job.requested is Verb.CANCEL:
        report = planner.summary(job.id, Ended(EndCause.CANCELLED))
        if report:
            record.put_result(job.id, report, final=True)
    if job.requested:
        verb, job = job.requested, record.carry_out(job.id)
        log.info("job %s: %s carried out, now %s", job.id, verb, job.state)
    elif job.state is JobState.QUEUED:
        job = record.begin_job(job.id)
        log.info("job %s (%s) is %s", job.id, job.name, job.state)
        # The report of a retried job states how the job ended earlier. Replace this report.
        if job.trials_done and (report := planner.summary(job.id)):
            record.put_result(job.id, report, final=False)
    return job


def require_lock(lock: CoordinatorLock) -> None:
    """Acquire the coordinator's lock again if a broken connection released it.

    Raises Superseded if another coordinator holds the lock.
    """
    if not (lock.held() or lock.acquire()):
        raise Superseded("another coordinator took over while this one was disconnected")
