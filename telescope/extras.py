"""telescope's extras (sets of optional packages), and the error for a package that is missing.

telescope always needs torch, numpy, scipy and pydantic. Its other packages belong to extras.
`require_extra` checks that the packages of an extra are installed. `extra` is a context manager
around imports of an extra's packages. Both raise MissingPackage for a missing package.
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
"""The import names of an extra's packages, keyed by the name of the extra. The extras for tests and
documentation are left out."""


def require_extra(name: str) -> None:
    """Raise MissingPackage if a package of this extra is not installed."""
    for package in PACKAGES[name]:
        if not _is_installed(package):
            raise missing(name, package)


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Raise MissingPackage if an import in the `with` block does not find a package of this extra,
    or a module of such a package."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = error.name or ""
        if not any(f"{package}.".startswith(f"{module}.") for module in PACKAGES[name]):
            raise
        raise missing(name, package) from error


def missing(name: str, package: str) -> MissingPackage:
    """The error for a missing package. `name` is the name of the package's extra."""
    extras = "service,ray" if name == "service" else name
    wheel = f"telescope-{__version__}-py3-none-any.whl"
    return MissingPackage(
        f"{package} is not installed; it belongs to telescope's extra `{name}`. Install the extra "
        f"in telescope's environment, from a checkout (pip install '.[{extras}]') or from a wheel "
        f"(pip install '{wheel}[{extras}]')"
    )


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the first part of a dotted name is missing
        return False
