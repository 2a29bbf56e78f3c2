"""What projections are fed from: an outbox, how far each has come, and what it refused."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

NOTIFY = """
CREATE FUNCTION factory_outbox_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('factory_outbox', '');
    RETURN NULL;
END $$
"""
TRIGGER = """
CREATE TRIGGER outbox_notify AFTER INSERT ON outbox
FOR EACH STATEMENT EXECUTE FUNCTION factory_outbox_notify()
"""


def upgrade() -> None:
    """Make the tables, empty: a projection that has no position begins with all there is."""
    op.create_table(
        "outbox",
        _text("tenant"),
        _integer("seq"),
        _text("kind"),
        _text("id"),
        _float("at"),
        sa.PrimaryKeyConstraint("tenant", "seq", "kind", name="outbox_pk"),
    )
    op.create_table(
        "sync_positions",
        _text("tenant"),
        _text("sink"),
        _integer("seq"),
        _text("built_with"),
        _text("owner"),
        _float("lease_until"),
        sa.PrimaryKeyConstraint("tenant", "sink", name="sync_positions_pk"),
    )
    op.create_table(
        "parked",
        _text("tenant"),
        _text("sink"),
        _integer("seq"),
        _text("kind"),
        _text("id"),
        _text("reason"),
        _float("at"),
        sa.PrimaryKeyConstraint("tenant", "sink", "id", name="parked_pk"),
    )
    op.add_column("nodes", sa.Column("author", TEXT, nullable=True))
    if _is_postgres():
        op.execute(NOTIFY)
        op.execute(TRIGGER)


def downgrade() -> None:
    """Remove them."""
    op.drop_column("nodes", "author")
    for name in ("parked", "sync_positions", "outbox"):
        op.drop_table(name)
    if _is_postgres():
        op.execute("DROP FUNCTION factory_outbox_notify")


def _is_postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, TEXT, nullable=False)


def _integer(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _float(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Float(), nullable=False)
