"""Postgres databases of the tests' own that have the tables already, and who looks into them."""

import secrets
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote, urlsplit

import anyio
import psycopg
import pytest

from factory_mcp.stores.sql.postgres import PostgresDatabase
from tests.keys import sealing
from tests.servers import start

PATIENT_S: Final = 20.0
"""A test machine that is busy is no server that is away."""


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncGenerator[PostgresDatabase]:
    """The product's own view of a database that has its tables."""
    settings: dict[str, Any] = {"wait_s": PATIENT_S, "connections": 4, **options}
    database = PostgresDatabase(url, sealing(), **settings)
    try:
        await database.open()
        yield database
    finally:
        await database.close()


def upgrade(url: str) -> bool:
    """What `factory-mcp db upgrade` does."""

    async def work() -> bool:
        return await PostgresDatabase(url, sealing()).upgrade()

    with ThreadPoolExecutor(1) as thread:  # a loop may run in this one
        return thread.submit(anyio.run, work).result()


def owner(url: str) -> psycopg.Connection[Any]:
    """A connection of the tables' owner, for whatever a test wants to do behind our back."""
    return psycopg.connect(url, autocommit=True)


def running(url: str, query: str) -> int:
    """How many connections run that now, or did last."""
    sql = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid != pg_backend_pid() AND query = %s"
    )
    with owner(url) as connection:
        return (connection.execute(sql, (query,)).fetchone() or (0,))[0]


@pytest.fixture(scope="session")
def _template(_postgres_role: str) -> Iterator[str]:
    with start.fresh_database(_postgres_role) as url:
        upgrade(url)
        yield url


@pytest.fixture
def postgres_ready(_template: str) -> Iterator[str]:
    """The URL of a fresh database of a plain role, with our tables and nothing in them."""
    parts = urlsplit(_template)
    name = f"ready_{secrets.token_hex(6)}"
    with owner(parts._replace(path="/postgres").geturl()) as connection:
        template = parts.path.removeprefix("/")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        try:
            yield parts._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def postgres_plain(_postgres_role: str) -> Iterator[str]:
    """The URL of an empty database of a role that may not make roles."""
    parts = urlsplit(_postgres_role)
    name = f"plain_{secrets.token_hex(6)}"
    with owner(_postgres_role) as connection:
        for statement in (
            f"CREATE ROLE {name} LOGIN PASSWORD '{name}'",
            f"GRANT {name} TO CURRENT_USER",
            f"CREATE DATABASE {name} OWNER {name}",
        ):
            connection.execute(statement.encode())
        try:
            place = f"{quote(name)}:{quote(name)}@{parts.hostname}:{parts.port}"
            yield parts._replace(netloc=place, path=f"/{name}").geturl()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
            connection.execute(f"DROP ROLE {name}".encode())
