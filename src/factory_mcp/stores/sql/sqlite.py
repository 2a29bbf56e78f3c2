"""One SQLite file, opened so that none of its traps stays open.

- SQLAlchemy's own transactions lose updates between processes: here a transaction that writes
  begins with BEGIN IMMEDIATE, and the driver begins none by itself.
- SQLite before 3.51.3 damages the file when one connection writes while another copies the
  write-ahead log back: here every write and every such checkpoint holds one file lock, and SQLite
  makes no checkpoint by itself. The lock also queues more fairly than SQLite does.
- A transaction costs a trip to the disk: here those who wait to write share one.
- A connection to a file that was deleted goes on without an error: here the file is looked at
  before each transaction.
- A cancelled statement goes on in its thread: here cancellation waits until a transaction ended,
  and no wait inside one is longer than `wait_s`.
"""

import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
from sqlalchemy import URL, Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from factory_mcp.domain.errors import FactoryError, SchemaMismatch, StoreUnavailable
from factory_mcp.ports import Check, Place, Sealer
from factory_mcp.stores.sql.database import Work, tenants_in
from factory_mcp.stores.sql.driver import connect
from factory_mcp.stores.sql.faults import translated
from factory_mcp.stores.sql.group import Group
from factory_mcp.stores.sql.migrations import HEAD, IN_THE_CLEAR
from factory_mcp.stores.sql.turnstile import turnstile
from factory_mcp.stores.sql.unit import Unit
from factory_mcp.telemetry import log

T = TypeVar("T")

WAIT_S: Final = 2.0
OPEN_WAIT_S: Final = 10.0
CHECKPOINT_EVERY: Final = 200
READERS: Final = 4
_APPLICATION: Final = 0x464D4350  # "FMCP", for programs that tell files apart

_WRITER: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "wal_autocheckpoint=0",
    "journal_size_limit=67108864",
    "foreign_keys=ON",
    "secure_delete=FAST",  # zeros over what is deleted, wherever a page is written anyway
)
_SCRUB: Final = "PRAGMA user_version=1"
_SCRUBBED: Final = "PRAGMA user_version=0"


