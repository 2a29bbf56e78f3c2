"""`factory-mcp db upgrade` on Postgres: from nothing, from an older version, by many at once."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.command import downgrade
from alembic.command import upgrade as alembic_upgrade
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, make_url

from factory_mcp.domain.errors import InvalidSetting, SchemaMismatch, StoreUnavailable
from factory_mcp.stores.sql import migrations, pg_upgrade
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.migrations import HEAD
from factory_mcp.stores.sql.pg_connection import Address
from factory_mcp.stores.sql.pg_roles import APP, ROLES
from factory_mcp.stores.sql.pg_upgrade import WRITERS
from factory_mcp.stores.sql.postgres import PostgresDatabase
from factory_mcp.stores.sql.sealed import NODES
from factory_mcp.stores.sql.tables import metadata
from tests.contracts.samples import Samples
from tests.keys import sealing
from tests.postgres import opened, owner, upgrade
from tests.servers.start import fresh_database, postgres

ROOT = Path(__file__).parents[2]
OLD = "0004"
GUARD_S = 300

make = Samples()


def engine(url: str) -> Engine:
    """The owner's, through SQLAlchemy."""
    return create_engine(make_url(url).set(drivername="postgresql+psycopg"))


def alembic(connection: Connection) -> Config:
    """How Alembic is told what to do."""
    config = Config(attributes={"connection": connection, "sealer": sealing()})
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config


@pytest.mark.requirement("PG-4")
def test_the_steps_make_what_the_tables_say(postgres_ready: str) -> None:
    """Alembic finds nothing left to do."""
    made = engine(postgres_ready)
    with made.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert [] == compare_metadata(context, metadata)
        assert (HEAD,) == context.get_current_heads()
    made.dispose()


@pytest.mark.requirement("PG-4")
def test_texts_are_ordered_by_their_bytes(postgres_ready: str) -> None:
    """As in SQLite, whatever the language of the database is."""
    query = """
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = current_schema() AND data_type = 'text'
        AND collation_name IS DISTINCT FROM 'C'
    """
    with owner(postgres_ready) as connection:
        assert [] == connection.execute(query).fetchall()


@pytest.mark.requirement("PG-4")
def test_the_steps_can_be_undone_and_done_again(postgres_ready: str) -> None:
    """Nothing of ours is left but Alembic's own table."""
    made = engine(postgres_ready)
    with made.begin() as connection:
        downgrade(alembic(connection), "base")
    made.dispose()
    left = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    with owner(postgres_ready) as connection:
        assert [("alembic_version",)] == connection.execute(left).fetchall()
    assert upgrade(postgres_ready)
    assert not upgrade(postgres_ready)


@pytest.fixture
def old(postgres_url: str) -> str:
    """A database of the previous version, with a node in it."""
    made = engine(postgres_url)
    node = {"tenant": "acme", "id": "ctx_1", "revision": 1, "summary": "s", "data": {"k": "v"}}
    row = NODES.close(sealing(), node, node)
    with made.begin() as connection:
        alembic_upgrade(alembic(connection), OLD)
        connection.exec_driver_sql(
            "INSERT INTO chains VALUES ('acme','ctx_1','ctx_1',1,null,false)"
        )
        connection.exec_driver_sql(
            "INSERT INTO nodes (tenant, id, chain_id, revision, created_at, length, data, summary)"
            " VALUES ('acme', 'ctx_1', 'ctx_1', 1, 1.5, 1, %s, %s)",
            (row["data"], row["summary"]),
        )
    made.dispose()
    return postgres_url


@pytest.mark.requirement("PG-4")
async def test_a_database_of_the_previous_version_keeps_its_rows(old: str) -> None:
    """They are guarded from then on."""
    database = PostgresDatabase(old, sealing())
    assert await database.upgrade()
    async with opened(old) as database:
        head = await ContextTables(database).head("acme", "ctx_1")
        assert head is not None
        assert ("s", {"k": "v"}) == (head.summary, head.data)
        assert None is await ContextTables(database).head("other", "ctx_1")
        await ContextTables(database).append(make.node(chain_id="ctx_1"))
        assert all(check.ok for check in await database.inspect())


