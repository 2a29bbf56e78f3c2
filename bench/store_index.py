"""The vector index: how fast it is fed, beside the bare client, and how long a search takes."""

import statistics
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid4

import weaviate
from sqlalchemy import insert
from weaviate.classes.data import DataObject
from weaviate.classes.init import Auth

from bench.notes import TENANT, node, texts
from bench.store_writes import append_all, new
from bench.table import at_least, at_most
from factory_mcp.ports.index import Entry
from factory_mcp.services.sync import Sync
from factory_mcp.stores.embed import StaticEmbedder
from factory_mcp.stores.host import SystemClock, SystemRng
from factory_mcp.stores.sql import tables
from factory_mcp.stores.sql.append import rows_of
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.outbox import OutboxTables
from factory_mcp.stores.sql.projected import ProjectedSearch
from factory_mcp.stores.sql.projection import Projection
from factory_mcp.stores.sql.vector_sink import VectorSink
from factory_mcp.stores.weaviate.index import COLLECTION, WeaviateIndex
from factory_mcp.stores.weaviate.shards import SCOPES
from tests.projected import address_of
from tests.servers.fixtures import WeaviateAddress
from tests.servers.process import HOST
from tests.servers.start import Weaviate

DRAINED: Final = 4000
BATCH: Final = 500
ROUNDS: Final = 3
SEARCHES: Final = 300
WARM_UP: Final = 30
AT_ONCE: Final = 10_000
"""Nodes in one transaction."""

_P95: Final = 18
"""Of the cuts into twentieths."""


class Noting(WeaviateIndex):
    """The product's own, which keeps what it was given where `entries` is a list."""

    entries: list[Entry] | None = None

    async def put(self, tenant: str, entries: Sequence[Entry]) -> Mapping[str, str]:
        """Write entries."""
        if self.entries is not None:
            self.entries += entries
        return await super().put(tenant, entries)


@asynccontextmanager
async def _index(server: Weaviate) -> AsyncGenerator[Noting]:
    its = WeaviateAddress(url=server.url, grpc_port=server.grpc_port, api_key=server.api_key)
    index = Noting(address_of(its), SystemClock(), SystemRng())
    try:
        yield index
    finally:
        await index.close()


def _sync(database: Database, index: WeaviateIndex) -> Sync:
    sink = VectorSink(Projection(database, StaticEmbedder(), index))
    return Sync(OutboxTables(database), [sink], SystemClock(), SystemRng(), poll_s=1)


async def drains(database: Database, server: Weaviate) -> None:
    """What waits in the outbox is fed; then the bare client writes the same objects again."""
    ratios, ours, bare = list[float](), list[float](), list[float]()
    async with _index(server) as index:
        sync = _sync(database, index)
        for number in range(ROUNDS + 1):
            tenant = f"round {number}"
            await _written(database, tenant, 1)
            await sync.drain()  # a tenant that is new is not read from the outbox
            await _written(database, tenant, DRAINED)
            entries = index.entries = list[Entry]()
            begun = time.perf_counter()
            await sync.drain()
            ours.append(DRAINED / (time.perf_counter() - begun))
            bare.append(await _inserted(server, [_object(entry) for entry in entries]))
            ratios.append(ours[-1] / bare[-1])
    at_least("sync drains the outbox into Weaviate, nodes/s", ours[1:])
    at_least(f"raw insert_many, same objects, {BATCH} a batch, /s", bare[1:])
    at_least("sync drains, as a share of raw insert_many", ratios[1:], 0.6)


async def _written(database: Database, tenant: str, count: int) -> None:
    notes = (new(words, tenant=tenant) for words in texts(count, 10, 24, seed=count))
    await append_all(ContextTables(database), notes)


def _object(entry: Entry) -> Any:
    scopes = {scope: getattr(entry, scope) for scope in SCOPES}
    return DataObject(
        uuid=uuid4(),
        properties={
            "node": entry.id,
            "tokens": " ".join(entry.words),
            "created_at": entry.created_at,
            **{scope: name for scope, name in scopes.items() if name is not None},
        },
        vector=None if entry.vector is None else entry.vector.tolist(),
    )


async def _inserted(server: Weaviate, objects: Sequence[Any]) -> float:
    """Objects a second, into a shard of its own of the same collection."""
    client = weaviate.use_async_with_custom(
        http_host=HOST,
        http_port=server.port,
        http_secure=False,
        grpc_host=HOST,
        grpc_port=server.grpc_port,
        grpc_secure=False,
        auth_credentials=Auth.api_key(server.api_key),
        skip_init_checks=True,
    )
    async with client:
        collection: Any = client.collections.use(COLLECTION)
        data = collection.with_tenant(uuid4().hex).data
        begun = time.perf_counter()
        for start in range(0, len(objects), BATCH):
            await data.insert_many(objects[start : start + BATCH])
        return len(objects) / (time.perf_counter() - begun)


async def searches(database: Database, server: Weaviate, size: int) -> None:
    """One search after the other: the query's vector, Weaviate by both ways, the nodes from SQL."""
    async with _index(server) as index:
        begun = time.perf_counter()
        await _fill(database, size)
        print(f"setup: {size:,} nodes in SQL after {time.perf_counter() - begun:.0f} s", flush=True)
        await _sync(database, index).rebuild(_progress(size, begun))
        search = ProjectedSearch(database, StaticEmbedder(), index, SystemClock())
        taken: list[float] = []
        for words in texts(WARM_UP + SEARCHES, 3, 8, seed=size + 1):
            begun = time.perf_counter()
            found = await search.search(TENANT, " ".join(words), limit=10)
            taken.append(1e3 * (time.perf_counter() - begun))
            if found.partial:
                raise RuntimeError(found.partial)
    taken = taken[WARM_UP:]
    at_most(f"hybrid search, {size:,} nodes, p50, ms", statistics.median(taken), 15)
    at_most("the same, p95, ms", statistics.quantiles(taken, n=20)[_P95], 40)


def _progress(size: int, begun: float) -> Any:
    told = 0

    def tell(_sink: str, _tenant: str, done: int, _of: int) -> None:
        nonlocal told
        if done >= told + AT_ONCE:
            told = done
            seconds = time.perf_counter() - begun
            print(
                f"setup: {done:,} of {size:,} nodes in Weaviate after {seconds:.0f} s", flush=True
            )

    return tell


async def _fill(database: Database, size: int) -> None:
    """Nodes as the store makes their rows, without what only a search in SQL looks at."""
    await ContextTables(database).append(new(["first"]))  # so that the tenant is known
    notes = texts(size, 10, 24, seed=size)
    for start in range(0, size, AT_ONCE):
        made = [node(n, words) for n, words in enumerate(notes[start : start + AT_ONCE], start)]
        chains = [
            {"tenant": TENANT, "id": n.id, "head_id": n.id, "head_revision": 1, "standing": False}
            for n in made
        ]
        async with database.write(TENANT) as connection:
            await connection.execute(insert(tables.chains), chains)
            rows = [rows_of(database.sealer, one).node for one in made]
            await connection.execute(insert(tables.nodes), rows)
