"""The way to Weaviate: a client that is made when it is wanted, with a time for each question.

The library's client waits for seconds and repeats by itself what fails. Here a deadline ends that,
a client that failed is not used again, and a server that is away is left alone for a while.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio.to_thread import run_sync

from factory_mcp.domain.search_errors import IndexUnavailable, IndexUnfit
from factory_mcp.ports import Clock, Rng
from factory_mcp.stores.away import Away
from factory_mcp.stores.weaviate.address import Address
from factory_mcp.telemetry import log

if TYPE_CHECKING:
    from factory_mcp.stores.weaviate.shards import Shards

T = TypeVar("T")


@dataclass(slots=True)
class _Held:
    """A client, and how many are using it."""

    shards: "Shards"
    users: int = 0


class Connection:
    """One process's way to one collection.

    Args:
        address: Where the server is.
        collection: The collection's name.
        clock: When to ask again a server that is away.
        rng: So that not all processes ask it at once.
    """

    def __init__(self, address: Address, collection: str, clock: Clock, rng: Rng) -> None:
        self.address, self._collection = address, collection
        self._away = Away(clock, rng)
        self._connecting = anyio.Lock()
        self._held: _Held | None = None
        self._last: IndexUnavailable | None = None

    async def ask(self, work: "Callable[[Shards], Awaitable[T]]", within_s: float) -> T:
        """What the work gives, which must end in time.

        Raises:
            IndexUnavailable: It did not, or went wrong, or the server is being left alone.
        """
        if not self._away.admits():
            raise self._left_alone()
        try:
            found = await self._asked(work, within_s)
        except IndexUnfit:
            self._away.answered()
            raise
        except IndexUnavailable as error:
            self._away.failed()
            self._last = error
            log.warning("index.failed", where=str(self.address), code=error.code)
            raise
        except BaseException:
            self._away.released()
            raise
        self._away.answered()
        return found

    async def close(self) -> None:
        """Let go of the client; another question makes another one."""
        held, self._held = self._held, None
        if held is not None and not held.users:
            await _close(held)

    async def _asked(self, work: "Callable[[Shards], Awaitable[T]]", within_s: float) -> T:
        faults = await run_sync(_faults)
        with faults(str(self.address)), anyio.fail_after(within_s):
            async with self._shards() as shards:
                return await work(shards)

    @asynccontextmanager
    async def _shards(self) -> "AsyncGenerator[Shards]":
        """The client; who fails with it sees to it that nobody after him gets it."""
        async with self._connecting:
            if self._held is None:
                self._held = _Held(await self._connected())
            held = self._held
        held.users += 1
        try:
            yield held.shards
        except BaseException:
            if self._held is held:
                self._held = None
            raise
        finally:
            held.users -= 1
            if held is not self._held and not held.users:
                await _close(held)

    async def _connected(self) -> "Shards":
        from factory_mcp.stores.weaviate.shards import connect  # noqa: PLC0415 — loaded by now

        return await connect(self.address, self._collection)

    def _left_alone(self) -> IndexUnavailable:
        """What was wrong when it was asked the last time."""
        last = self._last or IndexUnavailable(f"Weaviate at {self.address} is being asked.")
        wait_s = self._away.retry_after_s
        error = type(last)(f"{last.message} It is asked again in {wait_s:.0f} s.")
        error.retry_after_s = wait_s
        return error


async def _close(held: _Held) -> None:
    with anyio.CancelScope(shield=True):
        await held.shards.close()


def _faults() -> "Callable[[str], AbstractContextManager[None]]":
    """Import Weaviate's client, which takes half a second."""
    from factory_mcp.stores.weaviate.faults import translated  # noqa: PLC0415

    return translated
