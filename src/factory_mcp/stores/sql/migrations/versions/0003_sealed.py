"""What users wrote is sealed, and what is only compared is blinded.

A sealed column may be NULL, because SQLite adds no column that must not be.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa
from alembic import context, op

from factory_mcp.ports import Place, Sealer

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BATCH = 500
ESCAPED = re.compile(r"\\u([0-9a-f]{4})")


class Sealed(NamedTuple):
    """A table with columns to seal: those that hold JSON, those that hold text."""

    table: str
    key: tuple[str, str]
    json: tuple[str, ...]
    text: tuple[str, ...]
    id: str
    revision: str | None


SEALED = (
    Sealed(
        "runs",
        ("tenant", "id"),
        ("request", "progress", "envelope"),
        ("workspace", "cancel_reason", "output"),
        "id",
        None,
    ),
    Sealed("history", ("tenant", "seq"), ("envelope",), (), "run_id", "seq"),
    Sealed("nodes", ("tenant", "id"), ("data",), ("summary",), "id", "revision"),
)
NEEDED = (("runs", "request"), ("history", "envelope"), ("nodes", "data"), ("nodes", "summary"))
BLIND = (
    ("node_tokens", "token", "word"),
    ("call_keys", "key", "key"),
    ("chains", "workspace_key", "workspace"),
    ("nodes", "workspace_key", "workspace"),
    ("runs", "workspace_key", "workspace"),
)


def upgrade() -> None:
    """Seal and blind all rows; whoever runs this removes the traces that the file still holds."""
    sealer: Sealer = context.config.attributes["sealer"]
    for sealed in SEALED:
        _seal(sealed, sealer)
    for table, column, purpose in BLIND:
        _blind(table, column, purpose, sealer)


def downgrade() -> None:
    """Remove all rows, for what is blind cannot be read again, and make the columns text."""
    for table in ("call_keys", "history", "node_tokens", "nodes", "chains", "runs"):
        op.execute(f"DELETE FROM {table}")  # noqa: S608 — our own names
    for sealed in SEALED:
        for column in (*sealed.json, *sealed.text):
            op.drop_column(sealed.table, column)
            needed = (sealed.table, column) in NEEDED
            op.add_column(sealed.table, sa.Column(column, sa.Text(), nullable=not needed))


def _seal(sealed: Sealed, sealer: Sealer) -> None:
    columns = (*sealed.json, *sealed.text)
    for column in columns:
        op.add_column(sealed.table, sa.Column(f"{column}_sealed", sa.LargeBinary()))
    named = {*sealed.key, sealed.id, *columns, *filter(None, [sealed.revision])}
    table = sa.table(
        sealed.table,
        *map(_plain, sorted(named)),
        *(sa.column(f"{name}_sealed", sa.LargeBinary()) for name in columns),
    )
    this = (table.c[name] == sa.bindparam(f"its_{name}") for name in sealed.key)
    write = table.update().where(*this)
    for row in _rows(table, sealed.key):
        values: dict[str, Any] = {f"its_{name}": row[name] for name in sealed.key}
        values |= {f"{n}_sealed": _closed(sealed, n, row, sealer, _json) for n in sealed.json}
        values |= {f"{n}_sealed": _closed(sealed, n, row, sealer, _text) for n in sealed.text}
        op.get_bind().execute(write, values)
    for column in columns:
        op.drop_column(sealed.table, column)
        op.execute(f"ALTER TABLE {sealed.table} RENAME COLUMN {column}_sealed TO {column}")


def _plain(name: str) -> sa.ColumnClause[Any]:
    return sa.column(name)


def _rows(table: sa.TableClause, key: tuple[str, str]) -> Iterator[Any]:
    """All rows, some at a time, in the order of their keys."""
    keys = tuple(table.c[name] for name in key)
    query = sa.select(table).order_by(*keys).limit(BATCH)
    page = query
    while rows := op.get_bind().execute(page).mappings().all():
        yield from rows
        page = query.where(sa.tuple_(*keys) > sa.tuple_(*(rows[-1][name] for name in key)))


def _closed(
    sealed: Sealed, column: str, row: Any, sealer: Sealer, plain: Callable[[str], bytes]
) -> bytes | None:
    if row[column] is None:
        return None
    place = Place(
        tenant=row["tenant"],
        table=f"{sealed.table}.{column}",
        id=row[sealed.id],
        revision=row[sealed.revision] if sealed.revision else 0,
    )
    return sealer.seal(place, plain(row[column]))


def _json(stored: str) -> bytes:
    return stored.encode("ascii")


def _text(stored: str) -> bytes:
    r"""JSON of a text, in which 0001 kept what databases refuse as `\uXXXX`."""
    text = ESCAPED.sub(lambda found: chr(int(found[1], 16)), stored)
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _blind(name: str, column: str, purpose: str, sealer: Sealer) -> None:
    table = sa.table(name, sa.column("tenant"), sa.column(column))
    bind = op.get_bind()
    plain = table.c[column]
    query = sa.select(table.c.tenant, plain).where(plain.is_not(None)).distinct()
    for tenant, value in bind.execute(query).all():
        text = ESCAPED.sub(lambda found: chr(int(found[1], 16)), value)
        this = table.update().where(table.c.tenant == tenant, plain == value)
        bind.execute(this.values({column: sealer.blind(tenant, f"{purpose} {text}")}))
