"""The database: parallel writers and readers, lost connections, the lock of the coordinator."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from api.store.engines import CoordinatorLock
from api.store.record import CoordinatorStore
from api.store.store import Store
from telescope.errors import Unavailable
from tests.api.store.test_store import running_job


def test_writers_in_parallel_lose_no_update(record: CoordinatorStore, database_url: str) -> None:
    job_id = running_job(record)
    before = record.job(job_id).version
    writers = [CoordinatorStore(database_url) for _ in range(4)]

    def bump(writer: CoordinatorStore) -> None:
        for _ in range(25):
            writer.put_result(job_id, {}, final=False)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(bump, writers))
    assert record.job(job_id).version == before + 100
    for writer in writers:
        writer.close()


def test_readers_do_not_wait_for_a_writer(record: CoordinatorStore) -> None:
    job_id = running_job(record)
    with record._write() as connection:
        connection.execute(text("UPDATE jobs SET name = 'not yet'"))
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(record.job, job_id).result(timeout=5).name == "a job"


def test_readers_cannot_write_to_sqlite(tmp_path: Any, record: CoordinatorStore) -> None:
    if record.url.startswith("sqlite"):
        with pytest.raises(Unavailable, match="readonly"), record._read() as connection:
            connection.execute(text("DELETE FROM jobs"))


def test_a_database_that_cannot_be_reached_is_unavailable(tmp_path: Any) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a database " * 1000)
    for url in (
        f"sqlite:///{tmp_path}/nowhere/telescope.db",
        f"sqlite:///{other}",
        "postgresql+psycopg://absent@127.0.0.1:1/nothing",
    ):
        store = Store(url)
        for ask in (store.check_revision, store.jobs):
            with pytest.raises(Unavailable, match="cannot reach the database"):
                ask()
        store.close()


def test_a_cut_connection_is_replaced(record: CoordinatorStore, database_url: str) -> None:
    record.jobs()
    if database_url.startswith("postgresql"):
        stranger = CoordinatorStore(database_url)
        with stranger._write() as connection:
            cut_connections = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            assert connection.execute(text(cut_connections)).rowcount >= 1
        stranger.close()
    record.jobs()


def test_one_coordinator_holds_the_lock_until_it_ends(
    database_url: str,
) -> None:
    first, second = CoordinatorLock(database_url), CoordinatorLock(database_url)
    assert first.acquire()
    assert first.held()
    assert not second.acquire()
    assert not second.held()
    first.release()
    assert not first.held()
    assert second.acquire()
    second.release()


def test_a_lock_whose_connection_was_cut_is_not_held_and_can_be_acquired_again(
    record: CoordinatorStore, database_url: str
) -> None:
    if database_url.startswith("sqlite"):
        return  # the operating system frees a file lock with its process alone
    lock = CoordinatorLock(database_url)
    assert lock.acquire()
    with record._write() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        )
    assert not lock.held()
    assert lock.acquire()
    lock.release()
