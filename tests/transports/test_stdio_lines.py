"""Lines on stdin: odd, bad and overlong ones, and every text inside them."""

from typing import Any

import anyio.to_thread
import pytest

from factory_mcp.transports.stdio import MAX_LINE, Lines, Overlong, encode, parse
from tests.transports.peer import call, connected


@pytest.mark.parametrize("text", ["\ud800", "\x00", "\u2028", "ä" * 30_000])
async def test_every_text_comes_and_goes_unharmed(text: str) -> None:
    """Lone surrogates, NUL, line separators, and more than a pipe holds."""
    async with connected(b"\n") as peer:
        await anyio.to_thread.run_sync(peer.send, call(1, "echo", text=text))
        answer = await peer.receive()
    assert answer["result"]["content"][0]["text"] == f"echo {text}"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"  \r",
        b"Content-Length: 99\r",
        b"\xff\xfe",
        b'{"jsonrpc":"2.0"}',
        b"[" * 5000,
        b'{"id":true,"method":"x","jsonrpc":"2.0","params":[]}',
    ],
)
@pytest.mark.requirement("TRANSPORT-11")
async def test_a_bad_line_does_no_harm(line: bytes) -> None:
    """It is passed over, and the next line is answered."""
    async with connected(line + b"\n" + call(1, "echo", text="x")) as peer:
        assert (await peer.receive())["id"] == 1


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":5}', [7]),
        (b'[{"jsonrpc":"2.0","id":"a","method":"ping"},{"id":8,"method":"ping"},3]', ["a", 8]),
    ],
)
@pytest.mark.requirement("TRANSPORT-11")
async def test_a_bad_request_with_an_id_is_refused(line: bytes, ids: list[Any]) -> None:
    """Its sender waits for an answer; so do the senders of a batch."""
    async with connected(line + b"\n") as peer:
        answers = [await peer.receive() for _ in ids]
    assert [(answer["id"], answer["error"]["code"]) for answer in answers] == [
        (found, -32600) for found in ids
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"jsonrpc":"2.0","id":4,"method":"x","params":"%s"}', 4),
        (b'{"method":"x","params":{"a":"%s"},"jsonrpc":"2.0","id":"b\\""}', 'b"'),
        (b'{"method":"x","params":{"a":"%s","id":5}}', None),
    ],
)
@pytest.mark.requirement("TRANSPORT-11")
async def test_an_overlong_line_is_refused_with_the_limit(line: bytes, expected: Any) -> None:
    """By its id where that can be seen; the server goes on."""
    long = line.replace(b"%s", b"y" * (MAX_LINE + 1)) + b"\n"
    async with connected(b"\n") as peer:
        await anyio.to_thread.run_sync(peer.send, long + call(9, "echo", text="x"))
        refused, answer = await peer.receive(), await peer.receive()
    assert (refused["id"], refused["error"]["data"]["code"]) == (expected, "too_large")
    assert str(MAX_LINE) in refused["error"]["message"]
    assert answer["id"] == 9


def test_lines_are_cut_wherever_the_bytes_were() -> None:
    """And the last one needs no newline."""
    lines = Lines(limit=4)
    assert list(lines.feed(b"ab")) == []
    assert list(lines.feed(b"c\n\nabcd\nde")) == [b"abc", b"", b"abcd"]
    assert list(lines.rest()) == [b"de"]
    assert list(lines.rest()) == []


def test_of_an_overlong_line_only_its_ends_are_kept() -> None:
    """However it came."""
    lines = Lines(limit=6000)
    found = [
        item for piece in (b"h", b"x" * 9000, b"t", b"\n", b"ok\n") for item in lines.feed(piece)
    ]
    overlong = found[0]
    assert isinstance(overlong, Overlong)
    assert (overlong.head[:2], overlong.tail[-2:]) == (b"hx", b"xt")
    assert len(overlong.head) == len(overlong.tail) == 4096
    assert (overlong.request_id, found[1]) == (None, b"ok")


def test_a_message_with_a_lone_surrogate_is_read_and_written() -> None:
    """As the escape it came as."""
    line = rb'{"jsonrpc":"2.0","id":1,"result":{"a":"\ud800"}}'
    assert encode(parse(line)) == line + b"\n"
