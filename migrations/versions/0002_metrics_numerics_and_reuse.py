"""Columns of trials: measure, last metrics, numerics, tokens per batch, id of the reused trial."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Plain SQL, which SQLite and PostgreSQL both accept; on SQLite, alembic's operation would rebuild
# the table to add the foreign key.
REUSED_FROM = (
    "ALTER TABLE trials ADD COLUMN reused_from INTEGER "
    "CONSTRAINT fk_trials_reused_from_trials REFERENCES trials (id)"
)


def upgrade() -> None:
    op.add_column(
        "trials", sa.Column("measure", sa.String(16), nullable=False, server_default="loss")
    )
    op.add_column("trials", sa.Column("metrics", sa.Text(), nullable=True))
    op.add_column("trials", sa.Column("numerics", sa.Text(), nullable=True))
    op.add_column("trials", sa.Column("batch_tokens", sa.Integer(), nullable=True))
    op.execute(REUSED_FROM)
    op.create_index("ix_trials_digest", "trials", ["digest"])


def downgrade() -> None:
    op.drop_index("ix_trials_digest", "trials")
    for column in ("reused_from", "batch_tokens", "numerics", "metrics", "measure"):
        op.drop_column("trials", column)
