"""Backups of SQLite and of Postgres, restored into either."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from sqlalchemy import insert

from factory_mcp.domain.backup_errors import BackupUnusable, StoreNotEmpty
from factory_mcp.domain.errors import StoreUnavailable
from factory_mcp.domain.key_ring import KeyRing, key_id
from factory_mcp.domain.model import LOCAL, Status
from factory_mcp.ports import Claim
from factory_mcp.services.sealing import Sealing
from factory_mcp.stores.backup_file import Header, Section, Trailer, Writer, read
from factory_mcp.stores.host import LinuxHost
from factory_mcp.stores.key_file import KeyText
from factory_mcp.stores.sql.audit_trail import verified
from factory_mcp.stores.sql.backup import KEPT, OF_THE_MOMENT, back_up
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.ledger import Ledger
from factory_mcp.stores.sql.migrations import HEAD
from factory_mcp.stores.sql.restore import Restored, restore
from factory_mcp.stores.sql.tables import metadata, sync_positions
from tests.contracts.samples import NOW, Samples
from tests.filled import KINDS, TENANTS, change, counts, drop, fill, key, opened, seen
from tests.house import house
from tests.keys import NEW, OLD

ROOT: Final = Path(__file__).parents[2]
GUARD_S: Final = 60


def told(step: str, done: int, of: int) -> None:
    """Nobody looks."""
    assert (True, True) == (step in {"checking", "writing", "comparing"}, done <= of)


async def backed_up(database: Database, file: Path) -> tuple[Header, Trailer]:
    """A backup of it."""
    return await back_up(database, file, made_by="0.1.0", at=NOW, force=False, told=told)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """A kind of store, and where an empty one of it is."""
    if request.param == "postgres":
        return "postgres", request.getfixturevalue("postgres_ready")
    return "sqlite", str(tmp_path)


@pytest.fixture
def other(store: tuple[str, str], request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """An empty store of the other kind."""
    if store[0] == "sqlite":
        return "postgres", request.getfixturevalue("postgres_ready")
    return "sqlite", str(tmp_path)


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A backup of a small SQLite."""
    made = tmp_path / "made"
    async with opened("sqlite", str(made)) as database:
        await fill(database, Samples())
        await backed_up(database, tmp_path / "backup")
    return tmp_path / "backup"


@pytest.mark.requirement("BACKUP-1")
@pytest.mark.parametrize("into", ["itself", "the other"])
async def test_everything_is_there_again_after_all_was_dropped(
    store: tuple[str, str], other: tuple[str, str], into: str, tmp_path: Path
) -> None:
    """Contexts, histories and search results, of all tenants; so SQLite moves to Postgres."""
    async with opened(*store) as database:
        await fill(database, Samples())
        before, rows = await seen(database), await counts(database)
        header, _ = await backed_up(database, tmp_path / "backup")
    kept = {name: rows[name] for name in KEPT}
    assert (kept, 0) == (header.rows, list(kept.values()).count(0))
    if into == "itself":
        drop(*store)
    async with opened(*(store if into == "itself" else other)) as database:
        assert set() == {*await database.tenants()}
        done = await restore(database, tmp_path / "backup", told)
        assert Restored(header=header, tenants=2, problems=[]) == done
        assert before == await seen(database)
        there = await counts(database)
        assert kept | dict.fromkeys([table.name for table in OF_THE_MOMENT], 0) == there
        for tenant in TENANTS:
            call = replace(Samples().run(tenant=tenant, id="run_again"), created_at=NOW + 70)
            assert (await Ledger(database).open(call, Claim(keys=(key(tenant),)))).attached
            await ContextTables(database).append(Samples().node(tenant=tenant, id="ctx_again"))
        async with database.snapshot() as (unit, tenants):
            assert set(TENANTS) == {*tenants}
            for tenant in tenants:
                await unit.enter(tenant)
                assert None is (await verified(unit, tenant)).broken


@pytest.mark.requirement("BACKUP-2")
async def test_a_backup_is_one_state_although_others_write(
    store: tuple[str, str], tmp_path: Path
) -> None:
    """What comes later is not in it; nobody waits for it."""
    async with opened(*store) as database:
        await fill(database, Samples())
        before = await counts(database)
        async with database.snapshot() as (unit, _):
            for tenant in TENANTS:
                late = Samples().node(tenant=tenant, id="ctx_late")
                with anyio.fail_after(GUARD_S):
                    await ContextTables(database).append(late)
            found = dict.fromkeys(metadata.tables, 0)
            for tenant in TENANTS:
                await unit.enter(tenant)
                for name, table in KEPT.items():
                    found[name] += await table.count(unit, tenant)
        assert {name: before[name] for name in KEPT} == {name: found[name] for name in KEPT}
        header, _ = await backed_up(database, tmp_path / "backup")
        assert before["nodes"] + 2 == header.rows["nodes"]


