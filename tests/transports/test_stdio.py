"""One connection over pipes: the SDK behind the first answer, and the ways it ends."""

import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import mcp_types as t
import pytest
from mcp import Client, StdioServerParameters
from structlog.testing import capture_logs

from factory_mcp.transports.hello import Opening, open_wire
from factory_mcp.transports.stdio import (
    MAX_LINE,
    Lines,
    Overlong,
    encode,
    parse,
    record,
    serve_stdio,
)
from tests.fakes import FakeClock
from tests.transports.sample_server import Sample

ROOT = Path(__file__).parents[2]
HANDSHAKE: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}
META: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def request(request_id: Any, method: str, params: Any) -> bytes:
    message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    return json.dumps(message).encode() + b"\n"


def call(request_id: Any, tool: str, **arguments: Any) -> bytes:
    """A tool call of the 2026 era."""
    params = {"name": tool, "arguments": arguments, "_meta": META}
    return request(request_id, "tools/call", params)


INITIALIZE = request(1, "initialize", HANDSHAKE)
DISCOVER = request(1, "server/discover", {"_meta": META})
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


@dataclass
class Peer:
    """The client's ends of the pipes, and what the server told of its end."""

    fd_in: int
    fd_out: int
    sample: Sample = field(default_factory=Sample)
    clock: FakeClock = field(default_factory=FakeClock)
    parent: int = 1
    endings: list[str] = field(default_factory=list[str])
    ended: anyio.Event = field(default_factory=anyio.Event)
    closing: anyio.Event = field(default_factory=anyio.Event)
    close_gate: anyio.Event | None = None
    _buffer: bytes = b""

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.fd_out, data) :]

    async def receive(self) -> dict[str, Any]:
        """The next message, which every line is."""
        while b"\n" not in self._buffer:
            await anyio.wait_readable(self.fd_in)
            data = os.read(self.fd_in, 65536)
            if not data:
                raise EOFError
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def hang_up(self) -> None:
        os.close(self.fd_out)
        self.fd_out = -1

    async def on_eof(self) -> None:
        self.closing.set()
        self.endings.append("closed")
        if self.close_gate is not None:
            await self.close_gate.wait()


@asynccontextmanager
async def connected(first: bytes, hello: str = "/nowhere") -> AsyncGenerator[Peer]:
    """The sample server behind two pipes; it is cut at the end if it still runs."""
    incoming, client_out = os.pipe()
    client_in, outgoing = os.pipe()
    peer = Peer(client_in, client_out)
    peer.send(first)
    opening = open_wire(incoming, outgoing, hello)

    async def run() -> None:
        await serve_stdio(
            peer.sample.server(),
            opening,
            clock=peer.clock,
            on_eof=peer.on_eof,
            parent=lambda: peer.parent,
        )
        peer.ended.set()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            yield peer
            tasks.cancel_scope.cancel()
    for fd in (incoming, outgoing, peer.fd_in, peer.fd_out):
        with suppress(OSError):
            os.close(fd)


@pytest.fixture
async def hello(tmp_path: Path) -> str:
    """The sample's own first answers."""
    content = json.dumps(await record(Sample().server()))
    path = tmp_path / "hello.json"
    await anyio.Path(path).write_text(content, encoding="utf-8")
    return str(path)


# --------------------------------------------------------------------------------- serving


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


@pytest.mark.parametrize("text", ["\ud800", "\x00", "\u2028", "ä" * 30_000])
async def test_every_text_comes_and_goes_unharmed(text: str) -> None:
    """Lone surrogates, NUL, line separators, and more than a pipe holds."""
    async with connected(b"\n") as peer:
        await anyio.to_thread.run_sync(peer.send, call(1, "echo", text=text))
        answer = await peer.receive()
    assert answer["result"]["content"][0]["text"] == f"echo {text}"


# -------------------------------------------------------------------------------- bad lines


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"  \r",
        b"Content-Length: 99\r",
        b"\xff\xfe",
        b'{"jsonrpc":"2.0"}',
        b"[" * 5000,
        b'{"id":true,"method":"x","jsonrpc":"2.0","params":[]}',
    ],
)
@pytest.mark.requirement("TRANSPORT-11")
async def test_a_bad_line_does_no_harm(line: bytes) -> None:
    """It is passed over, and the next line is answered."""
    async with connected(line + b"\n" + call(1, "echo", text="x")) as peer:
        assert (await peer.receive())["id"] == 1


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":5}', [7]),
        (b'[{"jsonrpc":"2.0","id":"a","method":"ping"},{"id":8,"method":"ping"},3]', ["a", 8]),
    ],
)
@pytest.mark.requirement("TRANSPORT-11")
async def test_a_bad_request_with_an_id_is_refused(line: bytes, ids: list[Any]) -> None:
    """Its sender waits for an answer; so do the senders of a batch."""
    async with connected(line + b"\n") as peer:
        answers = [await peer.receive() for _ in ids]
    assert [(answer["id"], answer["error"]["code"]) for answer in answers] == [
        (found, -32600) for found in ids
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"jsonrpc":"2.0","id":4,"method":"x","params":"%s"}', 4),
        (b'{"method":"x","params":{"a":"%s"},"jsonrpc":"2.0","id":"b\\""}', 'b"'),
        (b'{"method":"x","params":{"a":"%s","id":5}}', None),
    ],
)
@pytest.mark.requirement("TRANSPORT-11")
async def test_an_overlong_line_is_refused_with_the_limit(line: bytes, expected: Any) -> None:
    """By its id where that can be seen; the server goes on."""
    long = line.replace(b"%s", b"y" * (MAX_LINE + 1)) + b"\n"
    async with connected(b"\n") as peer:
        await anyio.to_thread.run_sync(peer.send, long + call(9, "echo", text="x"))
        refused, answer = await peer.receive(), await peer.receive()
    assert (refused["id"], refused["error"]["data"]["code"]) == (expected, "too_large")
    assert str(MAX_LINE) in refused["error"]["message"]
    assert answer["id"] == 9


