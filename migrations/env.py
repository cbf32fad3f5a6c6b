"""Alembic's environment: the script in which alembic runs migrations.

The migrations run in the transaction of the connection that `migrations.upgrade` or
`migrations.downgrade` passes. To generate a migration, alembic compares the database with the
tables of `api.store.tables`, and writes the changes in batch mode (`render_as_batch`). In batch
mode, alembic alters a table of SQLite in three steps: it copies the rows to a new table, drops the
old table, and renames the new table.
"""

from alembic import context

from api.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()
