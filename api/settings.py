"""What may an operator decide about an installation?

Everything that is not part of a job, read from `TELESCOPE_*` environment variables; the defaults suit a laptop: one SQLite file and a
local Ray. `TELESCOPE_HOME` itself is read by `telescope.home`.
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
    """One installation's choices."""

    model_config = SettingsConfigDict(env_prefix="TELESCOPE_", use_attribute_docstrings=True, frozen=True)

    database_url: str = Field(default_factory=lambda: f"sqlite:///{home() / 'telescope.db'}")
    """sqlite:///path, or postgresql://user:password@host/database."""
    executor: Literal["ray", "ray_tune", "local"] = "ray"
    """Who runs trials: Ray workers, Ray Tune (slower to hand out, but it has loggers), or one thread of the coordinator itself."""
    tune_loggers: Annotated[tuple[Literal["tensorboard", "mlflow", "wandb"], ...], NoDecode] = ()
    """With ray_tune: which of its loggers see the trials, separated by commas; each needs its package, and has variables of its own."""
    ray_address: str | None = Field(default_factory=lambda: os.environ.get("RAY_ADDRESS"))
    """A running Ray cluster, as RAY_ADDRESS; none: a local Ray is started."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Trials that run at once on Ray; by default as many as the machine or the cluster offers."""
    gpus_per_worker: Annotated[float, Field(ge=0)] | None = None
    """GPUs (or a share of one) that each worker takes; by default one where there are any, and 0 makes CPU workers anywhere."""
    checkpoint_dir: Path = Field(default_factory=lambda: home() / "checkpoints")
    """Where trials keep their checkpoints."""
    shared_storage: bool = False
    """Whether checkpoint_dir and the corpora are the same for all nodes of the cluster; without it, several nodes are refused."""
    data_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders, separated as in PATH, under which jobs sent by HTTP may name corpora by path."""
    factories: Annotated[tuple[str, ...], NoDecode] = ()
    """Factories of models that jobs sent by HTTP may name, separated by commas: package.module:function, or a pattern such as
    package.models:*. Naming one runs its code; it is sent to the workers. They are looked for in TELESCOPE_FACTORY_PATH as well."""
    host: str = "127.0.0.1"
    """Where the HTTP server listens."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8765
    """Where the HTTP server listens; 0 takes a free one."""
    compile: Literal["auto", "never"] = "auto"
    """Whether workers compile training steps, where a compiler exists and the steps left repay it."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    """Operational failures after which a trial, and with it its job, has failed."""
    poll_seconds: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    """Time between the coordinator's looks for new jobs and verbs."""

    @field_validator("factories")
    @classmethod
    def _of_a_package(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if not re.match(r"[A-Za-z_]\w*[.:]", pattern):
                raise ValueError(f"{pattern} must begin with the name of a package, as package.module:function does")
        return patterns

    @field_validator("tune_loggers", "factories", mode="before")
    @classmethod
    def _by_commas(cls, value: Any) -> Any:
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value

    @field_validator("data_roots", mode="before")
    @classmethod
    def _as_in_path(cls, value: Any) -> Any:
        return tuple(Path(part).expanduser() for part in value.split(os.pathsep) if part) if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _with_driver(cls, url: str) -> str:
        scheme, separator, rest = url.partition("://")
        if scheme in ("postgres", "postgresql"):
            return f"postgresql+psycopg://{rest}"
        if scheme not in ("sqlite", "postgresql+psycopg") or not separator:
            raise ValueError("a database_url begins with sqlite:/// or postgresql://")
        if rest in ("", "/", "/:memory:"):
            raise ValueError("several processes share the database, so SQLite needs a file: sqlite:////path/telescope.db")
        return url

    @field_validator("database_url")
    @classmethod
    def _readable(cls, url: str) -> str:
        try:
            _ = urlsplit(url).port  # looked at only here
        except ValueError:
            raise ValueError("cannot be read; write postgresql://user:password@host:5432/name") from None
        return url