def test_lines_are_cut_wherever_the_bytes_were() -> None:
    """And the last one needs no newline."""
    lines = Lines(limit=4)
    assert list(lines.feed(b"ab")) == []
    assert list(lines.feed(b"c\n\nabcd\nde")) == [b"abc", b"", b"abcd"]
    assert list(lines.rest()) == [b"de"]
    assert list(lines.rest()) == []


def test_of_an_overlong_line_only_its_ends_are_kept() -> None:
    """However it came."""
    lines = Lines(limit=6000)
    found = [
        item for piece in (b"h", b"x" * 9000, b"t", b"\n", b"ok\n") for item in lines.feed(piece)
    ]
    overlong = found[0]
    assert isinstance(overlong, Overlong)
    assert (overlong.head[:2], overlong.tail[-2:]) == (b"hx", b"xt")
    assert len(overlong.head) == len(overlong.tail) == 4096
    assert (overlong.request_id, found[1]) == (None, b"ok")


def test_a_message_with_a_lone_surrogate_is_read_and_written() -> None:
    """As the escape it came as."""
    line = rb'{"jsonrpc":"2.0","id":1,"result":{"a":"\ud800"}}'
    assert encode(parse(line)) == line + b"\n"


# ----------------------------------------------------------------------------------- ending


@pytest.mark.requirement("TRANSPORT-12")
async def test_the_end_of_stdin_closes_what_is_open() -> None:
    """Requests that can still be answered are answered first."""
    async with connected(call(1, "echo", text="x")) as peer:
        peer.hang_up()
        assert (await peer.receive())["id"] == 1
        await peer.ended.wait()
    assert peer.endings == ["closed"]


async def test_a_last_line_without_a_newline_counts() -> None:
    """As a shell's printf leaves it."""
    async with connected(b"\n") as peer:
        peer.send(call(1, "echo", text="x").rstrip())
        peer.hang_up()
        assert (await peer.receive())["id"] == 1
        await peer.ended.wait()


async def test_a_call_that_does_not_end_is_not_waited_for_long() -> None:
    """A moment after the runs were closed the connection ends; a cancelled one holds nothing."""
    async with connected(call(1, "hold") + call(2, "hold")) as peer:
        await peer.sample.held.wait()
        note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}
        peer.send(json.dumps(note).encode() + b"\n")
        peer.hang_up()
        await peer.ended.wait()
    assert peer.endings == ["closed"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.requirement("TRANSPORT-12")
async def test_a_signal_is_the_end_of_stdin(number: signal.Signals) -> None:
    """And while it closes what is open, more signals change nothing."""
    async with connected(call(1, "echo", text="x")) as peer:
        await peer.receive()
        peer.close_gate = anyio.Event()
        os.kill(os.getpid(), number)
        await peer.closing.wait()
        os.kill(os.getpid(), number)
        await anyio.lowlevel.checkpoint()
        peer.close_gate.set()
        await peer.ended.wait()
    assert peer.endings == ["closed"]


@pytest.mark.requirement("TRANSPORT-12")
async def test_the_death_of_the_parent_is_the_end_of_stdin() -> None:
    """Somebody else may hold the pipe open."""
    async with connected(call(1, "echo", text="x")) as peer:
        await peer.receive()
        peer.clock.advance(3)
        await anyio.lowlevel.checkpoint()
        peer.parent = 2
        while not peer.ended.is_set():
            peer.clock.advance(3)
            await anyio.lowlevel.checkpoint()
    assert peer.endings == ["closed"]


@pytest.mark.requirement("TRANSPORT-12")
async def test_a_closed_stdout_is_the_end_too() -> None:
    """Nobody can hear us; the answers that are left are dropped, and nothing fails."""
    async with connected(b"\n") as peer:
        os.close(peer.fd_in)
        peer.fd_in = -1
        peer.send(call(1, "echo", text="x") + call(2, "echo", text="x"))
        await peer.ended.wait()
    assert peer.endings == ["closed"]


async def test_a_stdin_that_cannot_be_read_is_at_its_end(tmp_path: Path) -> None:
    """As a socket is that was reset; here it is a folder."""
    fd_in, fd_out = os.open(tmp_path, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
    closed: list[str] = []

    async def on_eof() -> None:
        closed.append("closed")

    with anyio.fail_after(20):
        opening = Opening(fd_in, fd_out)
        await serve_stdio(Sample().server(), opening, clock=FakeClock(), on_eof=on_eof)
    os.close(fd_in)
    os.close(fd_out)
    assert closed == ["closed"]


async def test_a_file_can_be_read_and_written(tmp_path: Path) -> None:
    """`factory-mcp stdio < requests > answers`."""
    requests, answers = tmp_path / "requests", tmp_path / "answers"
    await anyio.Path(requests).write_bytes(call(1, "echo", text="x"))
    fd_in, fd_out = os.open(requests, os.O_RDONLY), os.open(answers, os.O_CREAT | os.O_WRONLY)

    async def nothing() -> None:
        return

    with anyio.fail_after(20):
        await serve_stdio(
            Sample().server(), open_wire(fd_in, fd_out), clock=FakeClock(), on_eof=nothing
        )
    os.close(fd_in)
    os.close(fd_out)
    assert json.loads(await anyio.Path(answers).read_bytes())["id"] == 1
