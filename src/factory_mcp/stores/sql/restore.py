"""A backup put into an empty store: all of it in one transaction, looked at before it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from anyio.to_thread import run_sync
from sqlalchemy import delete, insert

from factory_mcp.domain.backup_errors import BackupUnusable, StoreNotEmpty
from factory_mcp.domain.errors import StoreUnavailable
from factory_mcp.stores.backup_file import (
    Batch,
    Header,
    Section,
    Sums,
    Trailer,
    read,
    row_lines,
    section_line,
)
from factory_mcp.stores.sql.audit_trail import verified
from factory_mcp.stores.sql.backup import KEPT, OF_THE_MOMENT, Told, all_rows
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.migrations import HEAD
from factory_mcp.stores.sql.opening import Opening
from factory_mcp.stores.sql.rows import name_of
from factory_mcp.stores.sql.unit import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was restored, and what about it is not as it should be though the data is there."""

    header: Header
    tenants: int
    problems: Sequence[str]


async def check_file(path: Path, told: Told) -> tuple[Header, Trailer]:
    """Read a whole backup.

    Raises:
        BackupUnusable: It is none, or was cut or changed.
    """
    parts, done = read(path), 0
    header = cast("Header", await run_sync(next, parts))
    total = sum(header.rows.values())
    while isinstance(part := await run_sync(next, parts), Batch):
        done += len(part.rows)
        told("checking", done, total)
    return header, cast("Trailer", part)


async def restore(database: Database, path: Path, told: Told) -> Restored:
    """Put a backup into an open, empty store.

    Raises:
        BackupUnusable: The file is not whole, or for another version; nothing was written.
        StoreNotEmpty: There is something in the store.
        StoreUnavailable: It cannot be written, or does not give back what was written.
    """
    header, trailer = await check_file(path, told)
    if header.revision != HEAD:
        raise BackupUnusable(
            f"The backup {path} is of revision {header.revision}, this version's store of {HEAD}.",
            remedy=f"Restore it with factory-mcp {header.made_by}, which made it; then upgrade.",
        )
    async with database.exclusive() as (unit, others):
        if others:
            raise StoreNotEmpty(f"There {_are(len(others))} in the store already.")
        tenants = await _write(unit, path, trailer, told)
        look = Opening(database.sealer)
        await _compare(unit, tenants, trailer, look, told)
        problems = [*look.problems(header), *await _broken_trails(unit, tenants)]
    return Restored(header=header, tenants=len(tenants), problems=problems)


async def _write(unit: Unit, path: Path, trailer: Trailer, told: Told) -> list[str]:
    """Write all rows; the tenants that have some."""
    parts, total = read(path), sum(found.rows for found in trailer.tables.values())
    await run_sync(next, parts)
    tenants, done = dict[str, str](), 0
    while isinstance(part := await run_sync(next, parts), Batch):
        tenant = part.section.tenant
        if tenant not in tenants:
            tenants[tenant] = await _begin(unit, tenant)
        await _insert(unit, path, part)
        done += len(part.rows)
        told("writing", done, total)
    if part != trailer:
        raise BackupUnusable(f"The backup {path} was changed while it was read.")
    return list(tenants.values())


async def _begin(unit: Unit, stored: str) -> str:
    """Enter a tenant; projections that know something of it start over."""
    tenant = name_of(stored)
    await unit.enter(tenant)
    for table in OF_THE_MOMENT:
        await unit.execute(delete(table).where(table.c.tenant == tenant))
    return tenant


async def _insert(unit: Unit, path: Path, batch: Batch) -> None:
    section = batch.section
    table = KEPT.get(section.table)
    if table is None or (table.columns, table.binary) != (section.columns, section.binary):
        raise BackupUnusable(f"The backup {path} holds what this version has no table for.")
    names = ("tenant", *section.columns)
    rows = [dict(zip(names, (section.tenant, *row), strict=True)) for row in batch.rows]
    await unit.execute(insert(table.raw), rows)


async def _compare(
    unit: Unit, tenants: Sequence[str], trailer: Trailer, look: Opening, told: Told
) -> None:
    """Read everything back.

    Raises:
        StoreUnavailable: It is not what was written.
    """
    sums, total = Sums(), sum(found.rows for found in trailer.tables.values())
    last: Section | None = None
    done = 0
    async for found in all_rows(unit, tenants):
        if found.section is not last:
            last = found.section
            sums.take(last.table, section_line(last), 0)
        lines = await run_sync(row_lines, found.rows)
        sums.take(found.section.table, lines, len(found.rows))
        look.look(found)
        done += len(found.rows)
        told("comparing", done, total)
    there = sums.trailer().tables
    names = there.keys() | trailer.tables.keys()
    wrong = sorted(name for name in names if there.get(name) != trailer.tables.get(name))
    if wrong:
        raise StoreUnavailable(
            f"The store does not give back what was written to {', '.join(wrong)}; nothing was"
            " restored."
        )


async def _broken_trails(unit: Unit, tenants: Sequence[str]) -> list[str]:
    found: list[str] = []
    for tenant in tenants:
        await unit.enter(tenant)
        trail = await verified(unit, tenant)
        if trail.broken is not None:
            found.append(
                f"The audit trail of {tenant} is broken at row {trail.broken}: {trail.why}"
            )
    return found


def _are(tenants: int) -> str:
    return "is 1 tenant" if tenants == 1 else f"are {tenants} tenants"
