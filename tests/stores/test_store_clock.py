"""The clock that all replicas of one database share."""

from collections.abc import AsyncGenerator

import anyio
import pytest

from factory_mcp.domain.errors import StoreUnavailable
from factory_mcp.stores.clock import StoreClock
from factory_mcp.stores.host import SystemClock
from factory_mcp.stores.sql.postgres import PostgresDatabase
from tests.fakes import FakeClock
from tests.postgres import opened

OFF_S = 300.0


class Store:
    """A database's clock that runs like this machine's, and can be away."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock, self.ahead, self.is_away = clock, OFF_S, False

    async def now(self) -> float:
        """As `PostgresDatabase.now`."""
        if self.is_away:
            raise StoreUnavailable("away")
        return self._clock.now() + self.ahead


@pytest.mark.requirement("PG-14")
async def test_a_replica_whose_clock_is_wrong_agrees_with_the_store() -> None:
    """From the first look on, and also when somebody turns its own clock."""
    machine = FakeClock()
    store = Store(machine)
    clock = StoreClock(machine, store.now)
    assert machine.now() == clock.now()
    await clock.sync()
    assert machine.now() + OFF_S == clock.now()
    right = clock.now()
    machine.set_wall_clock(machine.now() - 86_400)
    assert right == clock.now()
    machine.advance(4)
    assert right + 4 == clock.now()
    assert machine.monotonic() == clock.monotonic()


@pytest.mark.requirement("PG-14")
async def test_a_store_that_is_away_leaves_the_clock_going() -> None:
    """And its drift is corrected as soon as it is back."""
    machine = FakeClock()
    store = Store(machine)
    clock = StoreClock(machine, store.now)
    await clock.sync()
    store.is_away = True
    machine.advance(5)
    await clock.sync()
    assert machine.now() + OFF_S == clock.now()
    store.is_away, store.ahead = False, OFF_S + 1
    await clock.sync()
    assert machine.now() + OFF_S + 1 == clock.now()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.sleep, 1)
            await anyio.wait_all_tasks_blocked()
            machine.advance(1)


@pytest.fixture
async def database(postgres_ready: str) -> AsyncGenerator[PostgresDatabase]:
    """A real one."""
    async with opened(postgres_ready) as found:
        yield found


@pytest.mark.requirement("PG-14")
async def test_postgres_tells_its_time(database: PostgresDatabase) -> None:
    """Here it is this machine's, and each answer is later than the one before."""
    before = SystemClock().now()
    first, second = await database.now(), await database.now()
    assert before <= first <= second <= SystemClock().now() + 1
