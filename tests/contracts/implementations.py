"""Every store there is: each contract suite runs against each of them."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Table, select

from factory_mcp.domain.model import Json
from factory_mcp.ports import Contexts, ContextSearch, Marks, RunBook, RunReader, Store
from factory_mcp.stores.sql.audit import AuditMarks
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.ledger import Ledger
from factory_mcp.stores.sql.sealed import HISTORY
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.stores.sql.sqlite import Database, open_database
from factory_mcp.stores.sql.tables import audit, history
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
        async with database.read() as connection:
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
async def sqlite(folder: Path) -> AsyncGenerator[Stores]:
    """One process's SQLite."""
    async with _opened(folder / "factory.db") as database:
        yield _stores(database, database)


@asynccontextmanager
async def sqlite_shared(folder: Path) -> AsyncGenerator[Stores]:
    """One SQLite file that is written through one database object and read through another."""
    async with AsyncExitStack() as stack:
        writes = await stack.enter_async_context(_opened(folder / "factory.db"))
        reads = await stack.enter_async_context(_opened(folder / "factory.db"))
        yield _stores(writes, reads)


IMPLEMENTATIONS: Final[Mapping[str, Callable[[Path], AbstractAsyncContextManager[Stores]]]] = {
    "sqlite": sqlite,
    "sqlite-shared": sqlite_shared,
}
