"""A real Redis in every bad state: callers get what there is without it, `doctor` says why."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from inspect import isclass
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis.exceptions
from structlog.testing import capture_logs

from factory_mcp.stores.redis.connection import AGAIN_S, RedisConnection, described
from factory_mcp.stores.redis.faults import MEANING, Fault, translate
from tests.fakes import FakeClock
from tests.fast import CLOCK, Fast, admin, becomes, connected, on_redis, running
from tests.house import until
from tests.servers import start
from tests.servers.authority import Authority

TTL = 60


@pytest.fixture
def server() -> Iterator[start.Redis]:
    """A Redis of the test's own."""
    with start.redis() as made:
        yield made


@asynccontextmanager
async def brief(url: str, clock: FakeClock | None = None) -> AsyncGenerator[RedisConnection]:
    """A connection that soon gives up, on a clock that stands still."""
    connection = RedisConnection(url, clock or FakeClock(), timeout_s=1)
    try:
        yield connection
    finally:
        await connection.close()


async def red(connection: RedisConnection) -> tuple[str, str]:
    """What `doctor` says is wrong, and the mend."""
    [check] = await connection.check()
    assert not check.ok
    assert check.fix is not None
    return check.detail.partition(": ")[2], check.fix


async def without_redis(process: Fast) -> None:
    """Every port answers as its contract says for a server that is away."""
    await process.cache.put("key", b"value", TTL)
    assert None is await process.cache.get("key")
    await process.cache.drop("key")
    assert [True, True] == [await process.cache.lease("work", TTL) for _ in range(2)]
    waits = [
        await process.limiter.take("acme", "ann", rate_per_s=0.001, burst=20) for _ in range(6)
    ]
    assert [0] * 5 == waits[:5]  # of 20, the share of one of four
    assert waits[5] > 0
    assert [True, True] == [await process.breakers.may_probe("a") for _ in range(2)]
    await process.breakers.probed("a")
    process.bus.publish("news", "of no interest")
    assert 4 == process.replicas.count()


async def with_redis(process: Fast) -> None:
    """Every port works."""
    await process.cache.put("key", b"value", TTL)
    assert b"value" == await process.cache.get("key")
    assert [True, False] == [await process.cache.lease("work", TTL) for _ in range(2)]
    await process.cache.drop("work")
    assert 0 == await process.limiter.take("acme", "bob", rate_per_s=1000, burst=20)
    assert [True, False] == [await process.breakers.may_probe("a") for _ in range(2)]
    await process.breakers.probed("a")


# --------------------------------------------------------------------------------- away


@pytest.mark.requirement("REDIS-6")
@pytest.mark.parametrize("how", ["freeze", "kill"])
async def test_a_server_that_is_away_is_asked_once_and_then_left_alone(
    server: start.Redis, how: str
) -> None:
    """Nobody who calls asks it again; once it is back, it is used again."""
    clock = FakeClock()
    async with brief(server.url, clock) as connection:
        process = on_redis(connection, "we", replicas=4)
        await with_redis(process)
        getattr(server, how)()
        assert None is await process.cache.get("key")
        assert connection.is_away
        asked: list[object] = []

        async def ask(client: object) -> None:
            asked.append(client)

        with pytest.raises(Fault):
            await connection.call(ask)
        assert [] == asked
        await without_redis(process)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.run)
            await anyio.wait_all_tasks_blocked()
            clock.advance(AGAIN_S)  # in vain
            await anyio.wait_all_tasks_blocked()
            assert connection.is_away
            server.thaw() if how == "freeze" else server.start()

            async def back() -> bool:
                clock.advance(AGAIN_S)
                return not connection.is_away

            await becomes(back)
            tasks.cancel_scope.cancel()
    async with connected(server.url) as connection:
        await with_redis(on_redis(connection, "we"))


@pytest.mark.requirement("REDIS-6")
async def test_a_server_that_was_never_there_is_no_error(server: start.Redis) -> None:
    """A replica may start before it."""
    server.stop()
    async with brief(server.url) as connection:
        with capture_logs() as logs:
            await without_redis(on_redis(connection, "we", replicas=4))
        assert ("it cannot be reached (Connection refused)",) == (await red(connection))[:1]
    assert ["redis.fault"] == [line["event"] for line in logs]


@pytest.mark.requirement("REDIS-6")
async def test_too_many_callers_at_once_do_not_make_it_away(server: start.Redis) -> None:
    """Those that cannot wait any longer go without it; it is as well as before."""
    async with brief(server.url) as connection:
        started, go_on = list[int](), anyio.Event()

        async def hold(_: object) -> None:
            started.append(1)
            with anyio.CancelScope(shield=True):
                await go_on.wait()

        async with anyio.create_task_group() as tasks:
            for _ in range(16):
                tasks.start_soon(_quietly, connection, hold)
            await until(lambda: len(started) == 16)
            with pytest.raises(Fault, match="too many wait"):
                await connection.call(hold)
            assert not connection.is_away
            go_on.set()


