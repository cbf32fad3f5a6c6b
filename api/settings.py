"""Settings of an installation, read from environment variables.

The variable of a setting is `TELESCOPE_` followed by the name of the setting in capital letters.
With the default settings, telescope stores jobs and their results in an SQLite file and starts Ray
on this machine. Other modules read further variables, such as `TELESCOPE_HOME` (`telescope.home`).
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from telescope.home import home


class Settings(BaseSettings):
    """The settings of one installation."""

    model_config = SettingsConfigDict(
        env_prefix="TELESCOPE_", use_attribute_docstrings=True, frozen=True
    )

    database_url: str = Field(default_factory=lambda: f"sqlite:///{home() / 'telescope.db'}")
    """URL of the database: sqlite:///path, or postgresql://user:password@host/database. The default
    is an SQLite file in TELESCOPE_HOME."""
    executor: Literal["ray", "ray_tune", "local"] = "ray"
    """What runs the trials (training runs). ray: workers of Ray. ray_tune: Ray Tune, which starts
    trials more slowly than ray but supports loggers. local: one thread of the coordinator
    process, without Ray."""
    tune_loggers: Annotated[tuple[Literal["tensorboard", "mlflow", "wandb"], ...], NoDecode] = ()
    """Names of the Ray Tune loggers that receive the trials, separated by commas. Loggers need the
    executor ray_tune. Each logger needs its own package and reads its own environment variables."""
    ray_address: str | None = Field(default_factory=lambda: os.environ.get("RAY_ADDRESS"))
    """Address of a running Ray cluster. The default is the value of the variable RAY_ADDRESS.
    Without an address, telescope starts Ray on this machine."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Largest number of workers. A worker trains one trial at a time, or several trials together.
    By default, there are as many workers as fit on the machine or the Ray cluster. The local
    executor ignores this setting and has one worker."""
    gpus_per_worker: Annotated[float, Field(ge=0)] | None = None
    """Number of GPUs per worker; may be a fraction. The default is 1 if the cluster has GPUs, and 0
    if it has none. With 0, all workers train on CPUs."""
    checkpoint_dir: Path = Field(default_factory=lambda: home() / "checkpoints")
    """Folder for the checkpoints of trials."""
    shared_storage: bool = False
    """True if all nodes of the Ray cluster share checkpoint_dir and the corpora. If this setting is
    false, telescope refuses clusters of several nodes."""
    data_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders, separated as in PATH. Requests over HTTP may name a corpus, a table or a tokenizer
    by its path only if the path lies in one of these folders."""
    factories: Annotated[tuple[str, ...], NoDecode] = ()
    """Model factories that jobs submitted over HTTP may name, separated by commas. A factory is a
    function that builds a user's model. Each entry is package.module:function, or a pattern such as
    package.models:*. A job that names a factory runs the factory's code in the service and on the
    workers. The variable TELESCOPE_FACTORY_PATH lists folders in which telescope looks for
    factories, in addition to Python's own path."""
    host: str = "127.0.0.1"
    """Address that the HTTP server listens on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8765
    """Port that the HTTP server listens on. With 0, the server picks a free port."""
    compile: Literal["auto", "never"] = "auto"
    """Whether workers compile models. auto: workers compile telescope's own models that train on
    text, if a compiler exists and compiling is expected to save time. never: workers do not
    compile."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    """Number of failed attempts after which a trial and its job fail. An attempt fails if, for
    example, the worker process dies. After a failure that another attempt cannot fix, such as a
    lost corpus, the trial and its job fail at once."""
    poll_seconds: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    """Interval, in seconds, at which the coordinator looks for new jobs and requests of users."""

    @field_validator("factories")
    @classmethod
    def _require_package(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if not re.match(r"[A-Za-z_]\w*[.:]", pattern):
                raise ValueError(
                    f"{pattern} must begin with a package name, as in package.module:function"
                )
        return patterns

    @field_validator("tune_loggers", "factories", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(name.strip() for name in value.split(",") if name.strip())

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split_paths(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(Path(part).expanduser() for part in value.split(os.pathsep) if part)

    @field_validator("database_url")
    @classmethod
    def _add_driver(cls, url: str) -> str:
        scheme, separator, rest = url.partition("://")
        if scheme in ("postgres", "postgresql"):
            return f"postgresql+psycopg://{rest}"
        if scheme not in ("sqlite", "postgresql+psycopg") or not separator:
            raise ValueError("must begin with sqlite:/// or postgresql://")
        if rest in ("", "/", "/:memory:"):
            remedy = "give a file: sqlite:////path/telescope.db"
            raise ValueError(f"SQLite in memory cannot be shared by several processes; {remedy}")
        return url

    @field_validator("database_url")
    @classmethod
    def _require_valid_port(cls, url: str) -> str:
        try:
            _ = urlsplit(url).port  # raises ValueError for an invalid port
        except ValueError:
            form = "postgresql://user:password@host:5432/name"
            message = f"cannot be parsed; write {form}, with special characters as %XX"
            raise ValueError(message) from None
        return url
