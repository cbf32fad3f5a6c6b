"""The commands that start the processes of a service, and the command `migrate`.

`serve` runs the whole service on one machine. It migrates the database, then starts the two
processes `api` and `coordinator`, and restarts a process that dies. docker-compose.yml runs the
commands `migrate`, `api` and `coordinator` in separate containers instead.

Options override `TELESCOPE_*` environment variables. `serve` passes its options to the two
processes in these environment variables.
"""

import logging
import os
import sys
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from api.coordinator import supervisor
from api.settings import Settings
from telescope.client.client import Client
from telescope.errors import InvalidInput, Problem, Unavailable
from telescope.extras import require_extra

processes = typer.Typer()

Host = Annotated[
    str | None,
    typer.Option(help="Address to listen on. 0.0.0.0 accepts connections from other machines."),
]
Port = Annotated[int | None, typer.Option(help="Port to listen on. 0 picks a free port.")]
ExecutorName = Annotated[
    Literal["ray", "ray_tune", "local"] | None,
    typer.Option(
        "--executor",
        help="What executes the trials (training runs): Ray, Ray Tune, or one local thread.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help=(
            "Largest number of Ray workers (default: as many as fit on the machine or cluster). "
            "Each worker trains one trial, or several together."
        ),
    ),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="URL of the database: sqlite:///file or postgresql://user:password@host/name.",
    ),
]
Leash = Annotated[
    bool, typer.Option("--leash", hidden=True, help="Exit when standard input closes.")
]


@processes.command(rich_help_panel="Service")
def serve(
    host: Host = None,
    port: Port = None,
    executor: ExecutorName = None,
    workers: Workers = None,
    database_url: DatabaseUrl = None,
    leash: Leash = False,
) -> None:
    """Start the whole service on this machine: the HTTP API and the coordinator.

    The coordinator plans trials (training runs) and sends them to workers. Ctrl-C stops the
    service.

    Example: telescope serve --port 8765
    """
    options = {
        "host": host,
        "port": port,
        "executor": executor,
        "workers": workers,
        "database_url": database_url,
    }
    settings, _ = configured(options)
    _set_up_process(leash)
    port = supervisor.port_to_use(settings.host, settings.port)
    settings, environment = configured(options | {"port": port})
    _migrate(settings)
    url = local_url(settings)

    def announce() -> None:
        _say(f"telescope is ready at {url}")
        _say(f"  documentation   {url}/docs")
        submit = "telescope examples quickstart > job.yaml; telescope submit job.yaml"
        _say(f"  first job       {submit}")

    _say("starting api and coordinator ...")
    with Client(url, timeout_seconds=2.0) as client:
        supervisor.supervise(
            ("api", "coordinator"), environment, lambda: _is_ready(client), announce, _say
        )


@processes.command(rich_help_panel="Service")
def api(
    host: Host = None, port: Port = None, database_url: DatabaseUrl = None, leash: Leash = False
) -> None:
    """Start only the HTTP API, without the coordinator.

    Example: telescope api --port 8765
    """
    import uvicorn  # lazy import: slow to load

    from api.http.app import create_app  # lazy import: slow to load

    settings, _ = configured({"host": host, "port": port, "database_url": database_url})
    _set_up_process(leash)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=supervisor.port_to_use(settings.host, settings.port),
        access_log=False,
        log_level="warning",
        log_config=None,  # log in the format of the other processes
        timeout_graceful_shutdown=3,
    )


@processes.command(rich_help_panel="Service")
def coordinator(
    executor: ExecutorName = None,
    workers: Workers = None,
    database_url: DatabaseUrl = None,
    leash: Leash = False,
) -> None:
    """Start only the coordinator, which plans trials (training runs) and sends them to workers.

    If several coordinators use the same database, one of them works. When this one ends, another
    one takes over.

    Example: telescope coordinator --executor ray
    """
    options = {"executor": executor, "workers": workers, "database_url": database_url}
    settings, _ = configured(options)
    _set_up_process(leash)
    from api.coordinator.main import main  # lazy import: slow to load

    main(settings)


@processes.command(rich_help_panel="Service")
def migrate(database_url: DatabaseUrl = None) -> None:
    """Migrate the database to the schema of this version of telescope.

    Example: telescope migrate --database-url sqlite:///jobs.db
    """
    _migrate(configured({"database_url": database_url})[0])


def configured(options: Mapping[str, Any]) -> tuple[Settings, dict[str, str]]:
    """Return the settings with a command's options applied, and the environment of child processes.

    An option that is None leaves its setting unchanged. Raises InvalidInput for invalid settings.
    The command runs trials if `options` has the key `executor`, even with the value None. Then, if
    the executor in the settings needs Ray and Ray is not installed, raises MissingPackage.
    """
    overrides = {name: value for name, value in options.items() if value is not None}
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems = tuple(_problem(detail, options) for detail in details)
        raise InvalidInput.because(problems) from None
    runs_trials = "executor" in options
    if runs_trials and settings.executor != "local":
        # Without Ray, the coordinator would fail, and `serve` would restart it again and again.
        require_extra("ray")
    if runs_trials and settings.tune_loggers and settings.executor != "ray_tune":
        message = "only Ray Tune has loggers; choose the executor ray_tune, or unset this variable"
        raise InvalidInput.of("TELESCOPE_TUNE_LOGGERS", message)
    variables = {f"TELESCOPE_{name.upper()}": str(value) for name, value in overrides.items()}
    return settings, os.environ | variables


def local_url(settings: Settings) -> str:
    """Return the URL at which a client on this machine reaches the service."""
    loopbacks = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104
    host = loopbacks.get(settings.host, settings.host)
    return f"http://{host}:{settings.port}"


def _problem(detail: Any, options: Collection[str]) -> Problem:
    """Convert pydantic's error about a setting to a Problem.

    The problem's field names the environment variable of the setting, and the command's option for
    the setting if there is one.
    """
    name = str(detail["loc"][0])
    variable = f"TELESCOPE_{name.upper()}"
    field = f"--{name.replace('_', '-')} (or {variable})" if name in options else variable
    return Problem(field, detail["msg"].removeprefix("Value error, "), detail["input"])


def _set_up_process(leash: bool) -> None:
    """Set up the logging of a long-lived process.

    If `leash` is true, also makes the process end when its parent process ends.
    """
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if leash:
        supervisor.hold_leash()


def _migrate(settings: Settings) -> None:
    """Migrate the database. Raises Unavailable if the database cannot be reached."""
    import migrations  # lazy import: slow to load
    from api.store.engines import translated_errors

    with translated_errors():
        migrations.upgrade(settings.database_url)


def _is_ready(client: Client) -> bool:
    try:
        client.ready()
    except Unavailable:
        return False
    return True


def _say(line: str) -> None:
    """Print a line to standard error, because standard output is for results."""
    print(line, file=sys.stderr, flush=True)
