"""Which processes is a service made of, as commands?

`serve` is all of them on one machine: it migrates, then keeps `api` and `coordinator` alive. docker-compose runs `migrate`, `api` and
`coordinator` each by itself. Options win over `TELESCOPE_*` variables, and reach the children as such.
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

processes = typer.Typer()

Host = Annotated[str | None, typer.Option(help="Where to listen; 0.0.0.0 lets other machines in.")]
Port = Annotated[int | None, typer.Option(help="Where to listen.")]
ExecutorName = Annotated[
    Literal["ray", "ray_tune", "local"] | None, typer.Option("--executor", help="Who runs trials: Ray, Ray Tune, or one thread.")
]
Workers = Annotated[int | None, typer.Option("--workers", help="Trials at once; by default what the machine offers.")]
Database = Annotated[str | None, typer.Option("--database-url", help="sqlite:///file or postgresql://user:password@host/name.")]
Leash = Annotated[bool, typer.Option("--leash", hidden=True, help="End when standard input closes.")]


@processes.command(rich_help_panel="Service")
def serve(
    host: Host = None, port: Port = None, executor: ExecutorName = None, workers: Workers = None, database_url: Database = None,
    leash: Leash = False,
) -> None:  # fmt: skip
    """Start the whole service on this machine; Ctrl-C ends it.

    Example: telescope serve --port 8765
    """
    options = {"host": host, "port": port, "executor": executor, "workers": workers, "database_url": database_url}
    settings, _ = configured(options)
    _begin(leash)
    settings, environment = configured(options | {"port": supervisor.port_to_use(settings.host, settings.port)})
    _migrate(settings)
    url = local_url(settings)

    def announce() -> None:
        _say(f"telescope is ready at {url}")
        _say(f"  documentation   {url}/docs")
        _say("  a first job     telescope submit examples/quickstart.yaml")

    _say("starting api and coordinator ...")
    with Client(url, timeout_seconds=2.0) as client:
        supervisor.supervise(("api", "coordinator"), environment, lambda: _is_ready(client), announce, _say)


@processes.command(rich_help_panel="Service")
def api(host: Host = None, port: Port = None, database_url: Database = None, leash: Leash = False) -> None:
    """Answer HTTP requests.

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
        log_config=None,  # as the other processes log
        timeout_graceful_shutdown=3,
    )


@processes.command(rich_help_panel="Service")
def coordinator(executor: ExecutorName = None, workers: Workers = None, database_url: Database = None, leash: Leash = False) -> None:
    """Plan trials and hand them to workers; a second coordinator waits.

    Example: telescope coordinator --executor ray
    """
    settings, _ = configured({"executor": executor, "workers": workers, "database_url": database_url})
    _begin(leash)
    from api.coordinator.main import main  # late, for a quick start

    main(settings)


@processes.command(rich_help_panel="Service")
def migrate(database_url: Database = None) -> None:
    """Bring the database to the schema of this version.

    Example: telescope migrate --database-url sqlite:///jobs.db
    """
    _migrate(configured({"database_url": database_url})[0])


def configured(options: Mapping[str, Any]) -> tuple[Settings, dict[str, str]]:
    """The settings with these options (None: not given), and the environment that gives them to children."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise InvalidInput.because(tuple(_problem(detail, options) for detail in error.errors(include_url=False))) from None
    if "executor" in options and settings.tune_loggers and settings.executor != "ray_tune":  # others run no trials
        raise InvalidInput.of("TELESCOPE_TUNE_LOGGERS", "only Ray Tune has loggers; set TELESCOPE_EXECUTOR=ray_tune too, or leave this out")
    return settings, os.environ | {f"TELESCOPE_{name.upper()}": str(value) for name, value in given.items()}


def local_url(settings: Settings) -> str:
    """Where this machine's service answers."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return f"http://{host}:{settings.port}"


def _problem(detail: Any, options: Collection[str]) -> Problem:
    """A setting at fault, by its variable, and by its option where the command has one."""
    name = str(detail["loc"][0])
    variable = f"TELESCOPE_{name.upper()}"
    field = f"--{name.replace('_', '-')} (or {variable})" if name in options else variable
    return Problem(field, detail["msg"].removeprefix("Value error, "), detail["input"])


def _begin(leash: bool) -> None:
    """What every long-lived process does first."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if leash:
        supervisor.hold_leash()


def _migrate(settings: Settings) -> None:
    """Migrations, with a database that is away said plainly."""
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
    """To people; standard output belongs to answers."""
    print(line, file=sys.stderr, flush=True)
