"""What the port Replicas promises."""

import pytest

from factory_mcp.stores.memory import FixedReplicas
from factory_mcp.stores.redis.replicas import RedisReplicas
from tests.fakes import FakeClock
from tests.fast import Both, connected, running
from tests.house import until


@pytest.mark.requirement("REDIS-5")
async def test_a_process_counts_itself_before_it_runs_and_when_it_does(fast: Both) -> None:
    """Never nobody."""
    assert 1 == fast.ours.replicas.count()
    async with running(fast.ours.replicas):
        assert 1 == fast.ours.replicas.count()


@pytest.mark.requirement("REDIS-5")
def test_without_a_server_as_many_as_the_settings_say_are_there() -> None:
    """And at least this one."""
    assert [1, 1, 3] == [FixedReplicas(number).count() for number in (0, 1, 3)]


@pytest.mark.requirement("REDIS-5")
async def test_replicas_count_each_other_as_they_come_and_go(server_url: str) -> None:
    """One that ends takes itself out."""
    clock = FakeClock()
    async with connected(server_url) as connection:
        ours, theirs = (RedisReplicas(connection, clock, me) for me in ("we", "they"))

        def seen(number: int) -> bool:
            clock.advance(5)
            return ours.count() == number

        async with running(ours):
            async with running(theirs):
                await until(lambda: seen(2))
            await until(lambda: seen(1))