async def _quietly(connection: RedisConnection, work: Callable[[object], Awaitable[None]]) -> None:
    with suppress(Fault):
        await connection.call(work)


@pytest.mark.requirement("REDIS-3")
async def test_a_bus_that_lost_its_server_comes_back_and_says_look_again(
    server: start.Redis,
) -> None:
    """What could not be sent meanwhile is `look again` to the others."""
    async with connected(server.url) as first, connected(server.url) as second:
        ours, theirs = on_redis(first, "we"), on_redis(second, "they")
        heard: list[str | None] = []
        theirs.bus.listen("news", heard.append)
        async with running(ours.bus, theirs.bus), anyio.create_task_group() as tasks:
            tasks.start_soon(first.run)
            tasks.start_soon(second.run)
            server.kill()
            await until_fair(lambda: not ours.bus.up and not theirs.bus.up)
            assert [None, None] == heard
            ours.bus.publish("news", "unheard")
            await until_fair(lambda: first.is_away)
            server.start()
            await until_fair(lambda: ours.bus.up and theirs.bus.up)
            ours.bus.publish("news", "heard")
            await until_fair(lambda: "heard" in heard)
            assert {None, "heard"} == set(heard[2:])
            tasks.cancel_scope.cancel()


@pytest.mark.requirement("REDIS-3")
async def test_a_bus_whose_server_is_silent_gives_it_up(server: start.Redis) -> None:
    """A connection on which nothing comes looks like one on which nobody speaks."""
    async with connected(server.url) as connection:
        bus = on_redis(connection, "we").bus
        async with running(bus):
            server.freeze()
            await until_fair(lambda: not bus.up)
            server.thaw()
            await until_fair(lambda: bus.up)


async def until_fair(true: Callable[[], bool]) -> None:
    """Wait for what takes seconds, without keeping the processor busy."""
    with anyio.fail_after(30):
        while not true():
            await CLOCK.sleep(0.01)


# ------------------------------------------------------------------- there, and unusable


@pytest.mark.requirement("REDIS-6")
async def test_a_flushed_or_restarted_server_is_used_as_before(server: start.Redis) -> None:
    """Its scripts are gone too: they are given to it again."""
    async with connected(server.url) as connection:
        process = on_redis(connection, "we")
        await with_redis(process)
        with admin(server.url) as client:
            client.flushall()
            client.script_flush()
        assert None is await process.cache.get("key")
        await with_redis(process)
        server.kill()
        server.start()

        async def back() -> bool:
            await connection._ask()  # noqa: SLF001 — what `run` does once a second
            return not connection.is_away

        await process.cache.get("key")
        await becomes(back)
        await with_redis(process)


def _replica(client: Any) -> None:
    client.replicaof("127.0.0.1", 1)


def _too_few_replicas(client: Any) -> None:
    client.config_set("min-replicas-to-write", 1)


def _full(client: Any) -> None:
    client.config_set("maxmemory", 1)


@pytest.mark.requirement("REDIS-6")
@pytest.mark.requirement("REDIS-7")
@pytest.mark.parametrize(
    ("spoil", "cause", "mend"),
    [
        (_replica, "it is a read-only replica", "primary"),
        (_too_few_replicas, "it has too few replicas to take writes", "min-replicas-to-write"),
        (_full, "its memory is full", "maxmemory-policy volatile-lru"),
    ],
    ids=["replica", "too-few-replicas", "full"],
)
async def test_a_server_that_takes_no_writes_is_read_and_reported(
    server: start.Redis, spoil: Callable[[Any], None], cause: str, mend: str
) -> None:
    """Nothing new is kept there, and what is there can still be read."""
    async with connected(server.url) as connection:
        process = on_redis(connection, "we", replicas=4)
        await process.cache.put("old", b"value", TTL)
        with admin(server.url) as client:
            spoil(client)
        await without_redis(process)
        assert b"value" == await process.cache.get("old")
        assert not connection.is_away
        said, fix = await red(connection)
        assert (cause, True) == (said, mend in fix)


@pytest.mark.requirement("REDIS-7")
async def test_a_wrong_password_is_reported_and_not_shown(server: start.Redis) -> None:
    """Neither in a message, nor in the log."""
    url = server.url.replace("redis://:", "redis://:Geheim")
    async with brief(url) as connection:
        with capture_logs() as logs:
            await without_redis(on_redis(connection, "we", replicas=4))
            said = await red(connection)
        assert ("it does not let us in", "Correct user and password in REDIS_URL.") == said
        assert f"127.0.0.1:{server.port}" == connection.where
        for text in (*said, repr(logs), repr(connection), str(await connection.check())):
            assert "Geheim" not in text


