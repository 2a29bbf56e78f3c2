"""Databases with an outbox, and a sink that writes down what it is told."""

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from anyio.to_thread import run_sync
from sqlalchemy import select

from factory_mcp.domain.errors import StoreUnavailable
from factory_mcp.domain.model import Json
from factory_mcp.ports.outbox import Change, Progress, Sink
from factory_mcp.services.sync import Sync
from factory_mcp.stores.host import SystemClock, SystemRng
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.outbox import OutboxTables
from factory_mcp.stores.sql.sqlite import SqliteDatabase
from factory_mcp.stores.sql.tables import metadata, nodes
from tests import postgres as pg
from tests.contracts.samples import Samples
from tests.fakes import FakeClock
from tests.house import GUARD_S
from tests.keys import sealing

make = Samples()


@asynccontextmanager
async def sqlite_fed(path: Path, *, feeds: bool = True) -> AsyncGenerator[SqliteDatabase]:
    """A SQLite file; one process's view of it."""
    database = SqliteDatabase(path, sealing(), feeds=feeds)
    try:
        await database.open()
        yield database
    finally:
        await database.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """One database as two processes have it, and as one that keeps no outbox."""

    ours: Database
    theirs: Database
    silent: Database


@pytest.fixture(params=["sqlite", "postgres"])
async def fed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Fed]:
    """Each kind of database in turn, empty."""
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_ready")
        make_one = [pg.opened(url, feeds=feeds) for feeds in (True, True, False)]
    else:
        path = tmp_path / "factory.db"
        make_one = [sqlite_fed(path, feeds=feeds) for feeds in (True, True, False)]
    async with make_one[0] as ours, make_one[1] as theirs, make_one[2] as silent:
        yield Fed(ours=ours, theirs=theirs, silent=silent)


@pytest.fixture
async def file(tmp_path: Path) -> AsyncGenerator[SqliteDatabase]:
    """A SQLite database with an outbox."""
    async with sqlite_fed(tmp_path / "factory.db") as database:
        yield database


@contextmanager
def away(database: SqliteDatabase) -> Generator[None]:
    """As long as this lasts, the database is not where it was."""
    aside = database.path.with_suffix(".aside")
    database.path.rename(aside)
    try:
        yield
    finally:
        aside.rename(database.path)


async def write(database: Database, count: int = 1, **more: Any) -> list[str]:
    """The ids of new nodes, each a chain of its own."""
    to = ContextTables(database)
    return [(await to.append(make.node(**more))).node.id for _ in range(count)]


async def rows_of(database: Database, name: str, tenant: str = "acme") -> list[Json]:
    """All rows that a tenant has in a table."""
    table = metadata.tables[name]
    async with database.read(tenant) as connection:
        rows = await connection.execute(select(table).where(table.c.tenant == tenant))
        return [dict(row) for row in rows.mappings()]


async def change(database: Database, statement: str, tenant: str = "acme") -> None:
    """Do something to the tables behind the product's back."""
    async with database.write(tenant) as connection:
        await connection.exec_driver_sql(statement)


@dataclass
class Notebook:
    """A sink that writes down what it is told.

    While it is `away` it takes nothing; what is in `refused` it never takes. `gate` keeps it
    waiting, after `asked` was set.
    """

    database: Database
    name: str = "notebook"
    made_with: str = "ink"
    away: Exception | None = None
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    gate: anyio.Event | None = None
    asked: anyio.Event = field(default_factory=anyio.Event)
    told: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Tenants and ids, in order."""
    copies: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """By tenant what it has of it."""
    built: list[str] = field(default_factory=list[str])
    """Tenants whose copies were made anew."""

    async def built_with(self, tenant: str) -> str:  # noqa: ARG002 — the port's
        return self.made_with

    async def apply(self, tenant: str, changes: Sequence[Change]) -> Mapping[str, str]:
        await self._wait()
        self.told += [(tenant, change.id) for change in changes]
        ids = {change.id for change in changes}
        self.copies.setdefault(tenant, set()).update(ids - self.refused.keys())
        return {name: why for name, why in self.refused.items() if name in ids}

    async def rebuild(self, tenant: str, progress: Progress) -> Mapping[str, str]:
        self.copies[tenant] = set()
        self.built.append(tenant)
        await self._wait()
        query = select(nodes.c.id).where(nodes.c.tenant == tenant)
        async with self.database.read(tenant) as connection:
            ids = set((await connection.execute(query)).scalars())
        self.copies[tenant] |= ids - self.refused.keys()
        progress(len(ids), len(ids))
        return {name: why for name, why in self.refused.items() if name in ids}

    async def _wait(self) -> None:
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.away is not None:
            raise self.away


AWAY = StoreUnavailable("The notebook is locked away.")


# ----------------------------------------------------------------------------- at work


POLL_S: Final = 0.05


def feeder(database: Database, *sinks: Sink, clock: FakeClock | None = None) -> Sync:
    """One process's feeder; on a clock of its own time passes only as told."""
    outbox = OutboxTables(database)
    return Sync(outbox, sinks, clock or SystemClock(), SystemRng(), poll_s=POLL_S)


@asynccontextmanager
async def running(*feeders: Sync) -> AsyncGenerator[None]:
    """Feeders at work."""
    async with anyio.create_task_group() as tasks:
        for one in feeders:
            tasks.start_soon(one.run)
        yield
        tasks.cancel_scope.cancel()


async def passing(clock: FakeClock, true: Callable[[], object], *, step_s: float = 0.5) -> None:
    """Let time pass until it is so, and leave the processor to the database's threads."""
    with anyio.fail_after(GUARD_S):
        while not true():
            clock.advance(step_s)
            await run_sync(_nothing)


async def position(database: Database, sink: str = "notebook") -> tuple[int, str, str]:
    """Where a sink stands, with what, and who is at it."""
    rows = await rows_of(database, "sync_positions")
    (row,) = (row for row in rows if row["sink"] == sink)
    return row["seq"], row["built_with"], row["owner"]


def _nothing() -> None:
    """What a thread does for a moment."""


def count(logs: Sequence[Mapping[str, object]], event: str) -> int:
    """How often something was logged."""
    return sum(log["event"] == event for log in logs)
