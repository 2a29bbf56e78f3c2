"""stdio: one connection over the process's own pipes, served by the SDK.

`hello` has read the first line already and may have answered it. Here the SDK gets that line too,
and its own answer to it is dropped. No thread reads or writes: descriptors are awaited, so that
nothing blocks the process from ending.
"""

import json
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

import anyio
import anyio.lowlevel
import mcp_types as t
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.lowlevel import Server
from mcp.shared.message import SessionMessage
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic_core import PydanticSerializationError

from factory_mcp import __version__
from factory_mcp.domain.errors import TooLarge
from factory_mcp.domain.model import Json
from factory_mcp.ports import Clock
from factory_mcp.telemetry import log
from factory_mcp.transports.hello import Opening

MAX_LINE: Final = 16 * 1024 * 1024
GRACE_S: Final = 10.0
"""How long `on_eof` may take."""
LAST_WORDS_S: Final = 1.0
"""How long answers may take to leave once everything has stopped."""
PARENT_EVERY_S: Final = 3.0

_BACKLOG: Final = 16
_CHUNK: Final = 64 * 1024
_ATOM: Final = 4096  # a writable pipe takes as much without blocking
_EDGE: Final = 4096  # what is kept of both ends of an overlong line, to find its id
_ENDINGS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LONG_LIVED: Final = "subscriptions/listen"

_ID = rb'"id"\s*:\s*(-?[0-9]+|"(?:[^"\\]|\\.)*")'
_JSONRPC = rb'"jsonrpc"\s*:\s*"2\.0"'
_ID_FIRST: Final = re.compile(rb"\s*\{\s*(?:" + _JSONRPC + rb"\s*,\s*)?" + _ID + rb"\s*,")
_ID_LAST: Final = re.compile(_ID + rb"\s*(?:,\s*" + _JSONRPC + rb"\s*)?\}\s*$")

ToServer = MemoryObjectSendStream[SessionMessage | Exception]
ToClient = MemoryObjectSendStream[SessionMessage]


# ------------------------------------------------------------------------------------- lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlong:
    """A line that was too long to keep: its two ends."""

    head: bytes
    tail: bytes

    @property
    def request_id(self) -> int | str | None:
        """Its request id, which clients write first or last; None if it is not to be seen."""
        found = _ID_FIRST.match(self.head) or _ID_LAST.search(self.tail)
        return json.loads(found[1]) if found else None


