"""Clients that cannot be run here, as bytes: what each writes, and what it cannot bear.

Roo's and Zoo's lines are those of their own hub, which was run; the others' are as their vendors
and their users' logs show them. All but VS Code write with the TypeScript SDK: the method first,
ids from 0, and a cancel of their own when their time is up.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import anyio
import httpx

from factory_mcp.transports.hello import HELLO
from factory_mcp.transports.http import http_app
from tests.house import House
from tests.transports.messages import sse_data
from tests.transports.peer import Peer, connected
from tests.transports.sample_server import all_well, no_lifespan, serving

Json = dict[str, Any]
TIMED_OUT = "McpError: MCP error -32001: Request timed out"
LISTS = ("tools/list", "resources/list", "resources/templates/list")


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """One client.

    Attributes:
        profile: Its name in clients.toml.
        limit_s: When it gives a call up.
        reason: What its cancel then says; None is a cancel without a reason.
        sends_version: Whether its later requests over HTTP name the version.
        progress: The token of its calls, if it asks for progress.
    """

    profile: str
    name: str
    version: str
    protocol: str
    limit_s: float
    capabilities: Json = field(default_factory=dict[str, Any])
    lists: tuple[str, ...] = (*LISTS, "prompts/list")
    first_id: int = 0
    reason: str | None = TIMED_OUT
    sends_version: bool = True
    progress: str | None = None

    @property
    def hello(self) -> Json:
        """The parameters of its `initialize`."""
        info = {"name": self.name, "version": self.version}
        known = {"protocolVersion": self.protocol, "capabilities": self.capabilities}
        return {**known, "clientInfo": info}


def _roo(profile: str, name: str) -> StandIn:
    return StandIn(
        profile=profile,
        name=name,
        version="3.54.0",
        protocol="2025-03-26",
        limit_s=60,
        lists=LISTS,
        sends_version=False,
    )


STAND_INS = (
    _roo("roo", "Roo Code"),
    _roo("zoo", "Zoo Code"),
    StandIn(
        profile="cursor",
        name="cursor-vscode",
        version="1.0.0",
        protocol="2025-11-25",
        limit_s=600,
        capabilities={
            "tools": True,  # no capability of a client, and no object either
            "prompts": True,
            "resources": True,
            "logging": False,
            "elicitation": {},
            "roots": {"listChanged": False},
        },
    ),
    StandIn(
        profile="vscode",
        name="Visual Studio Code",
        version="1.106.0",
        protocol="2025-11-25",
        limit_s=300,
        capabilities={
            "roots": {"listChanged": True},
            "sampling": {},
            "elicitation": {"form": {}, "url": {}},
            "tasks": {
                "list": {},
                "cancel": {},
                "requests": {"sampling": {"createMessage": {}}, "elicitation": {"create": {}}},
            },
            "extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html"]}},
        },
        first_id=1,
        reason=None,
        progress="6b1f4c1e-8f0f-4d0a-9d3b-0c6f5a7e2d11",
    ),
    StandIn(
        profile="claude-desktop",
        name="claude-ai",
        version="0.1.0",
        protocol="2025-06-18",
        limit_s=60,
    ),
)


class Wire(ABC):
    """One connection of a stand-in: `unasked` is all that came and was no answer."""

    def __init__(self, who: StandIn) -> None:
        self.who = who
        self.unasked: list[Json] = []
        self._ids = count(who.first_id)
        self._answers: dict[int, Json] = {}
        self._heard = anyio.Event()

    @abstractmethod
    async def send(self, message: Json) -> None:
        """Write one message."""

    def hear(self, message: Json) -> None:
        """Take one message of the server."""
        if "method" in message:
            self.unasked.append(message)
        else:
            self._answers[message["id"]] = message
        self._heard.set()
        self._heard = anyio.Event()

    async def ask(self, method: str, params: Json | None = None) -> Json:
        """The answer to one request."""
        number = next(self._ids)
        body = {"method": method, **({"params": params} if params is not None else {})}
        await self.send({**body, "jsonrpc": "2.0", "id": number})
        while number not in self._answers:
            await self._heard.wait()
        return self._answers[number]

    async def tell(self, method: str, params: Json | None = None) -> None:
        """One notification."""
        body = {"method": method, **({"params": params} if params is not None else {})}
        await self.send({**body, "jsonrpc": "2.0"})

    async def open(self) -> Json:
        """The handshake; what the server says of itself."""
        answer = await self.ask("initialize", self.who.hello)
        await self.tell("notifications/initialized")
        return answer["result"]

    async def try_call(self, tool: str, **arguments: Any) -> Json:
        """The answer to the call of a tool, whatever it is."""
        meta = {"_meta": {"progressToken": self.who.progress}} if self.who.progress else {}
        return await self.ask("tools/call", {"name": tool, "arguments": arguments, **meta})

    async def call(self, tool: str, **arguments: Any) -> Json:
        """The result of a tool."""
        return (await self.try_call(tool, **arguments))["result"]

    async def give_up(self) -> None:
        """Cancel the call made last, as the client does when its time is up."""
        number = next(self._ids) - 1
        self._ids = count(number + 1)
        reason = {} if self.who.reason is None else {"reason": self.who.reason}
        await self.tell("notifications/cancelled", {"requestId": number, **reason})


def _encode(message: Json) -> bytes:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


class StdioWire(Wire):
    """Over pipes."""

    def __init__(self, who: StandIn, peer: Peer) -> None:
        super().__init__(who)
        self._peer = peer

    async def send(self, message: Json) -> None:
        self._peer.send(_encode(message) + b"\n")

    async def listen(self) -> None:
        """Hear everything."""
        while True:
            self.hear(await self._peer.receive())


class HttpWire(Wire):
    """Over Streamable HTTP, in a session."""

    def __init__(self, who: StandIn, web: httpx.AsyncClient) -> None:
        super().__init__(who)
        self.web = web

    async def send(self, message: Json) -> None:
        answer = await self.web.post("/mcp", content=_encode(message))
        if answer.status_code == 202:  # a notification
            return
        answer.raise_for_status()
        if "mcp-session-id" in answer.headers:
            self.web.headers["mcp-session-id"] = answer.headers["mcp-session-id"]
            if self.who.sends_version:
                self.web.headers["mcp-protocol-version"] = self.who.protocol
        for heard in sse_data(answer.text):
            self.hear(heard)

    async def open(self) -> Json:
        for name in ("mcp-session-id", "mcp-protocol-version"):
            self.web.headers.pop(name, None)
        return await super().open()


@asynccontextmanager
async def on_stdio(home: House, who: StandIn) -> AsyncGenerator[StdioWire]:
    """The product on the other end of two pipes."""
    async with (
        connected(b"\n", hello=HELLO, server=home.app.server) as peer,
        anyio.create_task_group() as tasks,
    ):
        wire = StdioWire(who, peer)
        tasks.start_soon(wire.listen)
        yield wire
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def on_http(home: House, who: StandIn) -> AsyncGenerator[HttpWire]:
    """The product on a port."""
    app = http_app(home.app.server, ready=all_well, lifespan=no_lifespan)
    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    async with (
        serving(app) as url,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as web,
    ):
        yield HttpWire(who, web)


WIRES = {"stdio": on_stdio, "http": on_http}
