"""Jobs at a service: the connection, their progress, and what they found."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from api.cli.frontier import asked
from api.cli.output import console, show_json
from api.cli.service import configured, local_url
from api.job_states import JobState
from api.terminal import progress
from telescope.client.client import Client
from telescope.client.resources import JobDetail, Trial
from telescope.errors import TelescopeError

if TYPE_CHECKING:
    from api.terminal.views import Findings


def service(url: str | None) -> Client:
    """The service that was named, or this machine's."""
    return Client(url or local_url(configured({})[0]), patience_seconds=3.0)


def watched(client: Client, job_id: str) -> Iterator[progress.Progress]:
    """A job at the service, now and after each change until it ended."""
    forecast_flops = None
    for i, job in enumerate(client.watch(job_id)):
        if i == 0 and not job.terminal:
            forecast_flops = _forecast_flops(client, job)
        yield progress.progress(job, client.trials(job_id), datetime.now(UTC), forecast_flops)


def _forecast_flops(client: Client, job: JobDetail) -> float | None:
    """What the preview expects of the whole job; None where the service cannot say, which must not end a watch."""
    from telescope.studies import registry  # late, for a quick start

    try:
        return registry.KINDS[job.kind].expected_flops(client.preview(job.study)) if job.kind in registry.KINDS else None
    except TelescopeError:
        return None


@dataclass(frozen=True)
class RemoteFindings:
    """What a job at a service found."""

    client: Client
    job: JobDetail
    report: dict[str, Any]

    @property
    def name(self) -> str:
        return self.job.name

    @property
    def study(self) -> dict[str, Any]:
        return self.job.study

    def trials(self) -> Iterator[Trial]:
        return self.client.trials(self.job.id)

    def tables(self, target_loss: float) -> dict[str, Any]:
        """The tables that the service computes."""
        return asked(self.client, self.job.id, target_loss)


def conclude(job: progress.Progress, found: "Findings", plot: Path | None, as_json: bool) -> None:
    """Print the answer, draw it if asked to, and exit with what it amounts to."""
    from api.terminal.views import view_of  # late, for a quick start

    shown, report = view_of(found.study["kind"]), found.report
    if as_json:
        show_json(report)
    else:
        shown.show(report, found.study, console())
    if plot:
        shown.picture(found, plot)
    if job.state in (JobState.FAILED, JobState.CANCELLED):
        print(f"The job is {job.state}: {job.reason or 'somebody asked for it'}", file=sys.stderr)
    if job.state is JobState.FAILED:
        raise typer.Exit(3)
    raise typer.Exit(0 if report["final"] and report["verdict"] == "resolved" else 1)
