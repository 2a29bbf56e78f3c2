"""How serving over HTTP stops: the signals, the open calls, the open streams."""

import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import anyio
import httpx
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp import Client, MCPError
from mcp.client.subscriptions import SubscriptionLost
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from factory_mcp.transports.http import OpenResponses
from tests.transports.messages import text_of


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
