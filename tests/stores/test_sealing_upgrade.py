"""A store of the first revision, with rows in the clear, becomes one that holds none."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from alembic.command import upgrade
from alembic.config import Config
from sqlalchemy import create_engine

from factory_mcp.domain.model import ContextNode
from factory_mcp.domain.seal_errors import KeyRingUnusable
from factory_mcp.ports import Claim
from factory_mcp.services.sealing import Sealing
from factory_mcp.stores.key_file import KeyFile
from factory_mcp.stores.sql import migrations
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.ledger import Ledger
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.stores.sql.sqlite import SqliteDatabase, open_database
from tests.contracts.samples import NOW, Samples
from tests.keys import sealing
from tests.planted import traces

TASK, OUTPUT, REASON = (
    "mend the zebracrossing",
    'the \\u00e9 in "quokkaselfie"',
    "because of the axolotlregrowth",
)
SUMMARY, NOTE, KEY, HOME = (
    "an okapistripes was learnt",
    "the narwhaltusk",
    "key-of-capybaraspa",
    "/home/tapirsnout",
)
GONE = "the dodofeather was deleted long ago"
PLANTED = (
    "zebracrossing",
    "quokkaselfie",
    "axolotlregrowth",
    "okapistripes",
    "narwhaltusk",
    "capybaraspa",
    "tapirsnout",
    "dodofeather",
)
OWNER = {"id": "o", "boot_id": "b", "pid_ns": "n", "pid": 1, "started": "1"}


def _insert(connection: sqlite3.Connection, table: str, **row: object) -> None:
    marks = ", ".join("?" * len(row))
    sql = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"  # noqa: S608 — our own names
    connection.execute(sql, [*row.values()])


def _fill(connection: sqlite3.Connection, runs: int) -> None:
    """Rows as the first version wrote them: JSON as ASCII, a backslash as an escape."""
    for number in range(runs):
        run: dict[str, object] = {"tenant": "acme", "id": f"run_{number:04}", "subject": "ann"}
        run |= {"droid": "code", "effects": "unsafe", "request": json.dumps({"task": TASK})}
        run |= {"fingerprint": f"f{number}", "arguments_hash": "a", "owner": json.dumps(OWNER)}
        run |= {"owner_id": "o", "created_at": NOW + number, "status": "done", "code": "ok"}
        run |= {"workspace": HOME, "workspace_key": HOME, "fence": 1, "lease_until": 0}
        run |= {"progress": json.dumps({"state": TASK}), "envelope": json.dumps({"text": OUTPUT})}
        run |= {"cancel_reason": REASON, "output": OUTPUT.replace("\\", "\\u005c")}
        _insert(connection, "runs", **run)
    key: dict[str, object] = {"tenant": "acme", "subject": "ann", "key": KEY, "run_id": "run_0000"}
    _insert(connection, "call_keys", **key, arguments_hash="a", expires_at=NOW + 10**6)
    chain: dict[str, object] = {"tenant": "acme", "id": "ctx_1", "head_id": "ctx_1"}
    _insert(connection, "chains", **chain, head_revision=1, workspace_key=HOME, standing=True)
    node: dict[str, object] = {"tenant": "acme", "id": "ctx_1", "chain_id": "ctx_1", "revision": 1}
    node |= {"summary": SUMMARY, "data": json.dumps({"note": NOTE}), "workspace_key": HOME}
    _insert(connection, "nodes", **node, created_at=NOW, length=4)
    for word in ("okapistripes", "learnt", "narwhaltusk", "note"):
        _insert(connection, "node_tokens", tenant="acme", token=word, node_id="ctx_1", count=1)
    record: dict[str, object] = {"tenant": "acme", "seq": 1, "run_id": "run_0000", "at": NOW}
    record |= {"droid": "code", "status": "done", "code": "ok", "envelope": json.dumps(TASK)}
    _insert(connection, "history", **record)
    connection.execute(
        "INSERT INTO history SELECT tenant, 2, run_id, at, droid, status, code, ?" " FROM history",
        [json.dumps(GONE)],
    )
    connection.execute("DELETE FROM history WHERE seq = 2")


def _make(path: Path, revision: str) -> None:
    """An empty store of an older version."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection, "sealer": sealing()})
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        upgrade(config, revision)
    engine.dispose()


