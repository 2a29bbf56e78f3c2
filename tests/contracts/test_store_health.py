"""What the port Store promises: whatever is wrong with the store is said once, with its mend."""

import fcntl
import os
import re
import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from factory_mcp.domain.errors import (
    FactoryError,
    SchemaMismatch,
    StoreFull,
    StoreUnavailable,
    TooLarge,
)
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.faults import Collision
from factory_mcp.stores.sql.migrations import HEAD
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.stores.sql.sqlite import SqliteDatabase, open_database
from factory_mcp.stores.sql.unit import Unit
from tests.contracts.implementations import Stores
from tests.contracts.samples import Samples
from tests.keys import sealing

make = Samples()

Break = Callable[[Path], object]
WAIT_S: Final = 0.05
NOBODYS: Final = Path("/sys/factory-mcp")  # where not even root can make a folder


@asynccontextmanager
async def opened(path: Path) -> AsyncGenerator[SqliteDatabase]:
    """A store that waits for nobody long."""
    database = await open_database(path, sealing(), wait_s=WAIT_S)
    try:
        yield database
    finally:
        await database.close()


async def write(database: SqliteDatabase, **changes: Any) -> str:
    """The id of a new node."""
    return (await ContextTables(database).append(make.node(**changes))).node.id


async def newest(database: SqliteDatabase) -> list[str]:
    """The ids of all nodes, newest first."""
    return [node.id for node in await SearchTables(database).newest("acme", limit=99)]


async def red(database: SqliteDatabase) -> tuple[str, str]:
    """What `doctor` says of a store that cannot be used."""
    (check,) = await database.check()
    assert not check.ok
    assert check.fix
    return check.detail, check.fix


@pytest.mark.requirement("STORE-19")
async def test_a_sound_store_is_green_and_says_what_it_is(stores: Stores) -> None:
    """Where it is, the version of the database and the revision of its tables."""
    (check,) = await stores.health.check()
    assert (check.name, check.ok, check.fix) == ("store", True, None)
    assert re.search(rf"(SQLite|PostgreSQL) [\d.]+.*, revision {HEAD}", check.detail)


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ----------------------------------------------------------------------- cannot be opened


def _sql(*statements: str) -> Break:
    def run(path: Path) -> None:
        with closing(sqlite3.connect(path)) as plain, plain:
            for statement in statements:
                plain.execute(statement)

    return run


def _newer(path: Path) -> None:
    anyio.run(_make, path)
    _sql("UPDATE alembic_version SET version_num = '9999'")(path)


async def _make(path: Path) -> None:
    await (await open_database(path, sealing())).close()


def _noise(path: Path) -> None:
    path.write_bytes(b"no database " * 1000)


OPENING: Final[list[Any]] = [
    pytest.param(_noise, StoreUnavailable, "not a database", "put a backup", id="damaged"),
    pytest.param(Path.mkdir, StoreUnavailable, "unable to open", "FACTORY_MCP_DATA", id="a folder"),
    pytest.param(
        _sql("CREATE TABLE songs (title)"),
        SchemaMismatch,
        "another program",
        "FACTORY_MCP_DATA",
        id="of another program",
    ),
    pytest.param(
        _newer, SchemaMismatch, f"revision 9999.*up to {HEAD}", "version that wrote it", id="newer"
    ),
]


@pytest.mark.requirement("STORE-19")
@pytest.mark.parametrize(("spoil", "kind", "says", "remedy"), OPENING)
def test_a_file_that_is_no_store_of_ours_is_left_as_it_is(
    tmp_path: Path, spoil: Break, kind: type[FactoryError], says: str, remedy: str
) -> None:
    """One error that says what is wrong and what to do; once it is away the store opens."""
    path = tmp_path / "factory.db"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None

    async def attempt() -> None:
        database = SqliteDatabase(path, sealing(), wait_s=WAIT_S)
        with pytest.raises(kind, match=says) as refused:
            await database.open()
        assert remedy in refused.value.remedy
        with pytest.raises(kind, match=says):
            await write(database)
        assert (refused.value.message, refused.value.remedy) == await red(database)
        assert before == (path.read_bytes() if path.is_file() else None)
        path.rename(tmp_path / "away")
        await database.open()
        assert await write(database) in await newest(database)
        await database.close()

    anyio.run(attempt)


