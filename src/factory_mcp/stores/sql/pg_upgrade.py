"""Making and upgrading the tables in Postgres, and looking at how they stand."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from factory_mcp.domain.errors import SchemaMismatch
from factory_mcp.ports import Check, Sealer
from factory_mcp.stores.sql import pg_roles
from factory_mcp.stores.sql.migrations import HEAD, IN_THE_CLEAR
from factory_mcp.stores.sql.pg_connection import Address
from factory_mcp.stores.sql.pg_connection import Connection as Driver
from factory_mcp.stores.sql.pg_faults import translated
from factory_mcp.telemetry import log

WRITERS: Final = 0x464D4350
"""The advisory lock that every writer shares, and that who must be alone has for itself."""
UPGRADE_S: Final = 3600
LOCK_S: Final = 10
RUN_UPGRADE: Final = "Run `factory-mcp db upgrade`."

_WAITS: Final = text(
    "SELECT set_config('lock_timeout', :lock, true), set_config('statement_timeout', '0', true),"
    " set_config('idle_in_transaction_session_timeout', '0', true)"
)


async def upgrade(address: Address, sealer: Sealer, *, lock_s: float = LOCK_S) -> bool:
    """Make or upgrade tables, roles and guards, all or nothing; whether there was need.

    Safe for many starters at once: one does it, the others wait for `lock_s` at most.

    Raises:
        InvalidSetting: The user may not make the roles.
        SchemaMismatch: A newer version wrote the database.
        StoreUnavailable: It cannot be reached, or others held it for too long.
    """
    async with _connected(address) as connection:
        return await connection.run_sync(_upgrade, sealer, address.place, lock_s)


async def inspect(address: Address) -> Sequence[Check]:
    """One line each: revision, roles, guards, rights."""
    async with _connected(address) as connection:
        return await connection.run_sync(_inspect)


def mismatch(revision: str | None, place: str) -> SchemaMismatch | None:
    """What keeps this version from using a database at that revision."""
    if revision == HEAD:
        return None
    if revision is None:
        return SchemaMismatch(f"The database {place} has no tables yet.", remedy=RUN_UPGRADE)
    if revision.isdecimal() and revision < HEAD:
        message = f"The database {place} stands at revision {revision}, this version at {HEAD}."
        return SchemaMismatch(message, remedy=RUN_UPGRADE)
    return SchemaMismatch(
        f"The database {place} stands at revision {revision}; this version knows up to {HEAD}."
    )


@asynccontextmanager
async def _connected(address: Address) -> AsyncGenerator[AsyncConnection]:
    """A transaction as the owner of the tables."""

    async def connect() -> Driver:
        made = await address.connect()
        made.patience = UPGRADE_S
        return made

    engine = create_async_engine(
        "postgresql+psycopg://",
        async_creator=connect,
        hide_parameters=True,
        poolclass=NullPool,
        use_native_hstore=False,
    )
    try:
        with translated(address.place, address.secret):
            async with engine.begin() as connection:
                yield connection
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, sealer: Sealer, place: str, lock_s: float) -> bool:
    connection.execute(_WAITS, {"lock": f"{lock_s * 1000:.0f}"})
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITERS})
    revision = _revision(connection)
    if revision == HEAD and all(check.ok for check in _inspect(connection)):
        return False
    if revision in IN_THE_CLEAR:  # afterwards a key ring is lost, and not yet to be made
        sealer.prepare()
    from factory_mcp.stores.sql.migrations import upgrade as steps  # noqa: PLC0415 — Alembic

    pg_roles.make(connection)
    pg_roles.loosen(connection)
    steps.upgrade(connection, revision, sealer)
    pg_roles.secure(connection)
    log.info("store.upgraded", place=place, was=revision, revision=HEAD)
    return True


def _inspect(connection: Connection) -> list[Check]:
    revision = _revision(connection)
    missing = pg_roles.missing_roles(connection)
    open_tables = pg_roles.unguarded(connection)
    loose = [] if missing else pg_roles.loose_rights(connection)
    return [
        _line("revision", revision or "no tables", ok=revision == HEAD),
        _line("roles", _without(missing, "missing or not granted"), ok=not missing),
        _line("row-level security", _without(open_tables, "not guarded"), ok=not open_tables),
        _line("rights", _without(loose, "wrong"), ok=not loose),
    ]


def _line(name: str, detail: str, *, ok: bool) -> Check:
    return Check(name=name, ok=ok, detail=detail, fix=None if ok else RUN_UPGRADE)


def _without(names: Sequence[str], what: str) -> str:
    return f"{what}: {', '.join(names)}" if names else "as they must be"


def _revision(connection: Connection) -> str | None:
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    return connection.scalar(text("SELECT version_num FROM alembic_version"))
