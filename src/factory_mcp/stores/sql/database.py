"""What the tables ask of a SQL database, whichever it is."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from factory_mcp.ports import Check, Sealer
from factory_mcp.stores.sql.tables import audit_heads
from factory_mcp.stores.sql.unit import Unit

T = TypeVar("T")
Work = Callable[[Unit], Awaitable[T]]


class Database(Protocol):
    """A database with our tables, for one process.

    Everything but `open`, `close` and `check` raises what keeps the database from being used,
    until `open` has gone well.
    """

    @property
    def sealer(self) -> Sealer:
        """Seals what users wrote."""
        ...

    async def open(self) -> None:
        """Make it ready, or say why it cannot be; then try again later."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...

    def read(self, tenant: str) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that changes nothing and sees one state of what the tenant has."""
        ...

    def across(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """The same over all tenants: whose rows there are and how they stand, nothing they hold."""
        ...

    async def transact(self, tenant: str, work: Work[T]) -> T:
        """Do work in a transaction, which others may share; it is on disk when this returns.

        Work may be done more than once; see `group`.
        """
        ...

    def write(self, tenant: str) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction of one's own, on disk when it ends."""
        ...

    def alone(self) -> AbstractAsyncContextManager[None]:
        """As long as this lasts, nobody writes, in any process."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[tuple[Unit, list[str]]]:
        """One state of everything, to be read for as long as it takes; and the tenants in it.

        `enter` a tenant, then look at what it has.
        """
        ...

    def exclusive(self) -> AbstractAsyncContextManager[tuple[Unit, list[str]]]:
        """A transaction over all tenants, as long as it takes, while nobody else writes.

        It is on disk when it ends, all or nothing.
        """
        ...

    async def tenants(self) -> list[str]:
        """All tenants that have ever written."""
        ...

    async def check(self) -> Sequence[Check]:
        """Whether it can be read and written now; never raises."""
        ...


async def tenants_in(connection: AsyncConnection) -> list[str]:
    """All tenants that have ever written: each has its chain of audit rows."""
    names = await connection.execute(select(audit_heads.c.tenant))
    return sorted(names.scalars())
