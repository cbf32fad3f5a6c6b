"""The commands of `telescope`.

This module defines the commands about jobs. `run`, and `preview` without a URL, work without a
service. The other commands of this module send requests to a service. The commands that start the
processes of a service, and `migrate`, are in `api.cli.service`. Every other command is in a module
of the same name. With `--json`, standard output is one JSON document, even after a failure. There
is one exception: if a plot fails after the result was printed, a second document states the error.

The exit status is one of these:

- 0: The command succeeded.
- 1: The verdict does not answer the job's question (docs/verdicts.md) or is not yet final, or the
  coordinate check failed.
- 2: The input or the request is invalid, or a Python package is missing.
- 3: The job failed, `watch` followed a job that was cancelled, or telescope itself or something
  that it depends on failed.
- 130: Ctrl-C interrupted the command. (After Ctrl-C, `serve`, `api` and `coordinator` exit with 0.)

Commands import slow modules (torch, SQLAlchemy, FastAPI, matplotlib) only when they run.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from api.cli import job_file
from api.cli.coordinates import coordinates
from api.cli.corpus import corpora
from api.cli.examples import examples
from api.cli.export import export
from api.cli.frontier import frontier
from api.cli.grokking import grokking
from api.cli.judge import judge
from api.cli.options import AsJson, ForecastUrl, JobFile, JobId, Plot, ServiceUrl
from api.cli.output import Commands, JobInterrupted, console, json_value, show_json
from api.cli.remote import RemoteResult, conclude, connect, progress_updates
from api.cli.service import ExecutorName, Workers, configured, processes
from api.job_states import JobState
from api.terminal import progress
from api.terminal.follow import follow
from telescope.client.client import Client
from telescope.client.resources import Job
from telescope.errors import InvalidInput

app = typer.Typer(
    cls=Commands,
    help=(
        "Find hyperparameters for a model that is too expensive to sweep: telescope sweeps narrow "
        "versions of the model and transfers the optimum to the wide model."
    ),
    epilog=(
        "The exit status is 0 if the command succeeds; 1 if the verdict does not answer the "
        "question or is not yet final, or if the coordinate check failed; 2 if the input or the "
        "request is invalid, or if a Python package is missing; 3 if the job failed, if `watch` "
        "followed a job that was cancelled, or if telescope itself or something that it depends "
        "on failed; 130 after Ctrl-C, but 0 for `serve`, `api` and `coordinator`."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

JOBS = "Jobs"


@app.command(rich_help_panel=JOBS)
def run(
    file: Annotated[
        Path | None, typer.Argument(help="Job file in YAML 1.2 or JSON.", show_default=False)
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="JOB",
            help="Id of an earlier job to continue, instead of starting a new job from a file.",
        ),
    ] = None,
    executor: ExecutorName = None,
    workers: Workers = None,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Run a job on this machine, without a service, and print the job's result.

    Logs go to the file run.log in the folder TELESCOPE_HOME (default: ~/.telescope). Ctrl-C pauses
    the job.

    Example: telescope run job.yaml
    """
    if (file is None) == (resume is None):
        raise InvalidInput.of("FILE", "give either a job file or --resume JOB")
    from api.cli import solo  # lazy import: slow to load
    from api.jobs.exports import is_exportable
    from api.jobs.submission import Submission, create_job, opened

    settings, environment = configured({"executor": executor, "workers": workers})
    submission = Submission(job_file.read_job_file(file)) if file else None
    # Most invalid jobs are refused here, before the database is created.
    new_study = opened(submission) if submission else None
    with solo.installation(settings) as store:
        new_job = create_job(new_study, submission, store) if new_study and submission else None
        job = new_job or solo.resume_job(store, resume or "")
        ended, job_result = solo.run_to_end(store, job.id, settings, environment, console(as_json))
        if is_exportable(job_result.parsed.kind.name, job_result.report) and not as_json:
            print(f"To export the result to another trainer: telescope export {job.id} --to torch")
        conclude(ended, job_result, plot, as_json)


@app.command(rich_help_panel=JOBS)
def submit(file: JobFile, url: ServiceUrl = None, as_json: AsJson = False) -> None:
    """Submit a job to the service.

    Example: telescope submit job.yaml
    """
    document = job_file.read_job_file(file)
    with connect(url) as client:
        job = client.submit(document)
    if as_json:
        show_json(json_value(job))
    else:
        print(f"{job.id}: {job.state}. Follow it with: telescope watch {job.id}")


@app.command(rich_help_panel=JOBS)
def preview(file: JobFile, url: ForecastUrl = None, as_json: AsJson = False) -> None:
    """Forecast a job's trials (training runs) and cost without running the job.

    Example: telescope preview job.yaml
    """
    from api.jobs import machine  # lazy import: slow to load
    from api.jobs.submission import Submission, opened
    from api.terminal.views import view_of
    from telescope.studies import registry

    document = job_file.read_job_file(file)
    if url:
        with connect(url) as client:
            forecast = registry.report_document(client.preview(document))
    else:
        study = opened(Submission(document))
        local = machine.measurements_in_installation(configured({})[0])
        forecast = registry.report_document(registry.preview(study, local))
    if as_json:
        show_json({"kind": document["kind"]} | forecast)
    else:
        view_of(document["kind"]).show_forecast(forecast, console())


