"""Database engines, and the lock that allows only one coordinator at a time.

The coordinator is the process that runs the jobs. An engine is SQLAlchemy's pool of connections.

For SQLite, there are two engines. The writing engine begins each transaction with BEGIN IMMEDIATE,
so that writers wait for each other. With the driver's own implicit BEGIN, updates can be lost
without an error. The reading engine cannot write. SQLite keeps a write-ahead log, so that readers
need not wait for writers. For PostgreSQL, there is one engine, which tests each connection before
use.

On SQLite, `CoordinatorLock` locks a file beside the database file. On PostgreSQL, it takes an
advisory lock on a connection of its own.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import NullPool

from telescope.errors import TelescopeError, Unavailable
from telescope.extras import extra

BUSY_SECONDS = 30  # longest time to wait for SQLite's write lock
POOL_RECYCLE_SECONDS = 300  # age at which a PostgreSQL connection is replaced before its next use
COORDINATOR_KEY = 0x7E1E_5C0F  # key of PostgreSQL's advisory lock


def open_engines(url: str) -> tuple[Engine, Engine]:
    """Open an engine for writing and an engine for reading.

    On PostgreSQL, the same engine is returned twice.
    """
    if make_url(url).get_backend_name() == "sqlite":
        writer = _sqlite(url, begin="BEGIN IMMEDIATE", query_only=False)
        return writer, _sqlite(url, begin="BEGIN", query_only=True)
    with extra("postgres"):
        engine = create_engine(url, pool_pre_ping=True, pool_recycle=POOL_RECYCLE_SECONDS)
    return engine, engine


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise Unavailable if the database driver cannot reach or use the database."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise unavailable(error) from error
    except DatabaseError as error:
        if type(error) is not DatabaseError:  # SQLite raises the base class for a damaged file
            raise
        raise unavailable(error) from error


def unavailable(error: Exception) -> Unavailable:
    """Return the error for a database that cannot be used."""
    cause = getattr(error, "orig", None) or error
    check = "check the setting TELESCOPE_DATABASE_URL, and that the database"
    remedy = f"{check} is running and can be written"
    return Unavailable(f"cannot reach the database: {cause}; {remedy}")


def _sqlite(url: str, begin: str, query_only: bool) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _connected(connection, record) -> None:  # type: ignore[no-untyped-def]
        connection.isolation_level = None  # the driver leaves BEGIN to `_begun`
        for pragma in (
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "foreign_keys = ON",
            f"query_only = {int(query_only)}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


class Superseded(TelescopeError):
    """This coordinator has lost the lock, and another coordinator has acquired it.

    This coordinator must end, since otherwise two coordinators would run the same trials.
    """

    code, status, exit_status = "superseded", 503, 3


class CoordinatorLock:
    """The lock that a running coordinator holds.

    If the coordinator dies, the operating system or PostgreSQL releases the lock.
    """

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._file: IO[str] | None = None
        self._engine: Engine | None = None
        self._connection: Connection | None = None

    def acquire(self) -> bool:
        """Take the lock and return True. Return False if another process holds the lock.

        Raises Unavailable if PostgreSQL cannot be reached, and OSError if the lock file of an
        SQLite database cannot be written.
        """
        if self._url.get_backend_name() == "sqlite":
            return self._lock_file()
        with translated_errors():
            return self._lock_advisory()

    def held(self) -> bool:
        """True if this process still holds the lock.

        On PostgreSQL, a process loses the lock if the connection that holds the lock breaks.
        """
        if self._connection is None:
            return self._file is not None
        try:
            self._connection.execute(text("SELECT 1"))
        except DBAPIError:
            return False
        return True

    def release(self) -> None:
        """Release the lock if it is held."""
        if self._file:
            self._file.close()
        if self._connection:
            self._connection.invalidate()  # ends the session, which releases the lock
            self._connection.close()
        if self._engine:
            self._engine.dispose()
        self._file = self._connection = self._engine = None

    def _lock_file(self) -> bool:
        path = f"{self._url.database}.coordinator-lock"
        file = open(path, "w")  # noqa: SIM115 (open while the lock is held)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def _lock_advisory(self) -> bool:
        self.release()
        self._engine = create_engine(self._url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._connection = self._engine.connect()
        statement = text("SELECT pg_try_advisory_lock(:key)")
        if not self._connection.execute(statement, {"key": COORDINATOR_KEY}).scalar():
            self.release()
            return False
        return True
