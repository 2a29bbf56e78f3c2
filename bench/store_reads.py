"""Context reads from the caches, and how often they answer."""

import random
import time
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import anyio

from bench.notes import TENANT, texts
from bench.store_writes import append_all, new
from bench.table import at_least
from factory_mcp.ports import Contexts
from factory_mcp.ports.fast import Bus
from factory_mcp.services.cache import CachedContexts
from factory_mcp.services.watching import CHANGES
from factory_mcp.stores.host import SystemClock
from factory_mcp.stores.memory import MemoryBus
from factory_mcp.stores.redis.bus import RedisBus
from factory_mcp.stores.redis.cache import RedisCache
from factory_mcp.stores.redis.connection import RedisConnection
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.database import Database

ROUNDS: Final = 3
DEPTH: Final = 5
"""Nodes of a chain that is read."""
LOCAL: Final = 200_000
SHARED: Final = 3000
READERS: Final = 16

CHAINS: Final = 1000
EXPONENT: Final = 1.1
READS: Final = 20_000
WRITTEN: Final = 0.02
"""Of the workload's steps."""
REPLICAS: Final = 2


async def reads(database: Database, redis_url: str) -> None:
    """How many reads a second, from this process and from Redis."""
    truth, clock = ContextTables(database), SystemClock()
    redis = RedisConnection(redis_url, clock, timeout_s=5)
    try:
        await _from_process(_cached(truth, database, MemoryBus(), "process"))
        await _from_redis(truth, database, RedisCache(redis))
    finally:
        await redis.close()


def _cached(
    truth: Contexts, database: Database, bus: Bus, me: str, shared: RedisCache | None = None
) -> CachedContexts:
    return CachedContexts(truth, bus, database.sealer, SystemClock(), me=me, shared=shared)


async def _from_process(contexts: CachedContexts) -> None:
    chain, last = None, ""
    for words in texts(DEPTH, 10, 24, seed=1):
        node = (await contexts.append(new(words, chain))).node
        chain, last = node.chain_id, node.id
    await contexts.path(TENANT, last)
    rates: list[float] = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(LOCAL):
            await contexts.path(TENANT, last)
        rates.append(LOCAL / (time.perf_counter() - begun))
    at_least(f"context read, {DEPTH} nodes, cache of the process, /s", rates, 200_000)


async def _from_redis(truth: ContextTables, database: Database, shared: RedisCache) -> None:
    """Another process's cache is empty: what it reads comes from Redis, and is opened."""
    notes = [new(words) for words in texts(SHARED, 10, 24, seed=2)]
    ids = [note.id for note in notes]
    await append_all(truth, notes)
    first = _cached(truth, database, MemoryBus(), "first", shared)
    for name in ids:
        await first.path(TENANT, name)
    rates: list[float] = []
    for number in range(ROUNDS):
        other = _cached(truth, database, MemoryBus(), f"other {number}", shared)
        begun = time.perf_counter()
        await _read_all(other, ids)
        rates.append(SHARED / (time.perf_counter() - begun))
        if other.stats().shared_hits != SHARED:
            raise RuntimeError(other.stats())
    at_least(f"context read, Redis, opened, {READERS} readers, /s", rates, 5000)


async def _read_all(contexts: CachedContexts, ids: Sequence[str]) -> None:
    rest = iter(ids)

    async def read() -> None:
        for name in rest:
            await contexts.path(TENANT, name)

    async with anyio.create_task_group() as tasks:
        for _ in range(READERS):
            tasks.start_soon(read)


async def hit_rate(database: Database, redis_url: str) -> None:
    """Replicas with empty caches read heads and paths; what was written meanwhile is read anew."""
    truth, clock = ContextTables(database), SystemClock()
    connection = RedisConnection(redis_url, clock, timeout_s=5)
    shared, buses = RedisCache(connection), [RedisBus(connection, clock) for _ in range(REPLICAS)]
    replicas = [
        _cached(truth, database, bus, f"replica {number}", shared)
        for number, bus in enumerate(buses)
    ]
    try:
        async with anyio.create_task_group() as tasks:
            for bus in buses:
                came = anyio.Event()
                bus.listen(CHANGES, lambda _, came=came: came.set())
                tasks.start_soon(bus.run)
                await came.wait()
            await _workload(replicas)
            tasks.cancel_scope.cancel()
    finally:
        await connection.close()
    stats = [replica.stats() for replica in replicas]
    hits, shared_hits = sum(one.hits for one in stats), sum(one.shared_hits for one in stats)
    looks = hits + shared_hits + sum(one.misses for one in stats)
    print(
        f"workload: {REPLICAS} replicas, {CHAINS:,} chains, Zipf exponent {EXPONENT},"
        f" {READS:,} steps, {WRITTEN:.0%} of them writes, caches empty at first"
    )
    at_least("cache hit rate, %", [100 * (hits + shared_hits) / looks], 85)
    at_least("of which in the process, %", [100 * hits / looks])


async def _workload(replicas: Sequence[CachedContexts]) -> None:
    rng = random.Random(1)  # noqa: S311 — repeatable on purpose
    notes = texts(CHAINS, 10, 24, seed=3)
    chains = [(await replicas[0].append(new(words))).node.chain_id for words in notes]
    weights = list(accumulate(1 / rank**EXPONENT for rank in range(1, CHAINS + 1)))
    for chain in rng.choices(chains, cum_weights=weights, k=READS):
        replica = rng.choice(replicas)
        if rng.random() < WRITTEN:
            await replica.append(new(rng.choice(notes), chain))
        elif head := await replica.head(TENANT, chain):
            await replica.path(TENANT, head.id)
