"""One job on a laptop, without a service.

`run` writes the job into the database of this installation, starts a coordinator as a child (the
same process that `telescope serve` keeps, so that jobs have one code path), reports progress until
the job has ended, and ends the child. If another coordinator is running already, it does the job,
and the child only waits. Ctrl-C, pressed once or repeatedly, pauses the job: its checkpoints stay,
and `parting` describes the state reached. A coordinator that dies twice before it touches the job
also pauses it, and its last log line becomes the error message.
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
from api.coordinator.supervisor import Child, end, on_signals
from api.job_states import JobState, Verb, prospect
from api.jobs import variants
from api.jobs.analyses import analysed
from api.settings import Settings
from api.store.engines import translated
from api.store.rows import JobRow, TrialRow
from api.store.store import Store
from api.terminal import frontier, progress
from api.terminal.follow import follow
from telescope.errors import Conflict, Unavailable
from telescope.home import home
from telescope.studies import registry
from telescope.studies.kind import AnyStudy

POLL_SECONDS = 0.5
PAUSE_SECONDS = 2.0  # for the coordinator to carry out a pause
SLOW_SECONDS = 10.0  # without progress, after which the coordinator's last log line is shown
MOST_DEATHS = 2  # of a coordinator that has not touched the job
LOG_NAME, LOG_BEGINS = "run.log", "a coordinator starts\n"


@contextmanager
def installation(settings: Settings) -> Iterator[Store]:
    """Migrate and open the database of this installation."""
    with translated():
        migrations.upgrade(settings.database_url)
    store = Store(settings.database_url)
    try:
        yield store
    finally:
        store.close()


def factories(study: AnyStudy, settings: Settings) -> dict[str, str]:
    """The setting that lets a coordinator send the code of the study's user models to workers."""
    models = study.kind.models(study.question)
    own = [name for model in models for name in model.factories()]
    return {"TELESCOPE_FACTORIES": ",".join(dict.fromkeys((*settings.factories, *own)))}


@contextmanager
def running_coordinator(environment: Mapping[str, str]) -> Iterator[Child]:
    """Run a coordinator during the block; its output is appended to a log in TELESCOPE_HOME."""
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


def show_until_ended(
    store: Store, job_id: str, child: Child, study: AnyStudy, shown_on: Console
) -> progress.ProgressView:
    """Show a job until it has ended; an interruption pauses it, then raises KeyboardInterrupt."""
    forecast_flops = study.kind.expected_flops(study.preview())
    with interruptible_once():
        try:
            return follow(states(store, job_id, child, forecast_flops), shown_on)
        except KeyboardInterrupt:
            request_pause(store, job_id)
            raise


@contextmanager
def interruptible_once() -> Iterator[None]:
    """Raise KeyboardInterrupt on the first signal in the block; later signals are ignored.

    So that a second Ctrl-C does not disturb the pause that the first one requested.
    """
    heard = False

    def interrupt(*_: object) -> None:
        nonlocal heard
        if not heard:
            heard = True
            raise KeyboardInterrupt

    with on_signals(interrupt):
        yield


def states(
    store: Store, job_id: str, child: Child, forecast_flops: float | None
) -> Iterator[progress.ProgressView]:
    """Yield the job's progress until it has ended; restart the coordinator if it dies."""
    untouched, began = store.job(job_id).version, time.monotonic()
    while True:
        job = store.job(job_id)
        now = progress.job_progress(
            job, variants.every_trial(store, job_id), datetime.now(UTC), forecast_flops
        )
        if missed := job.version == untouched and (
            child.deaths > 0 or time.monotonic() - began > SLOW_SECONDS
        ):
            now = replace(
                now, waiting_for=f"its coordinator, whose last log line is: {last_words(child)}"
            )
        yield now
        if now.state.terminal:
            return
        child.tend()
        if missed and child.deaths >= MOST_DEATHS:
            request_pause(store, job_id)
            remedy = f"fix that, then continue with: telescope run --resume {job_id}"
            cause = f"{last_words(child)} (log: {home() / LOG_NAME})"
            raise Unavailable(f"the coordinator does not start: {cause}; {remedy}")
        time.sleep(POLL_SECONDS)


def last_words(child: Child) -> str:
    """The last line that the child itself logged: why it ended, or what it waits for."""
    log = (home() / LOG_NAME).read_text(errors="replace").rpartition(LOG_BEGINS)[2]
    lines = [line.strip() for line in log.splitlines()]
    return next(
        (
            line
            for line in reversed(lines)
            if line and not line.startswith(f"{child.name} ended with status")
        ),
        "nothing",
    )


@dataclass(frozen=True)
class LocalFindings:
    """The result of a job of this installation."""

    store: Store
    job_id: str
    asked: AnyStudy
    report: dict[str, Any]

    @property
    def name(self) -> str:
        return self.store.job(self.job_id).name

    @property
    def study(self) -> dict[str, Any]:
        return registry.to_document(self.asked)

    def trials(self) -> Iterator[TrialRow]:
        return variants.every_trial(self.store, self.job_id)

    def tables(self, target_loss: float) -> dict[str, Any]:
        """The tables of the job's analysis at a target loss."""
        analysis = analysed(self.job_id, self.store)
        return registry.report_document(frontier.answers(analysis, target_loss))


def resume_job(store: Store, job_id: str) -> JobRow:
    """Resume a job that is paused, failed, cancelled, or left without a coordinator."""
    job = store.job(job_id)
    if job.state is JobState.SUCCEEDED:
        raise Conflict(f"job {job_id} is {job.state} and cannot be resumed. Run its file again")
    if job.state.terminal:
        return store.request(job_id, Verb.RETRY)
    paused = prospect(job.state, job.requested) is JobState.PAUSED
    return store.request(job_id, Verb.RESUME) if paused else job


def request_pause(store: Store, job_id: str) -> JobRow:
    """Request a pause and wait briefly for it; return the row, which tells whether it happened.

    A job that has ended, or is about to, is left alone.
    """
    with suppress(Conflict):
        store.request(job_id, Verb.PAUSE)
    job, deadline = store.job(job_id), time.monotonic() + PAUSE_SECONDS
    while job.requested and time.monotonic() < deadline:
        time.sleep(0.1)
        job = store.job(job_id)
    return job


def parting(job: JobRow) -> str:
    """Describe, from its row, what happens to a job whose command was interrupted."""
    bound_for, resume = prospect(job.state, job.requested), f"telescope run --resume {job.id}"
    if job.state is JobState.PAUSED:
        return f"Paused; finished work is kept. Resume with: {resume}"
    if bound_for is JobState.PAUSED:
        kept = "a coordinator will carry it out, and finished work is kept"
        return f"pause requested; {kept}. Resume with: {resume}"
    if bound_for.terminal:
        return f"it is not paused but {bound_for}. Show its result with: telescope result {job.id}"
    return f"it continues; follow it with: telescope watch {job.id}"
