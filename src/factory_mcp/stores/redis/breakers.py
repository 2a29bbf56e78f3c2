"""The port SharedBreakers on Redis: openings over the bus, the probe as a lease."""

from typing import Final

from factory_mcp.ports.fast import BreakerTold, Bus
from factory_mcp.stores.redis.connection import Client, RedisConnection, Script
from factory_mcp.stores.redis.faults import Fault

TOPIC: Final = "breakers"
LEASE_S: Final = 30
"""A prober that dies keeps the others from probing for so long at most."""

_GIVE_BACK: Final = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
""")


class RedisBreakers:
    """Times are told as durations: clocks differ.

    Args:
        connection: The server.
        bus: The way to the others.
        me: This process; another one each start.
    """

    def __init__(self, connection: RedisConnection, bus: Bus, me: str) -> None:
        self._connection, self._bus, self._me = connection, bus, me

    def listen(self, told: BreakerTold) -> None:
        """Call this with what another process tells."""

        def heard(message: str | None) -> None:
            if message is not None:  # what was missed each process finds out by itself
                who, open_s, name = message.split(" ", 2)
                if who != self._me:
                    told(name, float(open_s))

        self._bus.listen(TOPIC, heard)

    def tell(self, name: str, open_s: float) -> None:
        """Tell the others that it opened for so long or, with 0, closed."""
        self._bus.publish(TOPIC, f"{self._me} {open_s:.3f} {name}")

    async def may_probe(self, name: str) -> bool:
        """Ask for the leave to probe; anybody may without Redis."""
        key, mine = self._connection.key("probe", name), self._me.encode()

        async def ask(client: Client) -> bool:
            return bool(await client.set(key, mine, px=LEASE_S * 1000, nx=True))

        try:
            return await self._connection.call(ask)
        except Fault:
            return True

    async def probed(self, name: str) -> None:
        """Give the leave back, if it is still this process's."""
        try:
            await self._connection.script(
                _GIVE_BACK, [self._connection.key("probe", name)], self._me
            )
        except Fault:
            return
