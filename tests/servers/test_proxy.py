"""What the fault proxy does to connections, in front of a real Redis."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.abc import SocketStream

from tests.servers.process import HOST
from tests.servers.proxy import GARBAGE, FaultProxy, fault_proxy

ANSWER = b"-NOAUTH Authentication required.\r\n"
GUARD_S = 10
UNHEARD_S = 0.2
FOR_EVER = 3600.0


async def ask(stream: SocketStream) -> bytes:
    """What Redis says to somebody without a password."""
    await stream.send(b"PING\r\n")
    with anyio.fail_after(GUARD_S):
        return await stream.receive()


@asynccontextmanager
async def before(redis_url: str) -> AsyncGenerator[tuple[FaultProxy, SocketStream]]:
    """A proxy before the server, and a connection that has worked."""
    async with (
        fault_proxy(urlsplit(redis_url).port or 0) as proxy,
        await anyio.connect_tcp(HOST, proxy.port) as stream,
    ):
        assert ANSWER == await ask(stream)
        yield proxy, stream


@pytest.mark.requirement("SERVERS-7")
async def test_a_refused_connection_is_taken_again_when_healed(redis_url: str) -> None:
    """What was open breaks, what is new is refused, and later the same port is there again."""
    async with before(redis_url) as (proxy, stream):
        await proxy.refuse()
        with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
            await ask(stream)
        with pytest.raises(OSError, match="connect"):
            await anyio.connect_tcp(HOST, proxy.port)
        await proxy.heal()
        async with await anyio.connect_tcp(HOST, proxy.port) as again:
            assert ANSWER == await ask(again)


@pytest.mark.requirement("SERVERS-7")
async def test_a_frozen_connection_is_answered_when_healed(redis_url: str) -> None:
    """It stays open, and nothing that was sent is lost."""
    async with before(redis_url) as (proxy, stream):
        proxy.freeze()
        with anyio.move_on_after(UNHEARD_S) as waited:
            await ask(stream)
        assert waited.cancelled_caught
        await proxy.heal()
        with anyio.fail_after(GUARD_S):
            assert ANSWER == await stream.receive()


@pytest.mark.requirement("SERVERS-7")
async def test_a_slow_connection_holds_answers_back(redis_url: str) -> None:
    """Both ways, and for the others that are open as well."""
    async with before(redis_url) as (proxy, stream):
        proxy.latency_s = FOR_EVER
        with anyio.move_on_after(UNHEARD_S) as waited:
            await ask(stream)
        assert waited.cancelled_caught
        proxy.latency_s = 0.01
        async with await anyio.connect_tcp(HOST, proxy.port) as another:
            assert ANSWER == await ask(another)


@pytest.mark.requirement("SERVERS-7")
async def test_a_reset_breaks_the_connection_in_the_middle(redis_url: str) -> None:
    """At once, or once so many bytes of answers have passed."""
    async with before(redis_url) as (proxy, stream):
        proxy.reset()
        with anyio.fail_after(GUARD_S), pytest.raises(anyio.BrokenResourceError):
            await stream.receive()
        proxy.reset_after = len(ANSWER)
        async with await anyio.connect_tcp(HOST, proxy.port) as another:
            assert ANSWER == await ask(another)
            with pytest.raises(anyio.BrokenResourceError):
                await ask(another)


@pytest.mark.requirement("SERVERS-7")
async def test_garbage_comes_in_place_of_answers(redis_url: str) -> None:
    """The server has heard the question all the same."""
    async with before(redis_url) as (proxy, stream):
        proxy.garbage = True
        assert GARBAGE == await ask(stream)


@pytest.mark.requirement("SERVERS-7")
async def test_the_way_through_the_proxy_keeps_the_rest_of_the_url() -> None:
    """User, password, database and options stay what they are."""
    async with fault_proxy(1) as proxy:
        url = proxy.through("postgresql://me:p%40ss@localhost:5432/shop?sslmode=disable")
    assert f"postgresql://me:p%40ss@127.0.0.1:{proxy.port}/shop?sslmode=disable" == url
