"""One connection over pipes: the SDK behind the first answer."""

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import mcp_types as t
import pytest
from mcp import Client, StdioServerParameters
from structlog.testing import capture_logs

from factory_mcp.transports.stdio import record
from tests.transports.messages import HANDSHAKE, META
from tests.transports.peer import DISCOVER, INITIALIZE, call, connected, request
from tests.transports.sample_server import Sample

ROOT = Path(__file__).parents[2]
DECLARED: dict[str, Any] = {
    "roots": {"listChanged": True},
    "sampling": {"context": {"a": 1}, "tools": {}},
    "elicitation": {"form": {"applyDefaults": True}, "url": {}},
    "experimental": {"codex/auth-change": {"*": [None]}},
    "extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html"]}},
}
IDENTITY: dict[str, Any] = {
    "name": "",
    "version": "\x00",
    "title": "t",
    "description": "d",
    "websiteUrl": "no url",
    "icons": [{"src": "", "mimeType": "m", "sizes": ["any"]}, {"src": "x"}],
}
FULL_META: dict[str, Any] = {
    **META,
    "io.modelcontextprotocol/clientCapabilities": DECLARED,
    "io.modelcontextprotocol/clientInfo": IDENTITY,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "vendor/deep": {"a": [[[{"b": 1e300}]]]},
}
ODD_BUT_FINE = [
    request(1, "initialize", {**HANDSHAKE, "capabilities": DECLARED, "clientInfo": IDENTITY}),
    request(-1, "initialize", {**HANDSHAKE, "protocolVersion": "2024-11-05"}),
    request(10**30, "initialize", HANDSHAKE),
    request("", "initialize", HANDSHAKE),
    request('a"b', "initialize", HANDSHAKE),
    request(1, "server/discover", {"_meta": FULL_META}),
]


@pytest.fixture
async def hello(tmp_path: Path) -> str:
    """The sample's own first answers."""
    content = json.dumps(await record(Sample().server()))
    path = tmp_path / "hello.json"
    await anyio.Path(path).write_text(content, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
@pytest.mark.parametrize("early", [True, False])
@pytest.mark.requirement("TRANSPORT-5")
async def test_a_client_of_either_era_calls_tools_over_stdio(
    mode: str, version: str, hello: str, *, early: bool
) -> None:
    """With an early answer, and without one."""
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "tests.transports.sample_server", "stdio", hello if early else "/nowhere"],
        cwd=ROOT,
    )
    heard: list[float] = []

    async def progressed(progress: float, total: float | None, message: str | None) -> None:
        assert (total, message) == (2, f"step {progress:g}")
        heard.append(progress)

    with anyio.fail_after(60):
        async with Client(command, mode=mode) as client:
            assert client.protocol_version == version
            result = await client.call_tool("steps", {"text": "x"}, progress_callback=progressed)
            assert result.content == [t.TextContent(type="text", text="steps x")]
    assert heard == [1, 2]


@pytest.mark.requirement("TRANSPORT-9")
@pytest.mark.parametrize("opening", [INITIALIZE, DISCOVER])
async def test_the_first_request_is_answered_once(opening: bytes, hello: str) -> None:
    """The early answer stands; the SDK's own is dropped, and only that one."""
    async with connected(opening, hello=hello) as peer:
        first = await peer.receive()
        peer.send(request(2, "ping", {}) if opening is INITIALIZE else DISCOVER)
        second = await peer.receive()
    assert (first["id"], "result" in first) == (1, True)
    assert second["id"] == (2 if opening is INITIALIZE else 1)


@pytest.mark.requirement("TRANSPORT-9")
@pytest.mark.parametrize("opening", ODD_BUT_FINE)
async def test_what_is_answered_early_the_sdk_would_have_answered(
    opening: bytes, hello: str
) -> None:
    """Whatever a client may declare: the two answers are equal."""
    with capture_logs() as logs:
        async with connected(opening, hello=hello) as peer:
            assert "result" in await peer.receive()
            peer.send(call(2, "echo") if b"discover" in opening else request(2, "ping", {}))
            assert (await peer.receive())["id"] == 2
    assert [entry["event"] for entry in logs if entry["event"] == "hello.differs"] == []


async def test_answers_that_overtake_the_dropped_one_arrive(hello: str) -> None:
    """Only the answer with the first request's id is dropped."""
    bad = b'{"jsonrpc":"2.0","id":7,"method":5}\n'
    async with connected(DISCOVER + bad + call(2, "echo", text="x"), hello=hello) as peer:
        ids = [(await peer.receive())["id"] for _ in range(3)]
        peer.send(call(3, "echo", text="x"))
        ids.append((await peer.receive())["id"])
    assert (ids[0], sorted(ids)) == (1, [1, 2, 3, 7])


async def test_a_subscription_does_not_hold_up_the_end(hello: str) -> None:
    """It is never answered, and nobody waits for that."""
    listen = request(2, "subscriptions/listen", {"_meta": META, "notifications": {}})
    async with connected(DISCOVER + listen, hello=hello) as peer:
        assert [(await peer.receive())["id"]] == [1]
        acknowledged = await peer.receive()
        peer.hang_up()
        await peer.ended.wait()
    assert acknowledged["method"] == "notifications/subscriptions/acknowledged"


async def test_an_early_answer_that_differs_is_still_the_only_one(tmp_path: Path) -> None:
    """Two answers to one request would be worse; the log says that the file is stale."""
    stale = json.dumps(await record(Sample().server())).replace("A sample.", "Another.")
    path = tmp_path / "hello.json"
    await anyio.Path(path).write_text(stale, encoding="utf-8")
    with capture_logs() as logs:
        async with connected(DISCOVER, hello=str(path)) as peer:
            first = await peer.receive()
            peer.send(call(2, "echo", text="x"))
            second = await peer.receive()
    assert "hello.differs" in [entry["event"] for entry in logs]
    assert (first["result"]["instructions"], second["id"]) == ("Another.", 2)


async def test_initialize_after_discover_is_told_the_versions(hello: str) -> None:
    """As the SDK does; clients that open with discover then stay in the new era."""
    async with connected(DISCOVER, hello=hello) as peer:
        await peer.receive()
        peer.send(request(2, "initialize", HANDSHAKE))
        refused = await peer.receive()
        peer.send(call(3, "echo", text="x"))
        answer = await peer.receive()
    assert refused["error"]["code"] == -32022
    assert refused["error"]["data"]["supported"] == ["2026-07-28"]
    assert answer["result"]["content"] == [{"type": "text", "text": "echo x"}]
