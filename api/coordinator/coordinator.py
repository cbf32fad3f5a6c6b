"""Who turns questions into trials, hands them to workers, and writes down what becomes of them?

The coordinator: one process, the only writer of trials and curves. `step` is its whole life:

    poll jobs and verbs -> wait for events -> record each -> hand out the next trials -> ask the studies what else is needed

Hand-out comes before planning, and runs ahead of the workers: one that ends a trial finds its next in line, and waits neither
for a transaction nor for a plan. Within a job the longest pending trial goes first, whichever stage or ladder it is of. What it keeps in
memory (`_flights`: what the executor holds; `_stale`: jobs whose study must be asked) can be lost at any moment: a new coordinator
reads the rows, sends the trials that were running round again, from their checkpoints, and asks every study anew. That is safe because
a study's plan is a pure function of its trials, and because every write names the attempt that it is about.

Retries are decided here and nowhere else: an operational failure costs the trial one of its attempts, the last one fails its job. A
study that raises fails its own job. A database that is away stops the clock, and nothing else: events wait in `_inbox`.
"""

import logging
import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from api.job_states import JobState, Verb
from api.store.engines import CoordinatorLock, Superseded
from api.store.record import Record
from api.store.rows import JobRow
from telescope.errors import NotFound, TelescopeError, Unavailable
from telescope.studies import registry
from telescope.studies.kind import AnyStudy
from telescope.train.checkpoint import CheckpointFile
from telescope.trials.outcome import Trial, TrialState, completed
from workers.interface import Assignment, Event, Executor, Failed, Finished, Measured, Started, Stopped, Waiting

log = logging.getLogger("telescope.coordinator")
OUT_OF_TIME = "limit:max_seconds"
AWAY_SECONDS = 1.0  # between looks for a database that is away


