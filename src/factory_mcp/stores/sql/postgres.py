"""One Postgres database, used so that none of its traps stays open.

- Tenants are kept apart by the server: every transaction begins by taking a role that sees one
  tenant's rows, or none of what users wrote; see `pg_roles`.
- A frozen server answers nothing, not even a cancel: here the connection is hung up, so that every
  call is answered or refused in time; see `pg_connection`.
- A connection that was lost says nothing of the commit that was under way: here the server is
  asked how it ended.
- A transaction costs a trip to the disk: here those who wait to write share one.
- All settings are the transaction's own, sent with its BEGIN: so it works through a pooler.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

import anyio
from psycopg.sql import SQL, Composed, Literal
from sqlalchemy.dialects.postgresql.psycopg import dialect
from sqlalchemy.ext.asyncio import AsyncConnection

from factory_mcp.domain.errors import FactoryError, StoreUnavailable
from factory_mcp.ports import Check, Place, Sealer
from factory_mcp.stores.sql import pg_upgrade
from factory_mcp.stores.sql.database import Work, tenants_in
from factory_mcp.stores.sql.group import Group
from factory_mcp.stores.sql.pg_connection import Address, Pool
from factory_mcp.stores.sql.pg_roles import APP, WORKER
from factory_mcp.stores.sql.tables import AnyText
from factory_mcp.stores.sql.unit import Unit

T = TypeVar("T")

WAIT_S: Final = 2.0
CHECK_S: Final = 1.5
"""How long a check may wait: whoever sends work here hears within 2 s that it cannot be done."""
CONNECTIONS: Final = 9

_SERVER_SHARE: Final = 0.9
"""The server gives up first, so that the connection can be kept."""
_LOCK_SHARE: Final = 0.75
_IDLE: Final = "60s"
_IDLE_ALONE: Final = "600s"
_LONG_S: Final = 24 * 3600.0
"""For a transaction over all there is."""
_PATIENT_S: Final = 60.0
"""For each of its statements."""

_READ: Final = SQL("ISOLATION LEVEL REPEATABLE READ READ ONLY")
_NUMBER: Final = SQL("; SELECT pg_current_xact_id()::text, pg_advisory_xact_lock_shared({})")
_ALONE: Final = SQL("; SELECT NULL, pg_advisory_xact_lock({})")
_NUMBER_ALONE: Final = SQL("; SELECT pg_current_xact_id()::text, pg_advisory_xact_lock({})")
_BEGIN: Final = SQL(
    "BEGIN {mode}; SELECT NULL, set_config('role', {role}, true),"
    " set_config('search_path', {schema}, true), set_config('app.tenant', {tenant}, true),"
    " set_config('statement_timeout', {statement}, true), set_config('lock_timeout', {lock}, true),"
    " set_config('idle_in_transaction_session_timeout', {idle}, true)"
)
_AS_APP: Final = f"SELECT set_config('role', '{APP}', true)"
_ENTER: Final = "SELECT set_config('app.tenant', %s, true)"
_STANDING: Final = SQL("SELECT quote_ident(current_schema()), to_regclass('alembic_version')::text")
_REVISION: Final = SQL("SELECT version_num FROM alembic_version")
_NOW: Final = SQL("SELECT extract(epoch FROM clock_timestamp())::float8")
_FACTS: Final = SQL(
    "SELECT current_setting('server_version'), current_setting('fsync'),"
    " current_setting('synchronous_commit'), current_setting('transaction_read_only')"
)

_called: ContextVar[float] = ContextVar("called")
"""When `transact` was called, on the loop's clock."""


