"""Commands that start the processes of a service.

`serve` runs all of them on one machine: it migrates the database, then keeps `api` and
`coordinator` alive. docker-compose runs `migrate`, `api` and `coordinator` separately. Options
override `TELESCOPE_*` variables and are passed to child processes as such variables.
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
    typer.Option(help="Address to listen on; 0.0.0.0 accepts connections from other machines."),
]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.")]
ExecutorName = Annotated[
    Literal["ray", "ray_tune", "local"] | None,
    typer.Option("--executor", help="What runs the trials: Ray, Ray Tune, or a single thread."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", help="Trials to run at once (default: as many as the machine offers)."
    ),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--database-url", help="Database: sqlite:///file or postgresql://user:password@host/name."
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
    database_url: Database = None,
    leash: Leash = False,
) -> None:
    """Start the whole service on this machine; Ctrl-C stops it.

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
    _begin(leash)
    settings, environment = configured(
        options | {"port": supervisor.port_to_use(settings.host, settings.port)}
    )
    _migrate(settings)
    url = local_url(settings)

    def announce() -> None:
        _say(f"telescope is ready at {url}")
        _say(f"  documentation   {url}/docs")
        _say(
            "  first job       telescope examples quickstart > job.yaml; telescope submit job.yaml"
        )

    _say("starting api and coordinator ...")
    with Client(url, timeout_seconds=2.0) as client:
        supervisor.supervise(
            ("api", "coordinator"), environment, lambda: _is_ready(client), announce, _say
        )


@processes.command(rich_help_panel="Service")
def api(
    host: Host = None, port: Port = None, database_url: Database = None, leash: Leash = False
) -> None:
    """Serve HTTP requests.

    Example: telescope api --port 8765
    """
    import uvicorn  # late, for a quick start

    from api.http.app import create_app  # late, for a quick start

    settings, _ = configured({"host": host, "port": port, "database_url": database_url})
    _begin(leash)
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
    database_url: Database = None,
    leash: Leash = False,
) -> None:
    """Plan trials and dispatch them to workers; a second coordinator stands by.

    Example: telescope coordinator --executor ray
    """
    settings, _ = configured(
        {"executor": executor, "workers": workers, "database_url": database_url}
    )
    _begin(leash)
    from api.coordinator.main import main  # late, for a quick start

    main(settings)


@processes.command(rich_help_panel="Service")
def migrate(database_url: Database = None) -> None:
    """Migrate the database to the schema of this version.

    Example: telescope migrate --database-url sqlite:///jobs.db
    """
    _migrate(configured({"database_url": database_url})[0])


def configured(options: Mapping[str, Any]) -> tuple[Settings, dict[str, str]]:
    """Apply options (None: not given) to the settings; return them, and the child environment."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise InvalidInput.because(
            tuple(_problem(detail, options) for detail in error.errors(include_url=False))
        ) from None
    runs_trials = "executor" in options
    if runs_trials and settings.executor != "local":
        require_extra(
            "ray"
        )  # here, so that `serve` does not restart a coordinator that cannot start
    if runs_trials and settings.tune_loggers and settings.executor != "ray_tune":
        message = "only Ray Tune has loggers; set TELESCOPE_EXECUTOR=ray_tune, or unset this"
        raise InvalidInput.of("TELESCOPE_TUNE_LOGGERS", message)
    return settings, os.environ | {
        f"TELESCOPE_{name.upper()}": str(value) for name, value in given.items()
    }


def local_url(settings: Settings) -> str:
    """URL of this machine's service."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return f"http://{host}:{settings.port}"


def _problem(detail: Any, options: Collection[str]) -> Problem:
    """A problem of a setting, named by its option where the command has one, and its variable."""
    name = str(detail["loc"][0])
    variable = f"TELESCOPE_{name.upper()}"
    field = f"--{name.replace('_', '-')} (or {variable})" if name in options else variable
    return Problem(field, detail["msg"].removeprefix("Value error, "), detail["input"])


def _begin(leash: bool) -> None:
    """Set up logging, and the leash, of a long-lived process."""
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
    """Migrate; raise Unavailable where the database cannot be reached."""
    import migrations  # late, for a quick start
    from api.store.engines import translated

    with translated():
        migrations.upgrade(settings.database_url)


def _is_ready(client: Client) -> bool:
    try:
        client.ready()
    except Unavailable:
        return False
    return True


def _say(line: str) -> None:
    """Print to standard error; standard output is for results."""
    print(line, file=sys.stderr, flush=True)
