"""How does alembic run our revisions?

On the connection that `migrations.upgrade` hands over (locked, in a transaction), or compared with the models of `api.store.tables` when a
new revision is written. SQLite alters tables by batch: a new table, a copy, a rename.
"""

from alembic import context

from api.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
