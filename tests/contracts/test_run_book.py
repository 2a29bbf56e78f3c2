"""What the ports RunBook and RunReader promise, for every store."""

from dataclasses import replace

import anyio
import pytest

from factory_mcp.domain.envelope import from_json
from factory_mcp.domain.errors import KeyReused, QueueFull, UnknownContext
from factory_mcp.domain.hash_chain import GENESIS, verify
from factory_mcp.domain.model import Envelope, Owner, Run, Status
from factory_mcp.ports import Appended, Beat, Claim
from tests.contracts.implementations import Stores
from tests.contracts.samples import DAY, NOW, Samples, sealing
from tests.fakes import owner

make = Samples()


async def opened(stores: Stores, *keys: str, strict: str | None = None, **changes: object) -> Run:
    """A run as `open` answers it."""
    claim = Claim(keys=keys, strict=strict)
    return (await stores.book.open(make.run(**changes), claim)).run


async def closed(stores: Stores, run: Run, status: Status = Status.DONE, *, at: float) -> Run:
    """The run, closed."""
    answer = await stores.book.close(replace(run, ended_at=at), None, sealing(status))
    assert answer is not None
    return answer


# --------------------------------------------------------------------------- attaching


@pytest.mark.requirement("STORE-1")
async def test_a_new_call_opens_its_run(stores: Stores) -> None:
    """What was opened is what is read."""
    run = make.run(workspace="/w", workspace_key="/w/.git", session_id="s")
    answer = await stores.book.open(run, Claim())
    assert (run, False) == (answer.run, answer.attached)
    assert run == await stores.reader.get("acme", run.id)


@pytest.mark.requirement("STORE-1")
async def test_the_same_call_attaches_to_the_open_run(stores: Stores) -> None:
    """A repeat starts nothing while the first is at work."""
    first = await opened(stores, fingerprint="same")
    answer = await stores.book.open(make.run(fingerprint="same"), Claim())
    assert (first, True) == (answer.run, answer.attached)
    assert [first] == await stores.reader.open_runs()


@pytest.mark.requirement("STORE-1")
async def test_a_run_that_waits_for_an_answer_is_attached_to(stores: Stores) -> None:
    """`needs_input` is open."""
    first = await opened(stores, fingerprint="same")
    assert await stores.book.save(replace(first, status=Status.NEEDS_INPUT))
    answer = await stores.book.open(make.run(fingerprint="same"), Claim())
    assert (first.id, True) == (answer.run.id, answer.attached)


@pytest.mark.requirement("STORE-1")
async def test_twenty_calls_at_once_make_one_run(stores: Stores) -> None:
    """The race is decided once, and all get the winner's run."""
    answers: list[tuple[str, bool]] = []

    async def call(number: int) -> None:
        run = make.run(fingerprint="same", created_at=NOW + number)
        answer = await stores.book.open(run, Claim(keys=(f"call {number}",)))
        answers.append((answer.run.id, answer.attached))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(call, number)
    assert 1 == len({run_id for run_id, _ in answers})
    assert 1 == len([attached for _, attached in answers if not attached])


@pytest.mark.requirement("STORE-1")
async def test_another_tenants_run_is_not_attached_to(stores: Stores) -> None:
    """A fingerprint means something within its tenant only."""
    await opened(stores, fingerprint="same")
    answer = await stores.book.open(make.run(fingerprint="same", tenant="other"), Claim())
    assert not answer.attached


@pytest.mark.requirement("STORE-1")
async def test_a_done_run_is_attached_to_as_long_as_the_claim_says(stores: Stores) -> None:
    """The same unsafe call a minute later gets the answer there is."""
    first = await closed(stores, await opened(stores, fingerprint="same"), at=NOW + 100)
    soon = make.run(fingerprint="same", created_at=NOW + 699)
    assert first.id == (await stores.book.open(soon, Claim(keys=("k",), attach_done_s=600))).run.id
    late = make.run(fingerprint="same", created_at=NOW + 700)
    assert not (await stores.book.open(late, Claim(attach_done_s=600))).attached


