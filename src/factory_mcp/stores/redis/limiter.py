"""The port Limiter on Redis: one script, on Redis's own clock."""

from collections.abc import Callable
from typing import Final

from factory_mcp.domain.gcra import SECOND, interval_of
from factory_mcp.ports.fast import Limiter
from factory_mcp.stores.redis.connection import RedisConnection, Script
from factory_mcp.stores.redis.faults import Fault

GCRA: Final = Script("""
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local due = tonumber(redis.call('GET', KEYS[1]) or 0) or 0
local start = math.min(math.max(due, now), now + burst * interval)
local wait = start - now - (burst - 1) * interval
if wait > 0 then
  return {wait, now}
end
due = start + interval
redis.call('SET', KEYS[1], string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000))
return {0, now}
""")
"""`domain/gcra.py`, word for word. It answers the wait and the instant it was asked at."""


class RedisLimiter:
    """Exact among the replicas; without Redis each grants its share.

    Args:
        connection: The server.
        local: Grants this process's share when the server is away.
        replicas: How many share then.
        blind: `Sealer.blind`: keys show no tenant, no subject, no droid.
    """

    def __init__(
        self,
        connection: RedisConnection,
        local: Limiter,
        replicas: Callable[[], int],
        blind: Callable[[str, str], str],
    ) -> None:
        self._connection, self._local = connection, local
        self._replicas, self._blind = replicas, blind

    async def take(self, tenant: str, key: str, *, rate_per_s: float, burst: int) -> float:
        """Ask for one: 0 is granted, else the seconds until it would be."""
        name = self._connection.key("limit", self._blind(tenant, f"limit {key}"))
        arguments = str(interval_of(rate_per_s)), str(burst)
        try:
            wait, _ = await self._connection.script(GCRA, [name], *arguments)
        except Fault:
            share = self._replicas()
            return await self._local.take(
                tenant, key, rate_per_s=rate_per_s / share, burst=max(1, burst // share)
            )
        return wait / SECOND
