"""The client's end of a stdio connection to the sample server."""

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp.server.lowlevel import Server

from factory_mcp.transports.hello import open_wire
from factory_mcp.transports.stdio import serve_stdio
from tests.fakes import FakeClock
from tests.transports.messages import HANDSHAKE, META, message
from tests.transports.sample_server import Sample


def request(request_id: Any, method: str, params: Any) -> bytes:
    """One line."""
    return json.dumps(message(request_id, method, params)).encode() + b"\n"


def call(request_id: Any, tool: str, **arguments: Any) -> bytes:
    """A tool call of the 2026 era."""
    params = {"name": tool, "arguments": arguments, "_meta": META}
    return request(request_id, "tools/call", params)


INITIALIZE = request(1, "initialize", HANDSHAKE)
DISCOVER = request(1, "server/discover", {"_meta": META})


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
async def connected(
    first: bytes, hello: str = "/nowhere", server: Server[Any] | None = None
) -> AsyncGenerator[Peer]:
    """A server, the sample by default, behind two pipes; it is cut at the end if it still runs."""
    incoming, client_out = os.pipe()
    client_in, outgoing = os.pipe()
    peer = Peer(client_in, client_out)
    peer.send(first)
    opening = open_wire(incoming, outgoing, hello)

    async def run() -> None:
        await serve_stdio(
            server or peer.sample.server(),
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
