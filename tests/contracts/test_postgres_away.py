"""A Postgres that is not as it should be: every call is refused in time, with what to do."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from factory_mcp.domain.errors import FactoryError, Refused, StoreUnavailable, Unsettled
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.postgres import PostgresDatabase
from factory_mcp.stores.sql.tables import audit_heads, nodes
from factory_mcp.stores.sql.unit import Unit
from tests.contracts.samples import Samples
from tests.house import until
from tests.keys import sealing
from tests.postgres import opened, owner, running
from tests.servers.proxy import FaultProxy, fault_proxy

make = Samples()

GUARD_S: Final = 30
SHORT_S: Final = 0.6
CALLERS: Final = 5
LONG: Final = "SELECT pg_sleep(60)"


@pytest.fixture
async def proxy(postgres_ready: str) -> AsyncGenerator[FaultProxy]:
    """What stands between the product and the server."""
    async with fault_proxy(urlsplit(postgres_ready).port or 0) as made:
        yield made


@asynccontextmanager
async def through(
    proxy: FaultProxy, url: str, wait_s: float = SHORT_S
) -> AsyncGenerator[PostgresDatabase]:
    """A store that has worked, and will not wait long."""
    async with opened(proxy.through(url), wait_s=GUARD_S) as database:
        await write(database)
        database._wait_s = wait_s  # noqa: SLF001 — from now on
        yield database


async def write(database: PostgresDatabase) -> str:
    """The id of a new node."""
    return (await ContextTables(database).append(make.node())).node.id


async def stored(database: PostgresDatabase) -> list[str]:
    """The ids of all nodes, newest last."""
    async with database.read("acme") as connection:
        return list((await connection.execute(select(nodes.c.id).order_by(nodes.c.id))).scalars())


async def refusals(database: PostgresDatabase) -> list[Refused]:
    """What callers are told who come at the same time, to read and to write."""
    told: list[Refused] = []

    async def call(what: Callable[[PostgresDatabase], Any]) -> None:
        with pytest.raises(StoreUnavailable) as refused:
            await what(database)
        told.append(refused.value)

    with anyio.fail_after(GUARD_S):
        async with anyio.create_task_group() as tasks:
            for _ in range(CALLERS):
                tasks.start_soon(call, write)
                tasks.start_soon(call, stored)
    return told


@pytest.mark.requirement("PG-9")
@pytest.mark.parametrize(
    ("change", "reason", "remedy"),
    [
        ({"password": "wrong"}, "password authentication failed", "user and password"),
        ({"user": "nobody"}, "password authentication failed", "user and password"),
        ({"path": "/nope"}, 'database "nope" does not exist', "database's name"),
        ({"port": 1}, "Connection refused", "Start the database server"),
        ({"host": "nowhere.invalid"}, "failed to resolve host", "the host"),
        ({"query": "sslmode=require"}, "does not support SSL", "verify-full"),
    ],
)
async def test_what_is_wrong_with_the_connection_string_is_named(
    postgres_ready: str, change: dict[str, Any], reason: str, remedy: str
) -> None:
    """Password never; it can be opened later, when the server has changed."""
    parts = urlsplit(postgres_ready)
    named = {"user": parts.username, "password": parts.password, "host": parts.hostname} | change
    place = f"{named['user']}:{named['password']}@{named['host']}:{change.get('port', parts.port)}"
    rest = {name: change[name] for name in ("path", "query") if name in change}
    database = PostgresDatabase(parts._replace(netloc=place, **rest).geturl(), sealing())
    with pytest.raises(StoreUnavailable, match=reason) as refused:
        await database.open()
    assert remedy in refused.value.remedy
    assert str(named["password"]) not in f"{refused.value.message}{refused.value.remedy}"
    (check,) = await database.check()
    assert (False, refused.value.message) == (check.ok, check.detail)
    await database.close()


async def refuse(proxy: FaultProxy) -> None:
    """As a server that was stopped."""
    await proxy.refuse()


async def freeze(proxy: FaultProxy) -> None:
    """As a server whose processes stand still."""
    proxy.freeze()


async def reset(proxy: FaultProxy) -> None:
    """As a network that breaks what there is."""
    proxy.reset()


async def slow_down(proxy: FaultProxy) -> None:
    """As a network that is as good as gone."""
    proxy.latency_s = SHORT_S


async def garble(proxy: FaultProxy) -> None:
    """As something else that listens there."""
    proxy.garbage = True


async def reset_answers(proxy: FaultProxy) -> None:
    """As a middle box that gives up in the middle of a query."""
    proxy.reset_after = 0


@pytest.mark.requirement("PG-10")
@pytest.mark.parametrize("fault", [refuse, freeze, slow_down, garble, reset_answers])
async def test_a_server_that_is_away_refuses_calls_and_is_used_again(
    postgres_ready: str, proxy: FaultProxy, fault: Callable[[FaultProxy], Any]
) -> None:
    """Nobody hangs, whoever waits for whom; nothing is stored meanwhile."""
    async with through(proxy, postgres_ready) as database:
        before = await stored(database)
        await fault(proxy)
        told = await refusals(database)
        assert 2 * CALLERS == len(told)
        (check,) = await database.check()
        assert not check.ok
        with anyio.fail_after(GUARD_S):
            await proxy.heal()
            database._wait_s = GUARD_S  # noqa: SLF001 — from now on
            assert before == [node for node in await stored(database) if node in before]
            written = await write(database)
            assert written in await stored(database)


@pytest.mark.requirement("PG-13")
async def test_connections_that_died_meanwhile_are_replaced_unnoticed(
    postgres_ready: str, proxy: FaultProxy
) -> None:
    """By a network that reset them, and by a server that was restarted."""
    async with through(proxy, postgres_ready, GUARD_S) as database:
        async with database.read("acme"), database.read("acme"):
            pass
        proxy.reset()
        assert await write(database) in await stored(database)
        with owner(postgres_ready) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'factory-mcp'"
            )
        assert await write(database) in await stored(database)


class Commit:
    """Work whose commit is stored, but whose answer is lost."""

    def __init__(self, url: str, proxy: FaultProxy) -> None:
        self._url, self._proxy = url, proxy
        self._pid = 0
        self.times = 0
        self.is_lost = anyio.Event()

    async def work(self, unit: Unit) -> str:
        """The proxy cuts the connection at the next answer, which is that to COMMIT."""
        self.times += 1
        row = {"tenant": "acme", "seq": self.times, "hash": "h"}
        unit.put(audit_heads, [row])
        found = await unit.execute(text("SELECT pg_backend_pid()"))
        self._pid = found.scalar_one()
        self._proxy.reset_after = 0
        return f"done {self.times}"

    async def heal(self) -> None:
        """Let new connections through once this one is gone from the server."""
        await until(lambda: self._pid and not self._is_there())
        await self._proxy.heal()

    def _is_there(self) -> bool:
        query = "SELECT FROM pg_stat_activity WHERE pid = %s"
        with owner(self._url) as connection:
            return connection.execute(query, (self._pid,)).fetchone() is not None


@pytest.mark.requirement("PG-11")
async def test_a_commit_whose_answer_is_lost_is_looked_up(
    postgres_ready: str, proxy: FaultProxy
) -> None:
    """It is not done a second time, and its caller has the answer."""
    async with opened(proxy.through(postgres_ready), wait_s=GUARD_S) as database:
        commit = Commit(postgres_ready, proxy)
        with anyio.fail_after(GUARD_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(commit.heal)
                assert "done 1" == await database.transact("acme", commit.work)
        assert 1 == commit.times
        assert ["acme"] == await database.tenants()


@pytest.mark.requirement("PG-11")
async def test_work_whose_commit_is_lost_for_good_is_not_done_again(
    postgres_ready: str, proxy: FaultProxy
) -> None:
    """Its callers are told that nobody knows, though the server comes back at once."""
    async with through(proxy, postgres_ready, 1.0) as database:
        times: list[int] = []
        begun, go = anyio.Event(), anyio.Event()

        async def hold(unit: Unit) -> None:
            await unit.execute(text("SELECT 1"))
            begun.set()
            await go.wait()

        async def work(unit: Unit, number: int) -> None:
            await unit.execute(text("SELECT 1"))
            times.append(number)
            if len(times) == CALLERS:
                proxy.freeze()

        async def call(number: int) -> None:
            with pytest.raises(Unsettled):
                await database.transact("acme", partial(work, number=number))

        with anyio.fail_after(GUARD_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(database.transact, "acme", hold)
                await begun.wait()
                for number in range(CALLERS):
                    tasks.start_soon(call, number)
                await anyio.wait_all_tasks_blocked()
                go.set()
            await proxy.heal()
        assert list(range(CALLERS)) == sorted(times)


@pytest.mark.requirement("PG-12")
@pytest.mark.parametrize("fault", [reset, freeze])
async def test_work_that_fails_on_a_lost_connection_leaves_no_trace(
    postgres_ready: str, proxy: FaultProxy, fault: Callable[[FaultProxy], Any]
) -> None:
    """Its own error counts; the place of the connection in the pool is free again."""

    async def mistaken(database: PostgresDatabase) -> float:
        async with database.read("acme") as connection:
            await connection.execute(text("SELECT 1"))
            await fault(proxy)
            return 1 / 0

    async with opened(proxy.through(postgres_ready), wait_s=SHORT_S, connections=2) as database:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await mistaken(database)
            await proxy.heal()
        database._wait_s = GUARD_S  # noqa: SLF001 — from now on
        assert [] == await stored(database)


@pytest.mark.requirement("PG-12")
async def test_a_caller_that_is_cancelled_leaves_the_connections_sound(
    postgres_ready: str,
) -> None:
    """Wherever it was: what it began is whole or not there, and nobody finds its traces."""
    async with opened(postgres_ready, connections=2) as database:
        for delay in range(12):
            with anyio.move_on_after(delay / 1000):
                await write(database)
            with anyio.move_on_after(delay / 1000):
                await stored(database)
        before = await stored(database)
        assert [*before, await write(database)] == await stored(database)


@pytest.mark.requirement("PG-12")
async def test_a_task_that_is_killed_costs_its_connection_only(
    postgres_ready: str,
) -> None:
    """As when the event loop ends: it cancels without asking whether somebody minds."""
    import asyncio  # noqa: PLC0415 — nobody else here is so rude

    async with opened(postgres_ready, connections=2) as database:

        async def slow() -> None:
            async with database.read("acme") as connection:
                await connection.execute(text(LONG))

        with anyio.fail_after(GUARD_S):
            task = asyncio.ensure_future(slow())
            await until(lambda: running(postgres_ready, LONG))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [] == await stored(database)


@pytest.mark.requirement("PG-10")
async def test_a_statement_that_takes_too_long_is_ended_by_the_server(postgres_ready: str) -> None:
    """And so is one that waits for another's lock; the connection is used again."""
    async with opened(postgres_ready, wait_s=6 * SHORT_S, connections=3) as database:
        with pytest.raises(StoreUnavailable, match="statement timeout"):
            async with database.read("acme") as connection:
                await connection.execute(text(LONG))
        lock = text("SELECT pg_advisory_xact_lock(7)")
        async with database.write("acme") as first:
            await first.execute(lock)
            with pytest.raises(StoreUnavailable, match="lock timeout"):
                async with database.write("acme") as second:
                    await second.execute(lock)
        assert [] == await stored(database)