@pytest.mark.requirement("STORE-19")
@pytest.mark.parametrize(
    ("folder", "says"),
    [("file", "Not a directory|File exists"), (str(NOBODYS), "not permitted|Read-only|denied")],
)
async def test_a_data_folder_that_cannot_be_written_to(
    tmp_path: Path, folder: str, says: str
) -> None:
    """The error names the setting."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match=says) as refused:
        await open_database(tmp_path / folder / "factory.db", sealing())
    assert "FACTORY_MCP_DATA" in refused.value.remedy


@pytest.mark.requirement("STORE-19")
async def test_a_store_that_was_never_opened_answers_nothing(tmp_path: Path) -> None:
    """Nor does it make its file; to open it twice does no harm."""
    database = SqliteDatabase(tmp_path / "factory.db", sealing())
    with pytest.raises(StoreUnavailable, match="not open"):
        await newest(database)
    assert [] == _files(tmp_path)
    await database.open()
    first = await write(database)
    await database.open()
    assert [first] == await newest(database)
    await database.close()


# ------------------------------------------------------------------- fails while in use


async def _pragma(database: SqliteDatabase, pragma: str) -> None:
    """Set it for the connection that writes, which stays the same."""
    async with database._writer.connect() as connection:  # noqa: SLF001 — pragmas are its own
        await connection.exec_driver_sql(f"PRAGMA {pragma}")


@pytest.mark.requirement("STORE-20")
@pytest.mark.parametrize(
    ("pragma", "undo", "kind", "says", "remedy"),
    [
        ("max_page_count=1", "max_page_count=1000000", StoreFull, "is full", "Free space"),
        ("query_only=ON", "query_only=OFF", StoreUnavailable, "readonly", "writable"),
    ],
)
async def test_a_full_disk_and_a_read_only_file_refuse_the_write_whole(
    tmp_path: Path, pragma: str, undo: str, kind: type[FactoryError], says: str, remedy: str
) -> None:
    """What was there can be read; nothing of the write is there, and the next one may succeed."""
    large = {"data": {f"key {n}": f"word{n} " * 50 for n in range(200)}}
    async with opened(tmp_path / "factory.db") as database:
        first = await write(database)
        await _pragma(database, pragma)
        with pytest.raises(kind, match=says) as refused:
            await write(database, **large)
        assert remedy in refused.value.remedy
        assert [first] == await newest(database)
        await _pragma(database, undo)
        second = await write(database, **large)
        assert [second, first] == await newest(database)
        (check,) = await database.check()
        assert check.ok


def _spoil(path: Path, table: str) -> None:
    """Overwrite the page in which a table begins."""
    with closing(sqlite3.connect(path)) as plain:
        named = plain.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))
        (page,) = named.fetchone()
        (size,) = plain.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


@pytest.mark.requirement("STORE-20")
async def test_a_damaged_file_is_told_by_whoever_meets_the_damage(tmp_path: Path) -> None:
    """Of a write that comes to a damaged page nothing is stored."""
    path = tmp_path / "factory.db"
    async with opened(path) as database:
        first = await write(database)
    _spoil(path, "audit")
    async with opened(path) as database:
        with pytest.raises(StoreUnavailable, match="malformed") as refused:
            await write(database)
        assert "put a backup in its place" in refused.value.remedy
        assert [first] == await newest(database)


@pytest.mark.requirement("STORE-20")
async def test_a_file_that_was_replaced_is_not_written_to(tmp_path: Path) -> None:
    """A connection to a deleted file would go on without an error."""
    path = tmp_path / "factory.db"
    async with opened(path) as database:
        path.rename(tmp_path / "old")
        path.touch()
        with pytest.raises(StoreUnavailable, match="was replaced"):
            await write(database)
        assert "Restart" in (await red(database))[1]


@contextmanager
def held(path: Path) -> Generator[None]:
    """Another process has the store for itself."""
    lock = os.open(f"{path}.lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@pytest.mark.requirement("STORE-20")
async def test_a_store_that_another_process_holds(tmp_path: Path) -> None:
    """It can be read all the time; a write waits its time and is refused, as all that wait are."""
    async with opened(tmp_path / "factory.db") as database:
        await write(database)
        refusals: list[str] = []

        async def refused() -> None:
            with pytest.raises(StoreUnavailable, match="held by others") as error:
                await write(database)
            refusals.append(error.value.remedy)

        with held(database.path), anyio.fail_after(10):
            assert 1 == len(await newest(database))
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(refused)
        assert ["Wait and call again; if it stays so, end the process that holds it."] * 5 == (
            refusals
        )
        await write(database)
        assert 2 == len(await newest(database))


@pytest.mark.requirement("STORE-20")
@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
async def test_a_program_that_knows_nothing_of_our_lock(tmp_path: Path, journal: str) -> None:
    """Such as the sqlite3 shell: SQLite's own lock is waited for and reported likewise."""
    path = tmp_path / "factory.db"
    await _make(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute(f"PRAGMA journal_mode={journal}")
        async with opened(path) as database:
            shell.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StoreUnavailable, match="locked") as refused:
                await write(database)
            assert "Another process holds the store" in refused.value.remedy
            shell.execute("ROLLBACK")
            assert [await write(database)] == await newest(database)


@pytest.mark.requirement("STORE-20")
@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT zeroblob(2000000000)", TooLarge),
        ("INSERT INTO audit_heads VALUES ('t', 1, 'h'), ('t', 2, 'h')", Collision),
        ("SELECT no_such_function()", StoreUnavailable),
    ],
)
async def test_what_sqlite_refuses_is_one_of_our_errors(
    tmp_path: Path, statement: str, kind: type[FactoryError]
) -> None:
    """Work that collides is tried again before that."""
    tries: list[str] = []
    async with opened(tmp_path / "factory.db") as database:

        async def work(unit: Unit) -> None:
            tries.append(statement)
            await unit.connection.exec_driver_sql(statement)

        with pytest.raises(kind, match="cannot be used"):
            await database.transact("acme", work)
        assert (4 if kind is Collision else 2) == len(tries)


@pytest.mark.requirement("STORE-20")
async def test_a_store_whose_file_is_gone_is_closed_all_the_same(tmp_path: Path) -> None:
    """What cannot be copied back from the log stays there; that is logged and is no failure."""
    path = tmp_path / "factory.db"
    async with opened(path) as database:
        await write(database)
        await database.close()
        path.rename(tmp_path / "moved")
        path.mkdir()
