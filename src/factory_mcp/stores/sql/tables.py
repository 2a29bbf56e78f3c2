"""The tables, the same for every SQL database; `tenant` comes first in every key and index.

Which rows are append-only: `history` and `audit`. Everything a user wrote is blind or sealed (see
`sealed.py`), and comes back exactly as it was, NUL and lone surrogates included.
"""

import json
import re
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    literal_column,
)
from sqlalchemy.types import TypeDecorator

from factory_mcp.domain.model import Status

_HARD: Final = re.compile("[\0\\\\\ud800-\udfff]")
_ESCAPED: Final = re.compile(r"\\u([0-9a-f]{4})")


class AnyText(TypeDecorator[str]):
    r"""Text of any characters: those that databases refuse, and `\`, are kept as `\uXXXX`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """What is stored."""
        if value is None:
            return None
        return _HARD.sub(lambda found: f"\\u{ord(found[0]):04x}", value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """What it stands for."""
        if value is None:
            return None
        return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value)


class JsonText(TypeDecorator[Any]):
    """A JSON value as ASCII text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """What is stored."""
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002
        """What it stands for."""
        return None if value is None else json.loads(value)


def _text(name: str, *, null: bool = False) -> Column[Any]:
    return Column(name, AnyText, nullable=null)


def _json(name: str) -> Column[Any]:
    return Column(name, JsonText, nullable=False)


def _sealed(name: str) -> Column[Any]:
    return Column(name, LargeBinary)


def _integer(name: str) -> Column[Any]:
    return Column(name, Integer, nullable=False)


def _float(name: str, *, null: bool = False) -> Column[Any]:
    return Column(name, Float, nullable=null)


metadata: Final = MetaData()

runs: Final = Table(
    "runs",
    metadata,
    _text("tenant"),
    _text("id"),
    _text("subject"),
    _text("droid"),
    _text("effects"),
    _text("fingerprint"),
    _text("arguments_hash"),
    _json("owner"),
    _text("owner_id"),
    _float("created_at"),
    _text("status"),
    _text("code"),
    _text("workspace_key", null=True),
    _integer("fence"),
    _float("lease_until"),
    _float("started_at", null=True),
    _float("ended_at", null=True),
    _text("session_id", null=True),
    _text("context_id", null=True),
    _sealed("request"),
    _sealed("progress"),
    _sealed("envelope"),
    _sealed("workspace"),
    _sealed("cancel_reason"),
    _sealed("output"),
    PrimaryKeyConstraint("tenant", "id", name="runs_pk"),
)

IS_OPEN: Final = runs.c.status.in_(
    [literal_column(f"'{status}'") for status in Status if status.is_open]
)
"""Literals, not parameters: a database uses a partial index only if it can read the condition."""

Index(
    "runs_open_fingerprint",
    runs.c.tenant,
    runs.c.fingerprint,
    unique=True,
    sqlite_where=IS_OPEN,
    postgresql_where=IS_OPEN,
)
Index(
    "runs_open_owner",
    runs.c.tenant,
    runs.c.owner_id,
    sqlite_where=IS_OPEN,
    postgresql_where=IS_OPEN,
)
Index("runs_fingerprint", runs.c.tenant, runs.c.fingerprint, runs.c.ended_at)
Index("runs_recent", runs.c.tenant, runs.c.created_at, runs.c.id)

call_keys: Final = Table(
    "call_keys",
    metadata,
    _text("tenant"),
    _text("subject"),
    _text("key"),  # blind
    _text("run_id"),
    _text("arguments_hash"),
    _float("expires_at"),
    PrimaryKeyConstraint("tenant", "subject", "key", name="call_keys_pk"),
    ForeignKeyConstraint(
        ["tenant", "run_id"],
        ["runs.tenant", "runs.id"],
        name="call_keys_run_fk",
        ondelete="CASCADE",
    ),
)
Index("call_keys_expiry", call_keys.c.tenant, call_keys.c.expires_at)

history: Final = Table(
    "history",
    metadata,
    _text("tenant"),
    _integer("seq"),  # that of the audit row written with it
    _text("run_id"),
    _float("at"),
    _text("droid"),
    _text("status"),
    _text("code"),
    _sealed("envelope"),
    PrimaryKeyConstraint("tenant", "seq", name="history_pk"),
)

