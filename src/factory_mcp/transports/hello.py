"""The first answer on stdio, given before anything heavy is imported.

Importing the SDK takes more than a second; some clients give a server three to start. So the
first line is read here, with nothing but os and json, and if it is an ordinary `initialize` or
`server/discover` it is answered from hello.json, which holds what the SDK answers to it (a test
compares them). Everything else on that line is the SDK's business, and so is the rest of the
connection: it gets the first line as well, and its own answer to it is dropped.

Plain classes and no typing: dataclasses and typing would double this module's import time.
"""

import json
import os
from fcntl import F_DUPFD_CLOEXEC, fcntl

from factory_mcp import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HERE = os.path.dirname(__file__)  # noqa: PTH120 — pathlib is slow to import
HELLO = os.path.join(_HERE, "hello.json")  # noqa: PTH118 — likewise

_FIRST_LINE_LIMIT = 64 * 1024
_DEEPEST = 100  # the SDK's parser stops at 200 levels

# The shape of what is answered here. A key that ends in "?" may be absent, "*" is any other key.
_NEVER = None
_IMPLEMENTATION = {
    "name": str,
    "version": str,
    "title?": str,
    "description?": str,
    "websiteUrl?": str,
    "icons?": [{"src": str, "mimeType?": str, "sizes?": [str]}],
}
_CAPABILITIES = {
    "roots?": {"listChanged?": bool},
    "sampling?": {"context?": dict, "tools?": dict},
    "elicitation?": {"form?": dict, "url?": dict},
    "experimental?": {"*": dict},
    "extensions?": {"*": dict},
}
_PREFIX = "io.modelcontextprotocol/"
_SHAPES = {
    "initialize": {
        "protocolVersion": str,
        "capabilities": _CAPABILITIES,
        "clientInfo": _IMPLEMENTATION,
    },
    "server/discover": {
        "_meta": {
            _PREFIX + "protocolVersion": str,
            _PREFIX + "clientCapabilities": _CAPABILITIES,
            _PREFIX + "clientInfo?": _IMPLEMENTATION,
            _PREFIX + "logLevel?": _NEVER,
            "progressToken?": _NEVER,
            "*": object,
        },
    },
}


class Opening:
    """A connection whose first line has been read.

    Attributes:
        fd_in: The wire from the client; nobody else in the process has it.
        fd_out: The wire to the client.
        buffered: All that was read, the first line included.
        answered_id: The id of the request that was answered, None if none was.
        answer: The result that was given to it.
    """

    __slots__ = ("answer", "answered_id", "buffered", "fd_in", "fd_out")

    def __init__(
        self,
        fd_in: int,
        fd_out: int,
        buffered: bytes = b"",
        answered_id: int | str | None = None,
        answer: object = None,
    ) -> None:
        self.fd_in = fd_in
        self.fd_out = fd_out
        self.buffered = buffered
        self.answered_id = answered_id
        self.answer = answer


def take_wire(stdin: int = 0, stdout: int = 1, stderr: int = 2) -> tuple[int, int]:
    """Move the wire to private descriptors, out of the reach of children and of print().

    Afterwards stdin is empty and what is written to stdout lands on stderr.

    Raises:
        OSError: stdin or stdout is closed.
    """
    fd_in = fcntl(stdin, F_DUPFD_CLOEXEC, 3)
    fd_out = fcntl(stdout, F_DUPFD_CLOEXEC, 3)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, stdin)
    try:
        os.dup2(stderr, stdout)
    except OSError:  # stderr is closed
        os.dup2(nothing, stdout)
    os.close(nothing)
    return fd_in, fd_out


def open_wire(fd_in: int, fd_out: int, path: str = HELLO) -> Opening:
    """Read the first line and answer it, if it is an ordinary opening.

    Returns:
        The connection, for `serve_stdio`. At the end of stdin `buffered` has no whole line.
    """
    os.set_blocking(fd_in, True)
    buffered = bytearray()
    while b"\n" not in buffered and len(buffered) < _FIRST_LINE_LIMIT:
        data = os.read(fd_in, _FIRST_LINE_LIMIT)
        if not data:
            break
        buffered += data
    opening = Opening(fd_in, fd_out, bytes(buffered))
    line, ended, _ = opening.buffered.partition(b"\n")
    if ended:
        _greet(opening, line, path)
    return opening


def _greet(opening: Opening, line: bytes, path: str) -> None:
    request = understand(line)
    if request is None:
        return
    method, version, request_id = request
    result = read_answers(path).get(method, {}).get(version)
    if result is None:
        return
    message = {"jsonrpc": "2.0", "id": request_id, "result": result}
    try:
        _write(opening.fd_out, json.dumps(message, separators=(",", ":")).encode() + b"\n")
    except OSError:  # the client is gone; the end of stdin will say so
        return
    opening.answered_id = request_id
    opening.answer = result


def _write(fd: int, data: bytes) -> None:
    os.set_blocking(fd, True)
    while data:
        data = data[os.write(fd, data) :]


def read_answers(path: str = HELLO) -> dict[str, dict[str, object]]:
    """Results by method and version; {} when the file belongs to another version of us."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 — pathlib is slow
            content = json.load(file)
    except (OSError, ValueError):
        return {}
    return content["answers"] if content["version"] == __version__ else {}


def understand(line: bytes) -> tuple[str, str, int | str] | None:
    """Method, version and id of a request, if it is one that the SDK is sure to accept."""
    if line.count(b"{") + line.count(b"[") > _DEEPEST:
        return None
    try:
        text = line.decode("utf-8")
        message = json.loads(text, object_pairs_hook=_distinct, parse_constant=_refuse)
        json.dumps(message, ensure_ascii=False, allow_nan=False).encode()  # or a lone surrogate
    except ValueError:
        return None
    envelope = {"jsonrpc": str, "id": object, "method": str, "params": dict}
    if not _fits(message, envelope) or message["jsonrpc"] != "2.0":
        return None
    shape = _SHAPES.get(message["method"])
    params = message["params"]
    if type(message["id"]) not in (int, str) or shape is None or not _fits(params, shape):
        return None
    if message["method"] == "initialize":
        return "initialize", params["protocolVersion"], message["id"]
    return "server/discover", params["_meta"][_PREFIX + "protocolVersion"], message["id"]


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice")
    return members


def _is(value: object, kind: type) -> bool:
    """Exactly of that type: for JSON a boolean is no number."""
    return kind is object or type(value) is kind


def _fits(value: "Any", shape: "Any") -> bool:
    """Whether a JSON value has a shape: a type, a list of a shape, or an object of shapes."""
    if _is(shape, dict):
        return _is(value, dict) and _members_fit(value, shape)
    if _is(shape, list):
        return _is(value, list) and all(_fits(item, shape[0]) for item in value)
    return shape is not _NEVER and _is(value, shape)


def _members_fit(value: "dict[str, Any]", shape: "dict[str, Any]") -> bool:
    known = {name.removesuffix("?"): inner for name, inner in shape.items()}
    required = {name for name in shape if not name.endswith("?") and name != "*"}
    return required <= value.keys() and all(
        _fits(member, known.get(name, known.get("*", _NEVER))) for name, member in value.items()
    )