class SqliteDatabase:
    """The file, one connection that writes and a few that read.

    Args:
        path: The file; its folder is made when it is not there.
        sealer: Seals what users wrote.
        wait_s: How long to wait for other processes, seconds.
        feeds: Whether projections are fed from it.
    """

    def __init__(
        self, path: Path, sealer: Sealer, *, wait_s: float = WAIT_S, feeds: bool = False
    ) -> None:
        self.path, self.sealer = path, sealer
        self._feeds = feeds
        self._wait_s = wait_s
        self._fault: FactoryError | None = StoreUnavailable(f"The store {path} is not open.")
        self._identity: tuple[int, int] | None = None
        self._writes = 0
        self._checkpoint_at = 1  # the first write also copies back what a dead process left
        self._reading = anyio.Semaphore(READERS)
        self._group = Group(self._unit)
        writer = partial(connect, begin="BEGIN IMMEDIATE", pragmas=_WRITER)
        reader = partial(connect, begin="BEGIN", pragmas=("query_only=ON",))
        self._writer = _engine(path, wait_s, connect=writer, size=1)
        self._reader = _engine(path, wait_s, connect=reader, size=READERS)

    async def open(self) -> None:
        """Make the file if need be, and bring its tables up to date.

        Until this has gone well, every transaction fails with what went wrong; try again then.

        Raises:
            SchemaMismatch: A newer version, or another program, wrote the file.
            StoreUnavailable: It cannot be opened.
            StoreFull: There is no room for it.
        """
        try:
            await self._open()
        except FactoryError as error:
            self._fault = error
            raise
        self._fault = None

    async def close(self) -> None:
        """Copy the log back and let go of the file."""
        with anyio.CancelScope(shield=True):
            if self._writes:
                with suppress(FactoryError):
                    async with turnstile(self.path, self._wait_s):
                        await self._checkpoint()
            await self._let_go()

    @asynccontextmanager
    async def read(self, tenant: str) -> AsyncGenerator[AsyncConnection]:  # noqa: ARG002
        """A transaction that sees one state of the store and changes nothing."""
        self._need_open()
        async with self._read() as connection:
            yield connection

    @asynccontextmanager
    async def across(self) -> AsyncGenerator[AsyncConnection]:
        """The same; here nothing keeps tenants apart but what is asked for."""
        self._need_open()
        async with self._read() as connection:
            yield connection

    @asynccontextmanager
    async def write(self, tenant: str) -> AsyncGenerator[AsyncConnection]:  # noqa: ARG002
        """A transaction that is the only one to write; on disk when it ends, or not at all."""
        self._need_open()
        self._writes += 1
        async with self._write(self._wait_s) as connection:
            yield connection

    async def transact(self, tenant: str, work: Work[T]) -> T:
        """Do work in such a transaction, which others may share; see `group`."""
        self._need_open()
        self._writes += 1
        return await self._group.do(tenant, work)

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """As long as this lasts, nobody writes."""
        self._need_open()
        async with turnstile(self.path, self._wait_s):
            yield

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[tuple[Unit, list[str]]]:
        """One state of everything, to be read for as long as it takes; and the tenants in it."""
        async with self.across() as connection:
            yield Unit(connection), await tenants_in(connection)

    @asynccontextmanager
    async def exclusive(self) -> AsyncGenerator[tuple[Unit, list[str]]]:
        """A transaction over all tenants, while nobody else writes."""
        self._need_open()
        self._writes += 1
        async with self._write(OPEN_WAIT_S) as connection:
            unit = Unit(connection)
            yield unit, await tenants_in(connection)
            await unit.flush()

    async def tenants(self) -> list[str]:
        """All tenants that have ever written."""
        async with self.across() as connection:
            return await tenants_in(connection)

    async def check(self) -> Sequence[Check]:
        """Whether it can be read and written now; never raises."""
        try:
            async with self.across() as connection:
                revision = await connection.run_sync(_stored_revision)
            async with self.write("") as connection:
                await connection.exec_driver_sql(f"PRAGMA application_id={_APPLICATION}")
            self.sealer.seal(Place(tenant="", table="", id=""), b"")
        except FactoryError as error:
            return [Check(name="store", ok=False, detail=error.message, fix=error.remedy)]
        detail = f"{self.path}, SQLite {sqlite3.sqlite_version}, revision {revision}"
        return [Check(name="store", ok=True, detail=detail)]

    async def _open(self) -> None:
        with translated(self.path):
            identity, is_empty = _make(self.path)
        if identity != self._identity:
            await self._let_go()
            self._identity = identity
        revision, has_traces = (None, False) if is_empty else await self._state()
        if revision != HEAD:
            await self._upgrade()
        if has_traces or revision not in (None, HEAD):
            await self._scrub()

    async def _let_go(self) -> None:
        await self._reader.dispose()
        await self._writer.dispose()

    def _need_open(self) -> None:
        if self._fault is not None:
            raise type(self._fault)(self._fault.message, remedy=self._fault.remedy)

    async def _state(self) -> tuple[str | None, bool]:
        """The step the tables stand at, and whether the file still holds what they were before."""
        async with self._read() as connection:
            scrub = await connection.exec_driver_sql("PRAGMA user_version")
            return await connection.run_sync(_stored_revision), scrub.scalar() == 1

    async def _upgrade(self) -> None:
        from factory_mcp.stores.sql.migrations.upgrade import upgrade  # noqa: PLC0415 — Alembic

        async with self._write(OPEN_WAIT_S) as connection:
            revision = await connection.run_sync(_stored_revision)
            if revision in IN_THE_CLEAR:  # afterwards a key ring is lost, and not yet to be made
                self.sealer.prepare()
            if revision != HEAD:
                await connection.run_sync(upgrade, revision, self.sealer)
                if revision is not None:
                    await connection.exec_driver_sql(_SCRUB)
                log.info("store.upgraded", path=str(self.path), was=revision, revision=HEAD)

    async def _scrub(self) -> None:
        """Write the file anew, so that nothing is left in it of what an upgrade replaced."""
        try:
            async with turnstile(self.path, OPEN_WAIT_S):
                with anyio.CancelScope(shield=True), translated(self.path):
                    async with self._writer.connect() as connection:
                        await connection.exec_driver_sql("VACUUM")
                        log_is_whole = "PRAGMA wal_checkpoint(TRUNCATE)"
                        busy = (await connection.exec_driver_sql(log_is_whole)).scalar()
                        if not busy:
                            await connection.exec_driver_sql(_SCRUBBED)
        except FactoryError as error:  # at the next start, then
            log.warning("store.scrub_delayed", path=str(self.path), reason=error.message)

    @asynccontextmanager
    async def _read(self) -> AsyncGenerator[AsyncConnection]:
        async with self._reading:
            with anyio.CancelScope(shield=True), translated(self.path):
                self._look()
                async with self._reader.begin() as connection:
                    yield connection

    @asynccontextmanager
    async def _unit(self) -> AsyncGenerator[Unit]:
        async with self._write(self._wait_s) as connection:
            unit = Unit(connection, feeds=self._feeds)
            yield unit
            await unit.flush()

    @asynccontextmanager
    async def _write(self, wait_s: float) -> AsyncGenerator[AsyncConnection]:
        async with turnstile(self.path, wait_s):
            with anyio.CancelScope(shield=True):
                with translated(self.path):
                    self._look()
                    async with self._writer.begin() as connection:
                        yield connection
                if self._writes >= self._checkpoint_at:
                    self._checkpoint_at = self._writes + CHECKPOINT_EVERY
                    await self._checkpoint()

    async def _checkpoint(self) -> None:
        """Copy the log back into the file, as far as readers allow; what is written stays so."""
        try:
            with translated(self.path):
                async with self._writer.connect() as connection:
                    await connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
        except FactoryError as error:
            log.warning("store.checkpoint_failed", path=str(self.path), reason=error.message)

    def _look(self) -> None:
        """Make sure that the name still leads to the file that was opened."""
        if _identity(self.path) != self._identity:
            raise StoreUnavailable(
                f"The store {self.path} was replaced while it was in use.",
                remedy="Restart factory-mcp.",
            )