class Lines:
    """Bytes in, lines out; a line over `limit` bytes is forgotten as it comes, but for its ends."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._tail = bytearray()
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes | Overlong]:
        """The lines that `data` completes."""
        *complete, rest = data.split(b"\n")
        for piece in complete:
            self._add(piece)
            yield self._take()
        self._add(rest)

    def rest(self) -> Iterator[bytes | Overlong]:
        """The last line, when the input ended without a newline."""
        if self._size:
            yield self._take()

    def _add(self, piece: bytes) -> None:
        was_long = self._size > self._limit
        self._size += len(piece)
        if not was_long:
            self._kept += piece
        if self._size <= self._limit:
            return
        self._tail = (self._tail + piece if was_long else self._kept)[-_EDGE:]
        del self._kept[_EDGE:]

    def _take(self) -> bytes | Overlong:
        head, tail, size = bytes(self._kept), bytes(self._tail), self._size
        self._kept, self._tail, self._size = bytearray(), bytearray(), 0
        return Overlong(head=head, tail=tail) if size > self._limit else head


def parse(line: bytes) -> t.JSONRPCMessage:
    """Read a message as the SDK does; a lone surrogate or bad UTF-8 is the handlers' business.

    Raises:
        ValueError: It is no JSON, or no message.
    """
    try:
        return t.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        return t.jsonrpc_message_adapter.validate_python(_loads(line), by_name=False)


def _loads(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8", "replace"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def encode(message: t.JSONRPCMessage) -> bytes:
    """One line; a lone surrogate from a request leaves as the escape it came as."""
    try:
        return message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
    except PydanticSerializationError:
        plain = message.model_dump(by_alias=True, exclude_unset=True)
        return json.dumps(plain, separators=(",", ":")).encode() + b"\n"


# ------------------------------------------------------------------------------- descriptors


async def _receive(fd: int) -> bytes:
    """The next bytes; b"" at the end, which a broken pipe is too."""
    with suppress(OSError):
        await _await_fd(anyio.wait_readable, fd)
        return os.read(fd, _CHUNK)
    return b""


async def _send(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        await _await_fd(anyio.wait_writable, fd)
        with suppress(BlockingIOError):
            view = view[os.write(fd, view[:_ATOM]) :]


async def _await_fd(wait: Callable[[int], Awaitable[None]], fd: int) -> None:
    try:
        await wait(fd)
    except PermissionError:  # a file or /dev/null, which cannot be awaited and never blocks
        await anyio.lowlevel.checkpoint()


# -------------------------------------------------------------------------------- connection


@dataclass(slots=True)
class _Connection:
    """What reader and writer share: the wire, and the requests without an answer yet."""

    opening: Opening
    to_server: ToServer
    to_client: ToClient
    gone: anyio.Event = field(default_factory=anyio.Event)
    unanswered: set[int | str] = field(default_factory=set[int | str])
    answered: anyio.Event = field(default_factory=anyio.Event)

    async def read(self) -> None:
        """Hand every line to the server, until the input ends."""
        lines = Lines()
        data = self.opening.buffered
        while True:
            for line in lines.feed(data):
                await self._take(line)
            data = await _receive(self.opening.fd_in)
            if not data:
                break
        for line in lines.rest():
            await self._take(line)

    async def _take(self, line: bytes | Overlong) -> None:
        if isinstance(line, Overlong):
            error = TooLarge(f"the line is longer than {MAX_LINE} bytes")
            data = {"code": error.code, "remedy": error.remedy}
            await self._complain([line.request_id], f"{error.message}. {error.remedy}", data)
        elif line.strip():
            try:
                message = parse(line)
            except ValueError:
                log.warning("stdio.bad_line", bytes=len(line))
                await self._complain(_ids_in(line), "This is no JSON-RPC 2.0 request.", None)
                return
            self._expect(message)
            await self.to_server.send(SessionMessage(message))

    async def _complain(
        self, request_ids: list[int | str | None], text: str, data: Json | None
    ) -> None:
        error = t.ErrorData(code=t.INVALID_REQUEST, message=text, data=data)
        for request_id in request_ids:
            answer = t.JSONRPCError(jsonrpc="2.0", id=request_id, error=error)
            await self.to_client.send(SessionMessage(answer))

    def _expect(self, message: t.JSONRPCMessage) -> None:
        match message:
            case t.JSONRPCRequest() if message.method != _LONG_LIVED:
                self.unanswered.add(message.id)
            case t.JSONRPCNotification(method="notifications/cancelled"):
                self._settle((message.params or {}).get("requestId"))
            case _:
                pass

    def _settle(self, request_id: Any) -> None:
        if isinstance(request_id, int | str):
            self.unanswered.discard(request_id)
        self.answered.set()

    async def write(self, messages: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Write every message; once the client is gone they are dropped."""
        async with messages:
            async for item in messages:
                if not self.gone.is_set() and not self._is_echo(item.message):
                    try:
                        await _send(self.opening.fd_out, encode(item.message))
                    except OSError:
                        self.gone.set()
                if isinstance(item.message, t.JSONRPCResponse | t.JSONRPCError):
                    self._settle(item.message.id)

    def _is_echo(self, message: t.JSONRPCMessage) -> bool:
        """Whether it is the SDK's own answer to the request that `hello` has answered."""
        early = self.opening.answered_id
        if early is None or not isinstance(message, t.JSONRPCResponse | t.JSONRPCError):
            return False
        if message.id != early:
            return False
        if not isinstance(message, t.JSONRPCResponse) or message.result != self.opening.answer:
            log.error("hello.differs", fix="write hello.json anew")
        self.opening.answered_id = None
        return True

    async def all_answered(self) -> None:
        """Wait until no request is without an answer."""
        while self.unanswered:
            self.answered = anyio.Event()
            await self.answered.wait()


def _ids_in(line: bytes) -> list[int | str | None]:
    """The ids of what may have been meant as requests, a batch of them included."""
    try:
        value = _loads(line)
    except ValueError:
        return []
    items: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    ids: list[Any] = [
        cast("Json", item).get("id")
        for item in items
        if isinstance(item, dict) and "method" in item
    ]
    return [found for found in ids if isinstance(found, int | str) and not isinstance(found, bool)]