class Coordinator:
    """Runs the jobs of one database on one executor."""

    def __init__(self, record: Record, executor: Executor, checkpoints: Path, *, poll_seconds: float = 0.25, max_attempts: int = 3) -> None:
        self._record = record
        self._executor = executor
        self._checkpoints = checkpoints
        self._poll_seconds = poll_seconds
        self._max_attempts = max_attempts
        self._next_poll = 0.0
        self._jobs: dict[str, JobRow] = {}  # running ones, oldest first
        self._studies: dict[str, AnyStudy] = {}
        self._stale: set[str] = set()
        self._flights: dict[int, Assignment] = {}  # by trial
        self._inbox: deque[Event] = deque()
        self._waiting: str | None = None
        self._numerics: str | None = None  # of the workers, as last heard
        self._nothing_waits = False  # as of the last hand-out, until a poll, a plan or the end of a trial may have changed that

    def recover(self) -> None:
        """Take over from a coordinator that died: what it had running waits again; what ended jobs left behind goes."""
        lost = self._record.requeue_lost()
        self._record.set_waiting(None)
        if lost:
            log.info("%d trials were running when the coordinator ended; they resume from their checkpoints", lost)
        for folder in self._checkpoints.glob("job-*"):
            self._clear(folder.name)

    def run(self, stop: threading.Event, lock: CoordinatorLock) -> None:
        """Recover, then step until `stop`; wait where the database is away, end where another coordinator took over."""
        recovered = False
        while not stop.is_set():
            try:
                self._still_alone(lock)
                if not recovered:
                    self.recover()
                    recovered = True
                self.step()
            except Unavailable as error:
                log.warning("%s; trying again", error)
                time.sleep(AWAY_SECONDS)  # not stop.wait: a signal handler sets it, in this very thread

    def step(self) -> None:
        """One turn: poll, record what happened, hand out, plan, hand out."""
        if time.monotonic() >= self._next_poll:
            self._poll()
            self._next_poll = time.monotonic() + self._poll_seconds
            self._nothing_waits = False
        if not self._inbox:
            patience = 0.0 if self._stale else self._next_poll - time.monotonic()
            self._inbox += self._executor.events(max(0.0, patience))
        while self._inbox:
            self._handle(self._inbox[0])
            self._inbox.popleft()
        self._hand_out()
        if self._executor.numerics != self._numerics:
            self._numerics = self._executor.numerics
            self._stale |= self._jobs.keys()
        for job_id in sorted(self._stale):
            if job := self._jobs.get(job_id):
                self._advance(job)
            self._stale.discard(job_id)
        self._hand_out()

    # ------------------------------------------------------------------------------------------------ jobs and verbs

    def _poll(self) -> None:
        running = {}
        for job in self._record.active_jobs():
            if job.requested is Verb.CANCEL and (report := self._summary(job.id, "cancelled")):
                self._record.put_result(job.id, report, final=True)
            if job.requested:
                asked, job = job.requested, self._record.carry_out(job.id)
                log.info("job %s: %s carried out, now %s", job.id, asked, job.state)
            elif job.state is JobState.QUEUED:
                job = self._record.begin_job(job.id)
                log.info("job %s (%s) is %s", job.id, job.name, job.state)
                if job.trials_done and (report := self._summary(job.id)):  # the one before is that of the earlier end
                    self._record.put_result(job.id, report, final=False)
            if job.state is JobState.RUNNING:
                running[job.id] = job
        for job_id in self._jobs.keys() - running.keys():
            self._leave(job_id)
        self._stale |= running.keys() - self._jobs.keys()
        self._stale |= {job_id for job_id, job in running.items() if _out_of_time(job)}
        self._jobs = running
        if self._waiting:
            self._record.set_waiting(self._waiting)  # also on jobs that came since

    def _leave(self, job_id: str) -> None:
        """A job no longer runs: stop what the executor holds of it."""
        self._jobs.pop(job_id, None)
        self._studies.pop(job_id, None)
        for trial_id, flight in self._flights.items():
            if flight.job == job_id:
                self._executor.stop(trial_id)
        self._clear(job_id)

    def _end(self, job: JobRow, state: JobState, reason: str | None, result: dict[str, Any] | None = None) -> None:
        if state is JobState.FAILED:
            result = self._summary(job.id, f"failed: {reason}")
        ended = self._record.finish_job(job.id, state, reason, result)
        log.log(logging.ERROR if state is JobState.FAILED else logging.INFO, "job %s %s: %s", ended.id, ended.state, reason)
        self._leave(job.id)

    def _summary(self, job_id: str, ended: str = "") -> dict[str, Any] | None:
        """What a job's completed trials amount to; None where its study cannot say."""
        try:
            study = registry.parse(self._record.study_document(job_id))
            trials = self._record.terminal_trials(job_id, outlines=study.kind.reads_curves)
            done = [trial for trial in trials if trial.state is TrialState.COMPLETED]
            return registry.report_document(study.report(done, ended))
        except Unavailable:
            raise
        except Exception:
            log.exception("the study of job %s has no report", job_id)
            return None

    # ---------------------------------------------------------------------------------------------------------- plan

    def _advance(self, job: JobRow) -> None:
        """Ask a job's study what else it needs; what goes wrong in there is that job's own failure."""
        try:
            while self._plan(job):
                pass
        except Unavailable:
            raise
        except TelescopeError as error:
            self._end(job, JobState.FAILED, f"its study failed: {error}")
        except Exception as error:
            log.exception("the study of job %s raised", job.id)
            self._end(job, JobState.FAILED, f"its study failed: {type(error).__name__}: {error}")

    def _plan(self, job: JobRow) -> bool:
        """Enter what the study needs now; True where other jobs had trained some of it, so that it is to be asked again."""
        study = self._study(job.id)
        trials = self._record.terminal_trials(job.id)
        if any(trial.state is TrialState.FAILED for trial in trials):
            self._end(job, JobState.FAILED, self._blame(job.id))
            return False
        plan = study.plan(trials)
        if plan.done:
            report = self._report(job.id, study, trials)
            self._end(job, JobState.SUCCEEDED, report.get("reason"), report)
            return False
        known = self._record.known_digests(job.id)
        new = tuple(spec for spec in plan.start if spec.digest not in known)
        if _out_of_time(job):
            if len(new) == len(plan.start):  # the stages begun are decided
                report = self._report(job.id, study, trials, OUT_OF_TIME)
                self._end(job, JobState.SUCCEEDED, OUT_OF_TIME, report)
        else:
            if not plan.start:
                raise RuntimeError("its plan is not done and starts nothing")
            if new:
                self._record.plan_trials(job.id, new)
                self._nothing_waits = False
                log.info("job %s: %d trials planned", job.id, len(new))
            reused = self._reuse(job.id) if study.question.reuse else 0
            if new and trials:  # a stage was decided
                self._hand_out()  # before the report, for which no worker is to wait
                self._record.put_result(job.id, self._report(job.id, study, trials), final=False)
            return reused > 0
        return False

    def _report(self, job_id: str, study: AnyStudy, trials: Sequence[Trial], ended: str = "") -> dict[str, Any]:
        """What the trials that a plan was made of amount to; outlines are read now, where the study reads them: plans are more frequent."""
        if study.kind.reads_curves:
            trials = self._record.terminal_trials(job_id, outlines=True)
        return registry.report_document(study.report(trials, ended))

    def _reuse(self, job_id: str) -> int:
        """Take over what other jobs have trained; how many trials."""
        if not self._numerics:
            return 0
        reused = self._record.reuse_trials(job_id, self._numerics, list(self._flights))
        if reused:
            log.info("job %s: %d trials had been trained by other jobs", job_id, reused)
        return reused

    def _blame(self, job_id: str) -> str:
        """The reason of a job that a failed trial ends."""
        row = self._record.trials(job_id, 1, state=TrialState.FAILED).items[0]
        times = "" if row.failures == 1 else f" {row.failures} times, at last"
        summary = (row.failure_message or "").partition("\n")[0]
        return f"trial {row.id} (width {row.width}, lr {row.lr:g}) failed{times}: {summary}"

    def _study(self, job_id: str) -> AnyStudy:
        if job_id not in self._studies:
            self._studies[job_id] = registry.parse(self._record.study_document(job_id))
        return self._studies[job_id]

    # ------------------------------------------------------------------------------------------------------- trials

    def _hand_out(self) -> None:
        """Give what the executor has room for: to the job that holds fewest, the oldest first.

        Nothing before a worker has said what it computes with: until then nobody knows what need not be trained again.
        """
        free = self._executor.room - len(self._flights)
        if self._numerics is None or self._nothing_waits or free <= 0:
            return
        waiting = {job_id: deque(self._record.pending_trials(job_id, free, held=self._flights)) for job_id in self._jobs}
        all_told = all(len(pending) < free for pending in waiting.values())
        load = Counter(flight.job for flight in self._flights.values())
        assignments: list[Assignment] = []
        while len(assignments) < free and (open_jobs := [id for id in waiting if waiting[id] and self._may_have(id, load[id] + 1)]):
            job_id = min(open_jobs, key=lambda job_id: (load[job_id], job_id))
            trial = waiting[job_id].popleft()
            checkpoint = self._checkpoints / job_id / f"{trial.spec.digest}.pt"
            assignments.append(Assignment(trial.trial_id, trial.attempt, trial.spec, str(checkpoint), job_id, trial.failures))
            load[job_id] += 1
        self._nothing_waits = all_told and not any(waiting.values())
        self._flights |= {assignment.trial_id: assignment for assignment in assignments}
        self._executor.submit(*assignments)  # all at once: those of one shape may share a worker

    def _may_have(self, job_id: str, load: int) -> bool:
        """Whether so many of a job's trials may be in flight."""
        most = self._jobs[job_id].max_parallel
        return most is None or load <= most

    def _handle(self, event: Event) -> None:
        """Record one event in one transaction; anything about an attempt that is over changes nothing."""
        match event:
            case Started(trial_id, attempt, resumed_step, worker, numerics):
                flight = self._flights.get(trial_id)
                branch = flight.spec.branch if flight else None
                if self._record.trial_started(trial_id, attempt, resumed_step, worker, numerics, branch):
                    log.debug("trial %d attempt %d began on %s at step %d", trial_id, attempt, worker, resumed_step)
            case Measured(trial_id, attempt, points):
                self._record.trial_measured(trial_id, attempt, points)
            case Waiting(reason):
                self._record.set_waiting(reason)
                self._waiting = reason
                log.log(logging.WARNING if reason else logging.INFO, "workers: %s", reason or "placed again")
            case Finished() | Failed() | Stopped():
                self._land(event)

    def _land(self, event: Finished | Failed | Stopped) -> None:
        """The last event of an attempt: record it, free its slot, and hand out the next trial at once."""
        flight = self._flights.get(event.trial_id)
        if flight is None or flight.attempt != event.attempt:
            return
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
        self._stale.add(flight.job)
        self._nothing_waits &= isinstance(event, Finished)  # another end may have made it wait again
        self._hand_out()
        if isinstance(event, Finished):
            CheckpointFile(flight.checkpoint).delete()
        if flight.job not in self._jobs:
            self._clear(flight.job)

    # -------------------------------------------------------------------------------------------------------- parts

    def _clear(self, job_id: str) -> None:
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

    def _still_alone(self, lock: CoordinatorLock) -> None:
        """A cut connection frees PostgreSQL's lock: take it again, or leave the field to whoever took it meanwhile."""
        if not (lock.held() or lock.acquire()):
            raise Superseded("another coordinator took over while this one's connection was cut")


def _out_of_time(job: JobRow) -> bool:
    if job.max_seconds is None or job.running_since is None:
        return False
    return job.running_seconds + (datetime.now(UTC) - job.running_since).total_seconds() > job.max_seconds
