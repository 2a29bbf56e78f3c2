"""Open the store at a path, and print whether that took Alembic."""

import sys
from pathlib import Path

import anyio

from factory_mcp import telemetry
from factory_mcp.stores.sql.sqlite import open_database
from tests.keys import sealing


async def main(path: Path) -> None:
    """Open it and let it go."""
    telemetry.configure()
    database = await open_database(path, sealing())
    await database.close()
    print("alembic imported:", "alembic" in sys.modules)  # noqa: T201


anyio.run(main, Path(sys.argv[1]))
