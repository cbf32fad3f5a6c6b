"""Add a column to the table of trials: the FLOPs that a trial is expected to need.

The column is 0 for trials that were planned before this revision.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "trials",
        sa.Column("flops_planned", sa.Double(), nullable=False, server_default=sa.text("0")),
    )


def downgrade() -> None:
    op.drop_column("trials", "flops_planned")
