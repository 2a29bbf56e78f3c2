"""Which node of another chain a node has merged."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the column; no node has merged anything yet."""
    op.add_column("nodes", sa.Column("merged_id", TEXT, nullable=True))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("nodes", "merged_id")
