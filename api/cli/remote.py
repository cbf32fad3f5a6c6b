"""Functions that connect to a service, follow a job of the service, and print the job's result."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from api.cli.frontier import fetch_tables
from api.cli.output import console, show_json
from api.cli.service import configured, local_url
from api.job_states import JobState
from api.terminal import progress
from telescope.client.client import Client
from telescope.client.resources import JobDetail, TrialSummary
from telescope.errors import TelescopeError

if TYPE_CHECKING:
    from api.terminal.views import JobResult


def connect(url: str | None) -> Client:
    """Return a client of the service at `url`, or on this machine if `url` is None."""
    return Client(url or local_url(configured({})[0]), patience_seconds=3.0)


def progress_updates(client: Client, job_id: str) -> Iterator[progress.ProgressView]:
    """Yield the progress of a job at once and after each change, until the job has ended."""
    forecast_flops = None
    for i, job in enumerate(client.watch(job_id)):
        if i == 0 and not job.terminal:
            forecast_flops = _forecast_flops(client, job)
        yield progress.job_progress(job, client.trials(job_id), datetime.now(UTC), forecast_flops)


def _forecast_flops(client: Client, job: JobDetail) -> float | None:
    """Return the FLOPs that the whole job is expected to cost, according to its preview.

    Returns None if the preview contains no such number, if this version of telescope does not know
    the job's kind, or if the preview fails. So a failed preview does not end `telescope watch`.
    """
    from telescope.studies import registry  # lazy import: slow to load

    if job.kind not in registry.KINDS:
        return None
    try:
        return registry.KINDS[job.kind].expected_flops(client.preview(job.study))
    except TelescopeError:
        return None


@dataclass(frozen=True)
class RemoteResult:
    """The result of a job, fetched from a service. Implements `api.terminal.views.JobResult`."""

    client: Client
    job: JobDetail
    report: dict[str, Any]

    @property
    def name(self) -> str:
        return self.job.name

    @property
    def study(self) -> dict[str, Any]:
        return self.job.study

    def trials(self) -> Iterator[TrialSummary]:
        return self.client.trials(self.job.id)

    def tables(self, target_loss: float) -> dict[str, Any]:
        """Fetch the tables that the service computes at a target loss."""
        return fetch_tables(self.client, self.job.id, target_loss)


def conclude(
    job: progress.ProgressView, result: "JobResult", plot: Path | None, as_json: bool
) -> None:
    """Print a job's result, write a plot if `plot` is given, and exit.

    The exit status is 3 if the job failed. Otherwise it is 0 if the report is final and its verdict
    answers the question of the job, and 1 if not.
    """
    from api.terminal.views import view_of  # lazy import: slow to load
    from telescope.studies.registry import is_conclusive

    view, report = view_of(result.study["kind"]), result.report
    if as_json:
        show_json(report)
    else:
        view.show(report, result.study, console())
    if plot:
        view.picture(result, plot)
    if job.state in (JobState.FAILED, JobState.CANCELLED):
        reason = job.reason or "cancelled by a user"
        print(f"The job is {job.state}: {reason}", file=sys.stderr)
    if job.state is JobState.FAILED:
        raise typer.Exit(3)
    raise typer.Exit(0 if is_conclusive(result.study["kind"], report) else 1)
