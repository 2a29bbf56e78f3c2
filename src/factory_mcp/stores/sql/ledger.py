"""Runs in SQL: opened, saved, closed and read, each in one transaction."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Select,
    Update,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)

from factory_mcp.domain.envelope import to_json
from factory_mcp.domain.errors import KeyReused, QueueFull
from factory_mcp.domain.model import Effects, Json, Owner, Run, Status
from factory_mcp.domain.seal_errors import error_of
from factory_mcp.ports import Appended, Beat, Claim, NewNode, Opened, Seal, Sealer
from factory_mcp.stores.sql.append import append_node
from factory_mcp.stores.sql.audit import Entry, feed, record
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.sealed import HISTORY, REASONS, RUNS, blind_key
from factory_mcp.stores.sql.tables import IS_OPEN, call_keys, history, runs
from factory_mcp.stores.sql.unit import Unit

KEY_LIFE_S: Final = 24 * 3600

_FIELDS: Final = tuple(field.name for field in fields(Run) if field.name != "unreadable")
_RUN: Final = tuple(runs.c[name] for name in _FIELDS)
_SAVED: Final = ("status", "code", "started_at", "lease_until", "session_id", "progress")
_CLOSED: Final = (*_SAVED, "ended_at", "context_id", "envelope", "output")

# The statements of the hot path are built once: building one costs more than running it.

_MINE: Final = and_(
    runs.c.tenant == bindparam("its_tenant"),
    runs.c.id == bindparam("its_id"),
    runs.c.fence == bindparam("its_fence"),
    IS_OPEN,
)
_REASON: Final = (runs.c.tenant, runs.c.id, runs.c.cancel_reason)
_FIND_MINE: Final = select(*_REASON).where(_MINE).with_for_update()
_WRITE_MINE: Final = update(runs).where(_MINE)

_BY_KEYS: Final = (
    select(*_RUN, call_keys.c.key, call_keys.c.arguments_hash.label("key_hash"))
    .join(call_keys, and_(call_keys.c.tenant == runs.c.tenant, call_keys.c.run_id == runs.c.id))
    .where(
        call_keys.c.tenant == bindparam("tenant"),
        call_keys.c.subject == bindparam("subject"),
        call_keys.c.key.in_(bindparam("keys", expanding=True)),
        call_keys.c.expires_at > bindparam("now"),
    )
)
_SAME: Final = (
    select(*_RUN)
    .where(runs.c.tenant == bindparam("tenant"), runs.c.fingerprint == bindparam("fingerprint"))
    .order_by(runs.c.ended_at.is_not(None), runs.c.ended_at.desc())
    .limit(1)
)
_SAME_OPEN: Final = _SAME.where(IS_OPEN)
_SAME_OPEN_OR_DONE: Final = _SAME.where(
    or_(IS_OPEN, and_(runs.c.status == Status.DONE.value, runs.c.ended_at > bindparam("since")))
)
_QUEUED: Final = select(func.count()).where(
    runs.c.tenant == bindparam("tenant"),
    IS_OPEN,
    runs.c.status == Status.RUNNING.value,
    runs.c.code == "queued",
)


class Ledger:
    """The ports RunBook and RunReader over one database.

    A list shows a run that does not open, with what is not sealed and why.
    """

    def __init__(self, database: Database) -> None:
        self._database, self._sealer = database, database.sealer
        self._held: dict[str, str] = {}  # run id -> owner id, of the runs opened here

    async def open(self, run: Run, claim: Claim) -> Opened:
        """Open a run or attach to one; `run.created_at` is the time of the call.

        Raises:
            KeyReused: The strict key came with other arguments before.
            QueueFull: The run would be new, and too many of the tenant's wait already.
        """
        work = partial(_open, sealer=self._sealer, run=run, claim=claim)
        opened = await self._database.transact(run.tenant, work)
        if not opened.attached:
            self._held[run.id] = run.owner.id
        return opened

    async def save(self, run: Run) -> bool:
        """Write an open run's progress; False when its fence was lost or it is closed."""
        work = partial(_save, sealer=self._sealer, run=run)
        return await self._database.transact(run.tenant, work)

    async def close(self, run: Run, node: NewNode | None, seal: Seal) -> Run | None:
        """Close a run for good, at `run.ended_at`; None when its fence was lost.

        The envelope that `seal` makes decides status and code; the node, if any, the context.
        """
        work = partial(_close, sealer=self._sealer, run=run, node=node, seal=seal)
        closed = await self._database.transact(run.tenant, work)
        self._held.pop(run.id, None)
        return closed

    async def beat(self, owner: Owner, lease_until: float) -> Beat:
        """Renew the leases of `owner`'s open runs; a run opened here and gone since is lost."""
        held = {run_id for run_id, owner_id in self._held.items() if owner_id == owner.id}
        reasons: dict[str, str | None] = {}
        for tenant in await self._tenants(runs.c.owner_id == owner.id):
            work = partial(_renew, owner_id=owner.id, lease_until=lease_until)
            rows = await self._database.transact(tenant, partial(work, tenant=tenant))
            reasons |= {row["id"]: _reason(self._sealer, row) for row in rows}
        lost = held & self._held.keys() - reasons.keys()
        for run_id in lost:
            del self._held[run_id]
        cancelled = {run_id: reason for run_id, reason in reasons.items() if reason is not None}
        return Beat(lost=frozenset(lost), cancelled=cancelled)

    async def get(self, tenant: str, run_id: str) -> Run | None:
        """A run by id.

        Raises:
            SealBroken: What is stored of it was damaged; KeyMissing likewise.
        """
        query = select(*_RUN).where(runs.c.tenant == tenant, runs.c.id == run_id)
        async with self._database.read(tenant) as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _readable(self._sealer, row)

    async def recent(
        self, tenant: str, *, limit: int, droid: str | None = None, status: str | None = None
    ) -> list[Run]:
        """The newest runs first."""
        query = select(*_RUN).where(runs.c.tenant == tenant)
        if droid is not None:
            query = query.where(runs.c.droid == droid)
        if status is not None:
            query = query.where(runs.c.status == status)
        order = (runs.c.created_at.desc(), runs.c.id.desc())
        return await self._runs(tenant, query.order_by(*order).limit(limit))

    async def cancel(self, tenant: str, run_id: str, reason: str) -> None:
        """Ask the owner of an open run to stop it; the first reason stays."""
        its = and_(runs.c.tenant == tenant, runs.c.id == run_id)
        why = {"tenant": tenant, "id": run_id, "cancel_reason": reason}
        asked = update(runs).where(its, IS_OPEN, runs.c.cancel_reason.is_(None))
        work = partial(_cancel, sealer=self._sealer, asked=asked, why=why)
        await self._database.transact(tenant, work)

    async def open_runs(self) -> list[Run]:
        """Every open run of every tenant, oldest first."""
        found: list[Run] = []
        for tenant in await self._tenants():
            query = select(*_RUN).where(runs.c.tenant == tenant, IS_OPEN)
            found += await self._runs(tenant, query)
        return sorted(found, key=lambda run: run.created_at)

    async def _tenants(self, *which: ColumnElement[bool]) -> list[str]:
        """The tenants that have such open runs."""
        query = select(runs.c.tenant).where(IS_OPEN, *which).distinct().order_by(runs.c.tenant)
        async with self._database.across() as connection:
            return list((await connection.execute(query)).scalars())

    async def _runs(self, tenant: str, query: Select[*tuple[Any, ...]]) -> list[Run]:
        async with self._database.read(tenant) as connection:
            rows = (await connection.execute(query)).mappings()
            return [_to_run(self._sealer, row) for row in rows]


