"""The heads of chains, cached: a process sees its own writes, and those of others in time."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from factory_mcp.domain.errors import RevisionConflict
from factory_mcp.domain.model import ContextNode
from factory_mcp.services import cache
from factory_mcp.services.cache import (
    HEAD_ALONE_S,
    HEAD_S,
    HEADS_MOVED,
    CachedBook,
    CachedContexts,
)
from factory_mcp.services.sealing import Sealing
from factory_mcp.services.watching import CHANGES
from factory_mcp.stores.key_file import KeyText
from factory_mcp.stores.memory import MemoryBus
from factory_mcp.stores.sql.ledger import Ledger
from tests.cached import Rig, make
from tests.contracts.samples import NOW, sealing
from tests.fast import Both, running
from tests.house import until
from tests.keys import sealing as sealer


@asynccontextmanager
async def two_on_one_bus(rig: Rig, shared: Both) -> AsyncGenerator[list[CachedContexts]]:
    """Two processes on a real bus."""
    ours, theirs = shared.ours.bus, shared.theirs.bus
    processes = [rig.process("we", bus=ours), rig.process("they", bus=theirs)]
    async with running(ours, theirs):
        yield processes


# --------------------------------------------------------------------------------- heads


@pytest.mark.requirement("REDIS-9")
async def test_a_process_sees_its_own_writes_at_once(rig: Rig) -> None:
    """And what it has read once, it does not read again."""
    contexts = rig.process()
    root = (await contexts.append(make.node(workspace_key="/w", standing=True))).node
    for revision in (1, 2, 3):
        for _ in range(3):
            head = await contexts.head("acme", root.id)
            standing = await contexts.standing("acme", "/w")
            assert head is not None
            assert (revision, head) == (head.revision, standing)
        await contexts.append(make.node(chain_id=root.id))
    assert ["head", "standing", "head", "head"] == rig.truth.asked
    assert (14, 4) == (contexts.stats().hits, contexts.stats().misses)


@pytest.mark.requirement("REDIS-9")
async def test_a_run_that_closes_with_a_node_moves_the_head(rig: Rig) -> None:
    """That is a write as well; one that closes without is news, and moves nothing."""
    bus, heard = MemoryBus(), list[tuple[str, str | None]]()
    for topic in (HEADS_MOVED, CHANGES):
        bus.listen(topic, lambda message, topic=topic: heard.append((topic, message)))
    contexts = rig.process(bus=bus)
    book = CachedBook(Ledger(rig.database), contexts)
    root = (await rig.chain(1))[0]
    assert root == await contexts.head("acme", root.id)
    run = (await book.open(make.run(), cache.Claim())).run
    assert await book.save(run)
    assert frozenset() == (await book.beat(run.owner, NOW + 15)).lost
    new = make.node(chain_id=root.id, run_id=run.id)
    assert await book.close(replace(run, ended_at=NOW), new, sealing()) is not None
    head = await contexts.head("acme", root.id)
    assert head is not None
    assert new.id == head.id
    word = sealer().blind("acme", "tenant")
    assert [(HEADS_MOVED, f"we {word} {root.id}"), (CHANGES, "")] == heard
    other = (await book.open(make.run(), cache.Claim())).run
    assert await book.close(replace(other, ended_at=NOW), None, sealing()) is not None
    assert [(CHANGES, "")] == heard[2:]


@pytest.mark.requirement("REDIS-9")
async def test_without_a_bus_a_head_is_believed_for_five_seconds(rig: Rig) -> None:
    """Others may have written, and nobody could say so."""
    contexts = rig.process()
    root, second = await rig.chain(2)
    assert second == await contexts.head("acme", root.id)
    third = (await rig.truth.append(make.node(chain_id=root.id))).node
    rig.clock.advance(HEAD_ALONE_S - 0.1)
    assert second == await contexts.head("acme", root.id)
    rig.clock.advance(0.2)
    assert third == await contexts.head("acme", root.id)


@pytest.mark.requirement("REDIS-9")
async def test_with_a_bus_the_others_are_told(rig: Rig, shared: Both) -> None:
    """A head is believed for longer then, and forgotten as soon as it is said to have moved."""
    async with two_on_one_bus(rig, shared) as (ours, theirs):
        root, second = await rig.chain(2)
        for contexts in (ours, theirs):
            assert second == await contexts.head("acme", root.id)
        rig.clock.advance(HEAD_S - 1)
        asked = len(rig.truth.asked)
        assert second == await theirs.head("acme", root.id)
        assert asked == len(rig.truth.asked)
        third = (await ours.append(make.node(chain_id=root.id))).node
        with anyio.fail_after(30):
            while await theirs.head("acme", root.id) != third:
                await anyio.lowlevel.checkpoint()
        rig.clock.advance(HEAD_S)
        asked = len(rig.truth.asked)
        assert third == await theirs.head("acme", root.id)
        assert asked + 1 == len(rig.truth.asked)


@pytest.mark.requirement("REDIS-9")
async def test_when_the_bus_goes_everything_is_forgotten(rig: Rig, shared: Both) -> None:
    """Something may have been said that was not heard."""
    async with two_on_one_bus(rig, shared) as (ours, _):
        root, second = await rig.chain(2)
        assert second == await ours.head("acme", root.id)
        assert 2 == len(await ours.path("acme", second.id))
        assert 2 == ours.stats().entries
    assert (0, 0) == (ours.stats().entries, ours.stats().size)


@pytest.mark.requirement("REDIS-9")
async def test_a_head_that_moved_while_it_was_read_is_not_kept(rig: Rig) -> None:
    """Nor is it given to anybody who came after the write."""
    contexts, answers = rig.process(), list[ContextNode | None]()
    root = (await rig.chain(1))[0]

    async def ask() -> None:
        answers.append(await contexts.head("acme", root.id))

    rig.truth.gate = gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await until(lambda: rig.truth.read)
        rig.truth.gate = None
        new = (await contexts.append(make.node(chain_id=root.id))).node
        assert new == await contexts.head("acme", root.id)
        contexts.wrote("acme", root.id)
        gate.set()
    assert [root] == answers
    assert new == await contexts.head("acme", root.id)


@pytest.mark.requirement("REDIS-9")
async def test_a_head_that_was_read_while_the_bus_was_lost_is_not_kept(
    rig: Rig, shared: Both
) -> None:
    """Whoever moved it could not be heard."""
    root, answers = (await rig.chain(1))[0], list[ContextNode | None]()
    rig.truth.gate = gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        async with two_on_one_bus(rig, shared) as (ours, _):

            async def ask() -> None:
                answers.append(await ours.head("acme", root.id))

            tasks.start_soon(ask)
            await until(lambda: rig.truth.read)
        gate.set()
    assert ([root], 0) == (answers, ours.stats().entries)


@pytest.mark.requirement("REDIS-9")
async def test_a_refused_write_forgets_the_head_that_misled_it(rig: Rig) -> None:
    """So that whoever tries again reads the present one."""
    contexts = rig.process()
    root = (await rig.chain(1))[0]
    assert root == await contexts.head("acme", root.id)
    second = (await rig.truth.append(make.node(chain_id=root.id))).node
    with pytest.raises(RevisionConflict):
        await contexts.append(make.node(chain_id=root.id, expected_revision=1))
    assert second == await contexts.head("acme", root.id)


@pytest.mark.requirement("REDIS-11")
async def test_what_is_not_there_is_asked_for_again(rig: Rig) -> None:
    """It may come at any time, from anybody."""
    contexts = rig.process()
    for _ in range(2):
        assert None is await contexts.head("acme", "nowhere")
        assert None is await contexts.standing("acme", "/nowhere")
        assert [] == await contexts.path("acme", "nowhere")
    assert 6 == len(rig.truth.asked)


@pytest.mark.requirement("REDIS-9")
async def test_more_tenants_than_can_be_named_are_forgotten_together(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is kept of a tenant whose messages would not be understood."""
    monkeypatch.setattr(cache, "TENANTS", 1)
    contexts = rig.process()
    for tenant in ("acme", "other"):
        [node] = await rig.chain(1, tenant)
        assert node == await contexts.head(tenant, node.id)
        assert 1 == contexts.stats().entries


@pytest.mark.requirement("REDIS-9")
async def test_a_write_whose_news_cannot_be_told_is_a_write(rig: Rig) -> None:
    """Without its key ring a process has no blind words."""
    contexts = rig.process(seals=Sealing(KeyText("damaged", "the test's ring")))
    appended = await contexts.append(make.node())
    assert appended.node == await rig.truth.head("acme", appended.node.id)
