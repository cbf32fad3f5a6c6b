"""The database's schema, revision by revision (alembic).

`upgrade(url)` brings a database to the newest revision, or `downgrade` to an older one; `current` and `head` say where it stands and
where this version of telescope expects it. They run on an engine of their own: alembic's batch mode rebuilds a table under
another name and drops the old one, and with SQLite's foreign keys switched on that drop deletes every child row. A lock makes
simultaneous upgrades queue.
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
ADVISORY_LOCK = 0x7E1E_5C0E  # of telescope's migrations, on PostgreSQL


class BrokenReferences(Exception):
    """A migration left rows that refer to nothing; it was rolled back."""


def head(versions: Sequence[Path] = ()) -> str:
    """The revision that this version of telescope works with."""
    revision = ScriptDirectory.from_config(_config(versions)).get_current_head()
    assert revision is not None  # there is at least one
    return revision


def check_known(revision: str | None, versions: Sequence[Path] = ()) -> None:
    """Unavailable where a newer telescope has been here: no migration of this version can help."""
    known = {each.revision for each in ScriptDirectory.from_config(_config(versions)).walk_revisions()}
    if revision and revision not in known:
        raise Unavailable(f"the database is at revision {revision}, newer than this telescope knows; upgrade telescope")


def current(url: str) -> str | None:
    """The revision of a database; None where nothing was migrated yet."""
    engine = _engine(url)
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(url: str, revision: str = "head", versions: Sequence[Path] = ()) -> None:
    """Bring a database up to a revision; `versions` are folders with revisions besides telescope's own."""
    with _migrating(url) as connection:
        check_known(MigrationContext.configure(connection).get_current_revision(), versions)
        command.upgrade(_config(versions, connection), revision)


def downgrade(url: str, revision: str, versions: Sequence[Path] = ()) -> None:
    """Bring a database down to a revision."""
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
            connection.isolation_level = None  # the driver would commit before DDL; we begin and commit ourselves
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute("PRAGMA busy_timeout = 30000")

        @event.listens_for(engine, "begin")
        def _begun(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def _migrating(url: str) -> Iterator[Connection]:
    """One transaction under the lock, committed when every reference in the database still holds."""
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
                    raise BrokenReferences(f"{len(broken)} rows refer to nothing, the first: {tuple(broken[0])}")
    else:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            yield connection


def _lock_file(path: str) -> IO[str]:
    try:
        return open(path, "w")
    except OSError as error:
        setting, remedy = "--database-url (or TELESCOPE_DATABASE_URL)", "give a file in a folder that exists and that you may write to"
        raise InvalidInput.of(setting, f"cannot be written ({error.strerror}); {remedy}", path) from error