async def _open(unit: Unit, sealer: Sealer, run: Run, claim: Claim) -> Opened:
    answered = await _by_keys(unit, sealer, run, claim)
    row = next(iter(answered.values()), None) or await _by_fingerprint(unit, run, claim)
    found = None if row is None else _readable(sealer, row)
    if found is None:
        await _need_room(unit, run, claim.max_queued)
        new = _to_row(run)
        unit.put(runs, [RUNS.close(sealer, new, new)])
        detail = {"droid": run.droid, "effects": run.effects.value, "fence": run.fence}
        await record(unit, _entry(run, "run.open", run.created_at, detail))
    answering = found or run
    await _remember(unit, run, answering, _blind(sealer, run, claim).keys() - answered.keys())
    return Opened(run=answering, attached=found is not None)


async def _by_keys(unit: Unit, sealer: Sealer, run: Run, claim: Claim) -> dict[str, RowMapping]:
    """The runs that the claim's keys are kept for, by blind key, the strict key's first."""
    if not claim.keys:
        return {}
    names = _blind(sealer, run, claim)
    wanted = {"tenant": run.tenant, "subject": run.subject, "keys": tuple(names)}
    found = await unit.execute(_BY_KEYS, {**wanted, "now": run.created_at})
    rows = {row["key"]: row for row in found.mappings()}
    answered = {key: rows[key] for key in names if key in rows}
    for key, row in answered.items():
        if names[key] == claim.strict and row["key_hash"] != run.arguments_hash:
            raise KeyReused(f"The key {claim.strict} was used for a call with other arguments.")
    return answered


