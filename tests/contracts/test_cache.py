"""What the port Cache promises, in memory and on servers."""

import pytest

from tests.fast import Both, becomes

VALUES = [b"x", b"", bytes(range(256)), b"\r\n$5\r\n", b"y" * 1_000_000]


@pytest.mark.requirement("REDIS-1")
@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{len(value)}-{value[:2].hex()}")
async def test_what_one_process_puts_each_gets_until_it_is_dropped(
    fast: Both, value: bytes
) -> None:
    """Any bytes; the last value of a key counts; what was never put is absent."""
    assert None is await fast.theirs.cache.get("key")
    await fast.ours.cache.put("key", b"before", 60)
    await fast.ours.cache.put("key", value, 60)
    assert value == await fast.theirs.cache.get("key")
    assert None is await fast.ours.cache.get("another")
    await fast.theirs.cache.drop("key")
    await fast.theirs.cache.drop("key")
    assert None is await fast.ours.cache.get("key")


@pytest.mark.requirement("REDIS-1")
async def test_a_value_is_gone_after_its_time(fast: Both) -> None:
    """However short that is."""
    await fast.ours.cache.put("key", b"value", 0.05)

    async def gone() -> bool:
        return await fast.theirs.cache.get("key") is None

    await becomes(gone)


@pytest.mark.requirement("REDIS-1")
async def test_a_lease_is_granted_to_one_until_it_is_given_back(fast: Both) -> None:
    """Another key is another lease."""
    assert await fast.ours.cache.lease("work", 60)
    assert not await fast.theirs.cache.lease("work", 60)
    assert not await fast.ours.cache.lease("work", 60)
    assert await fast.theirs.cache.lease("other work", 60)
    await fast.ours.cache.drop("work")
    assert await fast.theirs.cache.lease("work", 60)


@pytest.mark.requirement("REDIS-1")
async def test_a_lease_ends_by_itself(fast: Both) -> None:
    """Its holder may have died."""
    assert await fast.ours.cache.lease("work", 0.05)

    async def granted() -> bool:
        return await fast.theirs.cache.lease("work", 60)

    await becomes(granted)
