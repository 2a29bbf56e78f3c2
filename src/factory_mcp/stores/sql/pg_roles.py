"""Who may do what in Postgres: two roles without a login, and row-level security.

The tables belong to the user of the connection string, and even this one sees no row of them:
every transaction takes one of the roles. `factory_app` does everything for one tenant, whose name
is in the setting `app.tenant`; `factory_worker` reads across tenants, and nothing of what users
wrote. All of it is a state that `db upgrade` brings about again whenever it is not so.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from factory_mcp.domain.errors import InvalidSetting
from factory_mcp.stores.sql.tables import metadata

APP: Final = "factory_app"
WORKER: Final = "factory_worker"
ROLES: Final = (APP, WORKER)
SET_FROM: Final = 160000
"""The version from which membership alone does not let a user take a role."""

WORKER_COLUMNS: Final[Mapping[str, str]] = {
    "audit_heads": "tenant, seq",
    "outbox": "tenant, seq, kind, id, at",
    "parked": "tenant, sink, seq, kind, id, reason, at",
    "runs": (
        "tenant, id, effects, owner, owner_id, created_at, status, code, fence, lease_until,"
        " started_at, ended_at"
    ),
    "sync_positions": "tenant, sink, seq, built_with, owner, lease_until",
}
"""What the worker may read."""

APPEND_ONLY: Final = ("audit",)

_TABLES: Final = tuple(table.name for table in metadata.sorted_tables)
_MINE: Final = "tenant = nullif(current_setting('app.tenant', true), '')"

_GUARDS: Final = text("""
    SELECT c.relname AS name, c.relrowsecurity AND c.relforcerowsecurity AS forced,
        ARRAY(
            SELECT r.rolname::text FROM pg_policy p CROSS JOIN unnest(p.polroles) AS named(id)
            JOIN pg_roles r ON r.oid = named.id WHERE p.polrelid = c.oid ORDER BY 1
        ) AS roles
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace
    ORDER BY c.relname
    """)
_GRANTED: Final = text("""
    SELECT n.name,
        has_table_privilege(:app, n.name, 'SELECT') AND has_table_privilege(:app, n.name, 'INSERT'),
        has_table_privilege(:app, n.name, 'UPDATE, DELETE, TRUNCATE')
    FROM unnest(CAST(:names AS text[])) AS n(name)
    """)


def make(connection: Connection) -> None:
    """Make sure that the roles are there, and that this user may take them.

    They belong to the whole server: others may make them at the same time for their databases.

    Raises:
        InvalidSetting: This user may not; with the statements for somebody who may.
    """
    wanted = _missing(connection)
    if not wanted:
        return
    try:
        with connection.begin_nested():
            for statement in wanted:
                connection.execute(text(_although_made(statement)))
    except ProgrammingError as error:
        statements = "\n".join(f"{statement};" for statement in _missing(connection))
        raise InvalidSetting(
            "The user of POSTGRES_CONNECTION_STRING may not make the roles that keep tenants"
            " apart.",
            remedy="Let an administrator of the server run this once, then run"
            f" `factory-mcp db upgrade` again:\n{statements}",
        ) from error


def loosen(connection: Connection) -> None:
    """Let the owner see all rows, so that a step of the migrations can change them."""
    for name in _existing(connection):
        connection.execute(text(f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY"))


def secure(connection: Connection) -> None:
    """Grant what the roles need and no more, and guard every table that has a tenant."""
    if not connection.scalar(
        text(f"SELECT has_schema_privilege('{APP}', current_schema(), 'USAGE')")
    ):
        connection.execute(
            text(
                "DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO"
                f" {APP}, {WORKER}', current_schema()); END $$"
            )
        )
    for name in _TABLES:
        rights = "SELECT, INSERT" if name in APPEND_ONLY else "SELECT, INSERT, UPDATE, DELETE"
        columns = WORKER_COLUMNS.get(name)
        for statement in (
            f"REVOKE ALL ON {name} FROM {APP}, {WORKER}, PUBLIC",
            f"GRANT {rights} ON {name} TO {APP}",
            *([f"GRANT SELECT ({columns}) ON {name} TO {WORKER}"] if columns else []),
            f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
            f"DROP POLICY IF EXISTS {APP} ON {name}",
            f"CREATE POLICY {APP} ON {name} TO {APP} USING ({_MINE}) WITH CHECK ({_MINE})",
            f"DROP POLICY IF EXISTS {WORKER} ON {name}",
            *(
                [f"CREATE POLICY {WORKER} ON {name} FOR SELECT TO {WORKER} USING (true)"]
                if columns
                else []
            ),
        ):
            connection.execute(text(statement))


def missing_roles(connection: Connection) -> list[str]:
    """The roles that are not there or that this user may not take."""
    may = "SET" if _version(connection) >= SET_FROM else "MEMBER"
    found = connection.execute(
        text(
            "SELECT rolname::text FROM pg_roles WHERE rolname = ANY(:names) AND"
            " pg_has_role(current_user, oid, :may)"
        ),
        {"names": list(ROLES), "may": may},
    )
    return sorted(set(ROLES) - set(found.scalars()))


def unguarded(connection: Connection) -> list[str]:
    """Tables with a tenant whose rows are not kept apart."""
    rows = connection.execute(_GUARDS)
    return [row.name for row in rows if not row.forced or APP not in row.roles]


def loose_rights(connection: Connection) -> list[str]:
    """Tables of ours on which the app has fewer rights than it needs, or more than it may."""
    rows = connection.execute(_GRANTED, {"app": APP, "names": _existing(connection)})
    return [name for name, some, more in rows if not some or (more and name in APPEND_ONLY)]


def _existing(connection: Connection) -> list[str]:
    guarded = {row.name for row in connection.execute(_GUARDS)}
    return [name for name in _TABLES if name in guarded]


def _missing(connection: Connection) -> Sequence[str]:
    """The statements that are left to run."""
    known = text("SELECT rolname::text FROM pg_roles WHERE rolname = ANY(:names)")
    there = set(connection.execute(known, {"names": list(ROLES)}).scalars())
    user = connection.scalar(text("SELECT quote_ident(current_user)"))
    how = " WITH SET TRUE, INHERIT FALSE" if _version(connection) >= SET_FROM else ""
    return [
        *(f"CREATE ROLE {role} NOLOGIN" for role in ROLES if role not in there),
        *(f"GRANT {role} TO {user}{how}" for role in missing_roles(connection)),
    ]


def _although_made(statement: str) -> str:
    """The statement, content if somebody else was faster."""
    return (
        f"DO $do$ BEGIN {statement}; EXCEPTION"
        " WHEN duplicate_object OR unique_violation THEN NULL; END $do$"
    )


def _version(connection: Connection) -> int:
    return int(connection.scalar(text("SELECT current_setting('server_version_num')")) or 0)