def _blind(sealer: Sealer, run: Run, claim: Claim) -> dict[str, str]:
    """The claim's keys by their blind names, the strict one first."""
    ordered = sorted(claim.keys, key=lambda key: key != claim.strict)
    return {blind_key(sealer, run.tenant, key): key for key in ordered}


async def _by_fingerprint(unit: Unit, run: Run, claim: Claim) -> RowMapping | None:
    """An open run that does the same, else the latest done one that is recent enough."""
    wanted = {"tenant": run.tenant, "fingerprint": run.fingerprint}
    if claim.attach_done_s > 0:
        since = run.created_at - claim.attach_done_s
        found = await unit.execute(_SAME_OPEN_OR_DONE, {**wanted, "since": since})
    else:
        found = await unit.execute(_SAME_OPEN, wanted)
    return found.mappings().one_or_none()


async def _need_room(unit: Unit, run: Run, max_queued: int) -> None:
    queued = (await unit.execute(_QUEUED, {"tenant": run.tenant})).scalar_one()
    if queued >= max_queued:
        raise QueueFull(f"{queued} runs wait for a slot already.")


async def _remember(unit: Unit, call: Run, answering: Run, keys: Iterable[str]) -> None:
    """Keep the call's new blind keys for the run that answers it; those that expired go."""
    rows = [
        {
            "tenant": call.tenant,
            "subject": call.subject,
            "key": key,
            "run_id": answering.id,
            "arguments_hash": call.arguments_hash,
            "expires_at": call.created_at + KEY_LIFE_S,
        }
        for key in keys
    ]
    if rows:
        expired = call_keys.c.expires_at <= call.created_at
        await unit.execute(delete(call_keys).where(call_keys.c.tenant == call.tenant, expired))
        unit.put(call_keys, rows)


async def _renew(
    unit: Unit, owner_id: str, lease_until: float, tenant: str
) -> Sequence[RowMapping]:
    renewed = (
        update(runs)
        .where(runs.c.tenant == tenant, runs.c.owner_id == owner_id, IS_OPEN)
        .values(lease_until=lease_until)
        .returning(*_REASON)
    )
    return (await unit.execute(renewed)).mappings().all()


async def _save(unit: Unit, sealer: Sealer, run: Run) -> bool:
    saved = await unit.execute(_WRITE_MINE, _changes(sealer, run, _SAVED))
    return saved.rowcount == 1


async def _cancel(unit: Unit, sealer: Sealer, asked: Update, why: Json) -> None:
    sealed = REASONS.close(sealer, why, why)
    await unit.execute(asked.values(cancel_reason=sealed["cancel_reason"]))