async def open_database(path: Path, sealer: Sealer, *, wait_s: float = WAIT_S) -> SqliteDatabase:
    """The database at `path`, made or brought up to date; safe for many starters at once.

    Raises:
        SchemaMismatch: A newer version, or another program, wrote the file.
        StoreUnavailable: It cannot be opened.
    """
    database = SqliteDatabase(path, sealer, wait_s=wait_s)
    try:
        await database.open()
    except BaseException:
        await database.close()
        raise
    return database


def _engine(path: Path, wait_s: float, *, connect: Callable[..., Any], size: int) -> AsyncEngine:
    return create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        connect_args={"async_creator_fn": connect, "timeout": wait_s},
        hide_parameters=True,
        max_overflow=0,
        pool_size=size,
        pool_timeout=wait_s,
    )


def _stored_revision(connection: Connection) -> str | None:
    """The step that the tables stand at; None when there are no tables."""
    names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")
    tables = set(names.scalars())
    if tables and "alembic_version" not in tables:
        raise SchemaMismatch(
            "The database file holds the tables of another program.",
            remedy="Name another folder in FACTORY_MCP_DATA.",
        )
    if not tables:
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def _make(path: Path) -> tuple[tuple[int, int], bool]:
    """Make the file and its folder, for this user's eyes only; which file it is, and if empty."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    return _identity(path), path.stat().st_size == 0


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
