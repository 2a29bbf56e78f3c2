"""Whoever follows the outbox is told when it grows, by whichever replica."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import anyio
import pytest

from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.listen import FIRST_WAIT_S, LONGEST_WAIT_S, Listener
from factory_mcp.stores.sql.postgres import PostgresDatabase
from tests.contracts.samples import Samples
from tests.fakes import FakeClock
from tests.house import until
from tests.postgres import opened, owner, running
from tests.servers.proxy import FaultProxy, fault_proxy

make = Samples()

GUARD_S: Final = 30
QUIET_S: Final = 0.05


class Ear:
    """Counts what it hears."""

    def __init__(self) -> None:
        self.times = 0
        self._heard = anyio.Event()

    def hear(self) -> None:
        """What the listener calls."""
        self.times += 1
        self._heard.set()
        self._heard = anyio.Event()

    async def next(self) -> None:
        """Wait until it hears something."""
        with anyio.fail_after(GUARD_S):
            await self._heard.wait()


@asynccontextmanager
async def listening(url: str, *, quiet_s: float, clock: FakeClock) -> AsyncGenerator[Ear]:
    """A listener that is connected."""
    ear = Ear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Listener(url, clock, quiet_s=quiet_s).run, ear.hear)
        await ear.next()
        yield ear
        tasks.cancel_scope.cancel()


async def write(database: PostgresDatabase) -> None:
    """A node, with a row of the outbox."""
    await ContextTables(database).append(make.node())


@pytest.fixture
async def proxy(postgres_ready: str) -> AsyncGenerator[FaultProxy]:
    """What stands between the listener and the server."""
    async with fault_proxy(urlsplit(postgres_ready).port or 0) as made:
        yield made


@pytest.mark.requirement("PG-15")
async def test_a_written_row_is_heard(postgres_ready: str) -> None:
    """At once when it connects, and for each transaction; also after a silence."""
    async with (
        opened(postgres_ready, feeds=True) as database,
        listening(postgres_ready, quiet_s=QUIET_S, clock=FakeClock()) as ear,
    ):
        await until(lambda: running(postgres_ready, "SELECT 1"))
        for times in (2, 3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ear.next)
                tasks.start_soon(write, database)
            assert times == ear.times


@pytest.mark.requirement("PG-15")
async def test_a_store_that_feeds_nobody_tells_nobody(postgres_ready: str) -> None:
    """Without projections there is no outbox to follow."""
    async with (
        opened(postgres_ready) as database,
        listening(postgres_ready, quiet_s=GUARD_S, clock=FakeClock()) as ear,
    ):
        await write(database)
        with owner(postgres_ready) as connection:
            connection.execute("NOTIFY factory_outbox")
        await ear.next()
        assert 2 == ear.times


@pytest.mark.requirement("PG-15")
@pytest.mark.parametrize("fault", ["reset", "freeze"])
async def test_a_lost_connection_is_made_anew_and_looks_again(
    postgres_ready: str, proxy: FaultProxy, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For what was sent meanwhile was lost; a frozen one is noticed by asking."""
    monkeypatch.setattr("factory_mcp.stores.sql.listen.ANSWER_S", 0.2)
    clock = FakeClock(auto=True)
    url = proxy.through(postgres_ready)
    async with (
        opened(postgres_ready, feeds=True) as database,
        listening(url, quiet_s=QUIET_S, clock=clock) as ear,
    ):
        began = clock.monotonic()
        getattr(proxy, fault)()
        await until(lambda: clock.monotonic() > began)
        await proxy.heal()
        await until(lambda: ear.times > 1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ear.next)
            tasks.start_soon(write, database)
        assert 3 <= ear.times


@pytest.mark.requirement("PG-15")
async def test_a_server_that_stays_away_is_tried_ever_less_often(postgres_ready: str) -> None:
    """Up to a limit, for as long as it takes."""
    clock = FakeClock()
    parts = urlsplit(postgres_ready)
    nowhere = parts._replace(netloc=f"{parts.username}@{parts.hostname}:1").geturl()
    waits: list[float] = []
    with anyio.fail_after(GUARD_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Listener(nowhere, clock).run, lambda: None)
            while len(waits) < 7:
                await until(lambda: clock._sleepers)  # noqa: SLF001 — nobody else knows who waits
                waits.append(clock._sleepers[0][0] - clock.monotonic())  # noqa: SLF001
                clock.advance(waits[-1])
            tasks.cancel_scope.cancel()
    assert [FIRST_WAIT_S * 2**n for n in range(5)] == waits[:5]
    assert [LONGEST_WAIT_S] * 2 == waits[5:]
