"""A TCP proxy that does to a connection what networks and dying servers do.

async with fault_proxy(server.port) as proxy:
    url = proxy.through(server.url)
    proxy.freeze()
"""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final, cast
from urllib.parse import urlsplit

import anyio

from tests.servers.process import HOST, free_port

GARBAGE: Final = b"\x15\x03\x00garbage\r\n\r\n"
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class FaultProxy:
    """One port in front of one server. It passes everything on until it is told otherwise."""

    def __init__(self, upstream: int) -> None:
        """The server is on port `upstream`; `open` begins."""
        self.port: Final = free_port()
        self.latency_s = 0.0
        """How long each piece of data is held back, both ways."""
        self.garbage = False
        """Whether the server's answers are replaced by what no protocol knows."""
        self.reset_after: int | None = None
        """After how many bytes of answers a connection is reset."""
        self._upstream = upstream
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    def through(self, url: str) -> str:
        """The server's URL, by way of this proxy."""
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}{at}{HOST}:{self.port}").geturl()

    def lead_to(self, upstream: int) -> None:
        """From now on connections go to the server on that port; those there are, break."""
        self._upstream = upstream
        self.reset()

    def freeze(self) -> None:
        """Swallow nothing and answer nothing: connections are taken and stay open."""
        self._flowing.clear()

    def reset(self) -> None:
        """Break every connection there is with a TCP reset."""
        for client in self._clients:
            _reset(client)

    async def refuse(self) -> None:
        """Break every connection and listen no more: new ones are refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._clients.values())
        self.reset()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def heal(self) -> None:
        """Pass everything on again; what was held back as well."""
        self.latency_s, self.garbage, self.reset_after = 0.0, False, None
        self._flowing.set()
        await self.open()

    async def open(self) -> None:
        """Listen."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, HOST, self.port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients[writer] = cast("asyncio.Task[None]", asyncio.current_task())
        upstream: asyncio.StreamWriter | None = None
        try:
            # `refuse` cancels it; Python 3.11 would write a traceback of that.
            with suppress(OSError, asyncio.CancelledError):
                answers, upstream = await asyncio.open_connection(HOST, self._upstream)
                await asyncio.gather(
                    self._pass(reader, upstream), self._pass(answers, writer, back=True)
                )
        finally:
            del self._clients[writer]
            for end in (writer, upstream):
                if end is not None:
                    end.transport.abort()

    async def _pass(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, back: bool = False
    ) -> None:
        passed = 0
        while piece := await source.read(65_536):
            await self._flowing.wait()
            if self.latency_s:
                await anyio.sleep(self.latency_s)
            passed += len(piece)
            if back and self.reset_after is not None and passed > self.reset_after:
                _reset(target)
                raise ConnectionResetError
            target.write(GARBAGE if back and self.garbage else piece)
            await target.drain()
        target.write_eof()


def _reset(client: asyncio.StreamWriter) -> None:
    """Close it so that the other side sees a reset, not an end."""
    connection = cast("socket.socket", client.get_extra_info("socket"))
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    client.transport.abort()


@asynccontextmanager
async def fault_proxy(upstream: int) -> AsyncGenerator[FaultProxy]:
    """A proxy in front of the server on that port."""
    proxy = FaultProxy(upstream)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.refuse()
