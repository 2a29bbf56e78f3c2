"""What the ports RunBook and RunReader promise, for every store."""

from dataclasses import replace

import anyio
import pytest

from factory_mcp.domain.errors import KeyReused, QueueFull
from factory_mcp.domain.model import Owner, Status
from factory_mcp.ports import Claim
from tests.contracts.implementations import Stores
from tests.contracts.samples import DAY, NOW, closed, make, opened, sealing

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
