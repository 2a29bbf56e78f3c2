"""The old HTTP+SSE transport, for clients that know no other; to be deleted as one file."""

from typing import Any

import anyio
from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from mcp.server.transport_security import TransportSecuritySettings
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send


def sse_routes(
    server: Server[Any], *, security: TransportSecuritySettings, max_body: int
) -> list[BaseRoute]:
    """`GET /sse` is the stream, `POST /messages/` takes what the client says."""
    transport = SseServerTransport("/messages/", security, max_body)
    return [
        Route("/sse", _Stream(server, transport), methods=["GET"]),
        Mount("/messages/", app=_Messages(transport)),
    ]


class _Stream:
    """One connection; an object, because Starlette makes a request handler of a function."""

    def __init__(self, server: Server[Any], transport: SseServerTransport) -> None:
        self._server = server
        self._transport = transport

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        options = self._server.create_initialization_options()
        async with self._transport.connect_sse(scope, receive, send) as (read, write):
            await self._server.run(read, write, options)


class _Messages:
    """What a client says; it may close its stream between our 202 and the hand-over."""

    def __init__(self, transport: SseServerTransport) -> None:
        self._transport = transport

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._transport.handle_post_message(scope, receive, send)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            return
