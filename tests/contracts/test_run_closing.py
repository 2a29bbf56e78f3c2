"""What the port RunBook promises of a run's course: saved, closed, leased, written down."""

from dataclasses import replace

import pytest

from factory_mcp.domain.envelope import from_json
from factory_mcp.domain.errors import UnknownContext
from factory_mcp.domain.hash_chain import GENESIS, verify
from factory_mcp.domain.model import Envelope, Status
from factory_mcp.ports import Appended, Beat
from tests.contracts.implementations import Stores
from tests.contracts.samples import NOW, closed, make, opened, sealing
from tests.fakes import owner

# -------------------------------------------------------------------- saving, closing


@pytest.mark.requirement("STORE-4")
async def test_saving_writes_how_the_run_stands(stores: Stores) -> None:
    """Status, code, start, lease, session and progress, and nothing else."""
    run = await opened(stores)
    changed = replace(
        run,
        status=Status.NEEDS_INPUT,
        code="waiting",
        started_at=NOW + 1,
        lease_until=NOW + 15,
        session_id="session",
        progress={"state": "tool", "tool": "Read"},
    )
    assert await stores.book.save(replace(changed, output="no", droid="no"))
    assert changed == await stores.reader.get("acme", run.id)


@pytest.mark.requirement("STORE-4")
async def test_a_lost_fence_writes_nothing(stores: Stores) -> None:
    """Who took the run over decides."""
    run = await opened(stores)
    stale = replace(run, fence=run.fence + 1, code="waiting", ended_at=NOW + 1)
    assert not await stores.book.save(stale)
    node = make.node()
    assert None is await stores.book.close(stale, node, sealing())
    assert run == await stores.reader.get("acme", run.id)
    assert [] == await stores.contexts.path("acme", node.id)
    assert [] == await stores.history("acme")
    assert ["run.open"] == [row["action"] for row in await stores.audit("acme")]


@pytest.mark.requirement("STORE-4")
async def test_a_closed_run_is_neither_saved_nor_closed_again(stores: Stores) -> None:
    """The first closing is the last."""
    run = await opened(stores)
    ended = await closed(stores, run, at=NOW + 10)
    assert not await stores.book.save(replace(run, code="waiting"))
    assert None is await stores.book.close(run, make.node(), sealing(Status.FAILED))
    assert ended == await stores.reader.get("acme", run.id)
    assert 1 == len(await stores.history("acme"))


@pytest.mark.requirement("STORE-5")
async def test_closing_writes_run_node_history_and_audit(stores: Stores) -> None:
    """All of it, and the envelope as the seal made it of the appended node."""
    run = await opened(stores)
    node = make.node(run_id=run.id)
    last = replace(
        run,
        started_at=NOW + 1,
        ended_at=NOW + 9,
        session_id="session",
        output="all the backend said",
        progress={"state": "writing"},
    )
    answer = await stores.book.close(last, node, sealing(Status.HANDOFF, "backend_missing"))
    expected = replace(
        last,
        status=Status.HANDOFF,
        code="backend_missing",
        context_id=node.id,
        envelope={
            "text": "It is done.",
            "status": "handoff",
            "code": "backend_missing",
            "context_id": node.id,
        },
    )
    assert expected == answer == await stores.reader.get("acme", run.id)
    assert node.id == (await stores.contexts.path("acme", node.id))[0].id
    (row,) = await stores.history("acme")
    assert (run.id, NOW + 9, "code_droid", "handoff") == (
        row["run_id"],
        row["at"],
        row["droid"],
        row["status"],
    )
    assert expected.envelope == row["envelope"]
    assert ["run.open", "run.close"] == [row["action"] for row in await stores.audit("acme")]


@pytest.mark.requirement("STORE-5")
async def test_closing_without_a_node_keeps_the_runs_context(stores: Stores) -> None:
    """A failed run still says which context it read."""
    run = await opened(stores, context_id="ctx_read")
    ended = await closed(stores, run, Status.FAILED, at=NOW + 10)
    assert "ctx_read" == ended.context_id


@pytest.mark.requirement("STORE-5")
async def test_a_seal_that_fails_leaves_the_run_open(stores: Stores) -> None:
    """One transaction: not even the node stays."""
    run, node = await opened(stores), make.node()

    def broken(appended: Appended | None) -> Envelope:
        raise ValueError(appended)

    with pytest.raises(ValueError, match=node.id):
        await stores.book.close(run, node, broken)
    assert run == await stores.reader.get("acme", run.id)
    assert [] == await stores.contexts.path("acme", node.id)


