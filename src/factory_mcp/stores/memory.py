"""The fast ports within one process: what there is without Redis, and when Redis is away."""

from collections import defaultdict
from typing import Final

import anyio

from factory_mcp.domain.gcra import SECOND, interval_of, take
from factory_mcp.domain.lru import Lru
from factory_mcp.ports import Clock
from factory_mcp.ports.fast import BreakerTold, Heard

ENTRIES: Final = 10_000
SIZE: Final = 64 * 1024 * 1024
LEASE: Final = b""


class MemoryCache:
    """The port Cache: the least recently used goes first."""

    def __init__(self, clock: Clock, *, entries: int = ENTRIES, size: int = SIZE) -> None:
        self._clock = clock
        self._kept: Lru[str, tuple[bytes, float]] = Lru(entries=entries, size=size)

    async def get(self, key: str) -> bytes | None:
        """What was put there, unless it is gone."""
        found = self._kept.get(key)
        if found is None:
            return None
        value, until = found
        if self._clock.monotonic() < until:
            return value
        self._kept.drop(key)
        return None

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep a value for at most so long."""
        until = self._clock.monotonic() + ttl_s
        self._kept.put(key, (value, until), len(key) + len(value))

    async def drop(self, key: str) -> None:
        """Forget a value, or give a lease back."""
        self._kept.drop(key)

    async def lease(self, key: str, ttl_s: float) -> bool:
        """Whether the caller may do what the key stands for."""
        if await self.get(key) is not None:
            return False
        await self.put(key, LEASE, ttl_s)
        return True


class MemoryLimiter:
    """The port Limiter, for one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: Lru[tuple[str, str], int] = Lru(entries=ENTRIES, size=SIZE)

    async def take(self, tenant: str, key: str, *, rate_per_s: float, burst: int) -> float:
        """Ask for one: 0 is granted, else the seconds until it would be."""
        now = round(self._clock.monotonic() * SECOND)
        due = self._due.get((tenant, key)) or 0
        due, wait = take(due, now, interval_of(rate_per_s), burst)
        self._due.put((tenant, key), due)
        return wait / SECOND


class MemoryBreakers:
    """The port SharedBreakers, for one process: there are no others."""

    def listen(self, told: BreakerTold) -> None:
        """Nobody else tells anything."""

    def tell(self, name: str, open_s: float) -> None:
        """Nobody else hears it."""

    async def may_probe(self, name: str) -> bool:  # noqa: ARG002 — the port's
        """The breaker itself lets one through at a time."""
        return True

    async def probed(self, name: str) -> None:
        """Nobody else waits for it."""


class MemoryBus:
    """The port Bus within one process. It is never `up`: nothing comes from other processes."""

    def __init__(self) -> None:
        self._heard: defaultdict[str, list[Heard]] = defaultdict(list)

    @property
    def up(self) -> bool:
        """Whether messages of other processes arrive: no."""
        return False

    def listen(self, topic: str, heard: Heard) -> None:
        """Call this with every message on the topic from now on."""
        self._heard[topic].append(heard)

    def publish(self, topic: str, message: str) -> None:
        """Told at once."""
        for heard in self._heard[topic]:
            heard(message)

    async def run(self) -> None:
        """There is nothing to do."""
        await anyio.sleep_forever()


class FixedReplicas:
    """The port Replicas where nobody can be seen: as many as the settings say."""

    def __init__(self, number: int = 1) -> None:
        self._number = max(1, number)

    def count(self) -> int:
        """What was said."""
        return self._number

    async def run(self) -> None:
        """There is nobody to tell."""
        await anyio.sleep_forever()
