"""Restore a backup into a store, and stop in the middle until somebody kills this."""

import signal
import sys
from pathlib import Path

import anyio

from factory_mcp import telemetry
from factory_mcp.stores.sql.restore import restore
from tests.filled import opened


def stop(step: str, done: int, of: int) -> None:
    """Rows have been written, and more are to come."""
    if step == "writing" and 2 * done > of:
        print("in the middle", flush=True)  # noqa: T201
        signal.pause()


async def main(kind: str, place: str, file: str) -> None:
    """Never comes to its end."""
    async with opened(kind, place) as database:
        await restore(database, Path(file), stop)


if __name__ == "__main__":
    telemetry.configure()
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