@pytest.mark.requirement("PG-7")
async def test_a_database_that_must_be_upgraded_is_refused(old: str, postgres_plain: str) -> None:
    """With the command that does it; nothing can be done before."""
    stands = f"stands at revision {OLD}, this version at {HEAD}"
    for url, why in ((old, stands), (postgres_plain, "has no tables yet")):
        database = PostgresDatabase(url, sealing())
        with pytest.raises(SchemaMismatch, match=why) as refused:
            await database.open()
        assert "factory-mcp db upgrade" in refused.value.remedy
        with pytest.raises(SchemaMismatch, match=why):
            await database.tenants()
        (check,) = await database.check()
        assert (False, refused.value.remedy) == (check.ok, check.fix)
        await database.close()


@pytest.mark.requirement("PG-7")
async def test_a_database_of_a_newer_version_is_refused(postgres_ready: str) -> None:
    """By `open`, and by `db upgrade`, which changes nothing."""
    with owner(postgres_ready) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    database = PostgresDatabase(postgres_ready, sealing())
    for act in (database.open, database.upgrade):
        with pytest.raises(SchemaMismatch, match=f"revision 9999; this version knows.*{HEAD}"):
            await act()
    await database.close()


def started(url: str, until: ExitStack) -> "subprocess.Popen[str]":
    """A process that will upgrade the database once it is told to; it ends with `until`."""
    command = [sys.executable, "-m", "tests.programs.upgrade_store", url]
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    until.enter_context(process)
    until.callback(process.kill)
    return process


@pytest.mark.requirement("PG-5")
def test_of_eight_starters_one_upgrades() -> None:
    """The others wait; so do those for another database of a server that had no roles yet."""
    with ExitStack() as stack:
        server = stack.enter_context(postgres())
        first, second = (stack.enter_context(fresh_database(server.url)) for _ in range(2))
        starters = [started(url, stack) for url in [first] * 8 + [second] * 2]
        ready = [starter.stdout and starter.stdout.readline() for starter in starters]
        assert ["ready\n"] * 10 == ready
        for starter in starters:
            assert starter.stdin
            starter.stdin.close()
            starter.stdin = None
        said = [starter.communicate(timeout=GUARD_S)[0].strip() for starter in starters]
    assert [0] * 10 == [starter.returncode for starter in starters]
    assert ["False"] * 7 + ["True"] == sorted(said[:8])
    assert ["False", "True"] == sorted(said[8:])


@pytest.mark.requirement("PG-5")
async def test_who_cannot_wait_longer_for_another_upgrade_is_told(postgres_url: str) -> None:
    """Nothing is half done."""
    with owner(postgres_url) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (WRITERS,))
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            await pg_upgrade.upgrade(Address(postgres_url), sealing(), lock_s=0.05)
    assert await pg_upgrade.upgrade(Address(postgres_url), sealing())


@pytest.mark.requirement("PG-6")
async def test_a_user_who_may_not_make_roles_is_given_the_statements(
    postgres_plain: str, postgres_ready: str
) -> None:
    """Once an administrator has run them, it goes on; if they are undone, it says so again."""
    database = PostgresDatabase(postgres_plain, sealing())
    with pytest.raises(InvalidSetting, match="may not make the roles") as refused:
        await database.upgrade()
    statements = refused.value.remedy.partition(":\n")[2]
    assert statements.count(f"GRANT {APP} TO") == 1
    with owner(postgres_ready) as administrator:
        administrator.execute(statements.encode())
        assert await database.upgrade()
        assert [] == [check for check in await database.inspect() if not check.ok]
        await database.open()
        assert [True] == [check.ok for check in await database.check()]
        user = make_url(postgres_plain).username
        administrator.execute(f"REVOKE {', '.join(ROLES)} FROM {user}".encode())
    (check,) = await database.check()
    assert (False, True) == (check.ok, "db upgrade" in (check.fix or ""))
    assert ["roles"] == [check.name for check in await database.inspect() if not check.ok]
    await database.close()