@pytest.fixture(params=[3, 1203])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store of revision 0001, partly in the write-ahead log, as a killed process leaves it."""
    made, path = tmp_path / "made.db", tmp_path / "data" / "store.db"
    path.parent.mkdir()
    _make(made, "0001")
    with closing(sqlite3.connect(made, isolation_level=None)) as connection:
        for pragma in ("journal_mode=WAL", "secure_delete=OFF", "wal_autocheckpoint=0"):
            connection.execute(f"PRAGMA {pragma}")
        _fill(connection, request.param)
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        connection.execute("UPDATE runs SET session_id = 's'")
        for end in ("", "-wal"):
            shutil.copy(f"{made}{end}", f"{path}{end}")
    assert set(PLANTED) == traces(path.parent, PLANTED)
    return path


@pytest.mark.requirement("SEAL-11")
async def test_an_upgrade_seals_every_row_and_leaves_no_trace(old: Path) -> None:
    """In the file and its log, deleted rows included; and everything reads as before."""
    database = await open_database(old, sealing())
    try:
        assert set() == traces(old.parent, PLANTED)
        run = await Ledger(database).get("acme", "run_0000")
        node = await ContextTables(database).head("acme", "ctx_1")
    finally:
        await database.close()
    assert run is not None
    assert isinstance(node, ContextNode)
    assert ({"task": TASK}, OUTPUT, REASON) == (run.request, run.output, run.cancel_reason)
    assert ({"text": OUTPUT}, {"state": TASK}, HOME) == (run.envelope, run.progress, run.workspace)
    assert (SUMMARY, {"note": NOTE}) == (node.summary, node.data)
    assert node.workspace_key == run.workspace_key == sealing().blind("acme", f"workspace {HOME}")
    assert set() == traces(old.parent, PLANTED)


@pytest.mark.requirement("SEAL-11")
async def test_what_is_only_compared_is_found_as_before(old: Path) -> None:
    """Words of the index, a client's key, the standing chain of a workspace."""
    database = await open_database(old, sealing())
    tables, ledger = ContextTables(database), Ledger(database)
    try:
        found = await SearchTables(database).search("acme", "narwhaltusk", limit=5)
        blind = sealing().blind("acme", f"workspace {HOME}")
        standing = await tables.standing("acme", blind)
        again = Samples().run(arguments_hash="a", created_at=NOW + 9)
        opened = await ledger.open(again, Claim(keys=(KEY,), strict=KEY))
    finally:
        await database.close()
    assert ["ctx_1"] == [hit.node.id for hit in found.hits]
    assert standing is not None
    assert ("run_0000", True) == (opened.run.id, opened.attached)


@pytest.mark.requirement("SEAL-11")
async def test_an_upgrade_without_a_key_ring_changes_nothing(old: Path) -> None:
    """It is done whole at the next start."""
    ring = KeyFile(old.parent / "keyring", make=False)
    with pytest.raises(KeyRingUnusable):
        await open_database(old, Sealing(ring))
    assert set(PLANTED) <= traces(old.parent, PLANTED)
    await (await open_database(old, sealing())).close()
    assert set() == traces(old.parent, PLANTED)


@pytest.mark.requirement("SEAL-11")
async def test_a_reader_delays_the_scrubbing_to_the_next_start(old: Path) -> None:
    """Traces stay as long as somebody reads the old pages, and no longer."""
    with closing(sqlite3.connect(old, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM runs").fetchall()
        first = SqliteDatabase(old, sealing())
        with anyio.fail_after(60):
            await first.open()
        await first.close()
        assert set() != traces(old.parent, PLANTED)
    second = await open_database(old, sealing())
    await second.close()
    assert set() == traces(old.parent, PLANTED)


@pytest.mark.requirement("SEAL-7")
async def test_a_later_upgrade_makes_no_ring_in_place_of_a_lost_one(tmp_path: Path) -> None:
    """Only a store that was never sealed has no ring yet."""
    _make(tmp_path / "store.db", "0003")
    ring = KeyFile(tmp_path / "keyring", make=True)
    database = await open_database(tmp_path / "store.db", Sealing(ring))
    assert [False] == [check.ok for check in await database.check()]
    await database.close()
    assert not (tmp_path / "keyring").exists()