async def _close(
    unit: Unit, sealer: Sealer, run: Run, node: NewNode | None, seal: Seal
) -> Run | None:
    row = (await unit.peek(_FIND_MINE, _mine(run))).mappings().one_or_none()
    if row is None or ("closed", run.id) in unit.known:
        return await _closed_so(unit, sealer, run)
    appended = None if node is None else await append_node(unit, sealer, node)
    envelope = seal(appended)
    closed = replace(
        run,
        status=envelope.status,
        code=envelope.code,
        context_id=appended.node.id if appended else run.context_id,
        cancel_reason=_reason(sealer, row),
        envelope=to_json(envelope),
    )
    unit.move(_WRITE_MINE, (run.id,), _changes(sealer, closed, _CLOSED))
    unit.known["closed", run.id] = True
    await _write_down(unit, sealer, closed, appended)
    return closed


async def _closed_so(unit: Unit, sealer: Sealer, run: Run) -> Run | None:
    """The run if this very closing was stored before, and its caller never heard of it."""
    query = select(*_RUN).where(runs.c.tenant == run.tenant, runs.c.id == run.id)
    this = runs.c.fence == run.fence, runs.c.ended_at == run.ended_at
    row = (await unit.execute(query.where(*this))).mappings().one_or_none()
    return None if row is None else _to_run(sealer, row)


async def _write_down(unit: Unit, sealer: Sealer, run: Run, appended: Appended | None) -> None:
    """The rows that stay when the run is long forgotten."""
    at = run.created_at if run.ended_at is None else run.ended_at
    outcome = {"droid": run.droid, "status": run.status.value, "code": run.code}
    detail = {**outcome, "fence": run.fence, "context_id": run.context_id}
    entry = _entry(run, "run.close", at, detail)
    seq = await record(unit, entry)
    row = {"tenant": run.tenant, "seq": seq, "run_id": run.id, "at": at, "envelope": run.envelope}
    unit.put(history, [HISTORY.close(sealer, {**row, **outcome}, row)])
    feed(unit, entry, seq, "run", run.id)
    if appended:
        feed(unit, entry, seq, "node", appended.node.id)


def _entry(run: Run, action: str, at: float, detail: Json) -> Entry:
    return Entry(
        tenant=run.tenant, at=at, subject=run.subject, action=action, object=run.id, detail=detail
    )


def _mine(run: Run) -> Json:
    """What _MINE asks for: the run's row, if it is still open and nobody took it over."""
    return {"its_tenant": run.tenant, "its_id": run.id, "its_fence": run.fence}


def _changes(sealer: Sealer, run: Run, names: Collection[str]) -> Json:
    row = _to_row(run)
    return {**RUNS.close(sealer, {name: row[name] for name in names}, row), **_mine(run)}


def _to_row(run: Run) -> Json:
    return {
        **{name: getattr(run, name) for name in _FIELDS},
        "effects": run.effects.value,
        "status": run.status.value,
        "owner": asdict(run.owner),
        "owner_id": run.owner.id,
    }


def _reason(sealer: Sealer, row: RowMapping) -> str | None:
    """Why a run was cancelled, if it was; a reason that does not open is one all the same."""
    values, unreadable = REASONS.try_to_open(sealer, row)
    return "the reason cannot be read" if unreadable else values["cancel_reason"]


def _readable(sealer: Sealer, row: RowMapping) -> Run:
    run = _to_run(sealer, row)
    if run.unreadable:
        raise error_of(run.unreadable)
    return run


def _to_run(sealer: Sealer, row: RowMapping) -> Run:
    """The run in a row; if it does not open, with what is not sealed and why."""
    opened, unreadable = RUNS.try_to_open(sealer, row)
    values = {name: opened[name] for name in _FIELDS}
    if values["request"] is None and unreadable is not None:
        values["request"] = {"task": f"[cannot be read: {unreadable.message}]", "options": {}}
    values["unreadable"] = unreadable
    values["effects"] = Effects(values["effects"])
    values["status"] = Status(values["status"])
    values["owner"] = Owner(**values["owner"])
    return Run(**values)
