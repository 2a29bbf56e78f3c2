"""What the port Outbox promises, on each database."""

from dataclasses import replace
from typing import Final

import anyio
import pytest

from factory_mcp.domain.errors import RevisionConflict
from factory_mcp.ports import Claim
from factory_mcp.ports.outbox import Change, Lease
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.ledger import Ledger
from factory_mcp.stores.sql.outbox import REASON, OutboxTables
from tests.contracts.samples import NOW, sealing
from tests.feeding import Fed, change, make, rows_of, write

FOR_S: Final = 600.0
ODD: Final = "Bücher & \0\\ \ud83d"


async def leased(
    outbox: OutboxTables, owner: str = "we", *, sink: str = "index", tenant: str = "acme"
) -> Lease:
    """A lease that is given."""
    lease = await outbox.lease(sink, tenant, owner, FOR_S)
    assert lease is not None
    return lease


async def built(database: Database, tenant: str = "acme", *, sink: str = "index") -> Lease:
    """A lease on a copy that is whole."""
    outbox = OutboxTables(database)
    lease = await outbox.restart(await leased(outbox, tenant=tenant, sink=sink))
    assert lease is not None
    done = await outbox.completed(lease, "v1", {})
    assert done is not None
    return done


@pytest.mark.requirement("SYNC-1")
async def test_a_write_has_its_row_and_a_refused_one_none(fed: Fed) -> None:
    """Nodes and closed runs, numbered as their audit rows are: that of a run has the run's."""
    ledger = Ledger(fed.ours)
    (node,) = await write(fed.ours)
    with pytest.raises(RevisionConflict):
        await write(fed.ours, chain_id=node, expected_revision=7)
    run, learnt = make.run(), make.node()
    opened = replace((await ledger.open(run, Claim())).run, ended_at=NOW)
    assert await ledger.close(opened, learnt, sealing())
    assert not await ledger.close(replace(opened, fence=9), make.node(), sealing())
    rows = await rows_of(fed.theirs, "outbox")
    found = sorted((row["seq"], row["kind"], row["id"]) for row in rows)
    assert [(1, "node", node), (3, "node", learnt.id), (3, "run", run.id)] == found


@pytest.mark.requirement("SYNC-2")
async def test_a_tenant_that_no_sink_has_seen_begins_with_all_there_is(fed: Fed) -> None:
    """It waits until it was made whole, and again whenever something is written."""
    outbox = OutboxTables(fed.ours)
    assert [] == await outbox.waiting("index")
    assert None is await outbox.restart(
        Lease(sink="index", tenant="acme", owner="nobody", seq=0, built_with="")
    )
    for tenant in ("acme", ODD):
        await write(fed.theirs, 2, tenant=tenant)
        assert [tenant] == [name for name in await outbox.waiting("index") if name == tenant]
        lease = await leased(outbox, tenant=tenant)
        assert (2, "") == (lease.seq, lease.built_with)
        await write(fed.theirs, tenant=tenant)
        again = await outbox.restart(lease)
        assert again
        assert again == replace(lease, seq=3)
        (fresh,) = await write(fed.theirs, tenant=tenant)
        done = await outbox.completed(again, "v1", {})
        assert done
        assert done == replace(lease, seq=3, built_with="v1")
        (row,) = await outbox.read(done, 10)
        assert (4, "node", fresh, fresh) == (row.seq, row.kind, row.id, row.chain_id)
        done = await outbox.move(done, [row], {})
        assert done
        assert [] == await outbox.read(done, 10)
        await outbox.release(done)
        assert tenant not in await outbox.waiting("index")
        assert tenant in await outbox.waiting("another")
        await write(fed.theirs, tenant=tenant)
        assert tenant in await outbox.waiting("index")
    assert {"acme": "v1", ODD: "v1"} == await outbox.built("index")
    assert {"acme", ODD} == set(await outbox.tenants())


