"""Runs that are long over, taken out of the tables; contexts and the audit trail stay."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, delete, func, not_, or_, select, tuple_

from factory_mcp.domain.model import Principal
from factory_mcp.stores.sql.audit import Entry, record
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.tables import IS_OPEN, call_keys, history, runs
from factory_mcp.stores.sql.unit import Unit

DAY_S: Final = 24 * 3600.0
BATCH: Final = 500
"""Rows in one transaction; others write between two of them."""

_RUN: Final = and_(runs.c.tenant == history.c.tenant, runs.c.id == history.c.run_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """How many rows."""

    runs: int = 0
    history: int = 0
    call_keys: int = 0


class Purge:
    """Takes out what ended more than so many days ago.

    Args:
        database: An open one.
        by: Who asked for it.
        now: Unix seconds.
        days: How many.
    """

    def __init__(self, database: Database, by: Principal, *, now: float, days: int) -> None:
        self._database, self._by = database, by
        self._now, self._days, self._before = now, days, now - days * DAY_S

    async def planned(self) -> Mapping[str, Purged]:
        """What is to go, by tenant; those of which nothing goes are left out."""
        async with self._database.snapshot() as (unit, tenants):
            found = {tenant: await self._counted(unit, tenant) for tenant in tenants}
        return {tenant: planned for tenant, planned in found.items() if planned != Purged()}

    async def purge(self, told: Callable[[int], None]) -> Mapping[str, Purged]:
        """Take it out, tenant by tenant; stopped and begun again it goes on.

        A tenant's audit trail says so before the first of its rows goes.

        Args:
            told: Hears how many rows are gone.

        Returns:
            What went, by tenant.
        """
        done, total = dict[str, Purged](), 0
        for tenant, planned in (await self.planned()).items():
            await self._database.transact(tenant, partial(self._record, tenant, planned))
            gone = Counter[str]()
            for name in ("call_keys", "runs", "history"):  # history is found by its run being gone
                drop = partial(self._drop, tenant, name)
                while rows := await self._database.transact(tenant, drop):
                    gone[name] += rows
                    total += rows
                    told(total)
            done[tenant] = Purged(**gone)
        return done

    async def _counted(self, unit: Unit, tenant: str) -> Purged:
        await unit.enter(tenant)
        return Purged(
            runs=await _count(unit, self._runs(tenant)),
            history=await _count(unit, self._history(tenant)),
            call_keys=await _count(unit, self._call_keys(tenant)),
        )

    async def _record(self, tenant: str, planned: Purged, unit: Unit) -> None:
        entry = Entry(
            tenant=tenant,
            at=self._now,
            subject=self._by.subject,
            action="purge",
            object="runs",
            detail={"days": self._days, **asdict(planned)},
        )
        await record(unit, entry)

    async def _drop(self, tenant: str, name: str, unit: Unit) -> int:
        """Delete a batch; how many rows it had."""
        if name == "runs":
            these = runs.c.id.in_(self._runs(tenant).limit(BATCH))
            work = delete(runs).where(runs.c.tenant == tenant, these)
        elif name == "history":
            these = history.c.seq.in_(self._history(tenant).limit(BATCH))
            work = delete(history).where(history.c.tenant == tenant, these)
        else:
            key = tuple_(call_keys.c.subject, call_keys.c.key)
            these = key.in_(self._call_keys(tenant).limit(BATCH))
            work = delete(call_keys).where(call_keys.c.tenant == tenant, these)
        return (await unit.execute(work)).rowcount

    def _runs(self, tenant: str) -> Select[*tuple[Any, ...]]:
        """Closed runs, oldest first; by when they began too, for that has an index."""
        its = runs.c.tenant == tenant, runs.c.created_at < self._before
        return select(runs.c.id).where(*its, self._is_over()).order_by(runs.c.created_at, runs.c.id)

    def _history(self, tenant: str) -> Select[*tuple[Any, ...]]:
        """What was written down of those that go, or have gone."""
        its = history.c.tenant == tenant, history.c.at < self._before
        query = select(history.c.seq).outerjoin(runs, _RUN).order_by(history.c.seq)
        return query.where(*its, or_(runs.c.id.is_(None), self._is_over()))

    def _call_keys(self, tenant: str) -> Select[*tuple[Any, ...]]:
        its = call_keys.c.tenant == tenant, call_keys.c.expires_at <= self._now
        query = select(call_keys.c.subject, call_keys.c.key).where(*its)
        return query.order_by(call_keys.c.expires_at)

    def _is_over(self) -> ColumnElement[bool]:
        return and_(not_(IS_OPEN), runs.c.ended_at < self._before)


async def _count(unit: Unit, query: Select[*tuple[Any, ...]]) -> int:
    counting = select(func.count()).select_from(query.order_by(None).subquery())
    return (await unit.execute(counting)).scalar_one()
