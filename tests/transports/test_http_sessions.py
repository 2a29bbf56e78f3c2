"""Sessions of the handshake era over HTTP, and what real clients do beside the protocol."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from factory_mcp.transports.http import http_app
from tests.transports.messages import HANDSHAKE, INITIALIZED, message, sse_data
from tests.transports.sample_server import Sample, all_well, no_lifespan, sample_app, serving

ACCEPT = {"accept": "application/json, text/event-stream"}
PING = message(2, "ping", {})


@asynccontextmanager
async def opened(version: str = "2025-11-25") -> AsyncGenerator[tuple[httpx.AsyncClient, str]]:
    """A client in a session of its own, and the address; it sends no version header."""
    hello = message(1, "initialize", {**HANDSHAKE, "protocolVersion": version})
    with anyio.fail_after(20):
        async with (
            serving(sample_app()) as url,
            httpx.AsyncClient(base_url=url, headers=ACCEPT) as client,
        ):
            answer = await client.post("/mcp", json=hello)
            client.headers["mcp-session-id"] = answer.headers["mcp-session-id"]
            await client.post("/mcp", json=INITIALIZED)
            (said,) = sse_data(answer.text)
            yield client, said["result"]["protocolVersion"]


@pytest.mark.requirement("TRANSPORT-15")
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_every_revision_of_the_handshake_is_served_over_http(
    version: str, *, header: bool
) -> None:
    """With the version header in later requests, or without, as Gemini and Roo."""
    call = message(2, "tools/call", {"name": "echo", "arguments": {"text": "x"}})
    async with opened(version) as (client, agreed):
        extra = {"mcp-protocol-version": version} if header else {}
        answer = await client.post("/mcp", json=call, headers=extra)
    (said,) = sse_data(answer.text)
    assert (version, 2, "echo x") == (agreed, said["id"], said["result"]["content"][0]["text"])


@pytest.mark.requirement("TRANSPORT-16")
@pytest.mark.parametrize("forgotten", ["deleted", "never opened"])
async def test_a_session_that_is_gone_is_a_404(forgotten: str) -> None:
    """On which most clients open another one and repeat the call."""
    async with opened() as (client, _):
        if forgotten == "deleted":
            await client.delete("/mcp")
        else:
            client.headers["mcp-session-id"] = "0" * 32
        answer = await client.post("/mcp", json=PING)
    assert (404, "Session not found") == (answer.status_code, answer.json()["error"]["message"])


@pytest.mark.requirement("TRANSPORT-21")
async def test_a_call_commits_its_stream_before_it_has_an_answer() -> None:
    """A client that waits for a first byte, or a proxy that buffers, must not give up."""
    hold: dict[str, Any] = {"name": "hold", "arguments": {}}
    release = message(3, "tools/call", {"name": "release", "arguments": {}})
    async with (
        opened() as (client, _),
        client.stream("POST", "/mcp", json=message(2, "tools/call", hold)) as held,
    ):
        kind, buffering = held.headers["content-type"], held.headers["x-accel-buffering"]
        await client.post("/mcp", json=release)
        await held.aread()
    assert ("text/event-stream", "no") == (kind.partition(";")[0], buffering)


async def test_sessions_are_capped() -> None:
    """A forgotten client costs memory; 500 of them are enough, for half an hour."""
    server = Sample().server()
    http_app(server, ready=all_well, lifespan=no_lifespan)
    manager = server.session_manager
    assert (manager.max_sessions, manager.session_idle_timeout) == (500, 1800)


PROBED = [
    ("GET", "/.well-known/oauth-authorization-server", 404),
    ("GET", "/.well-known/oauth-protected-resource", 404),
    ("GET", "/.well-known/oauth-protected-resource/mcp", 404),
    ("GET", "/.well-known/openid-configuration", 404),
    ("GET", "/mcp", 400),  # no session yet
    ("POST", "/sse", 405),  # on which a client of Streamable HTTP falls back to the old one
]


@pytest.mark.requirement("TRANSPORT-17")
async def test_what_clients_probe_is_refused_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    """The droid program does so at every start; a log full of errors would hide the real ones."""
    async with serving(sample_app()) as url, httpx.AsyncClient(headers=ACCEPT) as client:
        found = [
            (method, path, (await client.request(method, url + path)).status_code)
            for method, path, _ in PROBED
        ]
        pointer = await client.get(url)
    assert (PROBED, []) == (found, caplog.records)
    assert "/mcp" in pointer.text
