"""The implementation of `telescope run`, which runs one job on this machine without a service.

The command writes the job into the database of this installation. It then starts a child process,
the coordinator, which plans and runs the trials (training runs) of the job. `telescope serve` also
starts a coordinator, so all jobs run through the same code. If another coordinator already works on
the database, that coordinator runs the job, and the child only waits. The command shows the
progress of the job until the job has ended, and then ends the child.

Ctrl-C, pressed once or repeatedly, pauses the job and keeps its checkpoints, unless the job has
ended or is being cancelled. `parting_message` then describes the state that the job has reached.
The job is also paused if the coordinator dies twice before it has changed the job. The error
message then quotes the last line of the log.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

import migrations
from api.cli.output import JobInterrupted
from api.coordinator.supervisor import Child, end, on_signals
from api.job_states import JobState, Verb, prospect
from api.jobs import reports, variants
from api.jobs.analyses import analysed
from api.settings import Settings
from api.store.engines import translated_errors
from api.store.rows import JobRow, TrialRow
from api.store.store import Store
from api.terminal import frontier, progress
from api.terminal.follow import follow
from telescope.errors import Conflict, Unavailable
from telescope.home import home
from telescope.studies import registry
from telescope.studies.kind import AnyStudy

POLL_SECONDS = 0.5
PAUSE_SECONDS = 2.0  # longest time to wait for the coordinator to carry out a pause
SLOW_SECONDS = 10.0  # if the job does not change in this time, the last log line is shown
MOST_DEATHS = 2  # if the coordinator dies this often before it has changed the job, the job pauses
LOG_NAME, LOG_BEGINS = "run.log", "a coordinator starts\n"


@contextmanager
def installation(settings: Settings) -> Iterator[Store]:
    """Migrate and open the database of this installation, and close it after the `with` body."""
    with translated_errors():
        migrations.upgrade(settings.database_url)
    store = Store(settings.database_url)
    try:
        yield store
    finally:
        store.close()


def factories(study: AnyStudy, settings: Settings) -> dict[str, str]:
    """Return the environment variable that lists all allowed factories, and the variable's value.

    A factory is a user's function that builds a model. The factories of the study's models are
    allowed, as are the factories in the settings. The coordinator sends only the code of allowed
    factories to the workers.
    """
    models = study.kind.models(study.question)
    own_factories = [name for model in models for name in model.factories()]
    allowed = dict.fromkeys((*settings.factories, *own_factories))
    return {"TELESCOPE_FACTORIES": ",".join(allowed)}


@contextmanager
def running_coordinator(environment: Mapping[str, str]) -> Iterator[Child]:
    """Run a coordinator during the `with` body.

    The output of the coordinator is appended to a log file in the folder TELESCOPE_HOME.
    """
    with open(home() / LOG_NAME, "ab") as log:

        def note(line: str) -> None:
            log.write(f"{line}\n".encode())
            log.flush()

        note(f"{datetime.now():%Y-%m-%d %H:%M:%S} {LOG_BEGINS}".strip())
        child = Child("coordinator", {**os.environ, **environment}, note, log)
        try:
            yield child
        finally:
            end([child])


def run_to_end(
    store: Store, job_id: str, settings: Settings, environment: Mapping[str, str], output: Console
) -> tuple[progress.ProgressView, "LocalResult"]:
    """Run a job until the job has ended. Returns its last progress and its result.

    Raises JobInterrupted after Ctrl-C, and Unavailable if the coordinator does not start.
    """
    study = registry.parse(store.study_document(job_id))
    try:
        with running_coordinator({**environment, **factories(study, settings)}) as child:
            ended = show_until_ended(store, job_id, child, study, output)
    except KeyboardInterrupt:
        raise JobInterrupted(parting_message(store.job(job_id)), job_id) from None
    report = reports.latest(store.job(job_id), store)
    return ended, LocalResult(store, job_id, study, report)


def show_until_ended(
    store: Store, job_id: str, child: Child, study: AnyStudy, output: Console
) -> progress.ProgressView:
    """Show a job's progress until the job has ended.

    After Ctrl-C, requests a pause of the job and raises KeyboardInterrupt.
    """
    forecast_flops = study.kind.expected_flops(study.preview())
    with interruptible_once():
        try:
            return follow(supervised_progress(store, job_id, child, forecast_flops), output)
        except KeyboardInterrupt:
            request_pause(store, job_id)
            raise


@contextmanager
def interruptible_once() -> Iterator[None]:
    """Raise KeyboardInterrupt on the first signal during the `with` body, and ignore later signals.

    The signals are SIGINT (Ctrl-C), SIGTERM and SIGHUP. Later signals are ignored so that a second
    Ctrl-C does not disturb the pause that the first Ctrl-C requests.
    """
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    with on_signals(interrupt):
        yield


def supervised_progress(
    store: Store, job_id: str, child: Child, forecast_flops: float | None
) -> Iterator[progress.ProgressView]:
    """Yield a job's progress until the job has ended. Restarts the coordinator whenever it dies.

    If the coordinator dies twice before it has changed the job, pauses the job and raises
    Unavailable.
    """
    first_version, began = store.job(job_id).version, time.monotonic()
    while True:
        job, trials = store.job(job_id), variants.every_trial(store, job_id)
        update = progress.job_progress(job, trials, datetime.now(UTC), forecast_flops)
        is_overdue = child.deaths > 0 or time.monotonic() - began > SLOW_SECONDS
        no_coordinator = is_overdue and job.version == first_version
        if no_coordinator:
            cause = f"its coordinator to start; the last log line is: {last_log_line(child)}"
            update = replace(update, waiting_for=cause)
        yield update
        if update.state.terminal:
            return
        child.tend()
        if no_coordinator and child.deaths >= MOST_DEATHS:
            request_pause(store, job_id)
            remedy = f"fix the cause, then run `telescope run --resume {job_id}`"
            cause = f"{last_log_line(child)} (log {home() / LOG_NAME})"
            raise Unavailable(f"the coordinator does not start: {cause}; {remedy}")
        time.sleep(POLL_SECONDS)


def last_log_line(child: Child) -> str:
    """Return the last line that the child has logged, or "nothing" if the child has logged no line.

    This line often tells why the child ended. The notes of this process about the child, and lines
    from earlier calls of `running_coordinator`, do not count.
    """
    log = (home() / LOG_NAME).read_text(errors="replace").rpartition(LOG_BEGINS)[2]
    lines = [line.strip() for line in log.splitlines()]
    parents_note = f"{child.name} ended with status"
    own_lines = [line for line in lines if line and not line.startswith(parents_note)]
    return own_lines[-1] if own_lines else "nothing"


@dataclass(frozen=True)
class LocalResult:
    """The result of a job, read from the database of this installation.

    Implements `api.terminal.views.JobResult`.
    """

    store: Store
    job_id: str
    parsed: AnyStudy
    report: dict[str, Any]

    @property
    def name(self) -> str:
        return self.store.job(self.job_id).name

    @property
    def study(self) -> dict[str, Any]:
        return registry.to_document(self.parsed)

    def trials(self) -> Iterator[TrialRow]:
        return variants.every_trial(self.store, self.job_id)

    def tables(self, target_loss: float) -> dict[str, Any]:
        """Compute the tables of a job of kind compute_time at a target loss."""
        analysis = analysed(self.job_id, self.store)
        return registry.report_document(frontier.tables_at(target_loss, analysis))


def resume_job(store: Store, job_id: str) -> JobRow:
    """Resume a job that is paused or about to be paused, or retry a failed or cancelled job.

    Any other job that has not ended stays as it is. Raises Conflict if the job has succeeded.
    """
    job = store.job(job_id)
    if job.state is JobState.SUCCEEDED:
        remedy = "run its job file again to start a new job"
        raise Conflict(f"job {job_id} is {job.state} and cannot be resumed; {remedy}")
    if job.state.terminal:
        return store.request(job_id, Verb.RETRY)
    paused = prospect(job.state, job.requested) is JobState.PAUSED
    return store.request(job_id, Verb.RESUME) if paused else job


def request_pause(store: Store, job_id: str) -> JobRow:
    """Request a pause of the job, wait up to `PAUSE_SECONDS` for it, and return the job.

    The returned job may not be paused yet. A job that has ended, or that is being cancelled, stays
    as it is.
    """
    with suppress(Conflict):
        store.request(job_id, Verb.PAUSE)
    job, deadline = store.job(job_id), time.monotonic() + PAUSE_SECONDS
    while job.requested and time.monotonic() < deadline:
        time.sleep(0.1)
        job = store.job(job_id)
    return job


def parting_message(job: JobRow) -> str:
    """Tell the state of a job after Ctrl-C, and the command that continues or shows the job."""
    next_state, resume = prospect(job.state, job.requested), f"telescope run --resume {job.id}"
    if job.state is JobState.PAUSED:
        return f"Paused; finished work is kept. Resume with: {resume}"
    if next_state is JobState.PAUSED:
        outlook = "a coordinator will carry it out, and finished work is kept"
        return f"pause requested; {outlook}. Resume with: {resume}"
    if next_state.terminal:
        outlook = "is" if job.state.terminal else "will soon be"
        result = f"telescope result {job.id} (while `telescope serve` runs)"
        return f"not paused: the job {outlook} {next_state}. Show its result with: {result}"
    watch = f"telescope watch {job.id} (while `telescope serve` runs)"
    return f"the job continues; follow it with: {watch}"
