"""The audit trail: one chain of hashes per tenant, appended to in the transaction it speaks of."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from factory_mcp.domain.hash_chain import GENESIS, link
from factory_mcp.domain.model import Json
from factory_mcp.stores.sql.sqlite import Database
from factory_mcp.stores.sql.tables import audit, audit_heads

_HEAD: Final = (
    select(audit_heads).where(audit_heads.c.tenant == bindparam("its_tenant")).with_for_update()
)
_LOOK: Final = select(audit_heads.c.seq).where(audit_heads.c.tenant == bindparam("its_tenant"))
_MOVE_HEAD: Final = update(audit_heads).where(audit_heads.c.tenant == bindparam("its_tenant"))


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
        async with self._database.read() as connection:
            head = (await connection.execute(_LOOK, {"its_tenant": tenant})).one_or_none()
            return head.seq if head else 0


async def record(connection: AsyncConnection, entry: Entry) -> int:
    """Append a row to the tenant's chain; returns its number, counted from 1."""
    its = {"its_tenant": entry.tenant}
    head = (await connection.execute(_HEAD, its)).one_or_none()
    seq, prev = (head.seq + 1, head.hash) if head else (1, GENESIS)
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
    await connection.execute(insert(audit), {**row, "prev": prev, "hash": digest})
    new = {"seq": seq, "hash": digest}
    if head:
        await connection.execute(_MOVE_HEAD, {**its, **new})
    else:
        await connection.execute(insert(audit_heads), {"tenant": entry.tenant, **new})
    return seq
