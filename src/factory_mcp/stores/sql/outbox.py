"""The port Outbox over a SQL database, with the same statements on each.

Its transactions are its own and not shared with other writers: these lock a tenant's rows in
another order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    CursorResult,
    Float,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from factory_mcp.domain.model import Json
from factory_mcp.ports.outbox import Change, Lease, Parked, Standing
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.faults import Collision
from factory_mcp.stores.sql.now import Now
from factory_mcp.stores.sql.tables import (
    AnyText,
    audit_heads,
    nodes,
    outbox,
    parked,
    sync_positions,
)

KEEP_S: Final = 7 * 24 * 3600.0
"""A row waits for so long for a sink that does not come; then that sink is built anew."""
REASON: Final = 500
"""Characters of a reason that are kept."""

_TENANT: Final[BindParameter[str]] = bindparam("its_tenant", type_=AnyText())
_SINK: Final[BindParameter[str]] = bindparam("its_sink", type_=AnyText())
_AT: Final = sync_positions.c
_ITS: Final = and_(_AT.tenant == _TENANT, _AT.sink == _SINK)
_MINE: Final = and_(_ITS, _AT.owner == bindparam("its_owner"))
_FREE: Final = or_(_AT.owner == "", _AT.lease_until < Now())
_UNTIL: Final = Now() + bindparam("for_s", type_=Float)
_AHEAD: Final = exists().where(outbox.c.tenant == _AT.tenant, outbox.c.seq > _AT.seq)

_WAITING: Final = (
    select(audit_heads.c.tenant)
    .outerjoin(sync_positions, and_(_AT.tenant == audit_heads.c.tenant, _AT.sink == _SINK))
    .where(or_(_AT.tenant.is_(None), and_(_FREE, or_(_AT.built_with == "", _AHEAD))))
    .order_by(func.coalesce(_AT.built_with, "") == "", _AT.lease_until, audit_heads.c.tenant)
)
_BUILT: Final = select(_AT.tenant, _AT.built_with).where(_AT.sink == _SINK)

_HEAD: Final = func.coalesce(
    select(audit_heads.c.seq).where(audit_heads.c.tenant == _TENANT).scalar_subquery(), 0
)
_BEGIN: Final = insert(sync_positions).from_select(
    ["tenant", "sink", "seq", "built_with", "owner", "lease_until"],
    select(_TENANT, _SINK, _HEAD, literal(""), literal(""), literal(0.0)).where(
        ~exists().where(_ITS)
    ),
)
_LEASE: Final = (
    update(sync_positions)
    .where(_ITS, _FREE)
    .values(owner=bindparam("new_owner"), lease_until=_UNTIL)
    .returning(_AT.seq, _AT.built_with)
)
_RENEW: Final = update(sync_positions).where(_MINE).values(lease_until=_UNTIL)
_RELEASE: Final = update(sync_positions).where(_MINE).values(owner="", lease_until=Now())
_MOVE: Final = update(sync_positions).where(_MINE).values(seq=bindparam("to_seq"))
_RESTART: Final = (
    update(sync_positions).where(_MINE).values(seq=_HEAD, built_with="").returning(_AT.seq)
)
_COMPLETED: Final = update(sync_positions).where(_MINE).values(built_with=bindparam("built"))
_VOID: Final = update(sync_positions).where(_ITS).values(built_with="", owner="")

_BATCH: Final = (
    select(outbox.c.seq)
    .where(outbox.c.tenant == _TENANT, outbox.c.seq > bindparam("after"))
    .order_by(outbox.c.seq)
    .limit(bindparam("how_many"))
    .subquery()
)
_READ: Final = (
    select(outbox.c.seq, outbox.c.kind, outbox.c.id)
    .where(
        outbox.c.tenant == _TENANT,
        outbox.c.seq > bindparam("after"),
        outbox.c.seq <= select(func.max(_BATCH.c.seq)).scalar_subquery(),
    )
    .order_by(outbox.c.seq, outbox.c.kind)
)
_CHAINS: Final = select(nodes.c.id, nodes.c.chain_id).where(
    nodes.c.tenant == _TENANT, nodes.c.id.in_(bindparam("ids", expanding=True))
)
"""Not joined to the outbox: a Postgres that knows nothing of its tables yet joins them slowly."""

_THEIRS: Final = and_(parked.c.tenant == _TENANT, parked.c.sink == _SINK)
_UNPARK: Final = delete(parked).where(_THEIRS)
_UNPARK_THESE: Final = _UNPARK.where(parked.c.id.in_(bindparam("ids", expanding=True)))
_PARK: Final = insert(parked).values(at=Now())

# Trimming: what all positions have passed, and what is too old whoever waits for it.
_OLD: Final = outbox.c.at < Now() - bindparam("keep_s", type_=Float)
_FLOOR: Final = select(func.min(_AT.seq)).where(_AT.tenant == _TENANT).scalar_subquery()
_FIRST: Final = outbox.alias("first_row")
_OLDEST: Final = (
    select(func.min(_FIRST.c.seq))
    .where(_FIRST.c.tenant == audit_heads.c.tenant)
    .correlate(audit_heads)
    .scalar_subquery()
)
_THE_FLOOR: Final = (
    select(func.min(_AT.seq))
    .where(_AT.tenant == audit_heads.c.tenant)
    .correlate(audit_heads)
    .scalar_subquery()
)
_TRIMMABLE: Final = select(audit_heads.c.tenant).where(
    exists().where(
        outbox.c.tenant == audit_heads.c.tenant,
        outbox.c.seq == _OLDEST,
        or_(_OLD, _THE_FLOOR.is_(None), outbox.c.seq <= _THE_FLOOR),
    )
)
_LATE: Final = delete(sync_positions).where(
    _AT.tenant == _TENANT,
    _AT.seq
    < select(func.max(outbox.c.seq)).where(outbox.c.tenant == _TENANT, _OLD).scalar_subquery(),
)
_TRIM: Final = delete(outbox).where(
    outbox.c.tenant == _TENANT, or_(_FLOOR.is_(None), outbox.c.seq <= _FLOOR)
)

_BEHIND: Final = (outbox.c.tenant == _AT.tenant, outbox.c.seq > _AT.seq)
_STANDING: Final = select(
    _AT.tenant,
    _AT.sink,
    _AT.seq,
    _AT.built_with,
    select(func.count()).where(*_BEHIND).scalar_subquery().label("rows"),
    (Now() - select(func.min(outbox.c.at)).where(*_BEHIND).scalar_subquery()).label("seconds"),
)
_NOT_BEGUN: Final = select(
    audit_heads.c.tenant,
    _SINK.label("sink"),
    null().label("seq"),
    literal("").label("built_with"),
    select(func.count()).where(outbox.c.tenant == audit_heads.c.tenant).label("rows"),
    null().label("seconds"),
).where(~exists().where(_AT.tenant == audit_heads.c.tenant, _AT.sink == _SINK))


class OutboxTables:
    """The port Outbox.

    Args:
        database: Where the tables are.
        keep_s: How long a row waits for a sink that does not come.
    """

    def __init__(self, database: Database, *, keep_s: float = KEEP_S) -> None:
        self._database, self._keep_s = database, keep_s

    async def tenants(self) -> list[str]:
        """All tenants that have ever written."""
        return await self._database.tenants()

    async def waiting(self, sink: str) -> list[str]:
        """Tenants with something to do for a sink, and followed by nobody."""
        async with self._database.across() as connection:
            return list((await connection.execute(_WAITING, {"its_sink": sink})).scalars())

    async def built(self, sink: str) -> Mapping[str, str]:
        """What a sink's copies are made with, by tenant."""
        async with self._database.across() as connection:
            rows = await connection.execute(_BUILT, {"its_sink": sink})
            return {row.tenant: row.built_with for row in rows}

    async def lease(self, sink: str, tenant: str, owner: str, for_s: float) -> Lease | None:
        """Ask to feed a sink with a tenant; a tenant not begun begins with all there is."""
        its = {"its_tenant": tenant, "its_sink": sink}
        try:
            async with self._database.write(tenant) as connection:
                await connection.execute(_BEGIN, its)
                asked = {**its, "new_owner": owner, "for_s": for_s}
                row = (await connection.execute(_LEASE, asked)).one_or_none()
        except Collision:  # somebody else has just begun
            return None
        if row is None:
            return None
        return Lease(sink=sink, tenant=tenant, owner=owner, seq=row.seq, built_with=row.built_with)

    async def renew(self, lease: Lease, for_s: float) -> bool:
        """Keep a lease for so long from now."""
        async with self._database.write(lease.tenant) as connection:
            return _done(await connection.execute(_RENEW, {**_its(lease), "for_s": for_s}))

    async def release(self, lease: Lease) -> None:
        """Give a lease back."""
        async with self._database.write(lease.tenant) as connection:
            await connection.execute(_RELEASE, _its(lease))

    async def read(self, lease: Lease, limit: int) -> list[Change]:
        """What comes after the position, in order: about `limit` rows, and all those of a seq."""
        its = {"its_tenant": lease.tenant, "after": lease.seq, "how_many": limit}
        async with self._database.read(lease.tenant) as connection:
            rows = (await connection.execute(_READ, its)).mappings().all()
            ids = {
                "its_tenant": lease.tenant,
                "ids": [r["id"] for r in rows if r["kind"] == "node"],
            }
            chains = {row.id: row.chain_id for row in await connection.execute(_CHAINS, ids)}
        return [Change(**row, chain_id=chains.get(row["id"])) for row in rows]

    async def move(
        self, lease: Lease, changes: Sequence[Change], poisoned: Mapping[str, str]
    ) -> Lease | None:
        """Put the position behind what was read; with it park those refused, by id with why."""
        seq, known = changes[-1].seq, {change.id: change for change in changes}
        async with self._database.write(lease.tenant) as connection:
            if not _done(await connection.execute(_MOVE, {**_its(lease), "to_seq": seq})):
                return None
            if poisoned:
                ids = {**_its(lease), "ids": list(poisoned)}
                await connection.execute(_UNPARK_THESE, ids)
                await _park(connection, lease, poisoned, known)
        return replace(lease, seq=seq)

    async def restart(self, lease: Lease) -> Lease | None:
        """Begin to make a copy anew: whatever is written from now on is behind the position."""
        async with self._database.write(lease.tenant) as connection:
            row = (await connection.execute(_RESTART, _its(lease))).one_or_none()
        return None if row is None else replace(lease, seq=row.seq, built_with="")

    async def completed(
        self, lease: Lease, built_with: str, poisoned: Mapping[str, str]
    ) -> Lease | None:
        """Say what the copy was made with; parked is what was refused this time, and no more."""
        async with self._database.write(lease.tenant) as connection:
            said = {**_its(lease), "built": built_with}
            if not _done(await connection.execute(_COMPLETED, said)):
                return None
            await connection.execute(_UNPARK, _its(lease))
            await _park(connection, lease, poisoned, {})
        return replace(lease, built_with=built_with)

    async def void(self, sink: str, tenant: str) -> None:
        """Say that a copy cannot be relied on: it must be made anew."""
        async with self._database.write(tenant) as connection:
            await connection.execute(_VOID, {"its_tenant": tenant, "its_sink": sink})

    async def trim(self) -> int:
        """Delete rows that nobody waits for, and those that have waited too long; how many."""
        keep = {"keep_s": self._keep_s}
        async with self._database.across() as connection:
            tenants = list((await connection.execute(_TRIMMABLE, keep)).scalars())
        count = 0
        for tenant in tenants:
            its = {"its_tenant": tenant}
            async with self._database.write(tenant) as connection:
                await connection.execute(_LATE, {**its, **keep})
                count += (await connection.execute(_TRIM, its)).rowcount
        return count

    async def standing(self, sinks: Sequence[str]) -> list[Standing]:
        """How far these sinks, and all others with a position, have come with each tenant."""
        async with self._database.across() as connection:
            rows = list((await connection.execute(_STANDING)).mappings())
            for sink in sinks:
                rows += (await connection.execute(_NOT_BEGUN, {"its_sink": sink})).mappings()
            refused = list((await connection.execute(select(parked))).mappings())
        found = [
            Standing(
                sink=row["sink"],
                tenant=row["tenant"],
                position=row["seq"],
                built=row["built_with"] != "",
                rows=row["rows"],
                seconds=max(0.0, float(row["seconds"] or 0.0)),
                parked=tuple(
                    Parked(kind=one["kind"], id=one["id"], reason=one["reason"], at=one["at"])
                    for one in refused
                    if (one["tenant"], one["sink"]) == (row["tenant"], row["sink"])
                ),
            )
            for row in rows
        ]
        return sorted(found, key=lambda one: (one.sink, one.tenant))


def _its(lease: Lease) -> Json:
    return {"its_tenant": lease.tenant, "its_sink": lease.sink, "its_owner": lease.owner}


def _done(result: CursorResult[Any]) -> bool:
    return result.rowcount == 1


async def _park(
    connection: AsyncConnection,
    lease: Lease,
    poisoned: Mapping[str, str],
    known: Mapping[str, Change],
) -> None:
    """Park what was refused; what was built again may not be of the batch."""
    unknown = {"seq": lease.seq, "kind": "node"}
    rows = [
        {
            "tenant": lease.tenant,
            "sink": lease.sink,
            "id": id_,
            "reason": reason[:REASON],
            **({"seq": known[id_].seq, "kind": known[id_].kind} if id_ in known else unknown),
        }
        for id_, reason in poisoned.items()
    ]
    if rows:
        await connection.execute(_PARK, rows)
