"""The way to one Redis or Valkey: short waits, no retries, and no waits at all while it is away.

The first fault that says that the server is away opens the circuit: from then on nobody waits for
it. Only `run` asks again, once a second, in nobody's time.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar, cast
from urllib.parse import urlsplit

import anyio

from factory_mcp.ports import Check, Clock
from factory_mcp.stores.redis.faults import Fault, translate
from factory_mcp.telemetry import log

PREFIX: Final = "factory-mcp:"
TIMEOUT_S: Final = 0.2
"""The longest that a caller waits for anything here."""
AGAIN_S: Final = 1.0
LOG_S: Final = 60.0
"""The same fault is logged once in so long."""
AT_ONCE: Final = 16
"""Commands under way at the same time; the others wait in line."""
OLDEST: Final = 7
"""Of Redis; Valkey counts as the Redis that it says it is."""
_RESERVED: Final = 2
"""Connections besides: one hears the bus, one checks."""

T = TypeVar("T")


class PubSub(Protocol):
    """What is used of redis-py's subscription."""

    async def subscribe(self, *channels: str) -> None:
        """Ask for a channel's messages."""
        ...

    async def get_message(self, *, timeout: float) -> dict[str, Any] | None:  # noqa: ASYNC109
        """The next message, or None after so long."""
        ...

    async def ping(self) -> None:
        """Ask for a sign of life, which comes as a message."""
        ...

    async def aclose(self) -> None:
        """Give the connection back."""
        ...