@pytest.mark.requirement("STORE-1")
async def test_a_claim_that_says_nothing_attaches_to_no_done_run(stores: Stores) -> None:
    """Not even to one that ended after the call was made."""
    await closed(stores, await opened(stores, fingerprint="same"), at=NOW + 100)
    again = make.run(fingerprint="same", created_at=NOW + 50)
    assert not (await stores.book.open(again, Claim())).attached


@pytest.mark.requirement("STORE-1")
@pytest.mark.parametrize(
    "status", [Status.HANDOFF, Status.FAILED, Status.INTERRUPTED, Status.CANCELLED]
)
async def test_what_did_not_get_done_is_never_attached_to(stores: Stores, status: Status) -> None:
    """A repeat after a failure tries again."""
    await closed(stores, await opened(stores, fingerprint="same"), status, at=NOW + 100)
    again = make.run(fingerprint="same", created_at=NOW + 101)
    assert not (await stores.book.open(again, Claim(attach_done_s=600))).attached


@pytest.mark.requirement("STORE-1")
async def test_an_open_run_is_preferred_to_a_done_one(stores: Stores) -> None:
    """The newest work is the answer."""
    await closed(stores, await opened(stores, fingerprint="same"), at=NOW + 100)
    second = make.run(fingerprint="same", created_at=NOW + 101)
    await stores.book.open(second, Claim())
    third = make.run(fingerprint="same", created_at=NOW + 102)
    answer = await stores.book.open(third, Claim(attach_done_s=600))
    assert (second.id, True) == (answer.run.id, answer.attached)


# -------------------------------------------------------------------------------- keys


@pytest.mark.requirement("STORE-2")
async def test_a_key_answers_with_its_run_whatever_its_status(stores: Stores) -> None:
    """The stored answer is given, also when it is a failure."""
    first = await opened(stores, "key")
    ended = await closed(stores, first, Status.FAILED, at=NOW + 10)
    answer = await stores.book.open(make.run(), Claim(keys=("key",)))
    assert (ended, True) == (answer.run, answer.attached)


@pytest.mark.requirement("STORE-2")
async def test_a_key_is_its_subjects_own(stores: Stores) -> None:
    """Two people may use the same key."""
    await opened(stores, "key")
    answer = await stores.book.open(make.run(subject="bob"), Claim(keys=("key",)))
    assert not answer.attached


@pytest.mark.requirement("STORE-2")
async def test_a_key_is_forgotten_after_a_day(stores: Stores) -> None:
    """And may then name another call."""
    first = await opened(stores, "key", strict="key", created_at=NOW)
    before = make.run(created_at=NOW + DAY - 1)
    assert first == (await stores.book.open(before, Claim(keys=("key",)))).run
    after = make.run(created_at=NOW + DAY)
    assert not (await stores.book.open(after, Claim(keys=("key",), strict="key"))).attached
    again = make.run(created_at=NOW + DAY + 1)
    assert after == (await stores.book.open(again, Claim(keys=("key",)))).run


@pytest.mark.requirement("STORE-2")
async def test_a_strict_key_with_other_arguments_is_refused(stores: Stores) -> None:
    """And nothing is opened."""
    await opened(stores, "key", strict="key", arguments_hash="a")
    second = make.run(arguments_hash="b")
    with pytest.raises(KeyReused, match="key"):
        await stores.book.open(second, Claim(keys=("key",), strict="key"))
    assert None is await stores.reader.get("acme", second.id)


@pytest.mark.requirement("STORE-2")
async def test_a_strict_key_with_the_same_arguments_attaches(stores: Stores) -> None:
    """That is what it is for."""
    first = await opened(stores, "key", strict="key", arguments_hash="a")
    again = make.run(arguments_hash="a")
    assert first == (await stores.book.open(again, Claim(keys=("key",), strict="key"))).run


@pytest.mark.requirement("STORE-2")
async def test_a_clients_own_call_id_attaches_whatever_the_arguments(stores: Stores) -> None:
    """The client says it is the same call."""
    first = await opened(stores, "call", arguments_hash="a")
    again = make.run(arguments_hash="b")
    assert first == (await stores.book.open(again, Claim(keys=("call",)))).run


