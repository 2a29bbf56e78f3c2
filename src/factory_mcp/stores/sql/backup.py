"""All that the tables hold, written into one file: one state of it, sealed as it is.

Left out is what only this moment is about: how far projections have come (they are built again),
and so the outbox. The key ring is not in it either.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anyio.to_thread import run_sync

from factory_mcp.domain.seal_errors import KeyRingUnusable
from factory_mcp.ports import Sealer
from factory_mcp.stores.backup_file import Header, Section, Trailer, Writer
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.migrations import HEAD
from factory_mcp.stores.sql.rows import Stored, StoredTable, stored_name
from factory_mcp.stores.sql.tables import metadata, outbox, parked, sync_positions
from factory_mcp.stores.sql.unit import Unit

OF_THE_MOMENT: Final = (outbox, parked, sync_positions)
KEPT: Final = {
    table.name: StoredTable(table=table)
    for table in metadata.sorted_tables
    if table not in OF_THE_MOMENT
}
"""In an order in which no row comes before the one it refers to."""

Told = Callable[[str, int, int], None]
"""Hears what is being done, how many rows are, and of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Some rows of a tenant's table, whose section may be empty."""

    tenant: str
    section: Section
    rows: Sequence[Stored]


async def back_up(
    database: Database, path: Path, *, made_by: str, at: float, force: bool, told: Told
) -> tuple[Header, Trailer]:
    """Write a backup.

    Args:
        database: An open one.
        path: Where the file goes.
        made_by: This program's version.
        at: When, Unix seconds.
        force: Whether another file may be replaced.
        told: Hears how it goes.

    Raises:
        BackupUnusable: The file cannot be written, or is there already.
    """
    async with database.snapshot() as (unit, tenants):
        header = Header(
            revision=HEAD,
            made_by=made_by,
            made_at=at,
            made_from=unit.connection.dialect.name,
            index=index_of(database.sealer),
            rows=await _counted(unit, tenants),
        )
        writer = await run_sync(lambda: Writer(path, header, force=force))
        try:
            done, total = 0, sum(header.rows.values())
            last: Section | None = None
            async for found in all_rows(unit, tenants):
                if found.section is not last:
                    last = found.section
                    await run_sync(writer.section, last)
                await run_sync(writer.rows, found.section.table, found.rows)
                done += len(found.rows)
                told("writing", done, total)
            return header, await run_sync(writer.finish)
        finally:
            writer.abandon()


async def all_rows(unit: Unit, tenants: Sequence[str]) -> AsyncGenerator[Found]:
    """The rows to keep, tenant by tenant and table by table, always in the same order."""
    for tenant in sorted(tenants, key=stored_name):
        await unit.enter(tenant)
        for name, table in KEPT.items():
            section = Section(
                tenant=stored_name(tenant), table=name, columns=table.columns, binary=table.binary
            )
            async for page in table.pages(unit, tenant):
                yield Found(tenant=tenant, section=section, rows=page)


def index_of(sealer: Sealer) -> str | None:
    """What tells key rings with another index key apart; None without a ring, which none needs."""
    try:
        return sealer.blind("", "backup")
    except KeyRingUnusable:
        return None


async def _counted(unit: Unit, tenants: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for tenant in tenants:
        await unit.enter(tenant)
        for name, table in KEPT.items():
            if rows := await table.count(unit, tenant):
                found[name] = found.get(name, 0) + rows
    return found
