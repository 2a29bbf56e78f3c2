"""A vector index that is fed before each search, as if the feeder were never late."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import numpy as np
from sqlalchemy import delete, insert, select

from factory_mcp.domain.model import ContextNode, Found
from factory_mcp.ports import Clock, Embedder
from factory_mcp.ports.index import VectorIndex
from factory_mcp.stores.embed import StaticEmbedder
from factory_mcp.stores.host import SystemClock, SystemRng
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.index import Vectors
from factory_mcp.stores.sql.projected import ProjectedSearch
from factory_mcp.stores.sql.projection import SINK, Projection
from factory_mcp.stores.sql.tables import nodes, sync_positions
from factory_mcp.stores.weaviate.address import Address
from factory_mcp.stores.weaviate.index import WeaviateIndex
from tests.fakes import FakeClock
from tests.servers.fixtures import WeaviateAddress

PATIENT_S: Final = 20.0
"""A test machine that is busy is no server that is away."""


def address_of(server: WeaviateAddress, **changes: str | tuple[str, int]) -> Address:
    """A test server's address, as the product has it."""
    host = server.url.rpartition(":")[0].removeprefix("http://")
    known: dict[str, object] = {
        "url": server.url,
        "grpc": (host, server.grpc_port),
        "key": server.api_key,
    }
    return Address(**{**known, **changes})  # pyright: ignore[reportArgumentType]


@asynccontextmanager
async def weaviate_index(
    server: WeaviateAddress, *, clock: Clock | None = None, search_s: float = PATIENT_S
) -> AsyncGenerator[WeaviateIndex]:
    """The index of one process."""
    made = WeaviateIndex(address_of(server), clock or SystemClock(), SystemRng(), search_s=search_s)
    try:
        yield made
    finally:
        await made.close()


class Wordless:
    """An embedder that knows no word: what is found is found by the very words."""

    id = "wordless"

    def embed(self, texts: Sequence[str]) -> Vectors:
        return np.zeros((len(texts), 4), np.float32)


class Fed:
    """The port ContextSearch: a ProjectedSearch whose feeder has always just been here.

    `feeding` off is a feeder that died.
    """

    def __init__(
        self,
        database: Database,
        index: VectorIndex,
        embedder: Embedder | None = None,
        clock: Clock | None = None,
    ) -> None:
        embedder, self.feeding = embedder or StaticEmbedder(), True
        self._database = database
        self.projection = Projection(database, embedder, index)
        self.inner = ProjectedSearch(database, embedder, index, clock or FakeClock())
        self._known: dict[str, set[str]] = {}
        self.asked = self.answered = 0
        """Searches, and those of them that the index answered."""

    async def newest(self, tenant: str, *, limit: int) -> list[ContextNode]:
        return await self.inner.newest(tenant, limit=limit)

    async def search(
        self,
        tenant: str,
        query: str,
        *,
        limit: int,
        droid: str | None = None,
        workspace_key: str | None = None,
    ) -> Found:
        if self.feeding:
            await self.feed(tenant)
        found = await self.inner.search(
            tenant, query, limit=limit, droid=droid, workspace_key=workspace_key
        )
        self.asked, self.answered = self.asked + 1, self.answered + (found.partial == ())
        return found

    async def feed(self, tenant: str) -> None:
        """What was written since; all of it for the first time."""
        query = select(nodes.c.id).where(nodes.c.tenant == tenant)
        async with self._database.read(tenant) as connection:
            there = set((await connection.execute(query)).scalars())
        if tenant not in self._known:
            await self.rebuild(tenant)
        elif fresh := sorted(there - self._known[tenant]):
            assert {} == await self.projection.feed(tenant, fresh)
        self._known[tenant] = there

    async def rebuild(self, tenant: str) -> None:
        """Build the tenant, and say with what."""
        built = await self.projection.built_with(tenant)
        await self.projection.rebuild(tenant)
        row = {"tenant": tenant, "sink": SINK, "built_with": built, "owner": ""}
        its = sync_positions.c.tenant == tenant, sync_positions.c.sink == SINK
        async with self._database.write(tenant) as connection:
            await connection.execute(delete(sync_positions).where(*its))
            await connection.execute(insert(sync_positions), {**row, "seq": 0, "lease_until": 0})


async def built_with(database: Database) -> list[str]:
    """What the entries of "acme" were made with, as the feeder has written it down."""
    async with database.read("acme") as connection:
        rows = await connection.exec_driver_sql("SELECT built_with FROM sync_positions")
        return list(rows.scalars())
