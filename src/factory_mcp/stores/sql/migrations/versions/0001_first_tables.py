"""Runs, their keys, history and audit; context chains, their nodes and the keyword index."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

OPEN = sa.text("status IN ('running', 'needs_input')")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # ordered as SQLite does


def upgrade() -> None:
    """Make the tables."""
    _runs()
    _records()
    _contexts()


def downgrade() -> None:
    """Remove the tables and all that is in them."""
    for name in ("node_tokens", "nodes", "chains", "audit_heads", "audit", "history", "call_keys"):
        op.drop_table(name)
    op.drop_table("runs")


def _text(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, TEXT, nullable=null)


def _integer(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _float(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Float(), nullable=null)


def _runs() -> None:
    op.create_table(
        "runs",
        _text("tenant"),
        _text("id"),
        _text("subject"),
        _text("droid"),
        _text("effects"),
        _text("request"),
        _text("fingerprint"),
        _text("arguments_hash"),
        _text("owner"),
        _text("owner_id"),
        _float("created_at"),
        _text("status"),
        _text("code"),
        _text("workspace", null=True),
        _text("workspace_key", null=True),
        _integer("fence"),
        _float("lease_until"),
        _float("started_at", null=True),
        _float("ended_at", null=True),
        _text("session_id", null=True),
        _text("context_id", null=True),
        _text("progress", null=True),
        _text("cancel_reason", null=True),
        _text("envelope", null=True),
        _text("output", null=True),
        sa.PrimaryKeyConstraint("tenant", "id", name="runs_pk"),
    )
    where: Any = {"sqlite_where": OPEN, "postgresql_where": OPEN}
    op.create_index(
        "runs_open_fingerprint", "runs", ["tenant", "fingerprint"], unique=True, **where
    )
    op.create_index("runs_open_owner", "runs", ["tenant", "owner_id"], **where)
    op.create_index("runs_fingerprint", "runs", ["tenant", "fingerprint", "ended_at"])
    op.create_index("runs_recent", "runs", ["tenant", "created_at", "id"])
    op.create_table(
        "call_keys",
        _text("tenant"),
        _text("subject"),
        _text("key"),
        _text("run_id"),
        _text("arguments_hash"),
        _float("expires_at"),
        sa.PrimaryKeyConstraint("tenant", "subject", "key", name="call_keys_pk"),
        sa.ForeignKeyConstraint(
            ["tenant", "run_id"],
            ["runs.tenant", "runs.id"],
            name="call_keys_run_fk",
            ondelete="CASCADE",
        ),
    )
    op.create_index("call_keys_expiry", "call_keys", ["tenant", "expires_at"])


def _records() -> None:
    op.create_table(
        "history",
        _text("tenant"),
        _integer("seq"),
        _text("run_id"),
        _float("at"),
        _text("droid"),
        _text("status"),
        _text("code"),
        _text("envelope"),
        sa.PrimaryKeyConstraint("tenant", "seq", name="history_pk"),
    )
    op.create_table(
        "audit",
        _text("tenant"),
        _integer("seq"),
        _float("at"),
        _text("subject"),
        _text("action"),
        _text("object"),
        _text("detail"),
        _text("prev"),
        _text("hash"),
        sa.PrimaryKeyConstraint("tenant", "seq", name="audit_pk"),
    )
    op.create_table(
        "audit_heads",
        _text("tenant"),
        _integer("seq"),
        _text("hash"),
        sa.PrimaryKeyConstraint("tenant", name="audit_heads_pk"),
    )


def _contexts() -> None:
    op.create_table(
        "chains",
        _text("tenant"),
        _text("id"),
        _text("head_id"),
        _integer("head_revision"),
        _text("workspace_key", null=True),
        sa.Column("standing", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name="chains_pk"),
    )
    op.create_index(
        "chains_standing",
        "chains",
        ["tenant", "workspace_key"],
        unique=True,
        sqlite_where=sa.text("standing IS 1"),
        postgresql_where=sa.text("standing IS true"),
    )
    op.create_table(
        "nodes",
        _text("tenant"),
        _text("id"),
        _text("chain_id"),
        _text("parent_id", null=True),
        _integer("revision"),
        _text("droid", null=True),
        _text("run_id", null=True),
        _text("summary"),
        _text("data"),
        _text("workspace_key", null=True),
        _float("created_at"),
        _integer("length"),
        sa.PrimaryKeyConstraint("tenant", "id", name="nodes_pk"),
        sa.ForeignKeyConstraint(
            ["tenant", "chain_id"], ["chains.tenant", "chains.id"], name="nodes_chain_fk"
        ),
    )
    op.create_index("nodes_recent", "nodes", ["tenant", "created_at", "id"])
    op.create_index("nodes_scope", "nodes", ["tenant", "workspace_key", "droid", "length"])
    op.create_table(
        "node_tokens",
        _text("tenant"),
        _text("token"),
        _text("node_id"),
        _integer("count"),
        sa.PrimaryKeyConstraint("tenant", "token", "node_id", name="node_tokens_pk"),
        sqlite_with_rowid=False,
    )
