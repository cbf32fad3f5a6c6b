"""Settings of an installation, read from `TELESCOPE_*` environment variables.

The settings cover everything that is not part of a job. The defaults suit a laptop: one SQLite file
and a local Ray. `telescope.home` reads `TELESCOPE_HOME` itself.
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
    """The database: sqlite:///path, or postgresql://user:password@host/database."""
    executor: Literal["ray", "ray_tune", "local"] = "ray"
    """Executor of the trials. ray: Ray workers; ray_tune: Ray Tune, which starts trials more slowly
    but supports loggers; local: one thread of the coordinator."""
    tune_loggers: Annotated[tuple[Literal["tensorboard", "mlflow", "wandb"], ...], NoDecode] = ()
    """Ray Tune loggers that receive the trials, separated by commas; only with ray_tune. Each needs
    its own package and reads its own environment variables."""
    ray_address: str | None = Field(default_factory=lambda: os.environ.get("RAY_ADDRESS"))
    """Address of a running Ray cluster, by default RAY_ADDRESS; without an address, a local Ray is
    started."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Number of trials that run at once; by default as many as fit on the machine or the Ray
    cluster. The local executor ignores this setting and runs one trial at a time."""
    gpus_per_worker: Annotated[float, Field(ge=0)] | None = None
    """GPUs per worker, possibly a fraction; by default 1 if the cluster has GPUs, else 0. With 0,
    all workers train on CPUs."""
    checkpoint_dir: Path = Field(default_factory=lambda: home() / "checkpoints")
    """Folder of the trials' checkpoints."""
    shared_storage: bool = False
    """True if all nodes of the cluster share checkpoint_dir and the corpora; if false, clusters of
    several nodes are refused."""
    data_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders, separated as in PATH, below which jobs submitted over HTTP may name corpora by
    path."""
    factories: Annotated[tuple[str, ...], NoDecode] = ()
    """Model factories that jobs submitted over HTTP may name, separated by commas:
    package.module:function, or a pattern such as package.models:*. A job that names a factory runs
    the factory's code in the service and on the workers. TELESCOPE_FACTORY_PATH lists folders in
    which factories are also looked for."""
    host: str = "127.0.0.1"
    """Address that the HTTP server listens on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8765
    """Port that the HTTP server listens on; 0 picks a free port."""
    compile: Literal["auto", "never"] = "auto"
    """auto: workers compile training steps if a compiler exists and the remaining steps repay the
    compilation; never: workers do not compile."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    """Number of operational failures of one trial after which the trial and its job fail."""
    poll_seconds: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    """Seconds between the coordinator's polls for new jobs and verbs."""

    @field_validator("factories")
    @classmethod
    def _require_package(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if not re.match(r"[A-Za-z_]\w*[.:]", pattern):
                raise ValueError(
                    f"{pattern} must begin with a package name, such as package.module:function"
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
            message = "cannot be parsed; write postgresql://user:password@host:5432/name"
            raise ValueError(message) from None
        return url
