"""Keeping the copies: who feeds a sink, what it refuses, and what is swept up."""

import anyio
import pytest
from structlog.testing import capture_logs

from factory_mcp.domain.errors import StoreUnavailable
from factory_mcp.services.cache import CachedContexts
from factory_mcp.services.sync import LEASE_S, TRIM_S, Sync
from factory_mcp.services.sync_bus import BusSink
from factory_mcp.services.watching import CHANGES
from factory_mcp.stores.host import SystemClock, SystemRng
from factory_mcp.stores.memory import MemoryBus
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.outbox import OutboxTables
from factory_mcp.stores.sql.sqlite import SqliteDatabase
from tests.fakes import FakeClock
from tests.feeding import (
    AWAY,
    POLL_S,
    Notebook,
    away,
    change,
    count,
    feeder,
    make,
    passing,
    position,
    rows_of,
    running,
    write,
)
from tests.house import GUARD_S, until

# ----------------------------------------------------------------------------- who tells it


@pytest.mark.requirement("SYNC-3")
async def test_any_number_of_workers_tell_each_thing_once(file: SqliteDatabase) -> None:
    """As long as none dies."""
    book = Notebook(file)
    await write(file)
    await feeder(file, book).drain()
    async with running(*(feeder(file, book) for _ in range(4))):
        ids = [name for _ in range(5) for name in await write(file, 10)]
        await until(lambda: len(book.told) >= 50)
    assert [("acme", name) for name in ids] == book.told


@pytest.mark.requirement("SYNC-3")
async def test_a_worker_that_is_stopped_gives_its_leases_back(file: SqliteDatabase) -> None:
    """And what it was at is told again."""
    book = Notebook(file)
    await write(file)
    await feeder(file, book).drain()
    ids, book.gate, book.asked = await write(file), anyio.Event(), anyio.Event()
    async with running(feeder(file, book)):
        await book.asked.wait()
        assert "" != (await position(file))[2]
    assert (1, "ink", "") == await position(file)
    book.gate = None
    await feeder(file, book).drain()
    assert [("acme", ids[0])] == book.told


@pytest.mark.requirement("SYNC-3")
async def test_a_worker_whose_lease_was_taken_ends_its_work(file: SqliteDatabase) -> None:
    """It moves nothing; the one who took it goes on undisturbed."""
    book, clock = Notebook(file), FakeClock()
    await write(file)
    await feeder(file, book).drain()
    await write(file)
    book.gate, book.asked = anyio.Event(), anyio.Event()
    sync = feeder(file, book, clock=clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sync.rebuild, _nobody)
        await book.asked.wait()
        await change(file, "UPDATE sync_positions SET owner = 'they', built_with = 'theirs'")
        with capture_logs() as logs:
            await passing(clock, lambda: count(logs, "sync.lease_lost"))
        tasks.cancel_scope.cancel()
    assert (2, "theirs", "they") == await position(file)


@pytest.mark.requirement("SYNC-3")
async def test_a_worker_whose_lease_was_taken_before_it_began_builds_nothing(
    file: SqliteDatabase,
) -> None:
    """It notices when it says that it begins."""
    book = Notebook(file)
    await write(file)

    async def built_with(tenant: str) -> str:
        await change(file, "UPDATE sync_positions SET owner = 'they', lease_until = 1e12", tenant)
        return "ink"

    book.built_with = built_with
    await feeder(file, book).drain()
    assert ((1, "", "they"), []) == (await position(file), book.built)


@pytest.mark.requirement("SYNC-6")
async def test_a_worker_that_slept_over_its_lease_makes_void_what_it_may_have_harmed(
    file: SqliteDatabase,
) -> None:
    """It was building, and may have dropped what another one has built meanwhile."""
    book, clock = Notebook(file), FakeClock()
    await write(file)
    book.gate = anyio.Event()
    sync = feeder(file, book, clock=clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sync.drain)
        await book.asked.wait()
        await change(file, "UPDATE sync_positions SET owner = '', built_with = 'theirs'")
        clock.advance(LEASE_S)
        await until(lambda: len(book.built) == 2)
        assert "" == (await position(file))[1]
        book.gate.set()
    assert (1, "ink", "") == await position(file)


@pytest.mark.requirement("SYNC-3")
async def test_a_lease_that_cannot_be_renewed_ends_the_work_in_time(file: SqliteDatabase) -> None:
    """By then it may be another's; until then it is tried again."""
    book, clock = Notebook(file), FakeClock()
    await write(file)
    book.gate = anyio.Event()
    with capture_logs() as logs, pytest.RaisesGroup(StoreUnavailable):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feeder(file, book, clock=clock).drain)
            await book.asked.wait()
            began = clock.monotonic()
            with away(file):
                await passing(clock, lambda: count(logs, "sync.not_released"), step_s=1)
                await anyio.sleep_forever()
    assert LEASE_S <= clock.monotonic() - began
    assert 1 == count(logs, "sync.lease_lost")


