"""One HTTP application: `/mcp`, the old `/sse`, `/healthz`, `/readyz`; and how it is served."""

import signal
import socket
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

import anyio
import uvicorn
from anyio.abc import TaskStatus
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from factory_mcp import __version__
from factory_mcp.domain.errors import ShuttingDown
from factory_mcp.ports import Check
from factory_mcp.telemetry import log
from factory_mcp.transports.guards import (
    MAX_BODY,
    BodyGuard,
    HostGuard,
    OriginGuard,
    ProxyGuard,
    refuse,
)
from factory_mcp.transports.listen import listen
from factory_mcp.transports.sse import sse_routes

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
"""The names of this machine for itself, at whatever port it listens on."""
MAX_SESSIONS: Final = 500  # a session is 38 KiB
SESSION_IDLE_S: Final = 30 * 60
READY_S: Final = 5.0
DRAIN_S: Final = 8.0
STOP_S: Final = 10.0
"""How long `stop` may take."""
LAST_WORDS_S: Final = 1.0
"""How long answers may take to leave once everything has stopped."""

Ready = Callable[[], Awaitable[Sequence[Check]]]
Lifespan = Callable[[], AbstractAsyncContextManager[None]]


class _Response:
    """One response that is being made; `end` tells its maker that the client has left."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._listening = anyio.CancelScope()
        self._last: Message | None = None
        self.ended = False

    def end(self) -> None:
        self.ended = True
        self._listening.cancel()

    async def receive(self) -> Message:
        if not self.ended:
            with anyio.CancelScope() as self._listening:
                return await self._receive()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self._last = message
        await self._send(message)

    async def complete(self, scope: Scope) -> None:
        """Say what is left to be said, so that the client sees an end and no broken connection."""
        if self._last is None:
            error = ShuttingDown("the server is stopping")
            await refuse(error, scope, self._receive, self._send)
        elif self._last.get("more_body", True):
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class OpenResponses:
    """Every response that is still being made, so that none outlives the server."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._waits: set[_Response] = set()
        self._streams: set[_Response] = set()
        self._changed = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        response = _Response(receive, send)
        kind = self._streams if _is_stream(scope) else self._waits
        kind.add(response)
        try:
            await self._app(scope, response.receive, response.send)
        finally:
            kind.discard(response)
            self._changed.set()
        if response.ended:
            await response.complete(scope)
        return None

    async def finish(self) -> None:
        """End the streams; the answers that are on their way have a moment to leave."""
        for stream in self._streams:
            stream.end()
        with anyio.move_on_after(LAST_WORDS_S):
            while self._waits:
                self._changed = anyio.Event()
                await self._changed.wait()

    def end(self) -> None:
        """End every response now."""
        for response in self._streams | self._waits:
            response.end()


def _is_stream(scope: Scope) -> bool:
    """Whether the response lasts as long as its client listens."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return scope["method"] == "GET" or (b"mcp-method", b"subscriptions/listen") in headers


class Health:
    """Whether the process lives, and whether it can take work."""

    def __init__(self, ready: Ready, *, patience_s: float = READY_S) -> None:
        self._ready = ready
        self._patience_s = patience_s
        self.draining = False

    async def healthz(self, _: Request) -> JSONResponse:
        """The process lives."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, _: Request) -> JSONResponse:
        """It can take work now, and if not, why; and what it goes without."""
        checks = await self._checks()
        ready = all(check.ok or check.spare for check in checks)
        missed = [check.name for check in checks if not check.ok and check.spare]
        body = {"ready": ready, "missed": missed, "checks": [asdict(check) for check in checks]}
        return JSONResponse(body, status_code=200 if ready else 503)

    async def _checks(self) -> Sequence[Check]:
        if self.draining:
            return [Check(name="server", ok=False, detail="stopping: takes no new work")]
        with anyio.move_on_after(self._patience_s):
            return await self._ready()
        detail = f"the checks took over {self._patience_s:g} s"
        return [Check(name="server", ok=False, detail=detail)]


