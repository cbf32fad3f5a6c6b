"""The extras of telescope, and the error for a package that is not installed.

The core needs torch, numpy, scipy and pydantic; all other packages belong to an extra.
`require_extra` checks the packages of an extra before any of them is imported; `extra` wraps the
imports themselves.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

from telescope import __version__
from telescope.errors import MissingPackage

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "service": (
        "alembic",
        "fastapi",
        "httpx",
        "optuna",
        "psutil",
        "pyarrow",
        "pydantic_settings",
        "rich",
        "ruamel.yaml",
        "sqlalchemy",
        "tokenizers",
        "typer",
        "uvicorn",
        "zstandard",
    ),
    "ray": ("ray", "psutil"),
    "postgres": ("psycopg",),
    "plots": ("matplotlib",),
}
"""Import names of the packages in each extra of pyproject.toml."""


def require_extra(name: str) -> None:
    """Raise MissingPackage if a package of this extra is not installed."""
    for package in PACKAGES[name]:
        if not _is_installed(package):
            raise missing(name, package)


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Raise MissingPackage if an import in the `with` block fails because a package of this extra
    is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = error.name or ""
        if not any(f"{package}.".startswith(f"{module}.") for module in PACKAGES[name]):
            raise
        raise missing(name, package) from error


def missing(name: str, package: str) -> MissingPackage:
    """The error for a package that is not installed; it states how to install the extra."""
    extras = "service,ray" if name == "service" else name
    wheel = f"telescope-{__version__}-py3-none-any.whl"
    return MissingPackage(
        f"{package} is not installed; it belongs to telescope's extra `{name}`. Install it from "
        f"a checkout (pip install '.[{extras}]') or from a wheel (pip install '{wheel}[{extras}]')"
    )


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the parent package of a dotted name is missing
        return False
