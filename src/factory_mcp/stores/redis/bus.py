"""The port Bus on Redis: one channel for all topics.

A subscription that has gone dead looks like one on which nobody speaks. So it is asked for a sign
of life each second; without one for three it is given up and made anew.
"""

from collections import defaultdict, deque
from typing import Final

import anyio

from factory_mcp.ports import Clock
from factory_mcp.ports.fast import Heard
from factory_mcp.stores.redis.connection import PubSub, RedisConnection
from factory_mcp.stores.redis.faults import Fault, translate
from factory_mcp.telemetry import log

LOOK_S: Final = 1.0
DEAD_S: Final = 3.0
AGAIN_S: Final = 1.0
WAITING: Final = 1000
"""Messages that wait to be sent at most; what is more becomes a `look again`."""


class RedisBus:
    """Messages as lines: `topic message`, or `topic` alone for `look again`."""

    def __init__(self, connection: RedisConnection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock
        self._channel = connection.key("bus")
        self._heard: defaultdict[str, list[Heard]] = defaultdict(list)
        self._waiting: deque[str] = deque()
        self._missed: dict[str, None] = {}  # topics of which something could not be sent
        self._wanted = anyio.Event()
        self._up = False

    @property
    def up(self) -> bool:
        """Whether messages of other processes arrive."""
        return self._up

    def listen(self, topic: str, heard: Heard) -> None:
        """Call this with every message on the topic from now on."""
        self._heard[topic].append(heard)

    def publish(self, topic: str, message: str) -> None:
        """Send soon; never waits."""
        if len(self._waiting) < WAITING:
            self._waiting.append(f"{topic} {message}")
        else:
            self._missed[topic] = None
        self._wanted.set()

    async def run(self) -> None:
        """Send and hear for as long as the process serves; at its end what waits is sent."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._send)
                await self._hear()
        finally:
            with anyio.CancelScope(shield=True):  # as long as one call may take
                await self._send_waiting()

    # ----------------------------------------------------------------------------- sending

    async def _send(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            if not await self._send_waiting():
                await self._clock.sleep(AGAIN_S)
                self._wanted.set()

    async def _send_waiting(self) -> bool:
        """Send what waits, as one; what could not be sent is owed as a `look again`."""
        batch = [*self._missed, *self._waiting]
        if not batch:
            return True
        told = "\n".join(dict.fromkeys(batch))
        try:
            await self._connection.call(lambda client: client.publish(self._channel, told))
        except Fault:
            # What came meanwhile as well: it would not fare better.
            self._missed |= dict.fromkeys(line.partition(" ")[0] for line in self._waiting)
            self._waiting.clear()
            return False
        for line in batch:
            if " " in line:
                self._waiting.popleft()
            else:
                self._missed.pop(line, None)
        return True

    # ----------------------------------------------------------------------------- hearing

    async def _hear(self) -> None:
        while True:
            try:
                await self._subscribed()
            except Fault as fault:
                log.debug("bus.down", server=self._connection.where, cause=fault.cause)
            finally:
                self._turn(up=False)
            await self._clock.sleep(AGAIN_S)

    async def _subscribed(self) -> None:
        """Hear until the connection is lost.

        Raises:
            Fault: It is.
        """
        subscription = (await self._connection.client()).pubsub()
        from redis.exceptions import RedisError  # noqa: PLC0415 — heavy; the client had it loaded

        try:
            await subscription.subscribe(self._channel)
            await self._follow(subscription)
        except (RedisError, OSError) as error:
            raise translate(error) from None
        finally:
            with anyio.CancelScope(shield=True):  # it waits for nothing
                await subscription.aclose()

    async def _follow(self, subscription: PubSub) -> None:
        alive = self._clock.monotonic()
        while self._clock.monotonic() - alive < DEAD_S:
            message = await subscription.get_message(timeout=LOOK_S)
            if message is None:
                await subscription.ping()
                continue
            alive = self._clock.monotonic()
            if message["type"] == "subscribe":
                self._turn(up=True)
            elif message["type"] == "message":
                for line in message["data"].decode(errors="replace").split("\n"):
                    self._tell(line)
        raise TimeoutError

    def _turn(self, *, up: bool) -> None:
        if up != self._up:
            self._up = up
            log.info("bus.turned", up=up)
            for topic in self._heard:
                self._tell(topic)

    def _tell(self, line: str) -> None:
        topic, separator, message = line.partition(" ")
        for heard in self._heard.get(topic, ()):
            try:
                heard(message if separator else None)
            except Exception:  # noqa: BLE001 — a worker's outermost line: the others still hear
                log.exception("bus.listener_failed", topic=topic)
