"""What is special about the fast ports of one process."""

import pytest

from factory_mcp.stores.memory import MemoryCache, MemoryLimiter
from tests.fakes import FakeClock


@pytest.mark.requirement("REDIS-1")
async def test_the_cache_of_a_process_has_a_limit() -> None:
    """What was unused the longest goes first."""
    cache = MemoryCache(FakeClock(), entries=2)
    for key in "ab":
        await cache.put(key, b"value", 60)
    await cache.get("a")
    await cache.put("c", b"value", 60)
    assert [b"value", None, b"value"] == [await cache.get(key) for key in "abc"]


@pytest.mark.requirement("REDIS-2")
async def test_the_limiter_of_a_process_counts_on_its_clock() -> None:
    """On the one that never goes back."""
    clock = FakeClock()
    limiter = MemoryLimiter(clock)
    waits: list[float] = []
    for _ in range(4):
        waits.append(await limiter.take("acme", "ann", rate_per_s=2, burst=2))
        clock.set_wall_clock(0)
    clock.advance(0.5)
    waits.append(await limiter.take("acme", "ann", rate_per_s=2, burst=2))
    assert [0, 0, 0.5, 0.5, 0] == waits
