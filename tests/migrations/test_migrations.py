"""Migrations keep every row, wait for each other, and produce the schema of the tables."""

import threading
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.pool import NullPool

import migrations
from api.store.record import CoordinatorStore
from api.store.rows import Begun
from api.store.store import Store
from api.store.tables import metadata
from telescope.errors import Unavailable
from tests.api.trials import DOCUMENT, labelled, outcome, points, spec

ADDS_A_COLUMN_TO_EVERY_PARENT = '''
"""Adds a column to every table that others refer to, rebuilding it on SQLite."""

import sqlalchemy as sa
from alembic import op

revision = "test"
down_revision = "{head}"
branch_labels = depends_on = None
PARENTS = {parents}
REBUILD = "always" if {sqlite} else "never"


def upgrade() -> None:
    for table in PARENTS:
        with op.batch_alter_table(table, recreate=REBUILD) as batch:
            batch.add_column(sa.Column("note", sa.Text, nullable=False, server_default="none"))


def downgrade() -> None:
    for table in PARENTS:
        with op.batch_alter_table(table, recreate=REBUILD) as batch:
            batch.drop_column("note")
'''

ORPHANS_EVERY_TRIAL = """
from alembic import op

revision = "orphans"
down_revision = "{head}"
branch_labels = depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM jobs")
"""

LABELS = {"ladder", "stage", "level", "variant"}
PARENTS = sorted(
    {key.column.table.name for table in metadata.tables.values() for key in table.foreign_keys}
)


def fill(url: str) -> None:
    """Insert at least one row in every table, several in tables that others refer to."""
    record = CoordinatorStore(url)
    for _ in range(2):
        job, _ = record.create_job(DOCUMENT)
        record.begin_job(job.id)
        record.plan_trials(job.id, labelled([spec(seed) for seed in range(3)]))
        record.put_result(job.id, {"verdict": "unresolved"}, final=False)
        for trial in record.trials(job.id).items:
            record.trial_started(trial.id, 1, Begun(0, "worker", "cpu"))
            record.trial_measured(trial.id, 1, points(1, 9))
            record.trial_finished(trial.id, *outcome(spec(trial.seed)))
    record.close()


def rows(url: str) -> dict[str, int]:
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return {
            name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()
            for name in metadata.tables
        }


def trial_rows(url: str) -> list[dict[str, Any]]:
    """All trials, without their labels."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        mappings = connection.execute(text("SELECT * FROM trials ORDER BY id")).mappings()
        return [
            {name: value for name, value in row.items() if name not in LABELS} for row in mappings
        ]


def columns(url: str, table: str) -> set[str]:
    return {
        column["name"]
        for column in inspect(create_engine(url, poolclass=NullPool)).get_columns(table)
    }


def revision_folder(tmp_path: Path, template: str, url: str) -> list[Path]:
    folder = tmp_path / "revisions"
    folder.mkdir()
    values = {"head": migrations.head(), "parents": PARENTS, "sqlite": url.startswith("sqlite")}
    (folder / "revision.py").write_text(template.format(**values))
    return [folder]


def test_a_migration_of_every_parent_table_keeps_all_rows_up_and_down(
    database_url: str, tmp_path: Path
) -> None:
    url = database_url
    fill(url)
    before = rows(url)
    assert min(before.values()) >= 1
    assert PARENTS == ["jobs", "specs", "trials"]
    versions = revision_folder(tmp_path, ADDS_A_COLUMN_TO_EVERY_PARENT, url)

    migrations.upgrade(url, versions=versions)
    assert all("note" in columns(url, table) for table in PARENTS)
    assert rows(url) == before

    migrations.downgrade(url, migrations.head(), versions=versions)
    assert not any("note" in columns(url, table) for table in PARENTS)
    assert rows(url) == before
    store = Store(url)
    store.check_revision()
    store.close()


def test_the_migration_of_labels_keeps_all_rows_up_and_down(database_url: str) -> None:
    url = database_url
    fill(url)
    before, counts = trial_rows(url), rows(url)
    assert len(before) == 6

    migrations.downgrade(url, "0004")
    assert not LABELS & columns(url, "trials")
    assert (trial_rows(url), rows(url)) == (before, counts)

    migrations.upgrade(url)
    assert columns(url, "trials") >= LABELS
    assert (trial_rows(url), rows(url)) == (before, counts)
    store = Store(url)
    (first, *_) = store.jobs().items
    assert {
        (row.ladder, row.stage, row.level, row.variant) for row in store.trials(first.id).items
    } == {(None, None, None, "")}
    store.close()


def test_a_migration_that_breaks_references_is_rolled_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'telescope.db'}"
    migrations.upgrade(url)
    fill(url)
    before = rows(url)
    with pytest.raises(migrations.BrokenReferences):
        migrations.upgrade(url, versions=revision_folder(tmp_path, ORPHANS_EVERY_TRIAL, url))
    assert rows(url) == before
    assert migrations.current(url) == migrations.head()


def test_an_empty_database_is_upgraded_downgraded_and_upgraded_again(empty_url: str) -> None:
    assert migrations.current(empty_url) is None
    migrations.upgrade(empty_url)
    migrations.downgrade(empty_url, "base")
    assert migrations.current(empty_url) is None
    migrations.upgrade(empty_url)
    assert migrations.current(empty_url) == migrations.head()


def test_simultaneous_upgrades_all_succeed(empty_url: str) -> None:
    errors: list[BaseException] = []
    together = threading.Barrier(4)

    def upgrade() -> None:
        together.wait()
        try:
            migrations.upgrade(empty_url)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert migrations.current(empty_url) == migrations.head()


def test_the_migrated_schema_is_the_schema_of_the_tables(database_url: str) -> None:
    with create_engine(database_url, poolclass=NullPool).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_database_at_another_revision_is_refused_with_the_remedy(empty_url: str) -> None:
    store = Store(empty_url)
    with pytest.raises(Unavailable, match="telescope migrate"):
        store.check_revision()
    migrations.upgrade(empty_url)
    store.check_revision()
    store.close()
