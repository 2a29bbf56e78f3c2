"""Open a SQLite store, once stdin is closed, and say so; its log says who made the tables."""

import sys
from pathlib import Path

import anyio

from factory_mcp import telemetry
from factory_mcp.stores.sql.migrations.upgrade import upgrade as _  # noqa: F401 — takes its time
from factory_mcp.stores.sql.sqlite import open_database
from tests.keys import sealing


async def main(path: Path) -> None:
    """Many of these are made ready, and then begin at the same time."""
    print("ready", flush=True)  # noqa: T201
    sys.stdin.read()
    database = await open_database(path, sealing())
    await database.close()
    print("opened")  # noqa: T201


if __name__ == "__main__":
    telemetry.configure()
    anyio.run(main, Path(sys.argv[1]))