class PostgresDatabase:
    """The database, one connection that writes for all callers, and some for everything else.

    Args:
        url: What POSTGRES_CONNECTION_STRING holds.
        sealer: Seals what users wrote.
        wait_s: How long a call may wait for the server, seconds.
        connections: How many connections there are at most, two or more.
        feeds: Whether projections are fed from it.
    """

    def __init__(
        self,
        url: str,
        sealer: Sealer,
        *,
        wait_s: float = WAIT_S,
        connections: int = CONNECTIONS,
        feeds: bool = False,
    ) -> None:
        self.sealer = sealer
        self._address, self._wait_s, self._feeds = Address(url), wait_s, feeds
        self._schema = ""
        self._fault: FactoryError | None = StoreUnavailable(
            f"The store {self._address.place} is not open."
        )
        self._group = Group(self._unit)
        self._writer = Pool(self._address, 1)
        self._others = Pool(self._address, connections - 1)

    async def open(self) -> None:
        """See that the database is there and at this version's revision.

        Until this has gone well, every transaction fails with what went wrong; try again then.

        Raises:
            SchemaMismatch: It must be upgraded first, or a newer version wrote it.
            StoreUnavailable: It cannot be used.
        """
        try:
            revision = await self._revision(self._in_time())
            if error := pg_upgrade.mismatch(revision, self._address.place):
                raise error
        except FactoryError as error:
            self._fault = error
            await self.close()
            raise
        self._fault = None

    async def close(self) -> None:
        """Close all connections."""
        with anyio.CancelScope(shield=True):
            await self._writer.close()
            await self._others.close()

    @asynccontextmanager
    async def read(self, tenant: str) -> AsyncGenerator[AsyncConnection]:
        """A transaction that sees one state of what the tenant has, and changes nothing."""
        self._need_open()
        begin = self._begin(APP, tenant, mode=_READ)
        async with self._others.transaction(begin, self._in_time()) as connection:
            yield connection

    @asynccontextmanager
    async def across(self) -> AsyncGenerator[AsyncConnection]:
        """The same over all tenants, without what users wrote."""
        self._need_open()
        begin = self._begin(WORKER, mode=_READ)
        async with self._others.transaction(begin, self._in_time()) as connection:
            yield connection

    @asynccontextmanager
    async def write(self, tenant: str) -> AsyncGenerator[AsyncConnection]:
        """A transaction of one's own; on disk when it ends, or not at all."""
        self._need_open()
        begin = self._begin(APP, tenant) + _NUMBER.format(pg_upgrade.WRITERS)
        async with self._others.transaction(begin, self._in_time()) as connection:
            yield connection

    async def transact(self, tenant: str, work: Work[T]) -> T:
        """Do work in a transaction, which others may share; see `group`."""
        self._need_open()
        token = _called.set(anyio.current_time())
        try:
            return await self._group.do(tenant, work)
        finally:
            _called.reset(token)

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """As long as this lasts, nobody writes."""
        self._need_open()
        begin = self._begin(APP, idle=_IDLE_ALONE) + _ALONE.format(pg_upgrade.WRITERS)
        async with self._others.transaction(begin, self._in_time()):
            yield

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[tuple[Unit, list[str]]]:
        """One state of everything, to be read for as long as it takes; and the tenants in it."""
        begin = self._begin(WORKER, mode=_READ, idle=_IDLE_ALONE, wait_s=_PATIENT_S)
        async with self._whole(self._others, begin) as found:
            yield found

    @asynccontextmanager
    async def exclusive(self) -> AsyncGenerator[tuple[Unit, list[str]]]:
        """A transaction over all tenants, while nobody else writes."""
        begin = self._begin(WORKER, idle=_IDLE_ALONE, wait_s=_PATIENT_S)
        begin += _NUMBER_ALONE.format(pg_upgrade.WRITERS)
        async with self._whole(self._writer, begin) as (unit, tenants):
            yield unit, tenants
            await unit.flush()

    async def tenants(self) -> list[str]:
        """All tenants that have ever written."""
        async with self.across() as connection:
            return await tenants_in(connection)

    async def check(self) -> Sequence[Check]:
        """Whether it can be read and written now; never raises."""
        try:
            self._need_open()
            until = anyio.current_time() + min(CHECK_S, self._wait_s)
            revision = await self._revision(until)
            facts = await self._others.ask(_FACTS, until)
            await self.tenants()
            async with self.write(""):
                pass
            self.sealer.seal(Place(tenant="", table="", id=""), b"")
        except FactoryError as error:
            return [Check(name="store", ok=False, detail=error.message, fix=error.remedy)]
        version, fsync, commit, read_only = facts
        detail = f"{self._address.place}, PostgreSQL {version}, revision {revision}"
        detail += f", fsync {fsync}, synchronous_commit {commit}"
        if read_only == "on":
            fix = "Name the primary in POSTGRES_CONNECTION_STRING: this server only reads."
            return [Check(name="store", ok=False, detail=detail, fix=fix)]
        return [Check(name="store", ok=True, detail=detail)]

    async def upgrade(self) -> bool:
        """Make or upgrade tables, roles and guards; whether there was need. See `pg_upgrade`."""
        return await pg_upgrade.upgrade(self._address, self.sealer)

    async def inspect(self) -> Sequence[Check]:
        """One line each: revision, roles, row-level security, rights.

        Raises:
            StoreUnavailable: It cannot be looked at.
        """
        return await pg_upgrade.inspect(self._address)

    async def now(self) -> float:
        """The server's clock as this is answered, Unix seconds."""
        began = anyio.current_time()
        (now,) = await self._others.ask(_NOW, self._in_time())
        return float(now) + (anyio.current_time() - began) / 2

    async def _revision(self, until: float) -> str | None:
        """The step that the tables stand at; None when there are none."""
        self._schema, has_tables = await self._others.ask(_STANDING, until)
        return (await self._others.ask(_REVISION, until) or (None,))[0] if has_tables else None

    def _need_open(self) -> None:
        if self._fault is not None:
            raise type(self._fault)(self._fault.message, remedy=self._fault.remedy)

    def _in_time(self) -> float:
        return anyio.current_time() + self._wait_s

    def _begin(
        self,
        role: str,
        tenant: str = "",
        *,
        mode: SQL | None = None,
        idle: str = _IDLE,
        wait_s: float | None = None,
    ) -> Composed:
        wait_s = wait_s or self._wait_s
        return _BEGIN.format(
            mode=mode or SQL(""),
            role=Literal(role),
            schema=Literal(self._schema),
            tenant=Literal(_stored(tenant)),
            statement=Literal(f"{wait_s * _SERVER_SHARE * 1000:.0f}"),
            lock=Literal(f"{wait_s * _LOCK_SHARE * 1000:.0f}"),
            idle=Literal(idle),
        )

    @asynccontextmanager
    async def _whole(self, pool: Pool, begin: Composed) -> AsyncGenerator[tuple[Unit, list[str]]]:
        """A transaction that begins with all tenants' names, and goes on with one after another."""
        self._need_open()
        async with pool.transaction(begin, anyio.current_time() + _LONG_S) as connection:
            tenants = await tenants_in(connection)
            await connection.exec_driver_sql(_AS_APP)
            yield Unit(connection, entering=_enter), tenants

    @asynccontextmanager
    async def _unit(self) -> AsyncGenerator[Unit]:
        begin = self._begin(APP) + _NUMBER.format(pg_upgrade.WRITERS)
        until = _called.get() + self._wait_s
        async with self._writer.transaction(begin, until) as connection:
            unit = Unit(connection, entering=_enter, feeds=self._feeds)
            yield unit
            await unit.flush()


async def _enter(connection: AsyncConnection, tenant: str) -> None:
    await connection.exec_driver_sql(_ENTER, (_stored(tenant),))


def _stored(tenant: str) -> str:
    """A tenant's name as the rows have it."""
    return AnyText().process_bind_param(tenant, dialect()) or ""