@pytest.mark.requirement("SYNC-2")
async def test_rows_come_in_order_and_none_is_split_off(fed: Fed) -> None:
    """About as many as are asked for; the rows of one commit stay together."""
    outbox = OutboxTables(fed.ours)
    lease = await built(fed.ours)
    ids = await write(fed.ours, 5)
    await change(fed.ours, "INSERT INTO outbox SELECT tenant, seq, 'run', 'r', at FROM outbox")
    rows = [(row.seq, row.kind, row.id) for row in await outbox.read(lease, 3)]
    assert [(1, "node", ids[0]), (1, "run", "r"), (2, "node", ids[1]), (2, "run", "r")] == rows
    chains = {row.chain_id for row in await outbox.read(lease, 99)}
    assert {*ids, None} == chains
    at: Lease | None = lease
    seen: list[Change] = []
    while at and (some := await outbox.read(at, 3)):
        seen += some
        at = await outbox.move(at, some, {})
    assert [*range(1, 6)] == sorted({row.seq for row in seen})
    assert 10 == len(seen)


@pytest.mark.requirement("SYNC-3")
async def test_one_worker_at_a_time_follows_a_tenant(fed: Fed) -> None:
    """However many ask at once; another sink and another tenant are others' leases."""
    await write(fed.ours)
    await write(fed.ours, tenant="umbrella")
    given: list[Lease | None] = []

    async def ask(outbox: OutboxTables, owner: str) -> None:
        given.append(await outbox.lease("index", "acme", owner, FOR_S))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            database = fed.ours if number % 2 else fed.theirs
            tasks.start_soon(ask, OutboxTables(database), f"worker {number}")
    (lease,) = (one for one in given if one)
    outbox = OutboxTables(fed.ours)
    assert ["umbrella"] == await outbox.waiting("index")
    assert ["acme", "umbrella"] == sorted(await outbox.waiting("bus"))
    await leased(outbox, "another", sink="bus")
    await leased(outbox, "another", tenant="umbrella")
    await outbox.release(lease)
    assert ["acme"] == await outbox.waiting("index")
    await leased(outbox, "another")


@pytest.mark.requirement("SYNC-3")
async def test_a_lease_that_ran_out_is_anothers_and_its_old_owner_changes_nothing(
    fed: Fed,
) -> None:
    """By the database's clock: that of the worker is nowhere asked."""
    outbox, lease = OutboxTables(fed.ours), await built(fed.ours)
    await write(fed.ours)
    rows = await outbox.read(lease, 9)
    assert None is await outbox.lease("index", "acme", "they", FOR_S)
    assert await outbox.renew(lease, -1.0)  # over a second ago
    theirs = await leased(OutboxTables(fed.theirs), "they")
    assert theirs == replace(lease, owner="they")
    before = await rows_of(fed.ours, "sync_positions")
    assert not await outbox.renew(lease, FOR_S)
    assert None is await outbox.move(lease, rows, {rows[0].id: "bad"})
    assert None is await outbox.restart(lease)
    assert None is await outbox.completed(lease, "v2", {"ctx": "bad"})
    await outbox.release(lease)
    assert before == await rows_of(fed.ours, "sync_positions")
    assert [] == await rows_of(fed.ours, "parked")
    assert await outbox.renew(theirs, FOR_S)


@pytest.mark.requirement("SYNC-3")
async def test_whoever_has_waited_longest_comes_first(fed: Fed) -> None:
    """And whoever is to be built comes last, for that takes long."""
    outbox = OutboxTables(fed.ours)
    leases = [await built(fed.ours, tenant) for tenant in ("b", "a", "c")]
    for tenant in ("new", "a", "b", "c"):
        await write(fed.ours, tenant=tenant)
    for lease in leases:
        await outbox.release(lease)
    await change(fed.ours, "UPDATE sync_positions SET lease_until = 1 WHERE tenant = 'c'", "c")
    await change(fed.ours, "UPDATE sync_positions SET lease_until = 2 WHERE tenant = 'b'", "b")
    assert ["c", "b", "a", "new"] == await outbox.waiting("index")


@pytest.mark.requirement("SYNC-5")
async def test_what_is_refused_is_parked_with_the_position(fed: Fed) -> None:
    """With its reason, once; building anew parks what is refused then, and forgets the rest."""
    outbox, lease = OutboxTables(fed.ours), await built(fed.ours)
    first, second = await write(fed.ours, 2)
    rows = await outbox.read(lease, 9)
    refused = {first: "it is too long " * 99, "elsewhere": "it is odd"}
    moved = [await outbox.move(lease, rows, refused) for _ in range(2)]  # told twice
    assert [replace(lease, seq=2)] * 2 == moved
    (standing,) = await outbox.standing(["index"])
    assert (2, True, 0) == (standing.position, standing.built, standing.rows)
    parked = {one.id: one for one in standing.parked}
    assert {first, "elsewhere"} == parked.keys()
    assert ("node", REASON) == (parked[first].kind, len(parked[first].reason))
    again = await outbox.restart(lease)
    assert again is not None
    assert None is not await outbox.completed(again, "v2", {second: "bad", first: "still bad"})
    (standing,) = await outbox.standing(["index"])
    assert {first: "still bad", second: "bad"} == {one.id: one.reason for one in standing.parked}


