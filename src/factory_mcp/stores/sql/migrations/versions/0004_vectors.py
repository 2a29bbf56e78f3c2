"""Vectors of the nodes, rotated and sealed; those of older nodes are made by the first searches."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables, with a row for every node there is."""
    op.create_table(
        "rotations",
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.Column("matrix", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "generation", name="rotations_pk"),
    )
    op.create_table(
        "vectors",
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("node_id", TEXT, nullable=False),
        sa.Column("embedder", TEXT, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "node_id", name="vectors_pk"),
        sa.ForeignKeyConstraint(
            ["tenant", "node_id"],
            ["nodes.tenant", "nodes.id"],
            name="vectors_node_fk",
            ondelete="CASCADE",
        ),
    )
    op.create_index("vectors_new", "vectors", ["tenant", "embedder", "seq"])
    op.execute(
        "INSERT INTO vectors (tenant, node_id, embedder, seq, generation)"
        " SELECT tenant, id, '', 0, 0 FROM nodes"
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("vectors")
    op.drop_table("rotations")
