"""Add columns to the table of trials, and an index on the digest.

The columns:

- `measure`: what the trial measures
- `metrics`: the metrics at the last point of the loss curve
- `numerics`: the version of torch, the device, and the revision of telescope's arithmetic
- `batch_tokens`: the tokens per batch
- `reused_from`: the id of the trial whose outcome this trial reuses
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Plain SQL, which SQLite and PostgreSQL both accept. On SQLite, alembic's own operation would
# rebuild the whole table to add the foreign key.
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
