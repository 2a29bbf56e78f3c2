"""The port Replicas on Redis: a sorted set of who was seen when, on Redis's own clock."""

from contextlib import suppress
from typing import Final

import anyio

from factory_mcp.ports import Clock
from factory_mcp.stores.redis.connection import RedisConnection, Script
from factory_mcp.stores.redis.faults import Fault

EVERY_S: Final = 5.0
GONE_S: Final = 15.0
"""Who was not seen for so long is gone."""

_HERE: Final = Script("""
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[2]) * 1000)
return redis.call('ZCARD', KEYS[1])
""")
_GONE: Final = Script("return redis.call('ZREM', KEYS[1], ARGV[1])")


class RedisReplicas:
    """Those that were seen within the last 15 s.

    Args:
        connection: The server.
        clock: Time.
        me: This process; another one each start.
        expected: How many to count on before any count is known.
    """

    def __init__(
        self, connection: RedisConnection, clock: Clock, me: str, *, expected: int = 1
    ) -> None:
        self._connection, self._clock, self._me = connection, clock, me
        self._count = max(1, expected)

    def count(self) -> int:
        """As last seen, this one included; a server that goes away does not change it."""
        return self._count

    async def run(self) -> None:
        """Announce this one for as long as it serves, and take it out at the end."""
        key = self._connection.key("replicas")
        try:
            while True:
                with suppress(Fault):  # what was last seen counts
                    seen = await self._connection.script(_HERE, [key], self._me, f"{GONE_S:.0f}")
                    self._count = max(1, seen)
                await self._clock.sleep(EVERY_S)
        finally:
            # No longer than one call may take; if it fails, the mark ends by itself.
            with anyio.CancelScope(shield=True), suppress(Fault):
                await self._connection.script(_GONE, [key], self._me)
