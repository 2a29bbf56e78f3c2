"""The audit trail, looked through: does every row follow from the one before it?"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from factory_mcp.domain.hash_chain import GENESIS, verify
from factory_mcp.domain.model import Json
from factory_mcp.stores.sql.rows import Stored, StoredTable
from factory_mcp.stores.sql.tables import audit, audit_heads
from factory_mcp.stores.sql.unit import Unit

_AUDIT: Final = StoredTable(table=audit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """A tenant's trail: how many rows it has, and the first one that is not as it was written."""

    tenant: str
    rows: int
    broken: int | None = None
    why: str = ""


async def verified(unit: Unit, tenant: str) -> Trail:
    """Look through a tenant's trail, of which `enter` was called."""
    count, seq, prev = 0, 0, GENESIS
    async for page in _AUDIT.pages(unit, tenant):
        rows = [_decoded(tenant, row) for row in page]
        first = verify(rows, prev)
        if first is not None:
            place = page[first][_AUDIT.columns.index("seq")]
            why = "it was changed, or rows before it were changed, added or left out"
            return Trail(tenant=tenant, rows=count + first, broken=place, why=why)
        count, seq, prev = count + len(rows), rows[-1]["seq"], rows[-1]["hash"]
    query = select(audit_heads.c.seq, audit_heads.c.hash).where(audit_heads.c.tenant == tenant)
    head = (await unit.execute(query)).one_or_none() or (0, GENESIS)
    if tuple(head) != (seq, prev):
        why = f"the tenant's head is row {head[0]}, and the last one there is row {seq}"
        return Trail(tenant=tenant, rows=count, broken=seq + 1, why=why)
    return Trail(tenant=tenant, rows=count)


async def trail(unit: Unit, tenant: str) -> AsyncGenerator[Json]:
    """The rows of a tenant's trail in order, whatever they hold."""
    async for page in _AUDIT.pages(unit, tenant):
        for row in page:
            yield _decoded(tenant, row)


def _decoded(tenant: str, row: Stored) -> Json:
    """A row; one that cannot be decoded is as it is stored, and so does not fit its hash."""
    try:
        return _AUDIT.decoded(tenant, row)
    except (ValueError, TypeError):
        values = dict(zip(_AUDIT.columns, map(str, row), strict=True))
        return {"tenant": tenant, **values}
