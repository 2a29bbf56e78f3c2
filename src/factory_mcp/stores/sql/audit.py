"""The audit trail: one chain of hashes per tenant, appended to in the transaction it speaks of."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from factory_mcp.domain.hash_chain import GENESIS, link
from factory_mcp.domain.model import Json
from factory_mcp.stores.sql.tables import audit, audit_heads

_HEAD: Final = (
    select(audit_heads).where(audit_heads.c.tenant == bindparam("its_tenant")).with_for_update()
)
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
