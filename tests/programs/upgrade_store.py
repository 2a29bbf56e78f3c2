"""Upgrade a Postgres database, once stdin is closed, and say whether there was need."""

import sys

import anyio

from factory_mcp import telemetry
from factory_mcp.stores.sql.migrations.upgrade import upgrade as _  # noqa: F401 — takes its time
from factory_mcp.stores.sql.postgres import PostgresDatabase
from tests.keys import sealing


async def main(url: str) -> None:
    """Many of these are made ready, and then begin at the same time."""
    database = PostgresDatabase(url, sealing())
    print("ready", flush=True)  # noqa: T201
    sys.stdin.read()
    print(await database.upgrade())  # noqa: T201
    await database.open()
    await database.close()


if __name__ == "__main__":
    telemetry.configure()
    anyio.run(main, sys.argv[1])
