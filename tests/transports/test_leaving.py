"""The product over HTTP: a client that leaves ends its wait and not the work; a cancel does."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import mcp_types as t
import pytest
from mcp import Client, MCPError
from mcp.client.sse import sse_client
from starlette.types import ASGIApp, Receive, Scope, Send

from factory_mcp.domain.model import Status
from factory_mcp.transports.http import HttpApp, OpenResponses, http_app
from tests.house import House, house, until
from tests.transports.messages import HANDSHAKE, INITIALIZED, META, message, sse_data
from tests.transports.sample_server import all_well, no_lifespan, serving

ACCEPT = {"accept": "application/json, text/event-stream"}
ERAS = ("2025-11-25", "2026-07-28")
TASK: dict[str, Any] = {"task": "x"}


class InFlight:
    """Counts the requests that are being answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.count += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.count -= 1


@dataclass
class Served:
    """A house on a free port."""

    home: House
    url: str
    open: InFlight

    async def states(self) -> dict[str, Status]:
        """How every run stands, by its task."""
        return {run.request["task"]: run.status for run in await self.home.runs()}


@asynccontextmanager
async def served(folder: Path, gate: anyio.Event | None = None) -> AsyncGenerator[Served]:
    """The whole product over real sockets; its droids wait for the gate."""
    async with house(folder, gate=gate) as home:
        app = http_app(home.app.server, ready=all_well, lifespan=no_lifespan)
        flying = InFlight(app.responses)
        counted = HttpApp(responses=OpenResponses(flying), health=app.health, running=app.running)
        with anyio.fail_after(20):
            async with serving(counted) as url:
                yield Served(home, url, flying)


class Caller:
    """Calls a tool with nothing but HTTP, in one of the eras."""

    def __init__(self, web: httpx.AsyncClient, era: str) -> None:
        self._web, self._modern = web, era == ERAS[1]

    async def open(self) -> None:
        """The handshake, in the era that has one."""
        if not self._modern:
            answer = await self._web.post("/mcp", json=message(1, "initialize", HANDSHAKE))
            self._web.headers["mcp-session-id"] = answer.headers["mcp-session-id"]
            await self._web.post("/mcp", json=INITIALIZED)

    async def call(self, tool: str, arguments: Any, **meta: Any) -> list[dict[str, Any]]:
        """Every message of the response."""
        params = {"name": tool, "arguments": arguments, "_meta": META | meta}
        return await self.ask("tools/call", params, tool)

    async def ask(self, method: str, params: Any, name: str = "") -> list[dict[str, Any]]:
        """Every message of the response to any request."""
        headers = {"mcp-protocol-version": ERAS[1], "mcp-method": method, "mcp-name": name}
        body = message(7, method, params)
        answer = await self._web.post("/mcp", json=body, headers=headers if self._modern else {})
        is_json = answer.headers["content-type"] == "application/json"
        return [answer.json()] if is_json else sse_data(answer.text)


@asynccontextmanager
async def caller(url: str, era: str) -> AsyncGenerator[Caller]:
    async with httpx.AsyncClient(base_url=url, headers=ACCEPT, timeout=None) as web:  # noqa: S113
        made = Caller(web, era)
        await made.open()
        yield made


def said(messages: list[dict[str, Any]]) -> dict[str, Any]:
    return messages[-1]["result"]["structuredContent"]


@pytest.mark.requirement("TRANSPORT-18")
@pytest.mark.parametrize("era", ERAS)
async def test_a_connection_that_breaks_ends_the_wait_and_not_the_work(
    tmp_path: Path, era: str
) -> None:
    """The same call attaches, and has the result."""
    gate = anyio.Event()
    async with served(tmp_path, gate) as product:
        async with caller(product.url, era) as gone, anyio.create_task_group() as tasks:
            tasks.start_soon(gone.call, "code_droid", TASK)
            await until(lambda: product.home.backend.works)
            tasks.cancel_scope.cancel()
        await until(lambda: not product.open.count)
        (run,) = await product.home.runs()
        async with caller(product.url, era) as back:
            again = said(await back.call("code_droid", {**TASK, "wait_s": 0}))
            assert (run.id, "running") == (again["run_id"], again["status"])
            gate.set()
            ended = said(await back.call("droid_wait", {"run_id": run.id}))
        assert ("done", 1) == (ended["status"], len(product.home.backend.works))


@pytest.mark.requirement("TRANSPORT-19")
@pytest.mark.parametrize("path", ["/mcp", "/sse"])
async def test_a_cancel_is_for_the_runs_of_its_own_session(tmp_path: Path, path: str) -> None:
    """Every client counts its requests from 0."""
    states: dict[str, Status] = {}
    async with served(tmp_path, anyio.Event()) as product:

        def client() -> Client:
            url = product.url + path
            return Client(url if path == "/mcp" else sse_client(url), mode="legacy")

        async def call(by: Client, task: str) -> None:
            with suppress(MCPError):  # Streamable HTTP answers a cancelled request
                await by.call_tool("code_droid", {"task": task})

        async with client() as one, client() as other, anyio.create_task_group() as tasks:
            tasks.start_soon(call, one, "one")
            tasks.start_soon(call, other, "other")
            await until(lambda: len(product.home.backend.works) == 2)
            for request_id in range(9):
                params = t.CancelledNotificationParams(request_id=request_id)
                await one.session.send_notification(t.CancelledNotification(params=params))
            while (await product.states())["one"] is not Status.CANCELLED:
                await anyio.lowlevel.checkpoint()
            states = await product.states()
            tasks.cancel_scope.cancel()
    assert {"one": Status.CANCELLED, "other": Status.RUNNING} == states


@pytest.mark.requirement("TRANSPORT-20")
@pytest.mark.parametrize("token", [None, 0, "a"])
@pytest.mark.parametrize("era", ERAS)
async def test_progress_carries_the_token_it_was_given(
    tmp_path: Path, era: str, token: int | str | None
) -> None:
    """Without one there is none, for a made-up token ends connections; the result is the last."""
    meta = {} if token is None else {"progressToken": token}
    async with served(tmp_path) as product, caller(product.url, era) as client:
        *progress, result = await client.call("code_droid", TASK, **meta)
    tokens = {note["params"]["progressToken"] for note in progress}
    assert (set() if token is None else {token}) == tokens
    assert "done" == said([result])["status"]


@pytest.mark.requirement("TRANSPORT-17")
@pytest.mark.parametrize("era", ERAS)
async def test_a_client_that_asks_to_be_told_of_changes_goes_on(tmp_path: Path, era: str) -> None:
    """Claude Code does before it lists the tools: it gets a stream, or in the older era a no."""
    wanted = {"_meta": META, "notifications": {"toolsListChanged": True}}
    async with (
        served(tmp_path) as product,
        caller(product.url, era) as client,
        anyio.create_task_group() as tasks,
    ):
        if era == ERAS[0]:
            (told,) = await client.ask("subscriptions/listen", wanted)
            assert -32601 == told["error"]["code"]
        else:
            tasks.start_soon(client.ask, "subscriptions/listen", wanted)
            await until(lambda: product.open.count)
        (listed,) = await client.ask("tools/list", {"_meta": META})
        assert 10 == len(listed["result"]["tools"])
        tasks.cancel_scope.cancel()
