"""The lock between the processes that write to one file: first come, first served.

A process that lets go and asks again at once would keep the others out for good, because they
only look now and then. So there are two locks: one for whose turn is next, one for whose it is.
"""

import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

from factory_mcp.domain.errors import StoreUnavailable
from factory_mcp.stores.sql.faults import translated

_POLL_S: Final = 0.001


@asynccontextmanager
async def turnstile(path: Path, wait_s: float) -> AsyncGenerator[None]:
    """Be the only one who writes to the file at `path`.

    Args:
        path: The file; the locks are `path.next` and `path.lock` beside it.
        wait_s: How long to wait for one's turn, seconds.

    Raises:
        StoreUnavailable: Others had it all the time, or the locks cannot be opened.
    """
    with ExitStack() as held:
        try:
            with anyio.fail_after(wait_s), ExitStack() as queue:
                await _lock(path, "next", queue)
                await _lock(path, "lock", held)
        except TimeoutError:
            raise StoreUnavailable(
                f"The store {path} was held by others for {wait_s:g} s.",
                remedy="Wait and call again; if it stays so, end the process that holds it.",
            ) from None
        yield


async def _lock(path: Path, name: str, held: ExitStack) -> None:
    """Take a lock; its file is opened each time, for it may have been deleted."""
    with translated(path):
        lock = os.open(f"{path}.{name}", os.O_RDWR | os.O_CREAT, 0o600)
    held.callback(os.close, lock)
    while not _taken(lock):  # noqa: ASYNC110 — held by another process, which tells nobody
        await anyio.sleep(_POLL_S)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
