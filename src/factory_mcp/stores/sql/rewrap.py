"""All that is sealed, counted by key and sealed anew; table by table, in small transactions."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, LargeBinary, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from factory_mcp.domain.key_ring import Rewrapped
from factory_mcp.domain.seal_errors import KeyMissing, SealBroken
from factory_mcp.ports import Sealer
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.sealed import SEALED, SealedTable
from factory_mcp.stores.sql.unit import Unit

T = TypeVar("T")

_KEY: Final = slice(1, 5)
"""Where a sealed value names its key."""


class SealedTables:
    """The sealed rows of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def used(self) -> Mapping[str, int]:
        """How many values each key has sealed, by its id."""
        found: Counter[str] = Counter()
        for tenant in await self._database.tenants():
            async with self._database.read(tenant) as connection:
                found.update(await _used(connection, tenant))
        return dict(found)

    async def rewrap(self, newest: str, after: tuple[Any, ...], limit: int) -> Rewrapped:
        """Seal at most `limit` rows anew that other keys than the newest have sealed.

        `after` is a tenant, the number of a table, and the key of the last row seen in it.
        """
        tenant, number, *last = after or ("", len(SEALED))
        if number == len(SEALED):
            later = [name for name in await self._database.tenants() if not after or name > tenant]
            if not later:
                return Rewrapped()
            tenant, number = later[0], 0
        batch = _Batch(
            sealed=SEALED[number], tenant=tenant, newest=bytes.fromhex(newest), after=tuple(last)
        )
        work = partial(_rewrap, sealer=self._database.sealer, batch=batch, limit=limit)
        done = await self._database.transact(tenant, work)
        following = (tenant, number, *done.after) if done.after else (tenant, number + 1)
        return replace(done, after=following)

    async def alone(self, keys: Collection[str], act: Callable[[int], T]) -> T:
        """Call `act` while nobody writes, with how much these keys have sealed."""
        async with self._database.alone():
            used = await self.used() if keys else dict[str, int]()
            return act(sum(used.get(key, 0) for key in keys))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """The rows of one table, behind the one with the key `after`, that want new seals."""

    sealed: SealedTable
    tenant: str
    newest: bytes
    after: tuple[Any, ...]

    def query(self, limit: int) -> Any:
        """Whole rows, in the order of their keys."""
        table, keys = self.sealed.table, self.sealed.table.primary_key.columns
        stale = (_key_of(table.c[name]) != self.newest for name in self.sealed.columns)
        query = select(table).where(table.c.tenant == self.tenant, or_(*stale))
        query = query.order_by(*keys).limit(limit).with_for_update()
        return query.where(tuple_(*keys) > tuple_(*self.after)) if self.after else query

    def stale(self, row: Mapping[Any, Any]) -> list[str]:
        """The columns of a row that another key has sealed."""
        values = ((name, row[name]) for name in self.sealed.columns)
        return [n for n, value in values if value is not None and value[_KEY] != self.newest]


async def _rewrap(unit: Unit, sealer: Sealer, batch: _Batch, limit: int) -> Rewrapped:
    table, keys = batch.sealed.table, batch.sealed.table.primary_key.columns
    done, broken = 0, list[str]()
    rows = list((await unit.execute(batch.query(limit))).mappings())
    for row in rows:
        fresh: dict[str, bytes] = {}
        for name in batch.stale(row):
            place = batch.sealed.place(name, row)
            try:
                fresh[name] = sealer.seal(place, sealer.unseal(place, row[name]))
            except (SealBroken, KeyMissing) as error:
                broken.append(error.message)
        if fresh:
            this = (column == row[column.name] for column in keys)
            await unit.execute(update(table).where(*this).values(fresh))
            done += len(fresh)
    last = tuple(rows[-1][column.name] for column in keys) if len(rows) == limit else ()
    return Rewrapped(values=done, broken=tuple(broken), after=last)


async def _used(connection: AsyncConnection, tenant: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    for sealed in SEALED:
        for name in sealed.columns:
            column = sealed.table.c[name]
            key = _key_of(column)
            its = sealed.table.c.tenant == tenant
            query = select(key, func.count()).where(its, column.is_not(None)).group_by(key)
            for key_id, values in await connection.execute(query):
                found[key_id.hex()] += values
    return dict(found)


def _key_of(column: ColumnElement[Any]) -> ColumnElement[bytes]:
    return func.substr(column, _KEY.start + 1, _KEY.stop - _KEY.start, type_=LargeBinary)