@pytest.mark.requirement("STORE-2")
async def test_the_keys_of_an_attached_call_are_kept_for_that_run(stores: Stores) -> None:
    """The next repeat may come with either key."""
    first = await opened(stores, "call 1", fingerprint="same")
    attached = make.run(fingerprint="same")
    assert (await stores.book.open(attached, Claim(keys=("call 1", "call 2")))).attached
    await closed(stores, first, at=NOW + 10)
    answer = await stores.book.open(make.run(), Claim(keys=("call 2",)))
    assert first.id == answer.run.id


@pytest.mark.requirement("STORE-2")
async def test_the_strict_key_outweighs_the_others(stores: Stores) -> None:
    """A call id used for one run does not hide the run that the key names."""
    await opened(stores, "call")
    named = await opened(stores, "key", strict="key", arguments_hash="a")
    again = make.run(arguments_hash="a")
    answer = await stores.book.open(again, Claim(keys=("call", "key"), strict="key"))
    assert named == answer.run


# ------------------------------------------------------------------------------- queue


@pytest.mark.requirement("STORE-3")
async def test_a_new_run_beyond_the_queue_is_refused(stores: Stores) -> None:
    """As many as the claim says may wait; one more may not, and nothing is stored of it."""
    for _ in range(3):
        await stores.book.open(make.run(), Claim(max_queued=3))
    refused = make.run()
    with pytest.raises(QueueFull):
        await stores.book.open(refused, Claim(keys=("key",), max_queued=3))
    assert None is await stores.reader.get("acme", refused.id)
    assert not (await stores.book.open(make.run(), Claim(keys=("key",)))).attached


@pytest.mark.requirement("STORE-3")
async def test_a_call_that_attaches_needs_no_room(stores: Stores) -> None:
    """It makes no run."""
    first = await opened(stores, "key", fingerprint="same")
    same = make.run(fingerprint="same")
    assert first == (await stores.book.open(same, Claim(max_queued=1))).run
    assert first == (await stores.book.open(make.run(), Claim(keys=("key",), max_queued=1))).run


@pytest.mark.requirement("STORE-3")
async def test_only_a_tenants_own_waiting_runs_fill_its_queue(stores: Stores) -> None:
    """Neither those at work nor those of others count."""
    working = await opened(stores)
    await stores.book.save(replace(working, code="waiting"))
    await closed(stores, await opened(stores), at=NOW + 10)
    await opened(stores, tenant="other")
    assert not (await stores.book.open(make.run(), Claim(max_queued=1))).attached


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


# ----------------------------------------------------------------------------- reading


@pytest.mark.requirement("STORE-7")
async def test_the_newest_runs_come_first(stores: Stores) -> None:
    """As many as asked for, by droid and status if asked."""
    runs = [await opened(stores, droid=droid) for droid in ("a", "b", "a", "b")]
    done = await closed(stores, runs[2], at=NOW + 10)
    newest = await stores.reader.recent("acme", limit=3)
    assert [run.id for run in reversed(runs[1:])] == [run.id for run in newest]
    assert [runs[3], runs[1]] == await stores.reader.recent("acme", limit=9, droid="b")
    assert [done] == await stores.reader.recent("acme", limit=9, droid="a", status="done")


@pytest.mark.requirement("STORE-7")
async def test_open_runs_are_those_of_every_tenant(stores: Stores) -> None:
    """Oldest first, with the owner that may be dead."""
    dead = Owner(id="dead", boot_id="b", pid_ns="n", pid=7, started="9")
    first = await opened(stores, owner=dead)
    second = await opened(stores, tenant="other")
    await closed(stores, await opened(stores), at=NOW + 10)
    assert [first, second] == await stores.reader.open_runs()


@pytest.mark.requirement("STORE-8")
async def test_nobody_reads_another_tenants_run(stores: Stores) -> None:
    """It is as absent."""
    run = await opened(stores)
    assert None is await stores.reader.get("other", run.id)
    assert [] == await stores.reader.recent("other", limit=9)
    assert None is await stores.book.close(replace(run, tenant="other"), None, sealing())


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