@app.command(rich_help_panel=JOBS)
def watch(job_id: JobId, url: ServiceUrl = None, as_json: AsJson = False) -> None:
    """Follow a job until it ends.

    The exit status is 0 if the job succeeds, and 3 if the job fails or is cancelled.

    Example: telescope watch JOB
    """
    with connect(url) as client:
        try:
            ended = follow(progress_updates(client, job_id), console(as_json))
        except KeyboardInterrupt:
            raise JobInterrupted(
                f"the job itself is unaffected. Follow it with: telescope watch {job_id}", job_id
            ) from None
        job = client.job(job_id)
    if as_json:
        show_json(json_value(job))
    else:
        print(f"Show its result with: telescope result {job_id}")
    raise typer.Exit(0 if ended.state is JobState.SUCCEEDED else 3)


@app.command(rich_help_panel=JOBS)
def result(
    job_id: JobId, url: ServiceUrl = None, plot: Plot = None, as_json: AsJson = False
) -> None:
    """Print a job's result, or the interim result if the job has not ended.

    The exit status is 3 if the job failed. Otherwise it is 0 if the result is final and its verdict
    answers the question, and 1 if not. A job of kind grokking is answered by every verdict except
    `unbracketed` and `unresolved`; a job of another kind is answered only by `resolved`.

    Example: telescope result JOB --plot result.png
    """
    with connect(url) as client:
        job = client.job(job_id)
        state = progress.job_progress(job, (), datetime.now(UTC), None)
        conclude(state, RemoteResult(client, job, client.document(job_id)), plot, as_json)


@app.command(rich_help_panel=JOBS)
def jobs(url: ServiceUrl = None, as_json: AsJson = False) -> None:
    """List the service's jobs, newest first.

    Example: telescope jobs --json
    """
    with connect(url) as client:
        all_jobs = list(client.jobs())
    if as_json:
        show_json({"items": json_value(all_jobs)})
        return
    titles = ("job", "name", "state", "trials", "best loss", "created")
    table = Table(*titles, box=None, header_style="dim", pad_edge=False)
    for job in all_jobs:
        best = "" if job.best_loss is None else f"{job.best_loss:.4f}"
        created = f"{job.created_at.astimezone():%Y-%m-%d %H:%M}"
        trials = f"{job.trials_done}/{job.trials_total}"
        table.add_row(job.id, job.name, _state(job), trials, best, created)
    hint = "telescope examples quickstart > job.yaml; telescope submit job.yaml"
    console().print(table if all_jobs else f"No jobs yet. Submit a job: {hint}")


@app.command(rich_help_panel=JOBS)
def cancel(job_id: JobId, url: ServiceUrl = None, as_json: AsJson = False) -> None:
    """Cancel a job. The results of its trials (training runs) stay readable.

    Example: telescope cancel JOB
    """
    _verb(Client.cancel, job_id, url, as_json)


@app.command(rich_help_panel=JOBS)
def pause(job_id: JobId, url: ServiceUrl = None, as_json: AsJson = False) -> None:
    """Pause a job: stop its trials (training runs) and keep their checkpoints.

    Example: telescope pause JOB
    """
    _verb(Client.pause, job_id, url, as_json)


@app.command(rich_help_panel=JOBS)
def resume(job_id: JobId, url: ServiceUrl = None, as_json: AsJson = False) -> None:
    """Resume a paused job.

    Example: telescope resume JOB
    """
    _verb(Client.resume, job_id, url, as_json)


@app.command(rich_help_panel=JOBS)
def retry(job_id: JobId, url: ServiceUrl = None, as_json: AsJson = False) -> None:
    """Continue a failed or cancelled job. Its finished trials (training runs) are kept.

    Example: telescope retry JOB
    """
    _verb(Client.retry, job_id, url, as_json)


@app.command(rich_help_panel=JOBS)
def clone(
    job_id: JobId,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Field of the job to change, and its new value. May be given several times.",
        ),
    ] = None,
    url: ServiceUrl = None,
    as_json: AsJson = False,
) -> None:
    """Submit a copy of a job in which some fields are changed.

    The new job can reuse the completed trials (training runs) that it shares with the old job.

    Example: telescope clone JOB --set limits.max_base_runs=400
    """
    from api.jobs.changes import patch_of  # lazy import: slow to load

    patch = patch_of(changes or ())
    _verb(lambda client, job: client.clone(job, patch), job_id, url, as_json)


app.command(rich_help_panel=JOBS)(coordinates)
app.command(rich_help_panel=JOBS)(examples)
app.command(rich_help_panel=JOBS)(export)
app.command(rich_help_panel=JOBS)(frontier)
app.command(rich_help_panel=JOBS)(grokking)
app.command(rich_help_panel=JOBS)(judge)
app.add_typer(corpora, name="corpus", rich_help_panel=JOBS)
app.add_typer(processes)


def _verb(verb: Callable[[Client, str], Job], job_id: str, url: str | None, as_json: bool) -> None:
    """Send a request about a job to the service, and print the job that the service returns."""
    with connect(url) as client:
        job = verb(client, job_id)
    if as_json:
        show_json(json_value(job))
    else:
        print(f"{job.id}: {_state(job)}")


def _state(job: Job) -> str:
    return f"{job.state}, {job.requested} requested" if job.requested else job.state