@pytest.mark.requirement("STORE-5")
async def test_a_node_that_cannot_be_appended_leaves_the_run_open(stores: Stores) -> None:
    """The caller decides whether to close without it."""
    run = await opened(stores)
    with pytest.raises(UnknownContext):
        await stores.book.close(run, make.node(chain_id="nowhere"), sealing())
    assert run == await stores.reader.get("acme", run.id)


@pytest.mark.requirement("STORE-5")
async def test_a_stored_envelope_can_be_read_back(stores: Stores) -> None:
    """The history answers with the same result as the call did."""
    ended = await closed(stores, await opened(stores), at=NOW + 10)
    assert ended.envelope is not None
    assert Envelope(text="It is done.", status=Status.DONE) == from_json(ended.envelope)


# ------------------------------------------------------------------------------- beats


@pytest.mark.requirement("STORE-6")
async def test_a_beat_renews_the_leases_of_its_owner(stores: Stores) -> None:
    """And of nobody else."""
    mine, others = await opened(stores), await opened(stores, owner=owner("else"))
    assert Beat(cancelled={}) == await stores.book.beat(owner(), NOW + 15)
    leases = {run.id: run.lease_until for run in await stores.reader.open_runs()}
    assert {mine.id: NOW + 15, others.id: 0} == leases


@pytest.mark.requirement("STORE-6")
async def test_a_beat_tells_of_runs_that_somebody_cancelled(stores: Stores) -> None:
    """With the first reason given; a closed or unknown run cannot be cancelled."""
    run, ended = await opened(stores), await opened(stores)
    await closed(stores, ended, at=NOW + 10)
    for run_id in (run.id, ended.id, "unknown"):
        await stores.reader.cancel("acme", run_id, "not needed")
        await stores.reader.cancel("acme", run_id, "once more")
    await stores.reader.cancel("other", run.id, "by a stranger")
    assert {run.id: "not needed"} == (await stores.book.beat(owner(), NOW + 15)).cancelled
    last = await closed(stores, run, Status.CANCELLED, at=NOW + 20)
    assert "not needed" == last.cancel_reason


@pytest.mark.requirement("STORE-6")
async def test_a_beat_tells_once_of_runs_that_somebody_else_closed(stores: Stores) -> None:
    """The owner must stop its droid."""
    run, own = await opened(stores), await opened(stores)
    ended = replace(run, ended_at=NOW + 10)
    assert None is not await stores.stranger.close(ended, None, sealing(Status.INTERRUPTED))
    await closed(stores, own, at=NOW + 10)
    assert {run.id} == (await stores.book.beat(owner(), NOW + 15)).lost
    assert set() == (await stores.book.beat(owner(), NOW + 20)).lost


# ------------------------------------------------------------------------------- audit


@pytest.mark.requirement("STORE-9")
async def test_every_tenant_has_an_audit_chain_that_verifies(stores: Stores) -> None:
    """Each change is one row, linked to the one before, and says who did it."""
    for tenant in ("acme", "other"):
        for _ in range(3):
            run = await opened(stores, tenant=tenant, subject="ann", created_at=1_800_000_000)
            await closed(stores, run, at=NOW + 10)
        await stores.contexts.append(make.node(tenant=tenant, subject="bob"))
    for tenant in ("acme", "other"):
        rows = await stores.audit(tenant)
        assert None is verify(rows)
        assert GENESIS == rows[0]["prev"]
        assert list(range(1, 8)) == [row["seq"] for row in rows]
        assert [*["run.open", "run.close"] * 3, "context.write"] == [r["action"] for r in rows]
        assert ["ann"] * 6 + ["bob"] == [row["subject"] for row in rows]


@pytest.mark.requirement("STORE-9")
async def test_the_audit_trail_holds_nothing_that_a_user_wrote(stores: Stores) -> None:
    """It can be shown to an auditor."""
    run = await opened(stores, request={"task": "SECRET-1"})
    node = make.node(data={"SECRET-2": 1}, summary="SECRET-3")
    await stores.book.close(replace(run, output="SECRET-4", ended_at=NOW), node, sealing())
    assert "SECRET" not in repr(await stores.audit("acme"))
