"""The audit trail: one chain of hashes per tenant, appended to in the transaction it speaks of."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, select, update

from factory_mcp.domain.hash_chain import GENESIS, link
from factory_mcp.domain.model import Json
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.tables import audit, audit_heads, outbox, sync_positions
from factory_mcp.stores.sql.unit import Unit

_HEAD: Final = (
    select(audit_heads).where(audit_heads.c.tenant == bindparam("its_tenant")).with_for_update()
)
_LOOK: Final = select(audit_heads.c.seq).where(audit_heads.c.tenant == bindparam("its_tenant"))
_MOVE_HEAD: Final = update(audit_heads).where(audit_heads.c.tenant == bindparam("its_tenant"))
_UNTOLD: Final = (
    update(sync_positions)
    .where(sync_positions.c.tenant == bindparam("its_tenant"))
    .values(built_with="", owner="")
)
_KNOWN: Final = ("audit head",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Who did what to what, and when; `detail` never holds what a user wrote."""

    tenant: str
    at: float
    subject: str
    action: str
    object: str
    detail: Json


class AuditMarks:
    """The port Marks: every change has its audit row, so the newest row's number is the mark."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def mark(self, tenant: str) -> int:
        """A number that rises with every node and every closed run."""
        async with self._database.read(tenant) as connection:
            head = (await connection.execute(_LOOK, {"its_tenant": tenant})).one_or_none()
            return head.seq if head else 0


async def record(unit: Unit, entry: Entry) -> int:
    """Append a row to the tenant's chain; returns its number, counted from 1."""
    its = {"its_tenant": entry.tenant}
    known: tuple[int, str] | None = unit.known.get(_KNOWN)
    if known is None:
        head = (await unit.peek(_HEAD, its)).one_or_none()
        known = (head.seq, head.hash) if head else None
    seq, prev = known or (0, GENESIS)
    seq += 1
    row: Json = {
        "tenant": entry.tenant,
        "seq": seq,
        "at": float(entry.at),  # as the database gives it back
        "subject": entry.subject,
        "action": entry.action,
        "object": entry.object,
        "detail": entry.detail,
    }
    digest = link(prev, row)
    unit.put(audit, [{**row, "prev": prev, "hash": digest}])
    new = {"seq": seq, "hash": digest}
    if known:
        unit.move(_MOVE_HEAD, (), {**its, **new})
    else:
        unit.put(audit_heads, [{"tenant": entry.tenant, **new}])
    unit.known[_KNOWN] = (seq, digest)
    return seq


def feed(unit: Unit, entry: Entry, seq: int, kind: str, id: str) -> None:  # noqa: A002
    """Tell the projections that something came to be; `seq` is that of its audit row.

    Where this process keeps no outbox, what others have projected is out of date, and said to be.
    """
    if not unit.feeds:
        unit.move(_UNTOLD, (), {"its_tenant": entry.tenant})
    else:
        row = {"tenant": entry.tenant, "seq": seq, "kind": kind, "id": id, "at": float(entry.at)}
        unit.put(outbox, [row])