@pytest.mark.requirement("SYNC-9")
async def test_a_rebuild_waits_for_whoever_is_at_it(file: SqliteDatabase) -> None:
    """And tells how far it is; refused rows are parked and told."""
    book, clock, told = Notebook(file), FakeClock(), list[tuple[str, str, int, int]]()
    good, bad = await write(file, 2)
    await feeder(file, book).drain()
    book.refused = {bad: "it cannot be read"}
    lease = await OutboxTables(file).lease("notebook", "acme", "they", 600)
    assert lease
    sync = feeder(file, book, clock=clock)
    async with anyio.create_task_group() as tasks:

        async def rebuild() -> None:
            await sync.rebuild(lambda sink, tenant, done, of: told.append((sink, tenant, done, of)))
            tasks.cancel_scope.cancel()

        tasks.start_soon(rebuild)
        await until(lambda: clock._sleepers)  # noqa: SLF001 — it waits
        assert ["acme"] == book.built
        await OutboxTables(file).release(lease)
        await passing(clock, lambda: len(book.built) == 2)
        await anyio.sleep_forever()
    assert [("notebook", "acme", 2, 2)] == told
    (standing,) = await sync.status()
    assert [(bad, "it cannot be read")] == [(one.id, one.reason) for one in standing.parked]
    assert {good} == book.copies["acme"]


# ----------------------------------------------------------------------------- what it refuses


@pytest.mark.requirement("SYNC-5")
async def test_what_a_sink_never_takes_is_parked_and_the_rest_goes_on(file: SqliteDatabase) -> None:
    """While a sink that takes nothing at all just now is tried again."""
    book = Notebook(file)
    await write(file)
    await feeder(file, book).drain()
    good, bad, late = await write(file, 3)
    book.refused, book.away = {bad: "[seal_broken] it does not open"}, AWAY
    with pytest.raises(StoreUnavailable):
        await feeder(file, book).drain()
    assert ((1, "ink", ""), []) == (await position(file), await rows_of(file, "parked"))
    book.away = None
    with capture_logs() as logs:
        await feeder(file, book).drain()
    assert {good, late} <= book.copies["acme"]
    (parked,) = await rows_of(file, "parked")
    assert (bad, 3, book.refused[bad]) == (parked["id"], parked["seq"], parked["reason"])
    assert [bad] == [log["id"] for log in logs if log["event"] == "sync.parked"]


# ------------------------------------------------------------------------------- housekeeping


@pytest.mark.requirement("SYNC-7")
async def test_the_outbox_is_kept_short(file: SqliteDatabase) -> None:
    """Without a sink too; a store that is away then is no reason to end, nor is a mistake."""
    clock = FakeClock()
    await write(file, 3)

    class Mistaken(OutboxTables):
        async def trim(self) -> int:
            if count(logs, "sync.not_trimmed") == 1:
                raise ZeroDivisionError
            return await super().trim()

    sync = Sync(Mistaken(file), (), clock, SystemRng(), poll_s=POLL_S)
    with capture_logs() as logs:
        async with running(sync):
            with away(file):
                await passing(clock, lambda: count(logs, "sync.not_trimmed"), step_s=TRIM_S)
            await passing(clock, lambda: count(logs, "sync.not_trimmed") == 2, step_s=TRIM_S)
            with anyio.fail_after(GUARD_S):
                while await rows_of(file, "outbox"):
                    clock.advance(TRIM_S)


# --------------------------------------------------------------------------------- the bus


@pytest.mark.requirement("SYNC-10")
async def test_replicas_forget_a_head_although_its_writer_died_before_it_could_say_so(
    file: SqliteDatabase,
) -> None:
    """The bus is told again by whoever feeds it."""
    bus, heard = MemoryBus(), list[str | None]()
    bus.listen(CHANGES, heard.append)
    contexts = CachedContexts(ContextTables(file), bus, file.sealer, SystemClock(), me="we")
    sync = feeder(file, BusSink(bus, file.sealer))
    (root,) = await write(file)

    async def revision() -> int:
        head = await contexts.head("acme", root)
        return head.revision if head else 0

    await sync.drain()
    assert [""] == heard
    assert 1 == await revision()
    await ContextTables(file).append(make.node(chain_id=root))  # and dies
    assert 1 == await revision()
    await sync.drain()
    assert 2 == await revision()
    assert ["", ""] == heard


def _nobody(sink: str, tenant: str, done: int, of: int) -> None:
    """Hears of a rebuild."""