@pytest.mark.requirement("PG-10")
async def test_who_finds_all_connections_busy_is_refused(postgres_ready: str) -> None:
    """After a wait; afterwards there are as many as before."""
    async with opened(postgres_ready, wait_s=SHORT_S, connections=2) as database:
        async with database.read("acme"):
            with pytest.raises(StoreUnavailable, match="kept this waiting"):
                await stored(database)
        assert [] == await stored(database)


@pytest.mark.requirement("PG-11")
async def test_a_transaction_with_a_failed_statement_is_not_taken_for_stored(
    postgres_ready: str,
) -> None:
    """Though work went on after the failure, and the server answers COMMIT."""
    async with opened(postgres_ready) as database:

        async def work(unit: Unit) -> None:
            with suppress(DBAPIError):
                await unit.execute(text("SELECT 1 / 0"))

        with pytest.raises(FactoryError, match="failed unnoticed"):
            await database.transact("acme", work)


@pytest.mark.requirement("PG-17")
async def test_who_is_alone_keeps_writers_of_all_replicas_out(postgres_ready: str) -> None:
    """Readers go on; writers are told after a while, and go on later."""
    async with opened(postgres_ready) as one, opened(postgres_ready, wait_s=SHORT_S) as other:
        async with one.alone():
            assert [] == await stored(other)
            with pytest.raises(StoreUnavailable, match="lock timeout"):
                await write(other)
        written = await write(other)
        assert [written] == await stored(one)
        async with other.write("acme"):
            pass


@pytest.mark.requirement("PG-10")
async def test_a_standby_is_not_taken_for_a_primary(postgres_ready: str) -> None:
    """What only reads is red, with the mend."""
    parts = urlsplit(postgres_ready)
    options = "options=-c%20default_transaction_read_only%3Don"
    async with opened(parts._replace(query=options).geturl()) as database:
        (check,) = await database.check()
        assert (False, True) == (check.ok, "primary" in (check.fix or ""))
        with pytest.raises(StoreUnavailable, match="read-only transaction") as refused:
            await write(database)
        assert "primary" in refused.value.remedy
