"""Writers that wait together share a transaction, and never each other's failures."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from functools import partial
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Connection, event

from factory_mcp.domain.errors import RevisionConflict
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.faults import Collision, Held
from factory_mcp.stores.sql.group import ATTEMPTS, MOST_TOGETHER
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.stores.sql.sqlite import SqliteDatabase, open_database
from factory_mcp.stores.sql.unit import Unit
from tests.contracts.samples import Samples
from tests.keys import sealing

GUARD_S = 10

make = Samples()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[SqliteDatabase]:
    """An empty store."""
    opened = await open_database(tmp_path / "factory.db", sealing())
    yield opened
    await opened.close()


@pytest.fixture
def commits(database: SqliteDatabase) -> list[str]:
    """A word for each transaction that is committed."""
    seen: list[str] = []
    engine = database._writer.sync_engine  # noqa: SLF001 — nobody else knows of a commit

    def note(_: Connection) -> None:
        seen.append("commit")

    event.listen(engine, "commit", note)
    return seen


async def revision(unit: Unit) -> str:
    """Work that changes nothing."""
    found = await unit.connection.exec_driver_sql("SELECT version_num FROM alembic_version")
    return found.scalar_one()


class Gate:
    """Work that lets the others wait."""

    def __init__(self) -> None:
        self.begun, self.go = anyio.Event(), anyio.Event()
        self.done = 0

    async def work(self, unit: Unit) -> None:
        await revision(unit)
        self.begun.set()
        await self.go.wait()
        self.done += 1


@pytest.mark.requirement("STORE-26")
async def test_writers_that_wait_share_transactions(
    database: SqliteDatabase, commits: list[str]
) -> None:
    """As many as fit; each gets the answer of its own work."""
    answers: dict[int, int] = {}

    async def work(number: int, unit: Unit) -> int:
        return (await unit.connection.exec_driver_sql("SELECT ?", (number,))).scalar_one()

    async def write(number: int) -> None:
        answers[number] = await database.transact("acme", partial(work, number))

    gate = Gate()
    with anyio.fail_after(GUARD_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(database.transact, "acme", gate.work)
            await gate.begun.wait()
            for number in range(MOST_TOGETHER + 1):
                tasks.start_soon(write, number)
            await anyio.wait_all_tasks_blocked()
            gate.go.set()
    assert {number: number for number in range(MOST_TOGETHER + 1)} == answers
    assert 3 == len(commits)


@pytest.mark.requirement("STORE-26")
async def test_who_fails_fails_alone(database: SqliteDatabase) -> None:
    """Whatever it is; what the others wrote in the same transaction is there."""
    tables, gate = ContextTables(database), Gate()
    root = (await tables.append(make.node())).node
    errors: list[type[Exception]] = []

    async def mistaken(unit: Unit) -> None:
        await revision(unit)
        raise ValueError

    async def fails(kind: type[Exception], write: object) -> None:
        with pytest.raises(kind):
            await write  # type: ignore[misc]
        errors.append(kind)

    stale = make.node(chain_id=root.chain_id, expected_revision=7)
    good = [make.node() for _ in range(3)]
    with anyio.fail_after(GUARD_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(database.transact, "acme", gate.work)
            await gate.begun.wait()
            tasks.start_soon(tables.append, good[0])
            tasks.start_soon(fails, RevisionConflict, tables.append(stale))
            tasks.start_soon(tables.append, good[1])
            tasks.start_soon(fails, ValueError, database.transact("acme", mistaken))
            tasks.start_soon(tables.append, good[2])
            await anyio.wait_all_tasks_blocked()
            gate.go.set()
    assert {RevisionConflict, ValueError} == set(errors)
    stored = {node.id for node in await SearchTables(database).newest("acme", limit=99)}
    assert {root.id, *(node.id for node in good)} == stored


async def impatient(database: SqliteDatabase, gate: Gate, scope: anyio.CancelScope) -> None:
    """A writer that can be cancelled."""
    with scope:
        await database.transact("acme", gate.work)


@pytest.mark.requirement("STORE-26")
async def test_a_writer_that_is_cancelled_takes_its_work_along(database: SqliteDatabase) -> None:
    """As long as nobody has begun with it."""
    first, waiting, scope = Gate(), Gate(), anyio.CancelScope()
    waiting.go.set()
    with anyio.fail_after(GUARD_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(database.transact, "acme", first.work)
            await first.begun.wait()
            tasks.start_soon(impatient, database, waiting, scope)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            first.go.set()
    assert (1, 0) == (first.done, waiting.done)


@pytest.mark.requirement("STORE-26")
@pytest.mark.parametrize("who", ["leader", "follower"])
async def test_a_writer_that_is_cancelled_in_a_transaction_waits_for_its_end(
    database: SqliteDatabase, who: str
) -> None:
    """Whether it does the work or another one does it: it is not torn."""
    first, leader, follower = Gate(), Gate(), Gate()
    scopes = {"leader": anyio.CancelScope(), "follower": anyio.CancelScope()}
    follower.go.set()
    with anyio.fail_after(GUARD_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(database.transact, "acme", first.work)
            await first.begun.wait()
            for name, gate in (("leader", leader), ("follower", follower)):
                tasks.start_soon(impatient, database, gate, scopes[name])
                await anyio.wait_all_tasks_blocked()
            first.go.set()
            await leader.begun.wait()
            scopes[who].cancel()
            await anyio.wait_all_tasks_blocked()
            assert 0 == follower.done
            leader.go.set()
    assert (1, 1) == (leader.done, follower.done)


@pytest.mark.requirement("STORE-26")
async def test_work_that_collides_is_done_again(database: SqliteDatabase) -> None:
    """A few times: where another writer was faster, its row is found then."""
    tries: list[int] = []

    async def work(unit: Unit) -> str:
        tries.append(len(tries))
        if len(tries) < ATTEMPTS:
            raise Collision(str(len(tries)))
        return await revision(unit)

    assert await database.transact("acme", work)
    assert ATTEMPTS == len(tries)


@pytest.mark.requirement("STORE-27")
async def test_two_writers_of_one_file_take_turns(tmp_path: Path, database: SqliteDatabase) -> None:
    """One that writes without a pause does not keep the other one out."""
    done: list[str] = []
    other = await open_database(tmp_path / "factory.db", sealing())

    async def busy() -> None:
        while True:
            await database.transact("acme", revision)
            done.append("busy")

    with anyio.fail_after(GUARD_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(busy)
            for _ in range(20):
                await other.transact("acme", revision)
                done.append("other")
            tasks.cancel_scope.cancel()
    await other.close()
    assert done.count("busy") <= 3 * done.count("other")


@pytest.mark.requirement("STORE-27")
async def test_all_who_wait_for_another_program_are_refused_together(tmp_path: Path) -> None:
    """Not one after another, each after a wait of its own."""
    path, wait_s, refused = tmp_path / "factory.db", 1.0, list[str]()
    database = await open_database(path, sealing(), wait_s=wait_s)

    async def writer() -> None:
        with pytest.raises(Held, match="locked"):
            await database.transact("acme", revision)
        refused.append("held")

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with anyio.fail_after(GUARD_S):
            async with anyio.create_task_group() as tasks:
                for _ in range(2 * GUARD_S):
                    tasks.start_soon(writer)
        other.execute("ROLLBACK")
    assert 2 * GUARD_S == len(refused)
    assert await database.transact("acme", revision)
    await database.close()
