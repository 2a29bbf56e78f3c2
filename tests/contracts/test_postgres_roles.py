"""Tenants are kept apart by Postgres itself, whatever statement is sent."""

from collections.abc import AsyncGenerator

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import select, text

from factory_mcp.domain.errors import StoreUnavailable
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.pg_roles import APP, WORKER, WORKER_COLUMNS
from factory_mcp.stores.sql.postgres import PostgresDatabase
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.stores.sql.tables import audit, metadata, nodes
from factory_mcp.stores.sql.unit import Unit
from tests.contracts.samples import Samples
from tests.postgres import opened, owner

make = Samples()

SEALED = ("data", "summary", "request", "progress", "envelope", "matrix", "vector", "token")


@pytest.fixture
async def database(postgres_ready: str) -> AsyncGenerator[PostgresDatabase]:
    """A store in which two tenants have a node each."""
    async with opened(postgres_ready) as found:
        for tenant in ("acme", "other"):
            await ContextTables(found).append(make.node(tenant=tenant))
        yield found


def guards(url: str) -> dict[str, tuple[bool, list[str]]]:
    """By table with a tenant: whether its rows are guarded from all, and whom the policies name."""
    query = """
        SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity,
            (SELECT array_agg(DISTINCT role::text) FROM pg_policies, unnest(roles) AS role
             WHERE tablename = c.relname)
        FROM pg_class c JOIN information_schema.columns ON table_name = c.relname
        WHERE column_name = 'tenant' AND c.relkind = 'r'
    """
    with owner(url) as connection:
        return {name: (forced, roles or []) for name, forced, roles in connection.execute(query)}


@pytest.mark.requirement("PG-1")
def test_every_table_with_a_tenant_is_guarded(postgres_ready: str) -> None:
    """From its owner too; and there is no table of ours without a tenant."""
    found = guards(postgres_ready)
    assert set(metadata.tables) == set(found)
    for name, (forced, roles) in found.items():
        expected = [APP, WORKER] if name in WORKER_COLUMNS else [APP]
        assert (name, True, expected) == (name, forced, roles)


@pytest.mark.requirement("PG-1")
@pytest.mark.parametrize(
    ("statement", "name", "line"),
    [
        ("CREATE TABLE loose (tenant text)", "loose", "row-level security"),
        ("ALTER TABLE nodes NO FORCE ROW LEVEL SECURITY", "nodes", "row-level security"),
        ("ALTER TABLE runs DISABLE ROW LEVEL SECURITY", "runs", "row-level security"),
        (f"DROP POLICY {APP} ON vectors", "vectors", "row-level security"),
        (f"GRANT UPDATE ON audit TO {APP}", "audit", "rights"),
        (f"REVOKE INSERT ON chains FROM {APP}", "chains", "rights"),
    ],
)
async def test_what_is_not_guarded_is_found(
    postgres_ready: str, statement: str, name: str, line: str
) -> None:
    """And `db upgrade` guards again what is ours."""
    async with opened(postgres_ready) as database:
        assert all(check.ok for check in await database.inspect())
        with owner(postgres_ready) as connection:
            connection.execute(statement.encode())
        red = [check for check in await database.inspect() if not check.ok]
        assert [(line, True)] == [(check.name, name in check.detail) for check in red]
        assert await database.upgrade()
        left = [] if name != "loose" else [line]
        assert left == [check.name for check in await database.inspect() if not check.ok]


@pytest.mark.requirement("PG-2")
async def test_no_statement_sees_another_tenants_rows(database: PostgresDatabase) -> None:
    """In a transaction of one tenant, read or write; in one of none there are no rows at all."""
    for name, table in metadata.tables.items():
        async with database.read("acme") as connection:
            found = await connection.execute(select(table.c.tenant).distinct())
            assert {"acme"} >= set(found.scalars()), name
    async with database.write("acme") as connection:
        changed = await connection.execute(text("UPDATE nodes SET droid = 'x'"))
        assert 1 == changed.rowcount
        gone = await connection.execute(text("DELETE FROM vectors WHERE tenant = 'other'"))
        assert 0 == gone.rowcount
    async with database.read("") as connection:
        assert [] == (await connection.execute(select(nodes.c.id))).all()


@pytest.mark.requirement("PG-2")
async def test_a_row_cannot_be_written_for_another_tenant(database: PostgresDatabase) -> None:
    """Not even by work that shares a transaction with that tenant's."""

    async def work(unit: Unit) -> None:
        await unit.execute(text("INSERT INTO audit_heads VALUES ('third', 1, '')"))

    with pytest.raises(StoreUnavailable, match="row-level security"):
        await database.transact("acme", work)


@pytest.mark.requirement("PG-2")
@pytest.mark.parametrize("statement", ["UPDATE audit SET action = ''", "DELETE FROM audit"])
async def test_audit_rows_are_never_changed(database: PostgresDatabase, statement: str) -> None:
    """By nobody who comes through the product; and the tables' owner sees none of them."""
    with pytest.raises(StoreUnavailable, match="permission denied for table audit"):
        async with database.write("acme") as connection:
            await connection.execute(text(statement))
    async with database.read("acme") as connection:
        assert 1 == len((await connection.execute(select(audit))).all())


@pytest.mark.requirement("PG-2")
def test_the_owner_of_the_tables_sees_nothing(postgres_ready: str) -> None:
    """Before a transaction has taken a role."""
    with owner(postgres_ready) as connection:
        connection.execute(f"SET ROLE {APP}".encode())
        connection.execute("SET app.tenant = 'acme'")
        connection.execute("INSERT INTO audit_heads VALUES ('acme', 1, '')")
        connection.execute("RESET ROLE")
        assert [] == connection.execute("SELECT * FROM audit_heads").fetchall()


@pytest.mark.requirement("PG-3")
async def test_the_worker_sees_all_tenants(database: PostgresDatabase) -> None:
    """But nothing it could change."""
    assert ["acme", "other"] == await database.tenants()
    with pytest.raises(StoreUnavailable, match=r"read-only|permission denied"):
        async with database.across() as connection:
            await connection.execute(text("DELETE FROM outbox"))


@pytest.mark.requirement("PG-3")
def test_the_worker_reads_nothing_that_a_user_wrote(postgres_ready: str) -> None:
    """Column by column: what is granted is what is listed, and none of that is sealed or blind."""
    for table in metadata.sorted_tables:
        listed = WORKER_COLUMNS.get(table.name, "").split(", ")
        for column in table.columns:
            with owner(postgres_ready) as connection:
                connection.execute(f"SET ROLE {WORKER}".encode())
                query = sql.SQL("SELECT {} FROM {}").format(
                    sql.Identifier(column.name), sql.Identifier(table.name)
                )
                try:
                    connection.execute(query)
                    can_read = True
                except psycopg.errors.InsufficientPrivilege:
                    can_read = False
            assert (column.name in listed) == can_read, str(column)
            assert not (can_read and column.name in SEALED), str(column)


@pytest.mark.requirement("PG-18")
async def test_tenants_of_any_name_are_kept_apart(postgres_ready: str) -> None:
    """Quotes, escapes and halves of characters included."""
    names = ["a'; DROP TABLE nodes; --", "b\\", "c\ud800", "d\0", "%s", '"', "e\n", "ü"]
    async with opened(postgres_ready) as database:
        ids = {}
        for name in names:
            ids[name] = (await ContextTables(database).append(make.node(tenant=name))).node.id
        for name in names:
            newest = await SearchTables(database).newest(name, limit=9)
            assert [ids[name]] == [node.id for node in newest]
        assert sorted(names) == await database.tenants()
