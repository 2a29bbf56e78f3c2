"""The stores of a team on this machine: writes, cached reads, search, and feeding the index.

    python -m bench.stores [--nodes 100000]

The client is this process: it calls the product's own stores, over real servers that are started
for this, and shares two CPUs with them. Needs FACTORY_MCP_WEAVIATE_BIN, see scripts/test.sh.
"""

import argparse
import os
import sqlite3
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

from bench import table
from bench.notes import texts
from bench.store_reads import hit_rate, reads
from bench.store_writes import append_all, new, writes
from factory_mcp import telemetry
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.postgres import PostgresDatabase
from factory_mcp.stores.sql.sqlite import SqliteDatabase
from tests import postgres as pg
from tests.keys import sealing
from tests.servers import start

CPUS: Final = 2
FIRST: Final = 1000
SYNCHRONOUS: Final = ("OFF", "NORMAL", "FULL", "EXTRA")
PATIENT_S: Final = 60.0
"""For transactions that only a benchmark makes."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.stores")
    parser.add_argument("--nodes", type=int, default=100_000, help="that are searched")
    nodes: int = parser.parse_args().nodes
    telemetry.configure("WARNING")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CPUS])
    with start.postgres(durable=True) as server:
        anyio.run(_writes_and_reads, server.url)
        anyio.run(_index, server.url, nodes)


async def _writes_and_reads(url: str) -> None:
    with start.redis() as redis, tempfile.TemporaryDirectory() as folder:
        async with _postgres(url) as database:
            sqlite = SqliteDatabase(Path(folder, "factory.db"), sealing(), feeds=True)
            await sqlite.open()
            await _heading(database, sqlite)
            await writes("Postgres", database, 1000)
            await writes("SQLite", sqlite, None)
            await sqlite.close()
            await reads(database, redis.url)
            start.empty_redis(redis.url)
            await hit_rate(database, redis.url)


async def _index(url: str, nodes: int) -> None:
    # As the product does before it imports numpy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from bench.store_index import drains, searches  # noqa: PLC0415

    with start.weaviate() as server:
        async with _postgres(url) as database:
            await drains(database, server)
    with start.weaviate() as server:
        async with _postgres(url, wait_s=PATIENT_S) as database:
            await searches(database, server, nodes)


@asynccontextmanager
async def _postgres(url: str, **options: float) -> AsyncGenerator[PostgresDatabase]:
    """A database that knows how its tables are filled, as autovacuum tells it after a minute."""
    settings = {"wait_s": 2.0, "connections": 9, **options}
    with start.fresh_database(url) as fresh:
        pg.upgrade(fresh)
        async with pg.opened(fresh, feeds=True, **settings) as database:
            notes = (new(words, tenant="before") for words in texts(FIRST, 10, 24, seed=0))
            await append_all(ContextTables(database), notes)
            with pg.owner(fresh) as connection:
                connection.execute("ANALYZE")
            yield database


async def _heading(database: PostgresDatabase, sqlite: SqliteDatabase) -> None:
    [said] = await database.check()
    async with sqlite.write("") as connection:
        level = (await connection.exec_driver_sql("PRAGMA synchronous")).scalar_one()
    _, _, durability = said.detail.partition(", ")
    print(f"\nserver  {durability}")
    print(f"        SQLite {sqlite3.sqlite_version}, synchronous {SYNCHRONOUS[level]};")
    print("        Redis, Weaviate: as tests/servers/start.py starts them, without TLS")
    print(f"client  bench/stores.py: factory-mcp's own stores, on the same {_cpus()} CPUs")
    table.heading("context store")


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    main()