@pytest.mark.requirement("REDIS-7")
async def test_the_rights_that_are_advised_are_enough(server: start.Redis) -> None:
    """A user with fewer is told which; one with these can do all that the product does."""
    rules = MEANING["NoPermissionError"].remedy.removeprefix("Allow the user ").removesuffix(".")
    with admin(server.url) as client:
        client.execute_command("ACL", "SETUSER", "poor", "on", ">pw", "~factory-mcp:*", "+get")
        client.execute_command("ACL", "SETUSER", "rich", "on", ">pw", *rules.split(" "))
    address = f"pw@127.0.0.1:{server.port}"
    async with connected(f"redis://poor:{address}") as connection:
        assert "its user may not do that" == (await red(connection))[0]
        assert not connection.is_away
    async with connected(f"redis://rich:{address}") as connection:
        process, heard = on_redis(connection, "we"), list[str | None]()
        assert [True] == [check.ok for check in await connection.check()]
        await with_redis(process)
        process.bus.listen("news", heard.append)
        async with running(process.bus, process.replicas):
            process.bus.publish("news", "heard")
            await until(lambda: "heard" in heard)


@pytest.mark.requirement("REDIS-7")
async def test_a_certificate_that_nobody_knows_is_reported(tmp_path: Path) -> None:
    """Nor one that names another host; one of the named authority is trusted."""
    ours, folder = Authority(tmp_path), tmp_path / "other"
    folder.mkdir()
    stranger = Authority(folder, "a stranger")
    for certificate in (stranger.server(), ours.other_host()):
        with start.redis(ours, certificate) as server:
            async with connected(server.url) as connection:
                said, fix = await red(connection)
        assert said.startswith("the TLS handshake failed (")
        assert "FACTORY_MCP_CA" in fix
    with start.redis(ours) as server:
        async with connected(server.url) as connection:
            assert [True] == [check.ok for check in await connection.check()]
            await with_redis(on_redis(connection, "we"))


@pytest.mark.requirement("REDIS-7")
async def test_another_program_at_the_address_is_reported() -> None:
    """It answers, but not as a Redis does."""

    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, answer)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 — not Django's
        async with brief(f"redis://127.0.0.1:{port}") as connection:
            assert "what answers there is no Redis" == (await red(connection))[0]
        tasks.cancel_scope.cancel()


@pytest.mark.requirement("REDIS-7")
async def test_a_frozen_server_is_reported(server: start.Redis) -> None:
    """`doctor` does not wait for it for long."""
    async with brief(server.url) as connection:
        server.freeze()
        assert "it does not answer in time" == (await red(connection))[0]


# ---------------------------------------------------------------------------- the table


@pytest.mark.requirement("REDIS-7")
def test_every_error_of_the_library_has_a_meaning() -> None:
    """A new version of it may have new ones."""
    classes = {
        name: kind
        for name, kind in vars(redis.exceptions).items()
        if isclass(kind) and issubclass(kind, Exception)
    }
    assert set() == classes.keys() - MEANING.keys()
    assert {"OSError"} == MEANING.keys() - classes.keys()
    lost = {"ConnectionError": "it cannot be reached (the connection was lost)"}
    for name, kind in classes.items():
        words = "1 host:1" if issubclass(kind, redis.exceptions.AskError) else "a user's words"
        assert lost.get(name, MEANING[name].cause) == translate(kind(words)).cause


@pytest.mark.requirement("REDIS-7")
def test_refusals_without_a_class_are_known_by_their_first_word() -> None:
    """The rest of the sentence may quote what was to be stored."""
    fault = translate(redis.exceptions.ResponseError("MISCONF Errors writing 'secret'"))
    assert "it cannot write its snapshot, and so takes no writes" == fault.cause


@pytest.mark.requirement("REDIS-7")
async def test_a_server_is_described(server_url: str) -> None:
    """Its product, version and role; the policy of its memory where that matters."""
    async with connected(server_url) as connection:
        [check] = await connection.check()
    assert check.ok
    assert check.detail.startswith(("Redis 7.", "Valkey 8."))
    assert check.detail.endswith(", primary")
    old = {"redis_version": "6.2.1", "role": "slave"}
    [check] = described("here", old)
    assert (False, "Redis 6.2.1 at here, replica") == (check.ok, check.detail)
    [_, check] = described(
        "here", {"redis_version": "7.0", "maxmemory": 1, "maxmemory_policy": "noeviction"}
    )
    assert (True, True) == (check.ok, "volatile-lru" in (check.fix or ""))
