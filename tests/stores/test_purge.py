"""Runs that are long over are taken out; contexts and the audit trail stay."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Final

import pytest
from sqlalchemy import select

from factory_mcp.domain.model import LOCAL, Status
from factory_mcp.ports import Claim
from factory_mcp.stores.sql.audit_trail import trail, verified
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.ledger import Ledger
from factory_mcp.stores.sql.purge import BATCH, Purge, Purged
from factory_mcp.stores.sql.tables import call_keys, history, runs
from tests.contracts.samples import DAY, NOW, Samples
from tests.contracts.samples import sealing as sealed_as
from tests.filled import KINDS, TENANTS, counts, opened

LATER: Final = NOW + 40 * DAY
OLD: Final = 3


@pytest.fixture(params=KINDS)
async def database(request: pytest.FixtureRequest, tmp_path: object) -> AsyncGenerator[Database]:
    """Two tenants, each with old runs, one that is open since then, and a fresh one."""
    kind = request.param
    place = request.getfixturevalue("postgres_ready") if kind == "postgres" else str(tmp_path)
    make = Samples()
    async with opened(kind, place) as found:
        for tenant in TENANTS:
            for number in range(OLD):
                await _run(found, make, tenant, NOW, f"key {number}")
            left = make.run(tenant=tenant, created_at=NOW, lease_until=NOW)
            await Ledger(found).open(left, Claim(keys=("an old key",)))
            await _run(found, make, tenant, LATER - DAY)
            slow = make.run(tenant=tenant, created_at=NOW)
            await Ledger(found).open(slow, Claim())
            ended = replace(slow, ended_at=LATER - DAY)
            await Ledger(found).close(ended, None, sealed_as(Status.DONE))
        yield found


async def _run(database: Database, make: Samples, tenant: str, at: float, *keys: str) -> None:
    run = make.run(tenant=tenant, created_at=at)
    node = make.node(tenant=tenant, workspace_key="shop", standing=True)
    await Ledger(database).open(run, Claim(keys=keys))
    await Ledger(database).close(replace(run, ended_at=at + 60), node, sealed_as(Status.DONE))


def purging(database: Database, days: int = 30) -> Purge:
    """What LOCAL would take out 40 days later."""
    return Purge(database, LOCAL, now=LATER, days=days)


@pytest.mark.requirement("PURGE-1")
async def test_what_ended_long_ago_is_deleted_with_its_history(database: Database) -> None:
    """Of every tenant; open runs stay however old they are, and so does what ended of late."""
    before, heard = await counts(database), list[int]()
    gone = Purged(runs=OLD, history=OLD, call_keys=OLD + 1)
    assert dict.fromkeys(TENANTS, gone) == await purging(database).purge(heard.append)
    after, tenants = await counts(database), len(TENANTS)
    assert {
        "runs": before["runs"] - tenants * OLD,
        "history": before["history"] - tenants * OLD,
        "call_keys": before["call_keys"] - tenants * (OLD + 1),
        "audit": before["audit"] + tenants,
    } == {name: rows for name, rows in after.items() if rows != before[name]}
    assert tenants * (2 * OLD + OLD + 1) == heard[-1]
    for tenant in TENANTS:
        kept = await Ledger(database).recent(tenant, limit=10)
        assert 3 == len(kept)
        assert all(run.status.is_open or (run.ended_at or 0) > LATER - 30 * DAY for run in kept)
        async with database.read(tenant) as connection:
            written = select(history.c.run_id).where(history.c.tenant == tenant)
            theirs = {*(await connection.execute(written)).scalars()}
        assert theirs < {run.id for run in kept}
        standing = await ContextTables(database).standing(tenant, "shop")
        assert standing is not None
        path = await ContextTables(database).path(tenant, standing.id)
        assert OLD + 1 == len(path)


@pytest.mark.requirement("PURGE-2")
async def test_the_audit_trail_says_what_was_purged(database: Database) -> None:
    """One row of each tenant, with numbers and nothing that a user wrote; the chain holds."""
    await purging(database).purge(lambda _: None)
    async with database.snapshot() as (unit, tenants):
        for tenant in tenants:
            await unit.enter(tenant)
            assert None is (await verified(unit, tenant)).broken
            rows = [row async for row in trail(unit, tenant) if row["action"] == "purge"]
            said = {"days": 30, "runs": OLD, "history": OLD, "call_keys": OLD + 1}
            assert [(LATER, "local", "runs", said)] == [
                (row["at"], row["subject"], row["object"], row["detail"]) for row in rows
            ]


@pytest.mark.requirement("PURGE-3")
async def test_counting_deletes_nothing(database: Database) -> None:
    """And says what would go."""
    before = await counts(database)
    planned = await purging(database).planned()
    assert dict.fromkeys(TENANTS, Purged(runs=OLD, history=OLD, call_keys=OLD + 1)) == planned
    assert before == await counts(database)
    await purging(database).purge(lambda _: None)
    before = await counts(database)
    assert {} == await purging(database).purge(lambda _: None)
    assert before == await counts(database)


@pytest.mark.requirement("PURGE-4")
async def test_a_purge_that_was_stopped_goes_on(database: Database) -> None:
    """A history whose run is gone already is taken out, too."""
    tenant = TENANTS[0]

    def stop(_: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        await purging(database).purge(stop)
    half = (await purging(database).planned())[tenant]
    assert Purged(runs=OLD, history=OLD) == half
    async with database.write(tenant) as connection:
        its = runs.c.tenant == tenant, runs.c.id == "run_0001"
        await connection.execute(runs.delete().where(*its))
    assert (
        Purged(runs=OLD - 1, history=OLD) == (await purging(database).purge(lambda _: None))[tenant]
    )


@pytest.mark.requirement("PURGE-4")
async def test_many_rows_go_in_batches(database: Database) -> None:
    """So that nobody else has to wait for long."""
    tenant, heard = TENANTS[0], list[int]()
    run = (await Ledger(database).recent(tenant, limit=1))[0].id
    row = {"tenant": tenant, "subject": "ann", "run_id": run, "arguments_hash": "x"}
    rows = [{**row, "key": f"key {n}", "expires_at": NOW} for n in range(BATCH + 10)]
    async with database.write(tenant) as connection:
        await connection.execute(call_keys.insert(), rows)
    done = await purging(database).purge(heard.append)
    assert BATCH + 10 + OLD + 1 == done[tenant].call_keys
    assert [BATCH, BATCH + 10 + OLD + 1] == heard[:2]
