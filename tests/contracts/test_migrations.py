"""The tables as Alembic's steps make them are those that the statements are written for."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.command import downgrade
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine

from factory_mcp.stores.sql.migrations import HEAD, upgrade
from factory_mcp.stores.sql.sqlite import open_database
from factory_mcp.stores.sql.tables import metadata
from tests.keys import sealing

ROOT = Path(__file__).parents[2]
STEPS = Path(upgrade.__file__).parent

Schema = dict[tuple[str, str], str]


def schema(path: Path) -> Schema:
    """Every table and index of a file, and the statement that makes it."""
    query = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    with closing(sqlite3.connect(path)) as plain:
        found = plain.execute(query).fetchall()
    return {(kind, name): " ".join(sql.split()) for kind, name, sql in found}


@pytest.fixture
async def made(tmp_path: Path) -> Path:
    """A store that its steps have made from nothing."""
    path = tmp_path / "made.db"
    await (await open_database(path, sealing())).close()
    return path


@pytest.mark.requirement("STORE-22")
def test_the_steps_make_what_the_tables_say(made: Path, tmp_path: Path) -> None:
    """Columns, keys, constraints, partial indices: the same text as SQLAlchemy would send."""
    plain = create_engine(f"sqlite:///{tmp_path / 'plain.db'}")
    metadata.create_all(plain)
    plain.dispose()
    expected = schema(tmp_path / "plain.db")
    found = schema(made)
    assert "alembic_version" in found.pop(("table", "alembic_version"))
    assert expected == found


@pytest.mark.requirement("STORE-22")
def test_alembic_finds_nothing_left_to_do(made: Path) -> None:
    """And the revision in the file is the one step that nothing follows."""
    engine = create_engine(f"sqlite:///{made}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert [] == compare_metadata(context, metadata)
        assert (HEAD,) == context.get_current_heads()
    engine.dispose()
    assert [HEAD] == ScriptDirectory(str(STEPS)).get_heads()


@pytest.mark.requirement("STORE-22")
def test_the_steps_can_be_undone(made: Path) -> None:
    """Nothing of ours is left but Alembic's own table."""
    engine = create_engine(f"sqlite:///{made}")
    with engine.begin() as connection:
        _downgrade(connection)
    engine.dispose()
    assert {("table", "alembic_version")} == schema(made).keys()


def _downgrade(connection: Connection) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(STEPS))
    downgrade(config, "base")


def start(path: Path) -> subprocess.Popen[str]:
    """A process that opens the store and says whether that took Alembic."""
    command = [sys.executable, "-m", "tests.programs.open_store", str(path)]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def ended(process: subprocess.Popen[str]) -> tuple[str, int]:
    """What it said, and how often it made tables."""
    said, logged = process.communicate(timeout=60)
    assert 0 == process.returncode, logged
    return said.strip(), logged.count("store.upgraded")


@pytest.mark.requirement("STORE-23")
def test_eight_processes_that_start_at_once_make_the_tables_once(tmp_path: Path) -> None:
    """On a folder that is not there yet; all of them have the store."""
    path = tmp_path / "fresh" / "factory.db"
    answers = [ended(process) for process in [start(path) for _ in range(8)]]
    assert 1 == sum(upgrades for _, upgrades in answers)
    with closing(sqlite3.connect(path)) as plain:
        assert [(HEAD,)] == plain.execute("SELECT version_num FROM alembic_version").fetchall()
    assert (0o700, 0o600) == (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777)


@pytest.mark.requirement("STORE-23")
def test_a_store_that_is_up_to_date_opens_without_alembic(made: Path, tmp_path: Path) -> None:
    """Which takes longer to import than a client waits."""
    assert ("alembic imported: False", 0) == ended(start(made))
    assert ("alembic imported: True", 1) == ended(start(tmp_path / "new.db"))
