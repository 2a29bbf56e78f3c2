"""The HTTP application over real sockets, and how it stops."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import httpx
import mcp_types as t
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp import Client, MCPError
from mcp.client.subscriptions import SubscriptionLost
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from factory_mcp.domain.errors import InvalidSetting, NotLoopback, PortBusy
from factory_mcp.ports import Check
from factory_mcp.transports.guards import BodyGuard
from factory_mcp.transports.http import Health, HttpApp, OpenResponses, http_app
from factory_mcp.transports.listen import listen
from tests.transports.sample_server import Sample, all_well, no_lifespan, sample_app, serving

INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
ACCEPT = {"accept": "application/json, text/event-stream"}
REACHABLE = ["0.0.0.0", "10.0.0.1", "::", "a.example", ""]  # noqa: S104 — refused, not bound
ERAS = [("auto", "2026-07-28"), ("legacy", "2025-11-25")]


def text_of(result: t.CallToolResult) -> str:
    block = result.content[0]
    assert isinstance(block, t.TextContent)
    return block.text


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


async def test_a_client_may_leave_out_the_version_header() -> None:
    """Gemini and Roo send none after initialize."""
    async with serving(sample_app()) as url, httpx.AsyncClient() as client:
        opened = await client.post(f"{url}/mcp", json=INITIALIZE, headers=ACCEPT)
        session = {**ACCEPT, "mcp-session-id": opened.headers["mcp-session-id"]}
        note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        await client.post(f"{url}/mcp", json=note, headers=session)
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        answer = await client.post(f"{url}/mcp", json=ping, headers=session)
    assert answer.status_code == 200


async def test_sessions_are_capped() -> None:
    """A forgotten client costs memory; 500 of them are enough, for half an hour."""
    server = Sample().server()
    http_app(server, ready=all_well, lifespan=no_lifespan)
    manager = server.session_manager
    assert (manager.max_sessions, manager.session_idle_timeout) == (500, 1800)


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
    assert (ready.status_code, ready.json()) == (503, {"ready": False, "checks": [check]})
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


async def test_addresses_that_clients_probe_are_quiet_404s(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The droid program asks for four of them at every start."""
    names = ("oauth-authorization-server", "oauth-protected-resource", "openid-configuration")
    async with serving(sample_app()) as url, httpx.AsyncClient() as client:
        found = [(await client.get(f"{url}/.well-known/{name}")).status_code for name in names]
        pointer = await client.get(url)
    assert (found, caplog.records) == ([404, 404, 404], [])
    assert "/mcp" in pointer.text


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


# ------------------------------------------------------------------------------------ listen


@pytest.mark.parametrize("host", REACHABLE)
@pytest.mark.requirement("TRANSPORT-7")
def test_an_address_that_others_reach_is_refused(host: str) -> None:
    """There are no keys yet."""
    with pytest.raises(NotLoopback, match="API keys"):
        listen(host, 0)


@pytest.mark.requirement("TRANSPORT-7")
def test_a_busy_port_names_its_holder_and_the_flag() -> None:
    """One error with what to stop, or what else to do."""
    with listen("127.0.0.1", 0) as holder, pytest.raises(PortBusy) as caught:
        listen("127.0.0.1", holder.getsockname()[1])
    assert f"(pid {os.getpid()})" in caught.value.message
    assert "--port" in caught.value.remedy


def test_a_holder_that_the_system_does_not_name_is_another_program() -> None:
    """Somebody has bound the port and does not listen."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(PortBusy, match="another program"):
            listen("127.0.0.1", silent.getsockname()[1])


def test_an_address_that_does_not_exist_is_an_invalid_setting() -> None:
    """With the system's words."""
    with pytest.raises(InvalidSetting, match="cannot listen on"):
        listen("::1%nosuch", 0)


# -------------------------------------------------------------------------------------- stop


class Program:
    """The sample server as a process of its own."""

    def __init__(self, process: Process) -> None:
        assert process.stderr is not None
        self.process = process
        self._errors = BufferedByteReceiveStream(process.stderr)

    async def says(self, start: str) -> str:
        """Wait for a line on stderr that begins so, and return its rest."""
        while True:
            line = (await self._errors.receive_until(b"\n", 65536)).decode()
            if line.startswith(start):
                return line.removeprefix(start).strip()

    async def ended(self) -> tuple[int, bytes]:
        """Its exit code, and what it wrote to stdout."""
        assert self.process.stdout is not None
        written = b"".join([chunk async for chunk in self.process.stdout])
        return await self.process.wait(), written