@pytest.mark.requirement("BACKUP-3")
async def test_a_store_that_is_not_empty_is_left_alone(store: tuple[str, str], file: Path) -> None:
    """Nothing is mixed; the message says what to do."""
    async with opened(*store) as database:
        await ContextTables(database).append(Samples().node(tenant="acme", id="ctx_mine"))
        before = await counts(database)
        with pytest.raises(StoreNotEmpty, match="There is 1 tenant in the store already") as no:
            await restore(database, file, told)
        assert "FACTORY_MCP_DATA" in no.value.remedy
        assert before == await counts(database)


@pytest.mark.requirement("BACKUP-3")
async def test_what_projections_knew_of_a_tenant_is_forgotten(
    store: tuple[str, str], file: Path
) -> None:
    """So that they are built again from what was restored."""
    async with opened(*store) as database:
        row = {"tenant": "acme", "sink": "index", "seq": 7, "built_with": "", "owner": ""}
        async with database.write("acme") as connection:
            await connection.execute(insert(sync_positions), {**row, "lease_until": 0})
        await restore(database, file, told)
        assert 0 == (await counts(database))["sync_positions"]


@pytest.mark.requirement("BACKUP-4")
async def test_a_restore_that_is_killed_leaves_an_empty_store(
    store: tuple[str, str], file: Path
) -> None:
    """Half a store is never taken for a whole one: it is restored again as if nothing had been."""
    program = [sys.executable, "-m", "tests.programs.restore_store", *store, str(file)]
    async with await anyio.open_process(program, cwd=ROOT, stderr=None) as killed:
        assert killed.stdout
        with anyio.fail_after(GUARD_S):
            said = await BufferedByteReceiveStream(killed.stdout).receive_until(b"\n", 100)
        killed.kill()
    assert b"in the middle" == said
    async with opened(*store) as database:
        assert [] == await database.tenants()
        assert {0} == {*(await counts(database)).values()}
        with anyio.fail_after(GUARD_S):
            done = await restore(database, file, told)
        assert (2, []) == (done.tenants, done.problems)


@pytest.mark.requirement("BACKUP-5")
async def test_what_the_store_does_not_give_back_is_not_restored(
    tmp_path: Path, file: Path
) -> None:
    """Every row is read again before any is kept."""
    async with opened("sqlite", str(tmp_path)) as database:
        trigger = "UPDATE nodes SET droid = 'code' WHERE id = NEW.id"
        trigger = f"CREATE TRIGGER amiss AFTER INSERT ON nodes BEGIN {trigger}; END"
        await change(database, "acme", trigger)
        with pytest.raises(StoreUnavailable, match="what was written to nodes; nothing was"):
            await restore(database, file, told)
        assert {0} == {*(await counts(database)).values()}


@pytest.mark.requirement("BACKUP-5")
async def test_a_file_that_is_exchanged_while_it_is_read_is_not_restored(
    store: tuple[str, str], tmp_path: Path, file: Path
) -> None:
    """What was looked at is what is written, or nothing is."""
    async with opened("sqlite", str(tmp_path / "another")) as database:
        await ContextTables(database).append(Samples().node(tenant="acme"))
        await backed_up(database, tmp_path / "exchanged")

    def exchange(step: str, done: int, of: int) -> None:
        if step == "checking" and done == of:
            (tmp_path / "exchanged").replace(file)

    async with opened(*store) as database:
        with pytest.raises(BackupUnusable, match="was changed while it was read"):
            await restore(database, file, exchange)
        assert {0} == {*(await counts(database)).values()}


@pytest.mark.requirement("BACKUP-6")
async def test_a_key_that_the_ring_does_not_have_is_named(
    store: tuple[str, str], tmp_path: Path, file: Path
) -> None:
    """The rows are there, and can be read once the key is back."""
    ring = KeyRing(index=b"j" * 32, keys={}).plus(NEW)
    async with opened(*store, Sealing(KeyText(ring.text(), "another ring"))) as database:
        lost, index = (await restore(database, file, told)).problems
    assert lost.startswith(f"The key {key_id(OLD)} is missing in the key ring: ")
    assert "another index key" in index
    async with opened(*store) as database:
        assert {} != await seen(database)
        again = tmp_path / "again"
        header, _ = await backed_up(database, again)
    first = next(read(file))
    assert isinstance(first, Header)
    assert first.rows == header.rows


