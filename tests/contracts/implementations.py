"""Every store there is: each contract suite runs against each of them."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sqlalchemy import Table, select

from factory_mcp.domain.model import Json
from factory_mcp.ports import Contexts, ContextSearch, Marks, RunBook, RunReader, Store
from factory_mcp.services.cache import CachedBook, CachedContexts
from factory_mcp.stores.host import SystemClock
from factory_mcp.stores.memory import MemoryBus, MemoryCache
from factory_mcp.stores.sql.audit import AuditMarks
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.ledger import Ledger
from factory_mcp.stores.sql.sealed import HISTORY
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.stores.sql.sqlite import open_database
from factory_mcp.stores.sql.tables import audit, history
from tests import postgres as pg
from tests.keys import sealing

Rows = Callable[[str], Awaitable[list[Json]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """The ports of one store, and its append-only rows of a tenant in order.

    `stranger` is the book as another process has it.
    """

    book: RunBook
    stranger: RunBook
    reader: RunReader
    contexts: Contexts
    search: ContextSearch
    health: Store
    marks: Marks
    history: Rows
    audit: Rows


def _stores(writes: Database, reads: Database) -> Stores:
    return Stores(
        book=Ledger(writes),
        stranger=Ledger(reads),
        reader=Ledger(reads),
        contexts=ContextTables(writes),
        search=SearchTables(reads),
        health=reads,
        marks=AuditMarks(reads),
        history=_rows(reads, history),
        audit=_rows(reads, audit),
    )


def _rows(database: Database, table: Table) -> Rows:
    async def read(tenant: str) -> list[Json]:
        query = select(table).where(table.c.tenant == tenant).order_by(table.c.seq)
        async with database.read(tenant) as connection:
            rows = (await connection.execute(query)).mappings()
            if table is history:
                return [HISTORY.open(database.sealer, row) for row in rows]
            return [dict(row) for row in rows]

    return read


@asynccontextmanager
async def _opened(path: Path) -> AsyncGenerator[Database]:
    database = await open_database(path, sealing())
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def sqlite(folder: str) -> AsyncGenerator[Stores]:
    """One process's SQLite."""
    async with _opened(Path(folder, "factory.db")) as database:
        yield _stores(database, database)


@asynccontextmanager
async def sqlite_shared(folder: str) -> AsyncGenerator[Stores]:
    """One SQLite file that is written through one database object and read through another."""
    async with AsyncExitStack() as stack:
        writes = await stack.enter_async_context(_opened(Path(folder, "factory.db")))
        reads = await stack.enter_async_context(_opened(Path(folder, "factory.db")))
        yield _stores(writes, reads)


@asynccontextmanager
async def postgres(url: str) -> AsyncGenerator[Stores]:
    """One replica's Postgres."""
    async with pg.opened(url) as database:
        yield _stores(database, database)


@asynccontextmanager
async def postgres_shared(url: str) -> AsyncGenerator[Stores]:
    """One database that one replica writes and another one reads."""
    async with pg.opened(url) as writes, pg.opened(url) as reads:
        yield _stores(writes, reads)


@asynccontextmanager
async def sqlite_cached(folder: str) -> AsyncGenerator[Stores]:
    """One process's SQLite behind its caches; nobody else writes."""
    clock = SystemClock()
    async with _opened(Path(folder, "factory.db")) as database:
        stores, shared = _stores(database, database), MemoryCache(clock)
        contexts = CachedContexts(
            stores.contexts, MemoryBus(), database.sealer, clock, me="we", shared=shared
        )
        yield replace(stores, contexts=contexts, book=CachedBook(stores.book, contexts))


POSTGRES: Final = ("postgres", "postgres-shared")

IMPLEMENTATIONS: Final[Mapping[str, Callable[[str], AbstractAsyncContextManager[Stores]]]] = {
    "sqlite": sqlite,
    "sqlite-cached": sqlite_cached,
    "sqlite-shared": sqlite_shared,
    "postgres": postgres,
    "postgres-shared": postgres_shared,
}
