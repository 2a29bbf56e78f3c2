"""The seams to what is fast and may be lost: nothing here is the truth.

None of these ever raises because a server is away; each says what it answers then. Names that a
user wrote are made blind before they leave the process.
"""

from collections.abc import Callable
from typing import Protocol


class Cache(Protocol):
    """Bytes by key, for a while. Anything may be gone at any time, all of it at once too.

    With its server away everything is absent, nothing is kept, and every lease is granted.
    """

    async def get(self, key: str) -> bytes | None:
        """What was put there, unless it is gone."""
        ...

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep a value for at most so long."""
        ...

    async def drop(self, key: str) -> None:
        """Forget a value, or give a lease back."""
        ...

    async def lease(self, key: str, ttl_s: float) -> bool:
        """Whether the caller may do what the key stands for: one at a time, until it is dropped."""
        ...


class Limiter(Protocol):
    """How often something may be done: `rate_per_s` on the average, `burst` of them at once.

    Exact among all processes that share a server (its clock counts). With it away each process
    grants its share by itself.
    """

    async def take(self, tenant: str, key: str, *, rate_per_s: float, burst: int) -> float:
        """Ask for one: 0 is granted, else the seconds until it would be; then nothing is taken."""
        ...


BreakerTold = Callable[[str, float], None]
"""Called with a breaker's name and the seconds that it stays open from now on; 0 is closed."""


class SharedBreakers(Protocol):
    """What one process learnt of a breaker, told to the others; and the leave for the one probe.

    Each process still decides by its own breakers. With the server away nothing is told, and
    everybody may probe.
    """

    def listen(self, told: BreakerTold) -> None:
        """Call this with what another process tells; never with what this one did."""
        ...

    def tell(self, name: str, open_s: float) -> None:
        """Tell the others that it opened for so long or, with 0, closed. Never waits."""
        ...

    async def may_probe(self, name: str) -> bool:
        """Ask for the leave to probe; if nobody gives it back, it ends by itself."""
        ...

    async def probed(self, name: str) -> None:
        """Give the leave back."""
        ...


Heard = Callable[[str | None], None]
"""Called with a message; with None when messages may have been missed: look again."""


class Bus(Protocol):
    """Short messages to every process that listens, the one that sends them included.

    Messages are single lines; the same one twice may come once. A listener hears None when the bus
    comes and when it goes, and when somebody else could not send: then what it knows from messages
    may be out of date. Listeners are called in the event loop and must be quick.
    """

    @property
    def up(self) -> bool:
        """Whether messages of other processes arrive."""
        ...

    def listen(self, topic: str, heard: Heard) -> None:
        """Call this with every message on the topic from now on."""
        ...

    def publish(self, topic: str, message: str) -> None:
        """Send soon. Never waits; what cannot be sent becomes a None to all, once it can."""
        ...

    async def run(self) -> None:
        """Send and hear for as long as the process serves; at its end what waits is sent."""
        ...


class Replicas(Protocol):
    """How many processes serve together."""

    def count(self) -> int:
        """As last seen, this one included; never below 1, and never waits."""
        ...

    async def run(self) -> None:
        """Announce this one for as long as it serves."""
        ...