@pytest.mark.requirement("BACKUP-6")
async def test_a_backup_needs_no_key_ring_and_a_restore_says_that_there_is_none(
    tmp_path: Path, file: Path
) -> None:
    """So whoever makes backups need not be able to read them."""
    without = Sealing(KeyText("", "the test's ring"))
    async with opened("sqlite", str(tmp_path / "made")) as database:
        pass
    async with opened("sqlite", str(tmp_path / "made"), without) as database:
        header, _ = await backed_up(database, tmp_path / "sealed")
    assert None is header.index
    async with opened("sqlite", str(tmp_path)) as database:
        pass
    async with opened("sqlite", str(tmp_path), without) as database:
        problem, index = (await restore(database, file, told)).problems
    assert "The key ring the test's ring cannot be used" in problem
    assert "another index key" in index


@pytest.mark.requirement("BACKUP-6")
async def test_what_was_broken_before_is_restored_and_named(
    store: tuple[str, str], tmp_path: Path
) -> None:
    """A damaged value, a changed audit trail: the rest is worth having."""
    async with opened("sqlite", str(tmp_path / "made")) as database:
        await fill(database, Samples())
        await change(database, "acme", "UPDATE runs SET request = substr(request, 1, 40)")
        await change(database, "acme", "UPDATE audit SET subject = 'eve' WHERE seq = 3")
        await backed_up(database, tmp_path / "backup")
    async with opened(*store) as database:
        problems = (await restore(database, tmp_path / "backup", told)).problems
        assert set(TENANTS) == {*await database.tenants()}
    sealed = [problem for problem in problems if problem.startswith("runs.request of run_")]
    trails = [problem for problem in problems if problem.startswith("The audit trail of ")]
    assert (2, 2) == (len(sealed), len(trails))
    assert "is broken at row 3: it was changed" in trails[0]


@pytest.mark.requirement("BACKUP-7")
async def test_a_run_that_was_open_is_closed_as_interrupted_after_the_restore(
    tmp_path: Path,
) -> None:
    """Its lease is over wherever it is restored, and its owner is not there."""
    elsewhere = replace(LinuxHost().me(), id="gone", boot_id="another machine")
    left = Samples().run(tenant=LOCAL.tenant, owner=elsewhere, lease_until=NOW + 15)
    (tmp_path / "first").mkdir()
    async with house(tmp_path / "first") as home:
        await home.app.reader.open(left, Claim())
        await backed_up(home.app.database, tmp_path / "backup")
    ring = tmp_path / "first" / "data" / "keyring"
    (tmp_path / "second" / "data").mkdir(parents=True)
    shutil.copy(ring, tmp_path / "second" / "data" / "keyring")
    async with house(tmp_path / "second") as home:
        done = await restore(home.app.database, tmp_path / "backup", told)
        assert [] == done.problems
        home.clock.advance(20)
        found = await home.until("interrupted")
    assert (left.id, Status.INTERRUPTED) == (found.id, found.status)


@pytest.mark.requirement("BACKUP-8")
@pytest.mark.parametrize(
    ("changes", "section"),
    [
        ({"revision": "0004"}, {}),
        ({"revision": "0099"}, {}),
        ({}, {"table": "strange"}),
        ({}, {"columns": ("id", "chain_id")}),
    ],
)
async def test_what_another_version_made_is_refused_with_the_version_that_reads_it(
    store: tuple[str, str], tmp_path: Path, changes: Any, section: Any
) -> None:
    """And nothing is written."""
    table = section.get("table", "chains")
    header = Header(
        revision=HEAD,
        made_by="0.9.0",
        made_at=NOW,
        made_from="sqlite",
        index=None,
        rows={table: 1},
    )
    header = replace(header, **changes)
    of: Any = {"tenant": "acme", "table": table, "columns": ("id",), "binary": ()}
    of |= section
    writer = Writer(tmp_path / "theirs", header)
    writer.section(Section(**of))
    writer.rows(table, [["ctx_1"] * len(of["columns"])])
    writer.finish()
    async with opened(*store) as database:
        with pytest.raises(BackupUnusable) as refused:
            await restore(database, tmp_path / "theirs", told)
        assert [] == await database.tenants()
    if changes:
        assert "Restore it with factory-mcp 0.9.0, which made it" in refused.value.remedy
    else:
        assert "holds what this version has no table for" in refused.value.message
