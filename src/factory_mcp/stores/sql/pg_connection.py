"""Connections to Postgres that wait only so long for the server, and pools of them."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast

import anyio
import psycopg
from psycopg import AsyncConnection as PsycopgConnection
from psycopg import waiting
from psycopg.abc import PQGen, Query
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg.sql import SQL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from factory_mcp.domain.errors import InvalidSetting, StoreUnavailable, Unsettled
from factory_mcp.stores.sql.pg_faults import translated

T = TypeVar("T")

_SETTLE_S: Final = 0.05
_USUAL: Final[Mapping[str, Any]] = {
    "application_name": "factory-mcp",
    "connect_timeout": 2,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""Unless the connection string says otherwise."""

# What it says on stderr comes as an error besides.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)

_until: ContextVar[float | None] = ContextVar("until", default=None)
"""When a connection that is being made must be there, on the loop's clock."""


class Connection(PsycopgConnection[TupleRow]):
    """A connection that is hung up when the server keeps it waiting for too long.

    psycopg's own way out of a wait asks the server to cancel, and waits for that. A server that is
    frozen, whose kernel still takes what is sent, would answer neither.
    """

    patience: float | None = None
    """How many seconds it may still wait for the server; None is for ever."""
    has_worked = False
    """Whether a transaction has begun on it before."""
    hung_up = False

    async def wait(
        self,
        gen: PQGen[T],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109 — psycopg's signature
    ) -> T:
        """Wait for the server; whoever cancels this loses the connection."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        timer = None
        if self.patience is not None:
            timer = loop.call_later(max(0, self.patience), self._hang_up)
        options = {} if timeout is None else {"timeout": timeout}
        try:
            return await waiting.wait_async(gen, self.pgconn.socket, interval=interval, **options)
        except asyncio.CancelledError:
            self.pgconn.finish()
            raise
        except psycopg.OperationalError as error:
            if self.hung_up:
                raise psycopg.errors.ConnectionTimeout("no answer in time") from error
            raise
        finally:
            if timer is not None:
                timer.cancel()
                self.patience = (self.patience or 0) - (loop.time() - began)

    def _hang_up(self) -> None:
        """Let libpq see the end of the stream at once."""
        self.hung_up = True
        with suppress(OSError), socket.socket(fileno=os.dup(self.pgconn.socket)) as line:
            line.shutdown(socket.SHUT_RDWR)


class Address:
    """Where a database is, and how to log in.

    Args:
        url: A URL, or keywords and values, as libpq takes them.
    """

    def __init__(self, url: str) -> None:
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError:  # its message repeats the URL
            raise InvalidSetting("POSTGRES_CONNECTION_STRING cannot be understood.") from None
        self.parameters: dict[str, Any] = {**_USUAL, **given}
        self.secret = str(given.get("password") or "")
        host = given.get("host") or given.get("hostaddr") or "localhost"
        self.place = f"{host}:{given.get('port') or 5432}/{given.get('dbname') or ''}"

    async def connect(self) -> Connection:
        """A new connection, in time."""
        until = _until.get()
        left = None if until is None else until - anyio.current_time()
        try:
            with anyio.fail_after(left):
                made = await Connection.connect(**self.parameters)
        except TimeoutError:
            raise psycopg.errors.ConnectionTimeout("no connection in time") from None
        made.patience = None if until is None else until - anyio.current_time()
        return made


class Pool:
    """A few connections to one database.

    Args:
        address: Where it is.
        size: How many connections there are at most.
    """

    def __init__(self, address: Address, size: int) -> None:
        self._address = address
        self._free = anyio.Semaphore(size)
        self._engine = create_async_engine(
            "postgresql+psycopg://",
            async_creator=address.connect,
            hide_parameters=True,
            isolation_level="AUTOCOMMIT",  # BEGIN is sent by `transaction`, not alone
            max_overflow=0,
            pool_size=size,
            use_native_hstore=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._engine.dispose()

    async def ask(self, query: Query, until: float) -> TupleRow:
        """The row that a query outside of a transaction finds."""
        async with self._turn(until):
            connection, row = await self._begun(query, until)
            await connection.close()
            return row

    @asynccontextmanager
    async def transaction(self, begin: Query, until: float) -> AsyncGenerator[AsyncConnection]:
        """A transaction; its caller can be cancelled before and after it, not within.

        Args:
            begin: What it begins with, in one trip; the last row's first value is its number, or
                None if it does not matter whether it was committed.
            until: When to give up waiting, on the loop's clock. Time in which the server is not
                waited for does not count.
        """
        async with self._turn(until):
            connection, (number, *_) = await self._begun(begin, until)
            try:
                await connection.begin()
                yield connection
                await self._commit(connection, number)
            finally:
                await _put_back(connection)

    @asynccontextmanager
    async def _turn(self, until: float) -> AsyncGenerator[None]:
        try:
            with anyio.fail_after(until - anyio.current_time()):
                await self._free.acquire()
        except TimeoutError:
            raise StoreUnavailable(
                f"The store {self._address.place} kept this waiting for too long.",
                remedy="Call again; if it stays so, look at what keeps the database server busy.",
            ) from None
        try:
            with anyio.CancelScope(shield=True), self._translated():
                yield
        finally:
            self._free.release()

    def _translated(self) -> Any:
        return translated(self._address.place, self._address.secret)

    async def _begun(self, query: Query, until: float) -> tuple[AsyncConnection, TupleRow]:
        """A connection on which the query has run, and its last row.

        One that died while nobody used it is found out here, and another one is taken.
        """
        while True:
            connection = await self._taken(until)
            driver = await driver_of(connection)
            driver.patience = until - anyio.current_time()
            was_idle, driver.has_worked = driver.has_worked, True
            try:
                return connection, await _last_row(driver, query)
            except psycopg.Error:
                is_stale = was_idle and driver.closed and not driver.hung_up
                await _put_back(connection)
                if not is_stale:
                    raise

    async def _taken(self, until: float) -> AsyncConnection:
        token = _until.set(until)
        try:
            return await self._engine.connect()
        finally:
            _until.reset(token)

    async def _commit(self, connection: AsyncConnection, number: str | None) -> None:
        """Commit; when the connection is lost meanwhile, ask the server how that ended."""
        driver = await driver_of(connection)
        if driver.info.transaction_status == TransactionStatus.INERROR:
            raise StoreUnavailable("A statement failed unnoticed; nothing was stored.")
        until = anyio.current_time() + (driver.patience or 0)
        try:
            await connection.commit()
        except DBAPIError:
            if number is None or not driver.closed:
                raise
            await _put_back(connection)
            if not await self._was_committed(number, until):
                raise

    async def _was_committed(self, number: str, until: float) -> bool:
        query = SQL("SELECT pg_xact_status({}::xid8)").format(number)
        while True:
            with suppress(psycopg.Error, SQLAlchemyError):
                connection, (status,) = await self._begun(query, until)
                await connection.close()
                if status != "in progress":
                    return status == "committed"
            if anyio.current_time() > until:
                raise Unsettled(
                    f"The store {self._address.place} went away while it stored this;"
                    " whether it is stored is not known."
                )
            await anyio.sleep(_SETTLE_S)


async def driver_of(connection: AsyncConnection) -> Connection:
    """The connection below SQLAlchemy's."""
    raw = await connection.get_raw_connection()
    return cast("Connection", raw.driver_connection)


async def _last_row(driver: Connection, query: Query) -> TupleRow:
    cursor = await driver.execute(query, prepare=False)  # several statements are not preparable
    while cursor.nextset():
        pass
    return await cursor.fetchone() or ()


async def _put_back(connection: AsyncConnection) -> None:
    """Give the connection back, rolled back if need be; one that is lost is forgotten."""
    try:
        is_known = connection.closed or connection.invalidated
        if not is_known and (await driver_of(connection)).closed:
            await connection.invalidate()
        await connection.close()
    except SQLAlchemyError:  # it was lost while it was rolled back
        if not connection.closed:
            await connection.invalidate()
            await connection.close()
