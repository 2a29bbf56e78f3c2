"""The fast ports of two processes: in memory, on Redis and on Valkey."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import anyio
import pytest

from factory_mcp.ports.fast import Bus, Cache, Limiter, Replicas, SharedBreakers
from factory_mcp.stores.host import SystemClock
from factory_mcp.stores.memory import (
    FixedReplicas,
    MemoryBreakers,
    MemoryBus,
    MemoryCache,
    MemoryLimiter,
)
from factory_mcp.stores.redis.breakers import RedisBreakers
from factory_mcp.stores.redis.bus import RedisBus
from factory_mcp.stores.redis.cache import RedisCache
from factory_mcp.stores.redis.connection import RedisConnection
from factory_mcp.stores.redis.limiter import RedisLimiter
from factory_mcp.stores.redis.replicas import RedisReplicas
from tests.keys import sealing

GUARD_S = 30
CLOCK = SystemClock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fast:
    """The fast ports as one process has them."""

    cache: Cache
    limiter: Limiter
    breakers: SharedBreakers
    bus: Bus
    replicas: Replicas


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """Two processes that share a server; in memory there is only one, twice."""

    ours: Fast
    theirs: Fast
    is_shared: bool


def in_memory() -> Fast:
    """One process without a server."""
    return Fast(
        cache=MemoryCache(CLOCK),
        limiter=MemoryLimiter(CLOCK),
        breakers=MemoryBreakers(),
        bus=MemoryBus(),
        replicas=FixedReplicas(),
    )


def on_redis(connection: RedisConnection, me: str, *, replicas: int = 1) -> Fast:
    """A process on a server."""
    bus, seen = RedisBus(connection, CLOCK), RedisReplicas(connection, CLOCK, me, expected=replicas)
    return Fast(
        cache=RedisCache(connection),
        limiter=RedisLimiter(connection, MemoryLimiter(CLOCK), seen.count, sealing().blind),
        breakers=RedisBreakers(connection, bus, me),
        bus=bus,
        replicas=seen,
    )


def admin(url: str) -> Any:
    """redis-py's own client: it does what a server's administrator would."""
    from redis import Redis  # noqa: PLC0415 — a test without Redis does not pay for it

    return cast("Any", Redis).from_url(url)


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[RedisConnection]:
    """A connection with time enough for a busy machine."""
    connection = RedisConnection(url, CLOCK, timeout_s=5)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture(params=["redis", "valkey"])
def server_url(request: pytest.FixtureRequest) -> str:
    """Redis 7, then Valkey 8, each empty."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
async def shared(server_url: str) -> AsyncGenerator[Both]:
    """Two processes on one server."""
    async with connected(server_url) as ours, connected(server_url) as theirs:
        yield Both(ours=on_redis(ours, "we"), theirs=on_redis(theirs, "they"), is_shared=True)


@pytest.fixture(params=["memory", "redis", "valkey"])
async def fast(request: pytest.FixtureRequest) -> AsyncGenerator[Both]:
    """Each implementation in turn."""
    if request.param == "memory":
        one = in_memory()
        yield Both(ours=one, theirs=one, is_shared=False)
        return
    url = request.getfixturevalue(f"{request.param}_url")
    async with connected(url) as ours, connected(url) as theirs:
        yield Both(ours=on_redis(ours, "we"), theirs=on_redis(theirs, "they"), is_shared=True)


async def becomes(true: Callable[[], Awaitable[object]]) -> None:
    """Ask until it is so."""
    with anyio.fail_after(GUARD_S):
        while not await true():
            await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def running(*ports: Bus | Replicas) -> AsyncGenerator[None]:
    """The ports that must run, running; the buses up if they ever are."""
    async with anyio.create_task_group() as tasks:
        for port in ports:
            tasks.start_soon(port.run)
        buses = [port for port in ports if isinstance(port, RedisBus)]
        with anyio.fail_after(GUARD_S):
            while not all(bus.up for bus in buses):
                await anyio.lowlevel.checkpoint()
        yield
        tasks.cancel_scope.cancel()
