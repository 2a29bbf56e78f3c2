"""Hearing that something was written, whichever replica wrote it.

What is sent while nobody listens is lost, and a pooler may hand nothing on: whoever is called here
looks for himself, and looks now and then without being called.
"""

from collections.abc import Callable
from typing import Final

import psycopg

from factory_mcp.ports import Clock
from factory_mcp.stores.sql.pg_connection import Address, Connection
from factory_mcp.stores.sql.pg_faults import translate
from factory_mcp.telemetry import log

CHANNEL: Final = "factory_outbox"
QUIET_S: Final = 15.0
"""After so long without a word the server is asked whether it is still there."""
ANSWER_S: Final = 2.0
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 10.0


class Listener:
    """A connection of its own, that is made anew whenever it is lost.

    Args:
        url: What POSTGRES_CONNECTION_STRING holds.
        clock: Between attempts.
        quiet_s: How long to wait for a word before asking.
    """

    def __init__(self, url: str, clock: Clock, *, quiet_s: float = QUIET_S) -> None:
        self._address, self._clock, self._quiet_s = Address(url), clock, quiet_s

    async def run(self, heard: Callable[[], None]) -> None:
        """Call `heard` when the outbox has grown, and whenever it may have; ends when cancelled."""
        wait_s = FIRST_WAIT_S

        def has_heard() -> None:
            nonlocal wait_s
            wait_s = FIRST_WAIT_S
            heard()

        while True:
            try:
                await self._listen(has_heard)
            except (psycopg.Error, OSError) as error:
                ours = translate(error, self._address.place, self._address.secret)
                log.warning("listen.lost", reason=ours.message, again_in_s=wait_s)
            await self._clock.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def _listen(self, heard: Callable[[], None]) -> None:
        connection = await self._address.connect()
        try:
            await connection.set_autocommit(True)
            connection.patience = ANSWER_S
            await connection.execute(f"LISTEN {CHANNEL}".encode())
            heard()
            while True:
                await self._wait(connection, heard)
        finally:
            await connection.close()

    async def _wait(self, connection: Connection, heard: Callable[[], None]) -> None:
        """Wait for words; in silence make sure that there is somebody who could speak."""
        connection.patience = None
        words = 0
        async for _ in connection.notifies(timeout=self._quiet_s, stop_after=1):
            words += 1
        if words:
            heard()
        else:
            connection.patience = ANSWER_S
            await connection.execute("SELECT 1")