async def _pointer(_: Request) -> PlainTextResponse:
    """What is where."""
    return PlainTextResponse(
        f"factory-mcp {__version__}\n\n"
        "/mcp      MCP, Streamable HTTP\n"
        "/sse      MCP, the old HTTP+SSE\n"
        "/healthz  whether the process lives\n"
        "/readyz   whether it can take work\n"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpApp:
    """An ASGI application, with what `serve` must know of it to stop it well.

    `running` is what must be up while requests are answered. It is entered once in the life of
    an application: by `serve`, or by the lifespan of another ASGI server.
    """

    responses: OpenResponses
    health: Health
    running: Lifespan

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run the lifespan."""
        await self.responses(scope, receive, send)


def http_app(
    server: Server[Any],
    *,
    ready: Ready,
    lifespan: Lifespan,
    hosts: Sequence[str] = LOOPBACK,
    origins: Sequence[str] = (),
    max_body: int = MAX_BODY,
) -> HttpApp:
    """Everything that is spoken over HTTP, behind the guards.

    Args:
        server: The SDK's server; it serves one application.
        ready: The checks behind `/readyz`.
        lifespan: Entered before the first request, left after the last.
        hosts: The names it answers for, `name:port`, or `name` for the port it listens on.
        origins: Web pages that may call it, beside its own.
        max_body: Bytes of one request's body.
    """
    health = Health(ready)
    # The guards decide about Host and Origin; the SDK's own check matches by prefix.
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    mcp = server.streamable_http_app(
        streamable_http_path="/mcp",
        max_request_body_size=max_body,
        session_idle_timeout=SESSION_IDLE_S,
        max_sessions=MAX_SESSIONS,
        transport_security=security,
    )

    @asynccontextmanager
    async def running() -> AsyncGenerator[None]:
        async with lifespan(), server.session_manager.run():
            yield

    app: ASGIApp = Starlette(
        routes=[
            *mcp.routes,
            *sse_routes(server, security=security, max_body=max_body),
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
            Route("/", _pointer),
        ],
        lifespan=lambda _: running(),
    )
    app = BodyGuard(app, limit=max_body)
    app = ProxyGuard(app)
    app = OriginGuard(app, hosts=hosts, origins=origins)
    app = HostGuard(app, hosts=hosts)
    return HttpApp(responses=OpenResponses(app), health=health, running=running)


# ------------------------------------------------------------------------------------- serve


class _Web(uvicorn.Server):
    """uvicorn, but the signals are ours: it would end the process by the signal, not with 0."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._started = started

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._started()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    """How the work ends when the server is told to stop.

    `drain` is to take no new work and to return when none is open; it has `drain_s`, and less if
    a second signal comes. `stop` is then to interrupt what is still open; it has STOP_S.
    """

    drain: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]
    drain_s: float = DRAIN_S


async def serve(
    app: HttpApp,
    *,
    host: str,
    port: int,
    shutdown: Shutdown,
    task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until SIGTERM or SIGINT, then stop in order; to be called in the main thread.

    The order: `/readyz` says 503, the work drains, the rest of it is stopped, the responses end,
    the server ends. Cancelling `serve` ends it at once. `task_status` gets the base URL once it
    listens.

    Raises:
        NotLoopback, PortBusy, InvalidSetting: As `listen`.
    """
    with listen(host, port) as listener:
        url = _url(listener)
        config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        web = _Web(config, lambda: task_status.started(url))
        async with app.running(), anyio.create_task_group() as tasks:
            tasks.start_soon(_stop_when_told, app, web, shutdown)
            log.info("serve.listening", url=url)
            with anyio.CancelScope(shield=True):
                await web.serve(sockets=[listener])
            tasks.cancel_scope.cancel()
    log.info("serve.stopped", url=url)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _stop_when_told(app: HttpApp, web: _Web, shutdown: Shutdown) -> None:
    try:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            await anext(signals)
            app.health.draining = True
            log.info("serve.draining", drain_s=shutdown.drain_s)
            async with anyio.create_task_group() as draining:
                draining.cancel_scope.deadline = anyio.current_time() + shutdown.drain_s
                draining.start_soon(_cancel_at, signals, draining.cancel_scope)
                await shutdown.drain()
                draining.cancel_scope.cancel()
            with anyio.move_on_after(STOP_S):
                await shutdown.stop()
            await app.responses.finish()
    finally:
        app.responses.end()
        web.should_exit = True


async def _cancel_at(signals: AsyncIterator[signal.Signals], scope: anyio.CancelScope) -> None:
    await anext(signals)
    scope.cancel()
