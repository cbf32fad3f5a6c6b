"""Columns of a trial's label: ladder, stage, level, variant; null for older trials.

A downgrade drops the labels, and a later upgrade does not restore them; `api.jobs.variants` then
derives ladder and variant.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trials", sa.Column("ladder", sa.String(16)))
    op.add_column("trials", sa.Column("stage", sa.Text()))
    op.add_column("trials", sa.Column("level", sa.Integer()))
    op.add_column("trials", sa.Column("variant", sa.Text()))


def downgrade() -> None:
    for name in ("variant", "level", "stage", "ladder"):
        op.drop_column("trials", name)
