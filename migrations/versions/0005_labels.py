"""Add the columns of a trial's label to the table of trials.

A label is the place of a trial in its study:

- `ladder`: the optimizer whose search planned the trial
- `stage`: the trials that are planned together
- `level`: the number of the trial's width in the ladder
- `variant`: one of the models or texts that the job compares, or a cell of a grokking job

The columns are null for trials that were planned before this revision. A downgrade drops the
labels, and a later upgrade does not restore them. For trials without a label, `api.jobs.variants`
derives the ladder and the variant.
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