audit: Final = Table(
    "audit",
    metadata,
    _text("tenant"),
    _integer("seq"),
    _float("at"),
    _text("subject"),
    _text("action"),
    _text("object"),
    _json("detail"),
    _text("prev"),
    _text("hash"),
    PrimaryKeyConstraint("tenant", "seq", name="audit_pk"),
)

audit_heads: Final = Table(
    "audit_heads",
    metadata,
    _text("tenant"),
    _integer("seq"),
    _text("hash"),
    PrimaryKeyConstraint("tenant", name="audit_heads_pk"),
)

chains: Final = Table(
    "chains",
    metadata,
    _text("tenant"),
    _text("id"),
    _text("head_id"),
    _integer("head_revision"),
    _text("workspace_key", null=True),
    Column("standing", Boolean, nullable=False),
    PrimaryKeyConstraint("tenant", "id", name="chains_pk"),
)

IS_STANDING: Final = chains.c.standing.is_(True)

Index(
    "chains_standing",
    chains.c.tenant,
    chains.c.workspace_key,
    unique=True,
    sqlite_where=IS_STANDING,
    postgresql_where=IS_STANDING,
)

nodes: Final = Table(
    "nodes",
    metadata,
    _text("tenant"),
    _text("id"),
    _text("chain_id"),
    _text("parent_id", null=True),
    _integer("revision"),
    _text("droid", null=True),
    _text("run_id", null=True),
    _text("workspace_key", null=True),
    _float("created_at"),
    _integer("length"),  # how many words the index knows of it
    _text("merged_id", null=True),
    _sealed("data"),
    _sealed("summary"),
    _text("author", null=True),  # whose write it was
    PrimaryKeyConstraint("tenant", "id", name="nodes_pk"),
    ForeignKeyConstraint(
        ["tenant", "chain_id"], ["chains.tenant", "chains.id"], name="nodes_chain_fk"
    ),
)
Index("nodes_recent", nodes.c.tenant, nodes.c.created_at, nodes.c.id)
Index("nodes_scope", nodes.c.tenant, nodes.c.workspace_key, nodes.c.droid, nodes.c.length)

node_tokens: Final = Table(
    "node_tokens",
    metadata,
    _text("tenant"),
    _text("token"),  # blind
    _text("node_id"),
    _integer("count"),
    PrimaryKeyConstraint("tenant", "token", "node_id", name="node_tokens_pk"),
    sqlite_with_rowid=False,
)

rotations: Final = Table(
    "rotations",
    metadata,
    _text("tenant"),
    _integer("generation"),
    _integer("last_seq"),  # of the tenant's vectors
    _sealed("matrix"),
    PrimaryKeyConstraint("tenant", "generation", name="rotations_pk"),
)

vectors: Final = Table(
    "vectors",
    metadata,
    _text("tenant"),
    _text("node_id"),
    _text("embedder"),  # whose vector it is; "" as long as there is none
    _integer("seq"),  # rises in the order of the commits, so that processes see what is new
    _integer("generation"),  # of the matrix it is rotated with
    _sealed("vector"),
    PrimaryKeyConstraint("tenant", "node_id", name="vectors_pk"),
    ForeignKeyConstraint(
        ["tenant", "node_id"],
        ["nodes.tenant", "nodes.id"],
        name="vectors_node_fk",
        ondelete="CASCADE",
    ),
)
Index("vectors_new", vectors.c.tenant, vectors.c.embedder, vectors.c.seq)

outbox: Final = Table(
    "outbox",
    metadata,
    _text("tenant"),
    _integer("seq"),  # that of the audit row written with it: the order of the commits
    _text("kind"),  # `node`: a context node was written; `run`: a run was closed
    _text("id"),
    _float("at"),
    PrimaryKeyConstraint("tenant", "seq", "kind", name="outbox_pk"),
)

sync_positions: Final = Table(
    "sync_positions",
    metadata,
    _text("tenant"),
    _text("sink"),
    _integer("seq"),  # up to which the outbox has been followed
    _text("built_with"),  # what the sink's copy was made with
    _text("owner"),  # who follows it now; "" is nobody
    _float("lease_until"),
    PrimaryKeyConstraint("tenant", "sink", name="sync_positions_pk"),
)

parked: Final = Table(
    "parked",
    metadata,
    _text("tenant"),
    _text("sink"),
    _integer("seq"),
    _text("kind"),
    _text("id"),
    _text("reason"),
    _float("at"),
    PrimaryKeyConstraint("tenant", "sink", "id", name="parked_pk"),
)
"""What a sink refused for good, left out so that the rest goes on."""
