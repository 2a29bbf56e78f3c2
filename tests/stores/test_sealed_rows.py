"""Sealed rows in a store: damage, exchange, a lost key; new keys, new seals."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import bindparam, select, update

from factory_mcp.domain.key_ring import Rewrapped, key_id
from factory_mcp.domain.model import Status
from factory_mcp.domain.seal_errors import KeyInUse, KeyMissing, SealBroken
from factory_mcp.ports import Claim
from factory_mcp.services.seal_keys import BATCH, KeyUse, SealKeys
from factory_mcp.services.sealing import Sealing
from factory_mcp.stores.key_file import KeyFile, KeyText
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.ledger import Ledger
from factory_mcp.stores.sql.rewrap import SealedTables
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.stores.sql.sqlite import SqliteDatabase, open_database
from factory_mcp.stores.sql.tables import nodes, runs
from tests.contracts.samples import Samples
from tests.contracts.samples import sealing as sealed_as
from tests.keys import NEW, OLD, RING, TWO, sealing

SAMPLES = Samples()
WHERE = "store.db"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[SqliteDatabase]:
    """A store whose ring has one key, in a file."""
    KeyFile(tmp_path / "keyring", make=True).write(RING.text(), new=True)
    opened = await open_database(
        tmp_path / WHERE, Sealing(KeyFile(tmp_path / "keyring", make=False))
    )
    yield opened
    await opened.close()


async def _nodes(database: SqliteDatabase, count: int) -> list[str]:
    """Chains of one node each."""
    new = [SAMPLES.node() for _ in range(count)]

    async with anyio.create_task_group() as tasks:
        for node in new:
            tasks.start_soon(ContextTables(database).append, node)
    return [node.id for node in new]


async def _run(database: SqliteDatabase, **changes: Any) -> str:
    """A run that is closed, with all that a run can have."""
    ledger = Ledger(database)
    run = SAMPLES.run(workspace="/home/ann/shop", output="what was said", **changes)
    await ledger.open(run, Claim(keys=(f"key of {run.id}",)))
    await ledger.cancel(run.tenant, run.id, "too slow")
    await ledger.close(run, SAMPLES.node(tenant=run.tenant), sealed_as(Status.CANCELLED))
    return run.id


def _flipped(sealed: bytes, bit: int) -> bytes:
    changed = bytearray(sealed)
    changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    return bytes(changed)


async def _damage(database: SqliteDatabase, ids: list[str]) -> None:
    """One bit in each of these nodes, in another place each."""
    this = update(nodes).where(nodes.c.id == bindparam("its_id")).values(data=bindparam("bad"))
    async with database.write("acme") as connection:
        rows = await connection.execute(select(nodes.c.id, nodes.c.data))
        stored = {row.id: row.data for row in rows}
        bad = [{"its_id": i, "bad": _flipped(stored[i], n * 7)} for n, i in enumerate(ids)]
        await connection.execute(this, bad)


@pytest.mark.requirement("SEAL-10")
async def test_each_of_a_thousand_flipped_bits_is_found_and_the_other_rows_are_read(
    database: SqliteDatabase,
) -> None:
    """A list shows each in its place; reading it directly says what is wrong with it."""
    ids = await _nodes(database, 1050)
    await _damage(database, ids[:1000])
    tables = ContextTables(database)
    found = {node.id: node for node in await SearchTables(database).newest("acme", limit=2000)}
    assert set(ids[:1000]) == {i for i, node in found.items() if node.unreadable}
    assert all(found[i].data and found[i].summary == "what was learnt" for i in ids[1000:])
    with pytest.raises((SealBroken, KeyMissing), match=rf"nodes\.data of {ids[3]}"):
        await tables.path("acme", ids[3])
    head = await tables.head("acme", ids[3])
    assert head is not None
    assert head.summary.startswith("[cannot be read: nodes.data of")


@pytest.mark.requirement("SEAL-2")
@pytest.mark.parametrize(
    ("tenant", "column"), [("acme", "output"), ("globex", "output"), (None, "envelope")]
)
async def test_a_value_that_was_put_into_another_place_does_not_open(
    database: SqliteDatabase, tenant: str | None, column: str
) -> None:
    """From another row, another tenant's row, another column of the same row."""
    one = await _run(database)
    source = one if tenant is None else await _run(database, tenant=tenant)
    async with database.write("acme") as connection:
        query = select(runs.c[column]).where(runs.c.id == source)
        taken = (await connection.execute(query)).scalar_one()
        await connection.execute(update(runs).where(runs.c.id == one).values(output=taken))
    with pytest.raises(SealBroken, match=rf"runs\.output of {one}"):
        await Ledger(database).get("acme", one)
    shown = {run.id: run for run in await Ledger(database).recent("acme", limit=5)}
    assert {one} == {run.id for run in shown.values() if run.unreadable}
    assert {"task": "mend it"} == shown[one].request


@pytest.mark.requirement("SEAL-10")
async def test_a_run_that_cannot_be_read_is_shown_stopped_and_closed_all_the_same(
    database: SqliteDatabase,
) -> None:
    """What is not sealed says whose it is; a needed value that is gone is damage too."""
    ledger, run = Ledger(database), SAMPLES.run()
    await ledger.open(run, Claim())
    await ledger.cancel("acme", run.id, "too slow")
    async with database.write("acme") as connection:
        its = update(runs).where(runs.c.id == run.id)
        await connection.execute(its.values(request=None, cancel_reason=b"bad"))
    (left,) = await ledger.open_runs()
    assert (run.owner, "seal_broken") == (left.owner, left.unreadable and left.unreadable.code)
    assert left.request["task"].startswith("[cannot be read: runs.request of")
    beat = await ledger.beat(run.owner, 9)
    assert {run.id: "the reason cannot be read"} == beat.cancelled
    closed = await ledger.close(left, None, sealed_as(Status.INTERRUPTED))
    assert closed is not None
    assert Status.INTERRUPTED == closed.status