class Client(Protocol):
    """What is used of redis-py's client; its own types say less."""

    async def get(self, name: str) -> bytes | None:
        """GET."""
        ...

    async def set(self, name: str, value: bytes, *, px: int, nx: bool = False) -> bool | None:
        """SET with a time to live in milliseconds."""
        ...

    async def delete(self, name: str) -> int:
        """DEL."""
        ...

    async def eval(self, script: str, numkeys: int, *keys_and_args: str) -> Any:
        """EVAL."""
        ...

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: str) -> Any:
        """EVALSHA."""
        ...

    async def publish(self, channel: str, message: str) -> int:
        """PUBLISH."""
        ...

    async def ping(self) -> bool:
        """PING."""
        ...

    async def info(self) -> Mapping[str, Any]:
        """INFO."""
        ...

    def pubsub(self) -> PubSub:
        """A subscription of its own."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class Script:
    """A Lua script and the name that the server keeps it under."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisConnection:
    """One server, for all that is built on it.

    Args:
        url: `redis://`, `rediss://` or `unix://`; the password in it is shown to nobody.
        clock: Time.
        prefix: How all keys and channels begin.
        timeout_s: The longest that a caller waits.
    """

    def __init__(
        self, url: str, clock: Clock, *, prefix: str = PREFIX, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._url, self._clock = url, clock
        self._prefix, self._timeout_s = prefix, timeout_s
        self._client: Client | None = None
        self._slots = anyio.Semaphore(AT_ONCE)
        self._fault: Fault | None = None
        self._logged: dict[str, float] = {}

    @property
    def where(self) -> str:
        """The server's name for people."""
        parts = urlsplit(self._url)
        return parts.netloc.rpartition("@")[2] or parts.path

    @property
    def is_away(self) -> bool:
        """Whether nobody asks it anything for now."""
        return self._fault is not None

    def key(self, *parts: str) -> str:
        """A key or channel of ours."""
        return self._prefix + ":".join(parts)

    async def call(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Ask the server for something; nothing is tried twice.

        Raises:
            Fault: It was not done, or is not known to have been.
        """
        if self._fault is not None:
            raise Fault(self._fault.cause, remedy=self._fault.remedy, away=True)
        client = await self.client()
        asked = False
        with anyio.move_on_after(self._timeout_s):
            async with self._slots:
                asked = True
                return await self._translated(work(client))
        if not asked:
            raise Fault("too many wait for it", remedy="Use a faster Redis.", away=False)
        raise self._learnt(translate(TimeoutError()))

    async def script(self, script: Script, keys: Sequence[str], *arguments: str) -> Any:
        """Run a script; a server that has forgotten it is given it again.

        Raises:
            Fault: As `call`.
        """

        async def run(client: Client) -> Any:
            from redis.exceptions import NoScriptError  # noqa: PLC0415 — heavy; not before its use

            try:
                return await client.evalsha(script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return await client.eval(script.text, len(keys), *keys, *arguments)

        return await self.call(run)

    async def client(self) -> Client:
        """The client itself; whoever uses it sees to faults and time."""
        if self._client is None:
            made = await anyio.to_thread.run_sync(_make, self._url, self._timeout_s)
            if self._client is None:  # somebody else may have been faster
                self._client = made
        return self._client

    async def run(self) -> None:
        """Ask a server that is away, again and again, whether it is back."""
        while True:
            await self._clock.sleep(AGAIN_S)
            if self._fault is not None:
                await self._ask()

    async def close(self) -> None:
        """Close all connections; a later use opens them again."""
        client, self._client = self._client, None
        if client is not None:
            with anyio.move_on_after(self._timeout_s, shield=True):
                await client.aclose()

    async def check(self) -> Sequence[Check]:
        """What `doctor` says of it; never raises. Each of its steps has the client's time limit."""
        client = await self.client()
        try:
            await self._translated(client.set(self.key("check"), b"", px=1000))
            info = await self._translated(client.info())
        except Fault as fault:
            detail = f"{self.where}: {fault.cause}"
            return [Check(name="redis", ok=False, detail=detail, fix=fault.remedy)]
        return described(self.where, info)

    async def _translated(self, doing: Awaitable[T]) -> T:
        from redis.exceptions import RedisError  # noqa: PLC0415 — heavy; not before its use

        try:
            return await doing
        except (RedisError, OSError) as error:
            raise self._learnt(translate(error)) from None  # it may hold what was to be stored

    def _learnt(self, fault: Fault) -> Fault:
        now = self._clock.monotonic()
        if now >= self._logged.get(fault.cause, now):
            self._logged[fault.cause] = now + LOG_S
            log.warning("redis.fault", server=self.where, cause=fault.cause, remedy=fault.remedy)
        if fault.away:
            self._fault = fault
        return fault

    async def _ask(self) -> None:
        client = await self.client()
        with anyio.move_on_after(self._timeout_s):
            try:
                await self._translated(client.ping())
            except Fault:
                return
            self._fault = None
            self._logged.clear()
            log.info("redis.back", server=self.where)


def _make(url: str, timeout_s: float) -> Client:
    from redis.asyncio import ConnectionPool, Redis  # noqa: PLC0415 — heavy; not before its use
    from redis.asyncio.retry import Retry  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.maint_notifications import MaintNotificationsConfig  # noqa: PLC0415

    pool: Any = cast("Any", ConnectionPool).from_url(
        url,
        max_connections=AT_ONCE + _RESERVED,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),  # its default tries for seconds
        driver_info=None,  # a question less for each new connection
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        protocol=3,
    )
    return cast("Client", cast("Any", Redis).from_pool(pool))


def described(where: str, info: Mapping[str, Any]) -> Sequence[Check]:
    """What `doctor` says of a server, from its own account of itself."""
    version = str(info.get("redis_version", "0"))
    major, product = version.partition(".")[0], f"Redis {version}"
    if "valkey_version" in info:
        product = f"Valkey {info['valkey_version']}"
    role = {"master": "primary", "slave": "replica"}.get(str(info.get("role")), "unknown role")
    policy = str(info.get("maxmemory_policy", "unknown"))
    known = major.isdigit() and int(major) >= OLDEST
    fix = None if known else "Use Redis 7.0 or newer, or Valkey 8."
    detail = f"{product} at {where}, {role}"
    checks = [Check(name="redis", ok=known, detail=detail, fix=fix)]
    if policy == "noeviction" and int(info.get("maxmemory", 0)) > 0:
        detail = "noeviction: once its memory is full, nothing more is cached or counted there"
        fix = "Set `maxmemory-policy volatile-lru`: all that is kept there has a time to live."
        checks.append(Check(name="redis memory", ok=True, detail=detail, fix=fix))
    return checks
