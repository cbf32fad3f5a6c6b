"""Migrations of the database schema (alembic).

`upgrade` migrates a database to a newer revision, by default the newest, `downgrade` to an older
one; `current` returns the revision of a database, `head` the revision that this version of
telescope needs. Migrations use an engine of their own, with SQLite's foreign keys disabled:
alembic's batch mode rebuilds a table under another name and drops the old one, which would delete
every row that references it.
A lock makes simultaneous migrations run one after the other.
"""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.pool import NullPool

from telescope.errors import InvalidInput, Unavailable

HERE = Path(__file__).parent
ADVISORY_LOCK = 0x7E1E_5C0E  # key of the migrations' lock on PostgreSQL


class BrokenReferences(Exception):
    """A migration left dangling references and was rolled back."""


def head(versions: Sequence[Path] = ()) -> str:
    """Return the revision that this version of telescope needs."""
    revision = ScriptDirectory.from_config(_config(versions)).get_current_head()
    assert revision is not None  # there is at least one revision
    return revision


def check_known(revision: str | None, versions: Sequence[Path] = ()) -> None:
    """Raise Unavailable if this version of telescope does not know the database's `revision`."""
    directory = ScriptDirectory.from_config(_config(versions))
    if revision and revision not in {script.revision for script in directory.walk_revisions()}:
        problem = f"the database is at revision {revision}, which this version does not know"
        raise Unavailable(f"{problem}; upgrade telescope")


def current(url: str) -> str | None:
    """Return the revision of a database; None if the database is empty."""
    engine = _engine(url)
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(url: str, revision: str = "head", versions: Sequence[Path] = ()) -> None:
    """Upgrade a database to a revision; `versions` are further folders of revisions."""
    with _migrating(url) as connection:
        check_known(MigrationContext.configure(connection).get_current_revision(), versions)
        command.upgrade(_config(versions, connection), revision)


def downgrade(url: str, revision: str, versions: Sequence[Path] = ()) -> None:
    """Downgrade a database to a revision."""
    with _migrating(url) as connection:
        command.downgrade(_config(versions, connection), revision)


def _config(versions: Sequence[Path], connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    folders = "\n".join(str(folder) for folder in (HERE / "versions", *versions))
    config.set_main_option("version_locations", folders.replace("%", "%%"))
    return config


def _engine(url: str) -> Engine:
    engine = create_engine(url, poolclass=NullPool)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _connected(connection, record) -> None:  # type: ignore[no-untyped-def]
            connection.isolation_level = None  # else the driver would commit before DDL statements
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute("PRAGMA busy_timeout = 30000")

        @event.listens_for(engine, "begin")
        def _begun(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def _migrating(url: str) -> Iterator[Connection]:
    """Open a transaction under the migrations' lock.

    On SQLite, where foreign keys are disabled, it is committed only if all references are valid.
    """
    engine = _engine(url)
    if engine.dialect.name == "sqlite":
        file = engine.url.database
        assert file, "SQLite needs a file"
        with _lock_file(f"{file}.migrate-lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with engine.begin() as connection:
                yield connection
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
                if broken:
                    first = tuple(broken[0])
                    raise BrokenReferences(f"{len(broken)} dangling references, the first: {first}")
    else:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            yield connection


def _lock_file(path: str) -> IO[str]:
    try:
        return open(path, "w")
    except OSError as error:
        setting = "--database-url (or TELESCOPE_DATABASE_URL)"
        remedy = "give a file in an existing, writable folder"
        message = f"cannot be written ({error.strerror}); {remedy}"
        raise InvalidInput.of(setting, message, path) from error
