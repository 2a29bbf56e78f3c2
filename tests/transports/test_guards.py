"""The guards, in front of a tiny application."""

import json
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from factory_mcp.domain.errors import TooLarge
from factory_mcp.transports.guards import (
    BodyGuard,
    Endpoint,
    HostGuard,
    OriginGuard,
    ProxyGuard,
    parse_host,
    parse_origin,
    refuse,
)

OWN = ("127.0.0.1", "localhost", "[::1]")


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body."""
    message = await receive()
    assert message["more_body"] is False
    await PlainTextResponse(message["body"])(scope, receive, send)


def scope_of(
    headers: Sequence[tuple[str, str]] = (),
    *,
    path: str = "/mcp",
    server: tuple[str, int | None] | None = ("127.0.0.1", 8080),
) -> Scope:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "headers": raw,
        "server": server,
    }


async def ask(app: ASGIApp, scope: Scope, *chunks: bytes) -> tuple[int, bytes]:
    """Send one request in chunks and return status and body."""
    left: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
    ]
    left.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[Message] = []

    async def receive() -> Message:
        return left.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


# -------------------------------------------------------------------------- host and origin


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8080",
        "localhost:8080",
        "LocalHost:8080",
        "[::1]:8080",
        "[0:0:0:0:0:0:0:1]:8080",
        "[::ffff:127.0.0.1]:8080",
    ],
)
@pytest.mark.requirement("TRANSPORT-1")
async def test_it_answers_for_every_form_of_its_own_name(host: str) -> None:
    """Upper case and the long forms of an IPv6 address name the same host."""
    status, _ = await ask(HostGuard(echo, hosts=OWN), scope_of([("host", host)]))
    assert status == 200


@pytest.mark.parametrize(
    "headers",
    [
        [("host", "evil.example:8080")],
        [("host", "localhost:1.evil.example")],
        [("host", "localhost.evil.example:8080")],
        [("host", "evil@localhost:8080")],
        [("host", "localhost:8080@evil.example")],
        [("host", "localhost:8081")],
        [("host", "localhost")],
        [("host", "localhost:8080/")],
        [("host", "127.1:8080")],
        [("host", "[::2]:8080")],
        [("host", "[1:2]:8080")],
        [("host", "")],
        [],
        [("host", "localhost:8080"), ("host", "localhost:8080")],
    ],
)
@pytest.mark.requirement("TRANSPORT-1")
async def test_another_host_is_misdirected(headers: list[tuple[str, str]]) -> None:
    """A rebound name, a prefix, another port, none or two hosts: 421 with code and remedy."""
    status, body = await ask(HostGuard(echo, hosts=OWN), scope_of(headers))
    problem = json.loads(body)
    assert (status, problem["status"]) == (421, 421)
    assert problem["code"] == "host_not_allowed"
    assert "127.0.0.1" in problem["remedy"]


@pytest.mark.parametrize(
    ("host", "status"), [("box.example:443", 200), ("box.example", 421), ("box.example:8080", 421)]
)
async def test_a_host_with_a_port_is_taken_at_its_word(host: str, status: int) -> None:
    """`name:port` is that port alone, whatever port the connection came in on."""
    guard = HostGuard(echo, hosts=("box.example:443",))
    assert status == (await ask(guard, scope_of([("host", host)])))[0]


async def test_a_host_without_a_port_has_the_default_one() -> None:
    """At port 80 a browser leaves the port out."""
    guard = HostGuard(echo, hosts=OWN)
    scope = scope_of([("host", "localhost")], server=("127.0.0.1", 80))
    assert (await ask(guard, scope))[0] == 200


async def test_without_a_known_port_only_full_names_count() -> None:
    """A server on a Unix socket has no port."""
    guard = HostGuard(echo, hosts=("localhost", "box:80"))
    assert (await ask(guard, scope_of([("host", "localhost:80")], server=None)))[0] == 421
    assert (await ask(guard, scope_of([("host", "box:80")], server=None)))[0] == 200


def test_a_configured_host_that_is_none_is_refused() -> None:
    """A mistake in the configuration is found at start."""
    with pytest.raises(ValueError, match="not a host"):
        HostGuard(echo, hosts=("http://localhost",))


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:8080", "http://127.0.0.1:8080", "http://[::1]:8080", "https://ui.example"],
)
@pytest.mark.requirement("TRANSPORT-1")
async def test_its_own_pages_and_the_allowed_ones_may_call(origin: str) -> None:
    """A page the server serves has one of its own names; others are listed."""
    guard = OriginGuard(echo, hosts=OWN, origins=("https://ui.example",))
    assert (await ask(guard, scope_of([("origin", origin)])))[0] == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:1.evil.example",
        "http://localhost:8080.evil.example",
        "http://localhost:3000",
        "http://localhost",
        "https://localhost:8080",
        "https://ui.example:444",
        "http://ui.example",
        "https://ui.example.evil",
        "null",
        "file://",
        "http://evil@localhost:8080",
    ],
)
@pytest.mark.requirement("TRANSPORT-1")
async def test_another_page_is_forbidden(origin: str) -> None:
    """Scheme, host and port must all agree: 403."""
    guard = OriginGuard(echo, hosts=OWN, origins=("https://ui.example",))
    status, body = await ask(guard, scope_of([("origin", origin)]))
    assert (status, json.loads(body)["code"]) == (403, "origin_not_allowed")


async def test_two_origins_are_forbidden() -> None:
    """Which one would count?"""
    guard = OriginGuard(echo, hosts=OWN, origins=())
    twice = [("origin", "http://localhost:8080")] * 2
    assert (await ask(guard, scope_of(twice)))[0] == 403


async def test_a_program_without_an_origin_may_call() -> None:
    """Only browsers send one."""
    assert (await ask(OriginGuard(echo, hosts=OWN, origins=()), scope_of()))[0] == 200


def test_an_authority_is_parsed_into_scheme_host_and_port() -> None:
    """The parts that are compared."""
    assert parse_host("LocalHost", "https") == Endpoint(scheme="https", host="localhost", port=443)
    assert parse_origin("http://[::1]:9") == Endpoint(scheme="http", host="::1", port=9)
    assert parse_origin("ftp://localhost") is None


# --------------------------------------------------------------------------------- proxies


@pytest.mark.parametrize(
    "header", ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"]
)
@pytest.mark.requirement("TRANSPORT-2")
async def test_a_proxied_request_is_refused(header: str) -> None:
    """Behind a proxy on this machine everybody would be the local user."""
    status, body = await ask(ProxyGuard(echo), scope_of([(header, "10.0.0.1")]))
    problem = json.loads(body)
    assert (status, problem["code"]) == (403, "proxied_request")
    assert header in problem["detail"]


async def test_a_proxy_may_ask_whether_the_process_lives() -> None:
    """`/healthz` tells nothing about anybody."""
    scope = scope_of([("via", "1.1 proxy")], path="/healthz")
    assert (await ask(ProxyGuard(echo), scope))[0] == 200


async def test_a_direct_request_passes() -> None:
    """It has none of these headers."""
    assert (await ask(ProxyGuard(echo), scope_of([("x-forward", "1")])))[0] == 200


# ------------------------------------------------------------------------------------ body


async def test_a_body_in_chunks_arrives_whole() -> None:
    """The application gets one message."""
    assert await ask(BodyGuard(echo, limit=6), scope_of(), b"abc", b"def") == (200, b"abcdef")


@pytest.mark.requirement("TRANSPORT-3")
async def test_a_body_over_the_limit_is_refused_with_the_limit() -> None:
    """Counted while it streams, whatever was declared."""
    guard = BodyGuard(echo, limit=1000)
    status, body = await ask(guard, scope_of([("content-length", "10")]), b"x" * 999, b"yy")
    problem = json.loads(body)
    assert (status, problem["code"]) == (413, "too_large")
    assert problem["detail"] == "the body is larger than 1000 bytes"
    assert problem["remedy"] == TooLarge.remedy


@pytest.mark.requirement("TRANSPORT-3")
async def test_a_declared_size_over_the_limit_is_refused() -> None:
    """Even if the body then turns out smaller."""
    status, _ = await ask(BodyGuard(echo, limit=9), scope_of([("content-length", "10")]), b"x")
    assert status == 413


async def test_an_endless_body_is_not_read_to_its_end() -> None:
    """After a bounded courtesy the answer is given and the connection closed."""
    chunks = [b"x" * (1024 * 1024)] * 40
    taken: list[int] = []
    sent: list[Message] = []

    async def receive() -> Message:
        taken.append(1)
        return {"type": "http.request", "body": chunks[len(taken)], "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    await BodyGuard(echo)(scope_of(), receive, send)
    assert sent[0]["status"] == 413
    assert (b"connection", b"close") in sent[0]["headers"]
    assert len(taken) == 17


async def test_a_length_that_is_no_number_is_not_ours_to_judge() -> None:
    """The HTTP parser has refused it already."""
    guard = BodyGuard(echo, limit=9)
    assert (await ask(guard, scope_of([("content-length", "-1")]), b"x"))[0] == 200


async def test_a_client_that_leaves_in_the_middle_gets_no_answer() -> None:
    """Nor does the application see half a body."""

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def never(_: Any) -> None:
        raise AssertionError

    await BodyGuard(echo)(scope_of(), receive, never)


@pytest.mark.requirement("TRANSPORT-4")
async def test_a_body_that_stalls_is_given_up() -> None:
    """408, and the connection ends."""
    chunks: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True}]
    sent: list[Message] = []

    async def receive() -> Message:
        if not chunks:
            await anyio.sleep_forever()
        return chunks.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    with anyio.fail_after(5):
        await BodyGuard(echo, deadline_s=0.01)(scope_of(), receive, send)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["code"] == "body_timeout"


async def test_after_the_body_the_application_hears_of_the_disconnect() -> None:
    """A streaming response must learn that its client has left."""
    messages: list[Message] = [
        {"type": "http.request", "body": b"", "more_body": False},
        {"type": "http.disconnect"},
    ]
    heard: list[str] = []

    async def app(_: Scope, receive: Receive, __: Send) -> None:
        heard.extend([(await receive())["type"], (await receive())["type"]])

    async def receive() -> Message:
        return messages.pop(0)

    async def never(_: Any) -> None:
        raise AssertionError

    await BodyGuard(app)(scope_of(), receive, never)
    assert heard == ["http.request", "http.disconnect"]


@pytest.mark.parametrize("guard", [BodyGuard, ProxyGuard])
async def test_a_guard_lets_the_lifespan_through(guard: Any) -> None:
    """It guards requests only."""
    seen: list[Scope] = []

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        seen.append(scope)

    async def never(*_: Any) -> Any:
        raise AssertionError

    lifespan = {"type": "lifespan"}
    await guard(app)(lifespan, never, never)
    await HostGuard(app, hosts=OWN)(lifespan, never, never)
    await OriginGuard(app, hosts=OWN, origins=())(lifespan, never, never)
    assert seen == [lifespan] * 3


async def test_a_refusal_is_a_problem_document() -> None:
    """With everything that a client, and the model behind it, can act on."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def never() -> Message:
        raise AssertionError

    await refuse(TooLarge("too much"), scope_of(), never, send)
    assert (b"content-type", b"application/problem+json") in sent[0]["headers"]
    assert json.loads(sent[1]["body"]) == {
        "title": "Request Entity Too Large",
        "status": 413,
        "code": "too_large",
        "detail": "too much",
        "remedy": TooLarge.remedy,
    }
