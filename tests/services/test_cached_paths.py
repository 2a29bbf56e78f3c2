"""Paths, cached in a process and among replicas: read once, sealed, and never what is broken."""

from collections.abc import Callable
from dataclasses import replace

import anyio
import pytest

from factory_mcp.domain.errors import StoreUnavailable
from factory_mcp.domain.model import ContextNode, Unreadable
from factory_mcp.domain.seal_errors import SealBroken
from factory_mcp.ports import Place
from factory_mcp.services import cache
from factory_mcp.services.cache import (
    HEADS_MOVED,
    LEASE_S,
    LOOKS_S,
    PATH_S,
    CachedContexts,
)
from tests.cached import Rig, make
from tests.fakes import FakeClock
from tests.fast import Both, admin, connected, on_redis, running
from tests.house import until
from tests.keys import sealing as sealer

# --------------------------------------------------------------------------------- paths


@pytest.mark.requirement("REDIS-11")
async def test_a_path_is_read_once_and_kept_for_an_hour(rig: Rig) -> None:
    """Nobody who changes the list changes what is kept."""
    contexts = rig.process()
    chain = await rig.chain()
    for _ in range(3):
        path = await contexts.path("acme", chain[2].id)
        assert chain == path
        path.clear()
    assert ["path"] == rig.truth.asked
    stats = contexts.stats()
    assert (2, 0, 1, 1) == (stats.hits, stats.shared_hits, stats.misses, stats.entries)
    assert stats.size > 300
    rig.clock.advance(PATH_S)
    assert chain == await contexts.path("acme", chain[2].id)
    assert ["path", "path"] == rig.truth.asked


@pytest.mark.requirement("REDIS-11")
async def test_a_path_comes_from_the_cache_of_all_replicas(rig: Rig) -> None:
    """As it was, whatever was written into it; another tenant's is another one."""
    words = "\ud800 \x00 ä 🎉"
    node = (await rig.truth.append(make.node(summary=words, data={words: [1.5, None, {}]}))).node
    ours, theirs = (rig.process(me, shared=rig.shared) for me in ("we", "they"))
    assert [node] == await ours.path("acme", node.id)
    assert [node] == await theirs.path("acme", node.id)
    assert ["path"] == rig.truth.asked
    assert (1, 0) == (theirs.stats().shared_hits, theirs.stats().misses)
    assert [] == await theirs.path("other", node.id)


@pytest.mark.requirement("REDIS-11")
async def test_what_does_not_open_is_never_kept(rig: Rig) -> None:
    """Once its key is back, it can be read at once."""
    ours, theirs = (rig.process(me, shared=rig.shared) for me in ("we", "they"))
    chain = await rig.chain()
    rig.truth.unreadable = Unreadable(code="seal_broken", message="damaged")
    with pytest.raises(SealBroken, match="damaged"):
        await ours.path("acme", chain[2].id)
    assert 3 == len(await theirs.path("acme", chain[2].id, lenient=True))
    rig.truth.unreadable = None
    assert chain == await theirs.path("acme", chain[2].id)
    assert chain == await ours.path("acme", chain[2].id)


@pytest.mark.requirement("REDIS-11")
async def test_what_replicas_share_is_sealed_and_garbage_is_passed_over(rig: Rig) -> None:
    """Whatever somebody put into the cache, the answer is the truth's."""
    [node] = await rig.chain(1)
    key = f"path:{sealer().blind('acme', f'path {node.id}')}"
    ours = rig.process(shared=rig.shared)
    assert [node] == await ours.path("acme", node.id)
    stored = await rig.shared.get(key)
    assert stored is not None
    assert node.summary.encode() not in stored
    seals = sealer()
    foreign = seals.seal(Place(tenant="other", table="cache", id=key), b"[]")
    other_version = seals.seal(Place(tenant="acme", table="cache", id=key), b'[{"new": 1}]')
    no_json = seals.seal(Place(tenant="acme", table="cache", id=key), b"[")
    for garbage in (b"", b"x", stored[:-1], foreign, other_version, no_json):
        await rig.shared.put(key, garbage, 60)
        assert [node] == await rig.process(shared=rig.shared).path("acme", node.id)


@pytest.mark.requirement("REDIS-11")
async def test_what_is_very_long_stays_in_the_process(rig: Rig) -> None:
    """It is not worth its way."""
    node = (await rig.truth.append(make.node(summary="x" * cache.SHARED_SIZE))).node
    ours, theirs = (rig.process(me, shared=rig.shared) for me in ("we", "they"))
    for contexts in (ours, ours, theirs):
        assert [node] == await contexts.path("acme", node.id)
    assert ["path", "path"] == rig.truth.asked


# --------------------------------------------------------------------------- many at once


async def _many(ask: Callable[[], object], number: int = 50) -> list[object]:
    """What so many who ask at once are told; an error as itself."""
    answers: list[object] = []

    async def one() -> None:
        try:
            answers.append(await ask())  # type: ignore[misc]
        except StoreUnavailable as error:
            answers.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(number):
            tasks.start_soon(one)
    return answers


