"""Keeping the copies: what a sink is told, when it cannot listen, and who tells it."""

import anyio
import pytest
from sqlalchemy import insert
from structlog.testing import capture_logs

from factory_mcp.domain.errors import StoreUnavailable
from factory_mcp.services.patience import FIRST_S, LONGEST_S, Patience
from factory_mcp.services.sync import BATCH, BATCHES, REVISE_S
from factory_mcp.stores.sql.sqlite import SqliteDatabase
from factory_mcp.stores.sql.tables import outbox
from tests.fakes import FakeClock, SeededRng
from tests.feeding import (
    AWAY,
    Notebook,
    away,
    count,
    feeder,
    passing,
    position,
    rows_of,
    running,
    write,
)
from tests.house import GUARD_S, until

# ----------------------------------------------------------------------------- what is told


@pytest.mark.requirement("SYNC-2")
async def test_a_sink_has_all_there_was_and_then_what_is_written(file: SqliteDatabase) -> None:
    """In the order of the writes, each once; every tenant its own."""
    book = Notebook(file)
    old, other = await write(file, 3), await write(file, 2, tenant="umbrella")
    async with running(feeder(file, book)):
        await until(lambda: len(book.built) == 2)
        new = await write(file, 5)
        await until(lambda: {"acme": {*old, *new}, "umbrella": {*other}} == book.copies)
        last = await write(file, tenant="umbrella")
        await until(lambda: book.copies["umbrella"] == {*other, *last})
        with anyio.fail_after(GUARD_S):
            while (8, "ink", "") != await position(file):
                await anyio.lowlevel.checkpoint()
    assert [("acme", name) for name in new] == [told for told in book.told if told[0] == "acme"]


@pytest.mark.requirement("SYNC-2")
async def test_a_sink_that_would_make_its_copy_otherwise_makes_it_anew(
    file: SqliteDatabase,
) -> None:
    """At once where something is written, and sometime where nothing is."""
    book, clock = Notebook(file), FakeClock()
    ids = await write(file, 2)
    await feeder(file, book).drain()
    async with running(feeder(file, book, clock=clock)):
        book.made_with = "pencil"
        with anyio.fail_after(GUARD_S):
            while (2, "pencil", "") != await position(file):
                clock.advance(REVISE_S)
    book.made_with = "chalk"
    await feeder(file, book).drain()
    ids += await write(file)
    book.made_with = "pencil"
    await feeder(file, book).drain()
    assert (["acme"] * 4, {*ids}) == (book.built, book.copies["acme"])


@pytest.mark.requirement("SYNC-2")
async def test_more_than_fits_into_a_turn_is_told_in_the_next(file: SqliteDatabase) -> None:
    """So that one tenant cannot keep the others waiting."""
    book, many = Notebook(file), BATCH * BATCHES + 1
    await write(file)
    await feeder(file, book).drain()
    row = {"tenant": "acme", "kind": "run", "at": 0.0}
    rows = [{**row, "seq": number, "id": f"run_{number}"} for number in range(2, many + 2)]
    async with file.write("acme") as connection:
        await connection.execute(insert(outbox), rows)
    await feeder(file, book).drain()
    assert [f"run_{number}" for number in range(2, many + 2)] == [name for _, name in book.told]
    assert [] == await rows_of(file, "outbox")


@pytest.mark.requirement("SYNC-4")
async def test_a_sink_that_is_away_does_not_keep_the_others_waiting(file: SqliteDatabase) -> None:
    """It is told once that it is away and once that it is back; then it has all."""
    ill, well = Notebook(file, name="ill"), Notebook(file, name="well")
    clock, found = FakeClock(), list[str]()
    with capture_logs() as logs:
        async with running(feeder(file, ill, well, clock=clock)):
            for tenant in ("acme", "umbrella", "zorg"):
                found += await write(file, tenant=tenant)
            await passing(clock, lambda: len(ill.built) == 3 == len(well.built))
            ill.away = AWAY
            for tenant in ("acme", "umbrella", "zorg"):
                found += await write(file, tenant=tenant)
            await passing(clock, lambda: len(well.told) == 3)
            await passing(clock, lambda: count(logs, "sync.failed") > 5)
            assert [] == [told for told in ill.told if told[1] not in found[3:]]
            ill.away = None
            await passing(clock, lambda: {*found} == set().union(*ill.copies.values()))
            await passing(clock, lambda: count(logs, "sync.recovered"))
    loud = [log for log in logs if log["event"] == "sync.failed" and log["log_level"] == "warning"]
    assert [("ill", "store_unavailable")] == [(log["sink"], log["code"]) for log in loud]


@pytest.mark.requirement("SYNC-4")
async def test_a_tenant_that_cannot_be_followed_does_not_keep_the_others_waiting(
    file: SqliteDatabase,
) -> None:
    """Nor does a fault that is nobody's expected error."""
    book, good, clock = Notebook(file), Notebook(file, name="good"), FakeClock()

    async def built_with(tenant: str) -> str:
        if tenant == "acme":
            raise StoreUnavailable("Its matrix does not open.")
        if tenant == "bug":
            raise ZeroDivisionError
        return "ink"

    book.built_with = built_with
    for tenant in ("acme", "bug", "umbrella"):
        await write(file, tenant=tenant)
    with capture_logs() as logs:
        async with running(feeder(file, book, good, clock=clock)):
            await passing(clock, lambda: book.built == ["umbrella"])
            for number in range(3):
                await write(file, tenant="umbrella")
                await passing(clock, lambda: len(book.told) > number)  # noqa: B023 — awaited
            await passing(clock, lambda: len(good.built) == 3)
    assert "error" in {log["log_level"] for log in logs if log["event"] == "sync.failed"}


@pytest.mark.requirement("SYNC-4")
async def test_a_store_that_is_away_is_waited_for(file: SqliteDatabase) -> None:
    """As at the start of a server whose store comes later."""
    book, clock = Notebook(file), FakeClock()
    ids = await write(file)
    with capture_logs() as logs:
        async with running(feeder(file, book, clock=clock)):
            with away(file):
                await passing(clock, lambda: count(logs, "sync.failed") > 4)
            await passing(clock, lambda: book.copies == {"acme": {*ids}})


@pytest.mark.requirement("SYNC-4")
def test_patience_grows_with_each_failure_and_ends_with_a_success() -> None:
    """Up to a few seconds, any time up to it; one success after many failures frees all names."""
    clock = FakeClock()
    patience = Patience(clock=clock, rng=SeededRng())
    waits = [patience.failed("acme") for _ in range(200)]
    assert waits[0] <= FIRST_S
    assert LONGEST_S / 2 < max(waits) <= LONGEST_S
    assert min(waits[10:]) < LONGEST_S / 10
    patience.failed("umbrella")
    assert not patience.may("acme") or not patience.may("umbrella")
    assert patience.may("somebody else")
    assert patience.succeeded("somebody else")
    assert patience.may("acme")
    assert patience.may("umbrella")
    assert not patience.succeeded("acme")
    patience.failed("acme")
    clock.advance(LONGEST_S)
    assert patience.may("acme")