async def serve_stdio(
    server: Server[Any],
    opening: Opening,
    *,
    clock: Clock,
    on_eof: Callable[[], Awaitable[None]],
    parent: Callable[[], int] = os.getppid,
) -> None:
    """Serve one connection until its client is gone.

    That is: the end of stdin, a closed stdout, SIGTERM, SIGINT, SIGHUP, or the death of the
    parent. Then nothing more is read, `on_eof` gets GRACE_S to close what is open, and what can
    still be answered is answered. A client that went away is no error. To be called in the main
    thread, which is where signals arrive.
    """
    to_server, from_client = anyio.create_memory_object_stream[SessionMessage | Exception](_BACKLOG)
    to_client, from_server = anyio.create_memory_object_stream[SessionMessage](_BACKLOG)
    connection = _Connection(opening, to_server, to_client.clone())
    options = server.create_initialization_options()
    with anyio.open_signal_receiver(*_ENDINGS) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.write, from_server)
            tasks.start_soon(server.run, from_client, to_client, options)
            async with connection.to_server, connection.to_client:
                reason = await _until_gone(connection, signals, clock, parent)
                log.info("stdio.closing", reason=reason, answered_early=opening.answer is not None)
                with anyio.move_on_after(GRACE_S):
                    await on_eof()
                with anyio.move_on_after(LAST_WORDS_S):
                    await connection.all_answered()
            tasks.cancel_scope.deadline = anyio.current_time() + LAST_WORDS_S


async def _until_gone(
    connection: _Connection,
    signals: AsyncIterator[signal.Signals],
    clock: Clock,
    parent: Callable[[], int],
) -> str:
    """Read until the client is gone, and say how it went."""
    reasons: list[str] = []

    async def watch(reason: str, event: Callable[[], Awaitable[Any]]) -> None:
        await event()
        reasons.append(reason)
        tasks.cancel_scope.cancel()

    async def orphaned() -> None:
        first = parent()
        while parent() == first:
            await clock.sleep(PARENT_EVERY_S)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch, "stdin ended", connection.read)
        tasks.start_soon(watch, "stdout closed", connection.gone.wait)
        tasks.start_soon(watch, "signal", partial(anext, signals))
        tasks.start_soon(watch, "parent died", orphaned)
    return reasons[0]


# ------------------------------------------------------------------------------------- hello


async def record(server: Server[Any]) -> Json:
    """The content of hello.json: what the SDK answers to every opening of every version."""
    client = {"name": "hello", "version": "0"}
    answers: dict[str, dict[str, Json]] = {"initialize": {}, "server/discover": {}}
    for version in HANDSHAKE_PROTOCOL_VERSIONS:
        params: Json = {"protocolVersion": version, "capabilities": {}, "clientInfo": client}
        answers["initialize"][version] = await _ask(server, "initialize", params)
    for version in MODERN_PROTOCOL_VERSIONS:
        meta: Json = {t.PROTOCOL_VERSION_META_KEY: version, t.CLIENT_CAPABILITIES_META_KEY: {}}
        answers["server/discover"][version] = await _ask(server, "server/discover", {"_meta": meta})
    return {"version": __version__, "answers": answers}


async def _ask(server: Server[Any], method: str, params: Json) -> Json:
    """One request over a connection of its own."""
    to_server, from_client = anyio.create_memory_object_stream[SessionMessage | Exception](1)
    to_client, from_server = anyio.create_memory_object_stream[SessionMessage](1)
    request = t.JSONRPCRequest(jsonrpc="2.0", id=1, method=method, params=params)
    answers: list[t.JSONRPCMessage] = []
    async with anyio.create_task_group() as tasks:
        options = server.create_initialization_options()
        tasks.start_soon(server.run, from_client, to_client, options)
        await to_server.send(SessionMessage(request))
        answers.append((await from_server.receive()).message)
        to_server.close()
    from_server.close()
    match answers:
        case [t.JSONRPCResponse(result=result)]:
            return result
        case _:
            raise TypeError(f"no result for {method}: {answers}")
