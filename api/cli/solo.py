"""How does one job run on a laptop, without a service?

`run` writes the job into the database of this installation, starts a coordinator as a child (the same one that `telescope serve`
keeps, so a job has one code path everywhere), reports progress until the job ended, and ends the child. Where a coordinator is
at work already, that one does the job, and the child waits in vain. Ctrl-C, once or often, pauses the job: its checkpoints stay, and
`parting` says how far that came. So does a coordinator that dies twice before it touches the job, and its last words are the error's.
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
from telescope.errors import Conflict, Unavailable
from telescope.home import home
from telescope.studies import registry
from telescope.studies.kind import AnyStudy

POLL_SECONDS = 0.5
PAUSE_SECONDS = 2.0  # for the coordinator to carry a pause out
SLOW_SECONDS = 10.0  # after which it is told what a coordinator is waiting for
MOST_DEATHS = 2  # of a coordinator that has not touched the job
LOG_NAME, LOG_BEGINS = "run.log", "a coordinator starts\n"


@contextmanager
def installation(settings: Settings) -> Iterator[Store]:
    """The database of this installation, migrated."""
    with translated():
        migrations.upgrade(settings.database_url)
    store = Store(settings.database_url)
    try:
        yield store
    finally:
        store.close()


def factories(study: AnyStudy, settings: Settings) -> dict[str, str]:
    """The setting that lets a coordinator send its workers the code of this study's models, where they are users'."""
    models = study.kind.models(study.question)
    own = [name for model in models for name in model.factories()]
    return {"TELESCOPE_FACTORIES": ",".join(dict.fromkeys((*settings.factories, *own)))}


@contextmanager
def coordinator(environment: Mapping[str, str]) -> Iterator[Child]:
    """A coordinator for as long as the block lasts; what it says is appended to a log in TELESCOPE_HOME."""
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


def follow(store: Store, job_id: str, child: Child, study: AnyStudy, shown_on: Console) -> progress.Progress:
    """Show a job until it ended; an interruption pauses it, and then raises KeyboardInterrupt."""
    forecast_flops = study.kind.expected_flops(study.preview())
    with interruptible_once():
        try:
            return progress.follow(states(store, job_id, child, forecast_flops), shown_on)
        except KeyboardInterrupt:
            pause(store, job_id)
            raise


@contextmanager
def interruptible_once() -> Iterator[None]:
    """Inside, the first signal that asks for the end raises KeyboardInterrupt; those that follow do not disturb what it set off."""
    heard = False

    def interrupt(*_: object) -> None:
        nonlocal heard
        if not heard:
            heard = True
            raise KeyboardInterrupt

    with on_signals(interrupt):
        yield


def states(store: Store, job_id: str, child: Child, forecast_flops: float | None) -> Iterator[progress.Progress]:
    """The job now and again until it ended; meanwhile the coordinator is looked after."""
    untouched, began = store.job(job_id).version, time.monotonic()
    while True:
        job = store.job(job_id)
        now = progress.progress(job, variants.every_trial(store, job_id), datetime.now(UTC), forecast_flops)
        if missed := job.version == untouched and (child.deaths > 0 or time.monotonic() - began > SLOW_SECONDS):
            now = replace(now, waiting_for=f"its coordinator, which says: {last_words(child)}")
        yield now
        if now.state.terminal:
            return
        child.tend()
        if missed and child.deaths >= MOST_DEATHS:
            pause(store, job_id)
            remedy = f"mend that, and go on with: telescope run --resume {job_id}"
            raise Unavailable(f"the coordinator does not start: {last_words(child)} (more in {home() / LOG_NAME}); {remedy}")
        time.sleep(POLL_SECONDS)


def last_words(child: Child) -> str:
    """The last line that it wrote to the log itself: why it ended, or what keeps it."""
    said = (home() / LOG_NAME).read_text(errors="replace").rpartition(LOG_BEGINS)[2]
    lines = [line.strip() for line in said.splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith(f"{child.name} ended with status")), "nothing")


@dataclass(frozen=True)
class LocalFindings:
    """What a job of this installation found."""

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
        """The tables of the job's own analysis."""
        analysis = analysed(self.job_id, self.store)
        return registry.report_document(frontier.answers(analysis, target_loss))


def resume(store: Store, job_id: str) -> JobRow:
    """A job that was paused, that ended without its answer, or that nobody runs any more, goes on."""
    job = store.job(job_id)
    if job.state is JobState.SUCCEEDED:
        raise Conflict(f"job {job_id} is {job.state}; it cannot go on. Run its file again")
    if job.state.terminal:
        return store.request(job_id, Verb.RETRY)
    paused = prospect(job.state, job.requested) is JobState.PAUSED
    return store.request(job_id, Verb.RESUME) if paused else job


def pause(store: Store, job_id: str) -> JobRow:
    """Ask for a pause, and wait a while until it is carried out, which the row tells; a job that ends, or is to, goes its way."""
    with suppress(Conflict):
        store.request(job_id, Verb.PAUSE)
    job, deadline = store.job(job_id), time.monotonic() + PAUSE_SECONDS
    while job.requested and time.monotonic() < deadline:
        time.sleep(0.1)
        job = store.job(job_id)
    return job


def parting(job: JobRow) -> str:
    """What becomes of a job whose command was interrupted, as its row has it."""
    bound_for, resume = prospect(job.state, job.requested), f"telescope run --resume {job.id}"
    if job.state is JobState.PAUSED:
        return f"Paused; what it did is kept. Go on with: {resume}"
    if bound_for is JobState.PAUSED:
        return f"pause requested; a coordinator carries it out, and what it did is kept. Go on with: {resume}"
    if bound_for.terminal:
        return f"it is not paused but {bound_for}. What it found: telescope result {job.id}"
    return f"it goes on; watch it with: telescope watch {job.id}"
