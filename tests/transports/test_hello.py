"""The first answer on stdio: fast, the SDK's own, and only when the SDK is sure to agree."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from factory_mcp import __version__
from factory_mcp.__main__ import main
from factory_mcp.app import build
from factory_mcp.settings import Settings
from factory_mcp.transports.hello import open_wire, read_answers, take_wire, understand
from factory_mcp.transports.stdio import record
from tests.transports.sample_server import Sample

PREFIX = "io.modelcontextprotocol/"
CLIENT: dict[str, Any] = {"name": "test", "version": "1"}
HANDSHAKE: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"roots": {"listChanged": True}, "elicitation": {"form": {}, "url": {}}},
    "clientInfo": CLIENT,
}
ENVELOPE: dict[str, Any] = {
    PREFIX + "protocolVersion": "2026-07-28",
    PREFIX + "clientCapabilities": {"extensions": {"io.modelcontextprotocol/ui": {"a": [1]}}},
    PREFIX + "clientInfo": {**CLIENT, "icons": [{"src": "data:,", "sizes": ["any"]}]},
    "traceparent": "00-1",
}


def line(method: str, params: Any, **changes: Any) -> bytes:
    """One request as a client writes it."""
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params, **changes}
    return json.dumps(request).encode()


def initialize(**changes: Any) -> bytes:
    return line("initialize", {**HANDSHAKE, **changes})


def discover(**changes: Any) -> bytes:
    return line("server/discover", {"_meta": {**ENVELOPE, **changes}})


@pytest.mark.requirement("TRANSPORT-9")
async def test_the_file_says_what_the_sdk_says(tmp_path: Path) -> None:
    """For every version of both eras; `python scripts/write_hello.py` writes it anew."""
    settings = Settings.load({"FACTORY_MCP_DATA": str(tmp_path)}, tmp_path)
    said = await record(build(settings).server)
    assert said == {"version": __version__, "answers": read_answers()}
    assert sorted(read_answers()["initialize"]) == [
        "2024-11-05",
        "2025-03-26",
        "2025-06-18",
        "2025-11-25",
    ]
    assert list(read_answers()["server/discover"]) == ["2026-07-28"]


async def test_a_server_that_refuses_an_opening_cannot_be_recorded() -> None:
    """An error is no first answer."""
    server = Sample().server()

    async def refuse(_: Any, __: Any) -> Any:
        raise ValueError

    server.add_request_handler("server/discover", type(server.server_info), refuse)
    with pytest.raises(TypeError, match="no result for server/discover"):
        await record(server)


def test_ordinary_openings_are_understood() -> None:
    """Both eras, with what real clients declare."""
    assert understand(initialize()) == ("initialize", "2025-11-25", 1)
    assert understand(discover()) == ("server/discover", "2026-07-28", 1)
    named = line("initialize", HANDSHAKE, id="a-1") + b"\r"
    assert understand(named) == ("initialize", "2025-11-25", "a-1")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"not json",
        b"Content-Length: 120\r",
        b"[" + initialize() + b"]",
        b"\xff" + initialize(),
        b"\xef\xbb\xbf" + initialize(),
        initialize().replace(b'"name": "test"', rb'"name": "\ud800"'),
        initialize().replace(b'"name": "test"', b'"name": "test", "name": "x"'),
        discover(traceparent=float("nan")),
        discover().replace(b'"00-1"', b"1e999"),
        discover(deep=json.loads("[" * 101 + "]" * 101)),
        line("initialize", HANDSHAKE, id=True),
        line("initialize", HANDSHAKE, id=1.0),
        line("initialize", HANDSHAKE, id=None),
        line("initialize", HANDSHAKE, jsonrpc="1.0"),
        line("initialize", HANDSHAKE, extra=1),
        line("initialize", [HANDSHAKE]),
        line("ping", {}),
        line("server/discover", {}),
        line("server/discover", {"_meta": ENVELOPE, "more": 1}),
        initialize(protocolVersion=20251125),
        initialize(clientInfo={"name": "test"}),
        initialize(clientInfo={**CLIENT, "icons": [{"sizes": ["any"]}]}),
        initialize(clientInfo={**CLIENT, "colour": "red"}),
        initialize(capabilities={"roots": {"listChanged": "yes"}}),
        initialize(capabilities={"roots": None}),
        initialize(capabilities={"experimental": {"x": 1}}),
        initialize(capabilities={"unheard": {}}),
        discover(**{PREFIX + "logLevel": "loud"}),
        discover(progressToken=7),
    ],
)
def test_whatever_is_odd_is_left_to_the_sdk(text: bytes) -> None:
    """Answering what the SDK would refuse is worse than being late."""
    assert understand(text) is None


@contextmanager
def wire(*sent: bytes) -> Generator[tuple[int, int, int]]:
    """Pipes: what the server reads (already written and ended), writes, and what comes of it."""
    incoming, client_out = os.pipe()
    client_in, outgoing = os.pipe()
    for data in sent:
        os.write(client_out, data)
    os.close(client_out)
    try:
        yield incoming, outgoing, client_in
    finally:
        for fd in (incoming, outgoing, client_in):
            os.close(fd)


@pytest.mark.requirement("TRANSPORT-9")
@pytest.mark.parametrize("opening", [initialize(), discover()])
def test_an_ordinary_opening_is_answered_from_the_file(opening: bytes) -> None:
    """At once; and the line is kept for the SDK, with all that came behind it."""
    with wire(opening + b'\n{"next', b'":1}\n') as (incoming, outgoing, client):
        opened = open_wire(incoming, outgoing)
        answer = json.loads(os.read(client, 65536))
    assert opened.buffered.startswith(opening + b"\n")
    assert (opened.answered_id, answer["id"]) == (1, 1)
    assert answer["result"] == opened.answer


@pytest.mark.parametrize(
    "sent", [b"", b"half a line", b"{}\n", initialize(protocolVersion="2031-01-01") + b"\n"]
)
def test_no_answer_is_given_to_anything_else(sent: bytes) -> None:
    """It is handed on as it came."""
    with wire(sent) as (incoming, outgoing, client):
        opened = open_wire(incoming, outgoing)
        os.set_blocking(client, False)
        with pytest.raises(BlockingIOError):
            os.read(client, 1)
    assert (opened.buffered, opened.answered_id, opened.answer) == (sent, None, None)


def test_a_long_first_line_is_not_waited_for() -> None:
    """A megabyte on the first line is no opening."""
    with wire(b"x" * 65536) as (incoming, outgoing, _):
        assert open_wire(incoming, outgoing).buffered == b"x" * 65536


def test_a_client_that_is_gone_already_is_no_error() -> None:
    """The end of stdin says the same."""
    incoming, outgoing = os.pipe()
    os.write(outgoing, initialize() + b"\n")
    os.close(outgoing)
    reader, writer = os.pipe()
    os.close(reader)
    opened = open_wire(incoming, writer)
    os.close(incoming)
    os.close(writer)
    assert opened.answered_id is None


@pytest.mark.parametrize("content", [None, "no json", '{"version": "0.0.0", "answers": {"a": {}}}'])
def test_a_file_of_another_version_is_not_used(tmp_path: Path, content: str | None) -> None:
    """A stale answer is worse than a late one."""
    path = tmp_path / "hello.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert read_answers(str(path)) == {}


def test_the_wire_is_out_of_reach_afterwards() -> None:
    """What anybody writes to stdout lands on stderr, and stdin is empty."""
    with wire(b"secret") as (stdin, stdout, client), wire() as (_, stderr, log):
        fd_in, fd_out = take_wire(stdin, stdout, stderr)
        os.write(stdout, b"stray")
        os.write(fd_out, b"wire")
        assert (os.read(log, 99), os.read(client, 99)) == (b"stray", b"wire")
        assert (os.read(stdin, 99), os.read(fd_in, 99)) == (b"", b"secret")
        os.close(fd_in)
        os.close(fd_out)


def test_without_a_stderr_stray_output_goes_nowhere() -> None:
    """Nothing fails for want of it."""
    with wire() as (stdin, stdout, client):
        fds = take_wire(stdin, stdout, 9999)
        os.write(stdout, b"stray")
        os.write(fds[1], b"wire")
        assert os.read(client, 99) == b"wire"
        for fd in fds:
            os.close(fd)


@pytest.mark.requirement("TRANSPORT-9")
def test_the_answer_is_out_before_the_rest_is_imported() -> None:
    """It comes even if the rest cannot be imported at all."""
    code = (
        "import sys; sys.modules['factory_mcp.app'] = None;"
        "from factory_mcp.__main__ import main; main(['stdio'])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], input=initialize() + b"\n", capture_output=True, check=False
    )
    assert json.loads(run.stdout)["result"]["serverInfo"]["name"] == "factory-mcp"
    assert b"ModuleNotFoundError" in run.stderr


@pytest.mark.requirement("TRANSPORT-10")
def test_importing_the_package_loads_nothing_heavy() -> None:
    """Neither the SDK nor the database; nor what the first answer can do without."""
    heavy = ("mcp", "mcp_types", "sqlalchemy", "pydantic", "anyio", "asyncio", "structlog", "typer")
    code = (
        "import sys, factory_mcp, factory_mcp.__main__, factory_mcp.transports.hello;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert run.stdout == b"[]\n"


def test_the_version_is_printed_without_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    """The only thing besides the protocol that a short cut writes to stdout."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"factory-mcp {__version__}\n"


def test_everything_else_is_the_command_line() -> None:
    """Wrong usage is exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main(["no-such-command"])
    assert ended.value.code == 2
