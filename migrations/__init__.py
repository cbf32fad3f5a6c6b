"""Migrations of the database schema, which the library alembic runs.

A revision is a numbered state of the schema. Each file of `migrations.versions` leads from one
revision to the next. `upgrade` takes a database to a newer revision, by default the newest, and
`downgrade` takes it to an older one. `current` returns the revision of a database. `head` returns
the revision that this version of telescope needs. A lock makes simultaneous migrations run one
after the other.

Migrations use a database engine of their own, on which SQLite does not enforce foreign keys. The
reason is that alembic alters most tables of SQLite in a roundabout way: it copies the rows to a new
table and drops the old table. If foreign keys were enforced, dropping the old table would fail, or
would also delete the rows of other tables that reference the old table.
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
    """A migration was rolled back, since it left rows that reference missing rows."""


def head(versions: Sequence[Path] = ()) -> str:
    """Return the newest revision. `versions` are folders with further revisions."""
    revision = ScriptDirectory.from_config(_config(versions)).get_current_head()
    assert revision is not None  # there is at least one revision
    return revision


def check_known(revision: str | None, versions: Sequence[Path] = ()) -> None:
    """Raise Unavailable if this version of telescope does not know the revision of a database.

    `revision` is None for a database without a revision. Such a database is accepted. `versions`
    are folders with further revisions.
    """
    directory = ScriptDirectory.from_config(_config(versions))
    if revision and revision not in {script.revision for script in directory.walk_revisions()}:
        problem = f"the database is at revision {revision}, which this version does not know"
        raise Unavailable(f"{problem}; upgrade telescope")


def current(url: str) -> str | None:
    """Return the revision of a database, or None if the database has no revision."""
    engine = _engine(url)
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(url: str, revision: str = "head", versions: Sequence[Path] = ()) -> None:
    """Upgrade a database to a revision. `versions` are folders with further revisions.

    Raises Unavailable if the database is at an unknown revision, and the errors of `downgrade`.
    """
    with _migrating(url) as connection:
        check_known(MigrationContext.configure(connection).get_current_revision(), versions)
        command.upgrade(_config(versions, connection), revision)


def downgrade(url: str, revision: str, versions: Sequence[Path] = ()) -> None:
    """Downgrade a database to a revision. `versions` are folders with further revisions.

    For SQLite, raises InvalidInput if the lock file cannot be written, and BrokenReferences if a
    row would reference a missing row.
    """
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
            connection.isolation_level = None  # the driver leaves BEGIN to `_begun`
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute("PRAGMA busy_timeout = 30000")

        @event.listens_for(engine, "begin")
        def _begun(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def _migrating(url: str) -> Iterator[Connection]:
    """Hold the lock of migrations, and open a transaction.

    On SQLite, foreign keys are checked only at the end of the transaction. If a row references a
    missing row, the transaction is rolled back and BrokenReferences is raised.
    """
    engine = _engine(url)
    if engine.dialect.name == "sqlite":
        file = engine.url.database
        assert file, "migrations need an SQLite database in a file"
        with _lock_file(file) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with engine.begin() as connection:
                yield connection
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
                if broken:
                    first = tuple(broken[0])
                    raise BrokenReferences(f"{len(broken)} broken references; the first: {first}")
    else:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            yield connection


def _lock_file(database: str) -> IO[str]:
    """Open the lock file of a database file. Raises InvalidInput if this fails."""
    path = f"{database}.migrate-lock"
    try:
        return open(path, "w")
    except OSError as error:
        setting = "--database-url (or TELESCOPE_DATABASE_URL)"
        remedy = "give a database file in an existing folder where this lock file can be written"
        message = f"the lock file {path} cannot be written ({error.strerror}); {remedy}"
        raise InvalidInput.of(setting, message, database) from error
