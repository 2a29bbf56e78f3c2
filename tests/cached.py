"""A store with caches in front of it, as the tests of the cache build it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import pytest

from factory_mcp.domain.model import ContextNode, Unreadable
from factory_mcp.ports import Appended, Clock, Contexts, NewNode, Sealer
from factory_mcp.ports.fast import Bus, Cache
from factory_mcp.services.cache import CachedContexts
from factory_mcp.stores.memory import MemoryBus, MemoryCache
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.sqlite import SqliteDatabase, open_database
from tests.contracts.samples import Samples
from tests.fakes import FakeClock
from tests.keys import sealing as sealer

make = Samples()


class Truth:
    """The real store, and what it was asked; `gate` keeps reads waiting, `fault` breaks them."""

    def __init__(self, store: Contexts) -> None:
        self._store = store
        self.asked: list[str] = []
        self.read = 0  # how often it has looked, whether or not it has answered
        self.gate: anyio.Event | None = None
        self.fault: Exception | None = None
        self.unreadable: Unreadable | None = None

    async def append(self, node: NewNode) -> Appended:
        return await self._store.append(node)

    async def head(self, tenant: str, id: str) -> ContextNode | None:  # noqa: A002
        self.asked.append("head")
        gate = self.gate
        node = await self._store.head(tenant, id)
        await self._answered(gate)
        return node

    async def standing(self, tenant: str, workspace_key: str) -> ContextNode | None:
        self.asked.append("standing")
        gate = self.gate
        node = await self._store.standing(tenant, workspace_key)
        await self._answered(gate)
        return node

    async def path(
        self, tenant: str, id: str, *, lenient: bool = False  # noqa: A002
    ) -> list[ContextNode]:
        self.asked.append("path")
        gate = self.gate
        path = await self._store.path(tenant, id, lenient=lenient)
        await self._answered(gate)
        return [replace(node, unreadable=self.unreadable) for node in path]

    async def _answered(self, gate: anyio.Event | None) -> None:
        self.read += 1
        if gate is not None:
            await gate.wait()
        if self.fault is not None:
            raise self.fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """One store, and what a process is made of."""

    database: SqliteDatabase
    truth: Truth
    clock: FakeClock
    shared: MemoryCache

    def process(
        self,
        me: str = "we",
        *,
        bus: Bus | None = None,
        shared: Cache | None = None,
        clock: Clock | None = None,
        seals: Sealer | None = None,
    ) -> CachedContexts:
        """A process with a cache of its own."""
        seals = seals or sealer()
        clock = clock or self.clock
        return CachedContexts(self.truth, bus or MemoryBus(), seals, clock, me=me, shared=shared)

    async def chain(self, length: int = 3, tenant: str = "acme") -> list[ContextNode]:
        """A chain as somebody else has written it."""
        root = (await self.truth.append(make.node(tenant=tenant, workspace_key="/w"))).node
        nodes = [root]
        while len(nodes) < length:
            new = make.node(tenant=tenant, chain_id=root.id)
            nodes.append((await self.truth.append(new)).node)
        return nodes


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    """An empty SQLite store."""
    database = await open_database(tmp_path / "factory.db", sealer())
    clock = FakeClock(auto=True)
    truth = Truth(ContextTables(database))
    yield Rig(database=database, truth=truth, clock=clock, shared=MemoryCache(clock))
    await database.close()
