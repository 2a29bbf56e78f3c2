"""Stores with rows in every table, of two tenants, and all that can be seen of them."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, select, text

from factory_mcp.domain.model import Status
from factory_mcp.ports import Claim
from factory_mcp.services.sealing import Sealing
from factory_mcp.stores.embed import StaticEmbedder
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.ledger import Ledger
from factory_mcp.stores.sql.postgres import PostgresDatabase
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.stores.sql.sqlite import SqliteDatabase
from factory_mcp.stores.sql.tables import metadata
from tests import postgres
from tests.contracts.samples import NOW, Samples
from tests.contracts.samples import sealing as sealed_as
from tests.keys import sealing

TENANTS: Final = ("acme", "o'ther \\ \0 \ud800 ü")
KINDS: Final = ("postgres", "sqlite")
NOTES: Final = (
    "Orders are kept in Postgres.",
    "The build runs for eleven minutes.",
    "Großes \ud800 and \0 in a note.",
    " ".join(f"Word{number}" for number in range(700)),  # more than a page of the index
)
QUESTIONS: Final = ("Which database has the orders?", "eleven minutes", "notes")


@asynccontextmanager
async def opened(kind: str, place: str, sealer: Sealing | None = None) -> AsyncGenerator[Database]:
    """A database of that kind, one that feeds projections: a folder, or the URL of one."""
    sealer = sealer or sealing()
    if kind == "sqlite":
        database = SqliteDatabase(Path(place, "factory-mcp.db"), sealer, feeds=True)
    else:
        database = PostgresDatabase(place, sealer, wait_s=postgres.PATIENT_S, feeds=True)
    try:
        await database.open()
        yield database
    finally:
        await database.close()


def drop(kind: str, place: str) -> None:
    """Leave nothing of a closed store but an empty one."""
    if kind == "sqlite":
        for file in Path(place).glob("factory-mcp.db*"):
            file.unlink()
        return
    with postgres.owner(place) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    postgres.upgrade(place)


async def fill(
    database: Database,
    make: Samples,
    tenants: Sequence[str] = TENANTS,
    notes: Sequence[str] = NOTES,
) -> None:
    """A closed run, an open one, and notes that were searched for, of each tenant."""
    ledger, contexts = Ledger(database), ContextTables(database)
    for tenant in tenants:
        run = make.run(tenant=tenant, workspace="/home/ann/shop", output="what was said")
        await ledger.open(run, Claim(keys=(key(tenant),)))
        learnt = make.node(
            tenant=tenant, summary="It was mended.", workspace_key="shop", standing=True
        )
        done = replace(run, ended_at=NOW + 60.25, session_id="s1")
        await ledger.close(done, learnt, sealed_as(Status.DONE))
        left = make.run(tenant=tenant, lease_until=NOW + 15, created_at=NOW + 100)
        await ledger.open(left, Claim())
        for note in notes:
            await contexts.append(make.node(tenant=tenant, summary=note, chain_id=learnt.id))
        await SearchTables(database, StaticEmbedder()).search(tenant, QUESTIONS[0], limit=5)


def key(tenant: str) -> str:
    """The key that a tenant's client has called with."""
    return f"key of {tenant}"


async def seen(database: Database) -> Mapping[str, Any]:
    """Contexts, histories, search results: all that a caller can get to see."""
    ledger, contexts = Ledger(database), ContextTables(database)
    search = SearchTables(database, StaticEmbedder())
    found: dict[str, Any] = {}
    for tenant in TENANTS:
        notes = await search.newest(tenant, limit=100)
        found[tenant] = {
            "runs": await ledger.recent(tenant, limit=100),
            "notes": notes,
            "paths": [await contexts.path(tenant, note.id) for note in notes],
            "standing": await contexts.standing(tenant, "shop"),
            "found": [await search.search(tenant, asked, limit=5) for asked in QUESTIONS],
        }
    return found


async def counts(database: Database) -> dict[str, int]:
    """How many rows there are of all tenants together, by table."""
    found = dict.fromkeys(metadata.tables, 0)
    for tenant in TENANTS:
        async with database.read(tenant) as connection:
            for name, table in metadata.tables.items():
                query = select(func.count()).select_from(table).where(table.c.tenant == tenant)
                found[name] += (await connection.execute(query)).scalar_one()
    return found


async def change(database: Database, tenant: str, statement: str) -> None:
    """Change what a tenant has behind the product's back."""
    async with database.write(tenant) as connection:
        await connection.execute(text(statement))
