"""The HTTP application over real sockets: both eras, guards, health."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from mcp import Client
from starlette.requests import Request
from starlette.types import Message

from factory_mcp.ports import Check
from factory_mcp.transports.guards import BodyGuard
from factory_mcp.transports.http import Health, HttpApp, OpenResponses, http_app
from tests.transports.messages import HANDSHAKE, message, text_of
from tests.transports.sample_server import (
    Sample,
    all_well,
    sample_app,
    serving,
)

INITIALIZE = message(1, "initialize", HANDSHAKE)
ACCEPT = {"accept": "application/json, text/event-stream"}
ERAS = [("auto", "2026-07-28"), ("legacy", "2025-11-25")]


# --------------------------------------------------------------------------------------- mcp


@pytest.mark.parametrize(("mode", "version"), ERAS)
@pytest.mark.requirement("TRANSPORT-5")
async def test_a_client_of_either_era_calls_tools_over_http(mode: str, version: str) -> None:
    """One address serves both, with progress."""
    heard: list[float] = []

    async def progressed(progress: float, total: float | None, message: str | None) -> None:
        assert (total, message) == (2, f"step {progress:g}")
        heard.append(progress)

    with anyio.fail_after(20):
        async with serving(sample_app()) as url, Client(f"{url}/mcp", mode=mode) as client:
            assert client.protocol_version == version
            assert len((await client.list_tools()).tools) == 6
            result = await client.call_tool("steps", {"text": "x"}, progress_callback=progressed)
    assert (text_of(result), heard) == ("steps x", [1, 2])


# ------------------------------------------------------------------------------------ guards


@pytest.mark.requirement("TRANSPORT-3")
async def test_a_task_of_five_megabytes_gets_one_clear_error() -> None:
    """The client can read the answer although its body is not wanted."""
    body = {**INITIALIZE, "params": {"task": "x" * 5_000_000}}
    async with serving(sample_app()) as url, httpx.AsyncClient() as client:
        answer = await client.post(f"{url}/mcp", json=body, headers=ACCEPT)
        after = await client.get(f"{url}/healthz")
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert answer.json()["detail"] == "the body is larger than 1048576 bytes"
    assert after.status_code == 200


async def test_a_streamed_body_over_the_limit_gets_the_same_error() -> None:
    """Without a declared length."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 1_000_000

    async with serving(sample_app()) as url, httpx.AsyncClient() as client:
        answer = await client.post(f"{url}/mcp", content=chunks(), headers=ACCEPT)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("sent", [b"", b"{", b'5\r\n{"a":\r\n'])
@pytest.mark.requirement("TRANSPORT-4")
async def test_a_body_that_stops_coming_ends_the_connection(sent: bytes) -> None:
    """Headers and the start of a body, then silence: 408, and the socket is closed."""
    head = b"POST /mcp HTTP/1.1\r\nhost: x\r\n"
    kind = b"transfer-encoding: chunked\r\n\r\n" if b"\r" in sent else b"content-length: 9\r\n\r\n"
    app = sample_app()
    slow = HttpApp(
        responses=OpenResponses(BodyGuard(app, deadline_s=0.05)),
        health=app.health,
        running=app.running,
    )
    with anyio.fail_after(10):
        async with serving(slow) as url:
            port = int(url.rpartition(":")[2])
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(head + kind + sent)
                received = b"".join([chunk async for chunk in stream])
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body_timeout"' in received


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"host": "rebound.example"}, 421, "host_not_allowed"),
        ({"origin": "http://localhost:1.evil.example"}, 403, "origin_not_allowed"),
        ({"x-forwarded-for": "10.0.0.1"}, 403, "proxied_request"),
    ],
)
@pytest.mark.parametrize("path", ["/mcp", "/sse", "/readyz", "/", "/nowhere"])
async def test_every_path_is_guarded(
    path: str, headers: dict[str, str], status: int, code: str
) -> None:
    """Before anything else is asked."""
    transport = httpx.ASGITransport(sample_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
        answer = await client.get(path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("host", "start"), [("::1", "http://[::1]:"), ("localhost", "http://127.0.0.1:")]
)
async def test_it_is_reached_by_every_loopback_address(host: str, start: str) -> None:
    """An IPv6 address has brackets in its URL and in the Host header."""
    async with serving(sample_app(), host) as url, httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/healthz")
    assert url.startswith(start)
    assert answer.status_code == 200


# ------------------------------------------------------------------------------------ health


@pytest.mark.requirement("TRANSPORT-6")
async def test_ready_says_what_is_wrong_and_how_to_mend_it() -> None:
    """503 with the checks; the process lives all the same."""

    async def broken() -> list[Check]:
        return [Check(name="store", ok=False, detail="read-only", fix="chmod u+w it")]

    async with serving(sample_app(ready=broken)) as url, httpx.AsyncClient() as client:
        ready = await client.get(f"{url}/readyz")
        health = await client.get(f"{url}/healthz")
    check = {"name": "store", "ok": False, "detail": "read-only", "fix": "chmod u+w it"}
    expected = {"ready": False, "missed": [], "checks": [{**check, "spare": False}]}
    assert (ready.status_code, ready.json()) == (503, expected)
    assert (health.status_code, health.json()) == (200, {"status": "ok"})


async def test_ready_is_200_when_all_is_well() -> None:
    """With the checks that were made."""
    async with serving(sample_app()) as url, httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)


async def test_checks_that_hang_are_no_readiness() -> None:
    """The answer comes all the same."""

    async def hanging() -> list[Check]:
        await anyio.sleep_forever()
        return []

    health = Health(hanging, patience_s=0.01)
    with anyio.fail_after(5):
        response = await health.readyz(Request({"type": "http"}))
    assert (response.status_code, b"the checks took over" in response.body) == (503, True)


async def test_another_asgi_server_runs_the_lifespan() -> None:
    """`uvicorn --factory` enters it by the ASGI protocol."""
    said: list[str] = []
    messages: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None]:
        said.append("up")
        yield
        said.append("down")

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        said.append(message["type"])

    app = http_app(Sample().server(), ready=all_well, lifespan=lifespan)
    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    assert said == ["up", "lifespan.startup.complete", "down", "lifespan.shutdown.complete"]