@pytest.mark.requirement("SYNC-6")
async def test_a_copy_that_cannot_be_relied_on_is_made_anew(fed: Fed) -> None:
    """Whoever is making one just then has to begin again."""
    outbox, lease = OutboxTables(fed.ours), await built(fed.ours)
    await outbox.void("index", "acme")
    assert None is await outbox.completed(lease, "v1", {})
    assert "" == (await leased(outbox)).built_with


@pytest.mark.requirement("SYNC-6")
async def test_a_write_past_the_outbox_makes_copies_void(fed: Fed) -> None:
    """As when one process is not told of Weaviate; of that tenant, and of no other."""
    outbox = OutboxTables(fed.ours)
    lease, other = await built(fed.ours), await built(fed.ours, "umbrella")
    await write(fed.silent)
    assert None is await outbox.completed(lease, "v1", {})
    assert {"acme": "", "umbrella": "v1"} == await outbox.built("index")
    assert await outbox.renew(other, FOR_S)


@pytest.mark.requirement("SYNC-7")
async def test_rows_that_all_sinks_have_passed_are_deleted(fed: Fed) -> None:
    """And all of them where there is no sink; a slow sink keeps what it has not seen."""
    outbox = OutboxTables(fed.ours)
    lease, slow = await built(fed.ours), await built(fed.ours, sink="slow")
    await write(fed.ours, 3)
    await write(fed.ours, 2, tenant="umbrella")
    assert 2 == await outbox.trim()
    rows = await outbox.read(lease, 9)
    lease = await outbox.move(lease, rows, {})
    assert 0 == await outbox.trim()
    await outbox.move(slow, rows[:2], {})
    assert 2 == await outbox.trim()
    left = await rows_of(fed.ours, "outbox")
    assert [rows[2].id] == [row["id"] for row in left]
    await outbox.move(slow, rows[2:], {})
    assert (1, 0) == (await outbox.trim(), await outbox.trim())


@pytest.mark.requirement("SYNC-7")
async def test_a_sink_that_does_not_come_keeps_nothing_for_ever(fed: Fed) -> None:
    """After a while its rows go, and with them its position: it is built anew if it comes."""
    await built(fed.ours, sink="gone")
    lease = await built(fed.ours)
    await write(fed.ours, 3)
    outbox = OutboxTables(fed.ours)
    rows = await outbox.read(lease, 9)
    await outbox.move(lease, rows, {})
    assert 0 == await outbox.trim()
    assert 3 == await OutboxTables(fed.ours, keep_s=-1e9).trim()
    assert ({}, {"acme": "v1"}) == (await outbox.built("gone"), await outbox.built("index"))
    assert ["acme"] == await outbox.waiting("gone")


@pytest.mark.requirement("SYNC-8")
async def test_it_says_how_far_each_sink_is(fed: Fed) -> None:
    """Rows, and seconds on the database's clock; sinks that have not begun, and forgotten ones."""
    outbox = OutboxTables(fed.ours)
    await built(fed.ours, sink="gone")
    await write(fed.ours, 2, created_at=0.0)
    await write(fed.ours, created_at=NOW * 2)
    await write(fed.ours, tenant="umbrella")
    found = await outbox.standing(["index"])
    assert [("gone", "acme", 0, True, 3), ("index", "acme", None, False, 3)] == [
        (one.sink, one.tenant, one.position, one.built, one.rows) for one in found[:2]
    ]
    assert [("index", "umbrella", None, False, 1)] == [
        (one.sink, one.tenant, one.position, one.built, one.rows) for one in found[2:]
    ]
    assert found[0].seconds > NOW / 2
    assert [0.0, 0.0] == [one.seconds for one in found[1:]]