@pytest.mark.requirement("REDIS-10")
async def test_many_who_ask_at_once_are_answered_by_one_reading(rig: Rig) -> None:
    """For a path and for a head."""
    contexts = rig.process()
    chain = await rig.chain()
    assert [chain] * 50 == await _many(lambda: contexts.path("acme", chain[2].id))
    assert [chain[2]] * 50 == await _many(lambda: contexts.head("acme", chain[0].id))
    assert ["path", "head"] == rig.truth.asked


@pytest.mark.requirement("REDIS-10")
async def test_many_who_ask_a_broken_store_do_not_wait_for_each_other(rig: Rig) -> None:
    """All get the one error; the next one asks again."""
    contexts = rig.process()
    [node] = await rig.chain(1)
    rig.truth.fault = StoreUnavailable("away")
    assert [rig.truth.fault] * 50 == await _many(lambda: contexts.path("acme", node.id))
    assert ["path"] == rig.truth.asked
    rig.truth.fault = None
    assert [node] == await contexts.path("acme", node.id)


@pytest.mark.requirement("REDIS-10")
async def test_who_waits_for_one_that_is_cancelled_reads_itself(rig: Rig) -> None:
    """A client that goes away takes nobody with it."""
    contexts, answers = rig.process(), list[list[ContextNode]]()
    [node] = await rig.chain(1)

    async def ask() -> None:
        answers.append(await contexts.path("acme", node.id))

    rig.truth.gate = gate = anyio.Event()
    async with anyio.create_task_group() as others:
        async with anyio.create_task_group() as first:
            first.start_soon(ask)
            await until(lambda: rig.truth.asked)
            others.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            first.cancel_scope.cancel()
        await until(lambda: len(rig.truth.asked) == 2)
        gate.set()
    assert [[node]] == answers


@pytest.mark.requirement("REDIS-10")
async def test_of_many_replicas_one_reads(rig: Rig, shared: Both) -> None:
    """The others take what it has put into the cache of all."""
    [node] = await rig.chain(1)
    caches, clock = (shared.ours.cache, shared.theirs.cache), FakeClock()
    processes = [
        rig.process(f"{number}", shared=caches[number % 2], clock=clock) for number in range(8)
    ]
    answers: list[list[ContextNode]] = []

    async def ask(contexts: CachedContexts) -> None:
        answers.append(await contexts.path("acme", node.id))

    rig.truth.gate = gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for contexts in processes:
            tasks.start_soon(ask, contexts)
        await until(lambda: len(clock._sleepers) == 7)  # noqa: SLF001 — all that wait for the one
        gate.set()
        await until(lambda: len(answers) == 1)
        clock.advance(LOOKS_S[0])
    assert [[node]] * 8 == answers
    assert ["path"] == rig.truth.asked
    assert 7 == sum(contexts.stats().shared_hits for contexts in processes)


@pytest.mark.requirement("REDIS-10")
async def test_a_replica_that_died_while_reading_is_not_waited_for(rig: Rig) -> None:
    """Its lease only costs the next one a short wait."""
    [node] = await rig.chain(1)
    key = f"path:{sealer().blind('acme', f'path {node.id}')}"
    assert await rig.shared.lease(f"{key}:lease", LEASE_S)
    assert [node] == await rig.process(shared=rig.shared).path("acme", node.id)
    assert ["path"] == rig.truth.asked


# ------------------------------------------------------------------------------- secrecy


@pytest.mark.requirement("REDIS-8")
async def test_redis_holds_and_hears_nothing_that_a_user_wrote(rig: Rig, server_url: str) -> None:
    """Neither tenant, nor subject, nor workspace, nor a word of a note."""
    heard: list[str | None] = []
    async with connected(server_url) as connection:
        process = on_redis(connection, "we")
        contexts = rig.process(bus=process.bus, shared=process.cache)
        process.bus.listen(HEADS_MOVED, heard.append)
        async with running(process.bus, process.replicas):
            new = make.node(
                tenant="Kanarien GmbH", summary="Kanarienvogel", workspace_key="/Kanarien"
            )
            node = (await contexts.append(replace(new, data={"Kanarie": "Kanarien"}))).node
            assert [node] == await contexts.path(node.tenant, node.id)
            await process.limiter.take(node.tenant, "Kanarien-Anna", rate_per_s=1, burst=1)
            await until(lambda: any(message is not None for message in heard))
    with admin(server_url) as client:
        sets = {key: client.zrange(key, 0, -1) for key in client.keys("*replicas")}
        stored = sets | {key: client.get(key) for key in client.keys("*") if key not in sets}
    assert {"cache", "limit", "replicas"} >= {key.split(b":")[1].decode() for key in stored}
    assert all(key.startswith(b"factory-mcp:") for key in stored)
    assert "Kanarie" not in f"{stored} {heard}"
    assert 2 <= len(stored)
