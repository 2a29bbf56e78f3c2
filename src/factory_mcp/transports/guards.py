"""What a request must pass before anything reads it: host, origin, no proxy, size, patience.

Each guard is one ASGI middleware. A refusal is `application/problem+json`. Hosts and origins are
compared as parsed (scheme, host, port), never as text or by prefix: `http://localhost:1.evil` is
no `http://localhost`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv6Address

import anyio
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from factory_mcp.domain.errors import (
    BodyTimeout,
    FactoryError,
    HostNotAllowed,
    OriginNotAllowed,
    ProxiedRequest,
    TooLarge,
)

MAX_BODY = 1024 * 1024
BODY_DEADLINE_S = 10.0

# An oversized body is read and thrown away up to here, so that its sender gets to read the answer.
_DISCARD = 16 * 1024 * 1024
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(r"(https?)://(.+)")
_PROXY_HEADERS = (b"forwarded", b"via", b"x-real-ip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A parsed authority; `port` None is the port that the connection came in on."""

    scheme: str
    host: str
    port: int | None


def parse_host(text: str, scheme: str) -> Endpoint | None:
    """Read a Host header as an endpoint of `scheme`; None if it is no host."""
    match = _HOST.fullmatch(text)
    if match is None:
        return None
    host, port = match.groups()
    return Endpoint(
        scheme=scheme,
        host=_canonical(host),
        port=int(port) if port else _DEFAULT_PORTS[scheme],
    )


def parse_origin(text: str) -> Endpoint | None:
    """Read an Origin header; None for `null` and whatever is no http origin."""
    match = _ORIGIN.fullmatch(text)
    return parse_host(match[2], match[1]) if match else None


def _canonical(host: str) -> str:
    """Lower case; an IPv6 address in its one short form, a mapped IPv4 one as IPv4."""
    if not host.startswith("["):
        return host.lower()
    try:
        address = IPv6Address(host[1:-1])
    except ValueError:
        return host.lower()
    return str(address.ipv4_mapped or address)


def _own_names(hosts: Sequence[str]) -> frozenset[tuple[str, int | None]]:
    """`name:port` as given; a bare name stands for the port that a connection came in on."""
    names: set[tuple[str, int | None]] = set()
    for text in hosts:
        match = _HOST.fullmatch(text)
        if match is None:
            raise ValueError(f"not a host: {text!r}")
        names.add((_canonical(match[1]), int(match[2]) if match[2] else None))
    return frozenset(names)


def _is_own(scope: Scope, endpoint: Endpoint, names: frozenset[tuple[str, int | None]]) -> bool:
    if (endpoint.host, endpoint.port) in names:
        return True
    server: tuple[str, int | None] | None = scope.get("server")
    return server is not None and endpoint.port == server[1] and (endpoint.host, None) in names


def _values(scope: Scope, name: bytes) -> list[str]:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1") for key, value in headers if key == name]


async def refuse(
    error: FactoryError, scope: Scope, receive: Receive, send: Send, *, close: bool = False
) -> None:
    """Answer a request with an error, as a problem document; `close` ends the connection too."""
    status = HTTPStatus(error.http)
    response = JSONResponse(
        {
            "title": status.phrase,
            "status": error.http,
            "code": error.code,
            "detail": error.message,
            "remedy": error.remedy,
        },
        status_code=error.http,
        headers={"connection": "close"} if close else None,
        media_type="application/problem+json",
    )
    await response(scope, receive, send)