@asynccontextmanager
async def program() -> AsyncGenerator[tuple[Program, str]]:
    command = [sys.executable, "-m", "tests.transports.sample_server", "http", "0"]
    async with await anyio.open_process(command, stdin=subprocess.DEVNULL) as process:
        try:
            running = Program(process)
            yield running, await running.says("listening ")
        finally:
            with suppress(ProcessLookupError):
                process.kill()


async def hold(url: str, answers: list[str]) -> None:
    """Call a tool that answers once it is released."""
    async with Client(f"{url}/mcp") as client:
        await client.list_tools()  # else it asks for them after the call, and nobody answers
        try:
            answers.append(text_of(await client.call_tool("hold", {"text": "x"})))
        except MCPError as error:
            answers.append(error.error.message)


async def held(url: str) -> None:
    """Wait until the call is in."""
    async with Client(f"{url}/mcp") as client:
        await client.call_tool("await_held", {})


@pytest.mark.requirement("TRANSPORT-8")
async def test_sigterm_lets_an_open_call_end_and_exits_with_0() -> None:
    """Not ready at once, the call is answered, nothing is on stdout."""
    answers: list[str] = []
    with anyio.fail_after(30):
        async with program() as (server, url), anyio.create_task_group() as tasks:
            tasks.start_soon(hold, url, answers)
            await held(url)
            server.process.send_signal(signal.SIGTERM)
            await server.says("draining")
            async with httpx.AsyncClient() as client:
                assert (await client.get(f"{url}/readyz")).status_code == 503
                assert (await client.get(f"{url}/healthz")).status_code == 200
            async with Client(f"{url}/mcp") as other:
                await other.list_tools()
                await other.call_tool("release", {})
            await server.says("stopping")
            assert await server.ended() == (0, b"")
    assert answers == ["hold x"]


@pytest.mark.requirement("TRANSPORT-8")
async def test_a_second_signal_ends_the_patience() -> None:
    """The call that is cut is a failed call, and the exit code is still 0."""
    answers: list[str] = []
    with anyio.fail_after(30):
        async with program() as (server, url), anyio.create_task_group() as tasks:
            tasks.start_soon(hold, url, answers)
            await held(url)
            server.process.send_signal(signal.SIGINT)
            await server.says("draining")
            server.process.send_signal(signal.SIGINT)
            await server.says("stopping")
            assert await server.ended() == (0, b"")
    assert len(answers) == 1
    assert answers != ["hold x"]


@pytest.mark.requirement("TRANSPORT-8")
async def test_open_streams_do_not_keep_it_alive() -> None:
    """The streams of all three kinds end; nobody waits for a time-out."""
    with anyio.fail_after(30):
        async with (
            program() as (server, url),
            httpx.AsyncClient() as client,
            client.stream("GET", f"{url}/sse") as sse,
            Client(f"{url}/mcp") as modern,
            Client(f"{url}/mcp", mode="legacy"),
            modern.listen(tools_list_changed=True) as subscription,
        ):
            server.process.send_signal(signal.SIGTERM)
            lines = [line async for line in sse.aiter_lines()]
            with suppress(SubscriptionLost):
                assert [event async for event in subscription] == []
            assert await server.ended() == (0, b"")
            assert lines[0] == "event: endpoint"


async def test_a_request_that_was_not_answered_yet_is_told_why() -> None:
    """503 with a code, instead of a broken connection."""
    sent = await ended(listens)
    assert (sent[0]["status"], b"shutting_down" in sent[1]["body"]) == (503, True)


async def test_a_stream_that_has_begun_gets_its_end() -> None:
    """So that its client sees no broken connection."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await listens(scope, receive, send)

    sent = await ended(app)
    assert sent[1:] == [{"type": "http.response.body", "body": b"", "more_body": False}]


async def test_a_response_that_is_complete_is_left_alone() -> None:
    """Even when its handler has not returned."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        await listens(scope, receive, send)

    assert len(await ended(app)) == 2


async def listens(_: Scope, receive: Receive, __: Send) -> None:
    """Wait for the client to leave, and see that it stays away."""
    assert [await receive(), await receive()] == [{"type": "http.disconnect"}] * 2


async def ended(app: ASGIApp) -> list[Message]:
    """What is sent when every response is ended while `app` listens for its client."""
    sent: list[Message] = []
    listening = anyio.Event()

    async def receive() -> Message:
        listening.set()
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    responses = OpenResponses(app)
    async with anyio.create_task_group() as tasks:
        scope: Scope = {"type": "http", "method": "POST", "headers": []}
        tasks.start_soon(responses, scope, receive, send)
        await listening.wait()
        responses.end()
    return sent
