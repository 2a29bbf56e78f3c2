"""The port Cache on Redis."""

from typing import Final

from factory_mcp.stores.redis.connection import Client, RedisConnection
from factory_mcp.stores.redis.faults import Fault

LEASE: Final = b""


class RedisCache:
    """Values as they come: whoever puts them has sealed them, and made their keys blind."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def get(self, key: str) -> bytes | None:
        """What was put there, unless it is gone."""
        name = self._connection.key("cache", key)
        try:
            return await self._connection.call(lambda client: client.get(name))
        except Fault:
            return None

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep a value for at most so long."""
        name = self._connection.key("cache", key)
        try:
            await self._connection.call(lambda client: client.set(name, value, px=_ms(ttl_s)))
        except Fault:
            return

    async def drop(self, key: str) -> None:
        """Forget a value, or give a lease back."""
        name = self._connection.key("cache", key)
        try:
            await self._connection.call(lambda client: client.delete(name))
        except Fault:
            return

    async def lease(self, key: str, ttl_s: float) -> bool:
        """Whether the caller may do what the key stands for; anybody may without Redis."""
        name = self._connection.key("cache", key)

        async def ask(client: Client) -> bool:
            return bool(await client.set(name, LEASE, px=_ms(ttl_s), nx=True))

        try:
            return await self._connection.call(ask)
        except Fault:
            return True


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