class HostGuard:
    """Answers only for its own names (421): a rebound DNS name is somebody else's."""

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str]) -> None:
        self._app = app
        self._names = _own_names(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request that names this server exactly once."""
        if scope["type"] == "http":
            values = _values(scope, b"host")
            host = parse_host(values[0], scope["scheme"]) if len(values) == 1 else None
            if host is None or not _is_own(scope, host, self._names):
                named = ", ".join(values)[:100]
                error = HostNotAllowed(f"this server does not answer for the host {named!r}")
                return await refuse(error, scope, receive, send)
        return await self._app(scope, receive, send)


class OriginGuard:
    """Lets web pages in only from its own names and from `origins` (403)."""

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str], origins: Sequence[str]) -> None:
        self._app = app
        self._names = _own_names(hosts)
        self._origins = frozenset(parse_origin(origin) for origin in origins) - {None}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request without an origin, or with one that is allowed."""
        if scope["type"] == "http":
            values = _values(scope, b"origin")
            if values and not (len(values) == 1 and self._allows(scope, values[0])):
                named = ", ".join(values)[:100]
                error = OriginNotAllowed(f"the page at {named!r} may not call this server")
                return await refuse(error, scope, receive, send)
        return await self._app(scope, receive, send)

    def _allows(self, scope: Scope, text: str) -> bool:
        origin = parse_origin(text)
        if origin is None:
            return False
        own = origin.scheme == scope["scheme"] and _is_own(scope, origin, self._names)
        return own or origin in self._origins


class ProxyGuard:
    """Refuses what came through a proxy (403): behind one everybody comes from 127.0.0.1."""

    def __init__(self, app: ASGIApp, *, exempt: Sequence[str] = ("/healthz",)) -> None:
        self._app = app
        self._exempt = frozenset(exempt)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request that carries no header of a proxy."""
        if scope["type"] == "http" and scope["path"] not in self._exempt:
            names: list[bytes] = [name for name, _ in scope["headers"]]
            for name in names:
                if name in _PROXY_HEADERS or name.startswith(b"x-forwarded-"):
                    error = ProxiedRequest(
                        f"the request carries the proxy header {name.decode('latin-1')!r}"
                    )
                    return await refuse(error, scope, receive, send)
        return await self._app(scope, receive, send)


class BodyGuard:
    """Takes a whole body of at most `limit` bytes within `deadline_s`, then lets it through.

    The deadline is for the request's body alone; a response may stream for as long as it likes.
    """

    def __init__(
        self, app: ASGIApp, *, limit: int = MAX_BODY, deadline_s: float = BODY_DEADLINE_S
    ) -> None:
        self._app = app
        self._limit = limit
        self._deadline_s = deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, then pass it on as one message; 413 and 408 end the connection."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        body = _Body(limit=self._limit)
        with anyio.move_on_after(self._deadline_s) as patience:
            await body.read(receive)
        if body.abandoned:
            return None
        if body.too_large or _declared(scope) > self._limit:
            error: FactoryError = TooLarge(f"the body is larger than {self._limit} bytes")
            return await refuse(error, scope, receive, send, close=True)
        if patience.cancelled_caught:
            error = BodyTimeout(f"the body was not complete after {self._deadline_s:g} s")
            return await refuse(error, scope, receive, send, close=True)
        return await self._app(scope, body.replay(receive), send)


def _declared(scope: Scope) -> int:
    values = _values(scope, b"content-length")
    return int(values[0]) if values and values[0].isdecimal() else 0


class _Body:
    """One request's body as it arrives; what is over the limit is counted and thrown away."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._content = bytearray()
        self._size = 0
        self.abandoned = False

    @property
    def too_large(self) -> bool:
        return self._size > self._limit

    async def read(self, receive: Receive) -> None:
        """Read to the end, to the sender's going away, or to where reading on is pointless."""
        while self._size <= max(self._limit, _DISCARD):
            message = await receive()
            if message["type"] != "http.request":
                self.abandoned = True
                return
            self._add(message.get("body", b""))
            if not message.get("more_body", False):
                return

    def _add(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self.too_large:
            self._content.clear()
        else:
            self._content += chunk

    def replay(self, receive: Receive) -> Receive:
        """A `receive` that gives the body as one message, then whatever comes after it."""
        waiting: list[Message] = [
            {"type": "http.request", "body": bytes(self._content), "more_body": False}
        ]

        async def replayed() -> Message:
            return waiting.pop() if waiting else await receive()

        return replayed