@pytest.mark.requirement("SEAL-4")
async def test_without_an_old_key_only_its_own_rows_are_unreadable(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    """The key is named, and everything written since is there; with the key all is back."""
    before = await _run(database)
    old_node = (await _nodes(database, 1))[0]
    ring = KeyFile(tmp_path / "keyring", make=False)
    ring.write(TWO.text())
    after = await _run(database)
    ring.write(TWO.minus([key_id(OLD)]).text())
    reader = Ledger(database)
    with pytest.raises(KeyMissing, match=key_id(OLD)):
        await reader.get("acme", before)
    assert await reader.get("acme", after) is not None
    shown = {run.id: run.unreadable for run in await reader.recent("acme", limit=5)}
    assert (True, None) == (bool(shown[before]), shown[after])
    hits = (await SearchTables(database).search("acme", "learnt", limit=9)).hits
    assert {old_node} < {hit.node.id for hit in hits if hit.node.unreadable}
    assert any(not hit.node.unreadable for hit in hits)
    ring.write(TWO.text())
    assert await reader.get("acme", before) is not None


# ---------------------------------------------------------------------------------- new keys


def _keys(database: SqliteDatabase, ring: Path) -> SealKeys:
    file = KeyFile(ring, make=False)
    return SealKeys(Sealing(file), file, SealedTables(database))


def _states(uses: list[KeyUse]) -> dict[str, tuple[str, bool]]:
    return {use.key: (use.state, use.values > 0) for use in uses}


@pytest.mark.requirement("SEAL-12")
async def test_a_key_is_rotated_rewrapped_and_dropped(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    """Everything reads as before afterwards, and the old key is gone from the ring."""
    keys = _keys(database, tmp_path / "keyring")
    run_id = await _run(database)
    was = await Ledger(database).get("acme", run_id)
    await _nodes(database, BATCH + 3)
    rotated = await keys.rotate()
    assert rotated.ring is None
    old, new = key_id(OLD), rotated.key
    assert {old: ("old", True), new: ("newest", False)} == _states(await keys.status())
    for key, why in ((old, "has sealed"), (new, "is the newest"), ("00000000", "no key")):
        with pytest.raises((KeyInUse, KeyMissing), match=why):
            await keys.drop(key)
    told: list[int] = []
    done = await keys.rewrap(told.append)
    assert (told[-1], ()) == (done.values, done.broken)
    assert {old: ("old", False), new: ("newest", True)} == _states(await keys.status())
    assert 0 == (await keys.rewrap(told.append)).values
    await keys.drop(old)
    assert {new: ("newest", True)} == _states(await keys.status())
    assert was == await Ledger(database).get("acme", run_id)
    assert keys.check().ok


@pytest.mark.requirement("SEAL-12")
async def test_a_rewrap_that_was_cut_off_goes_on_where_it_stood(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    """Rows that do not open are named and stay as they are, and hold nothing up."""
    ids = await _nodes(database, 10)
    keys = _keys(database, tmp_path / "keyring")
    await _damage(database, ids[2:4])
    new = (await keys.rotate()).key
    rows = SealedTables(database)
    after: tuple[Any, ...] = ()
    first = Rewrapped()
    while not first.values:
        first = await rows.rewrap(new, after, 3)
        after = first.after
    assert (5, 1) == (first.values, len(first.broken))
    done = await keys.rewrap(lambda _: None)
    assert (13, 2) == (done.values, len(done.broken))
    named = zip(ids[2:4], done.broken, strict=True)
    assert all(f"nodes.data of {i}" in message for i, message in named)
    readable = [n.id for n in await SearchTables(database).newest("acme", limit=99) if n.data]
    assert {*ids} - {*ids[2:4]} == {*readable}


@pytest.mark.requirement("SEAL-12")
async def test_a_ring_of_the_environment_is_printed_for_whoever_keeps_it(
    database: SqliteDatabase,
) -> None:
    """Nothing changes until it has been put there."""
    text = KeyText(TWO.line(), "in the environment")
    keys = SealKeys(sealing(TWO), text, SealedTables(database))
    ring = (await keys.rotate()).ring or ""
    assert ring.startswith(TWO.line())
    assert len(TWO.keys) == len(await keys.status())
    dropped = (await keys.drop(key_id(OLD))).ring
    assert TWO.minus([key_id(OLD)]).line() == dropped


@pytest.mark.requirement("SEAL-13")
async def test_a_key_that_is_not_in_the_ring_is_missing(database: SqliteDatabase) -> None:
    """`status` says how much cannot be read without it; a ring that is gone is red in `doctor`."""
    await _nodes(database, 2)
    other = TWO.minus([key_id(OLD)])
    keys = SealKeys(sealing(other), KeyText(other.text(), "here"), SealedTables(database))
    assert [(key_id(NEW), "newest", 0), (key_id(OLD), "missing", 4)] == [
        (use.key, use.state, use.values) for use in await keys.status()
    ]
    lost = KeyFile(database.path.parent / "nowhere", make=False)
    check = SealKeys(Sealing(lost), lost, SealedTables(database)).check()
    assert (False, True) == (check.ok, "nowhere" in check.detail)
