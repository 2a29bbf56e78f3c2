"""How a stdio connection ends: whoever goes first, without an error."""

import json
import os
import signal
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from factory_mcp.transports.hello import Opening, open_wire
from factory_mcp.transports.stdio import serve_stdio
from tests.fakes import FakeClock
from tests.transports.peer import call, connected
from tests.transports.sample_server import Sample, nothing


@pytest.mark.requirement("TRANSPORT-12")
async def test_the_end_of_stdin_closes_what_is_open() -> None:
    """Requests that can still be answered are answered first."""
    async with connected(call(1, "echo", text="x")) as peer:
        peer.hang_up()
        assert (await peer.receive())["id"] == 1
        await peer.ended.wait()
    assert peer.endings == ["closed"]


async def test_a_last_line_without_a_newline_counts() -> None:
    """As a shell's printf leaves it."""
    async with connected(b"\n") as peer:
        peer.send(call(1, "echo", text="x").rstrip())
        peer.hang_up()
        assert (await peer.receive())["id"] == 1
        await peer.ended.wait()


async def test_a_call_that_does_not_end_is_not_waited_for_long() -> None:
    """A moment after the runs were closed the connection ends; a cancelled one holds nothing."""
    async with connected(call(1, "hold") + call(2, "hold")) as peer:
        await peer.sample.held.wait()
        note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}
        peer.send(json.dumps(note).encode() + b"\n")
        peer.hang_up()
        await peer.ended.wait()
    assert peer.endings == ["closed"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.requirement("TRANSPORT-12")
async def test_a_signal_is_the_end_of_stdin(number: signal.Signals) -> None:
    """And while it closes what is open, more signals change nothing."""
    async with connected(call(1, "echo", text="x")) as peer:
        await peer.receive()
        peer.close_gate = anyio.Event()
        os.kill(os.getpid(), number)
        await peer.closing.wait()
        os.kill(os.getpid(), number)
        await anyio.lowlevel.checkpoint()
        peer.close_gate.set()
        await peer.ended.wait()
    assert peer.endings == ["closed"]


@pytest.mark.requirement("TRANSPORT-12")
async def test_the_death_of_the_parent_is_the_end_of_stdin() -> None:
    """Somebody else may hold the pipe open."""
    async with connected(call(1, "echo", text="x")) as peer:
        await peer.receive()
        peer.clock.advance(3)
        await anyio.lowlevel.checkpoint()
        peer.parent = 2
        while not peer.ended.is_set():
            peer.clock.advance(3)
            await anyio.lowlevel.checkpoint()
    assert peer.endings == ["closed"]


@pytest.mark.requirement("TRANSPORT-12")
async def test_a_closed_stdout_is_the_end_too() -> None:
    """Nobody can hear us; the answers that are left are dropped, and nothing fails."""
    async with connected(b"\n") as peer:
        os.close(peer.fd_in)
        peer.fd_in = -1
        peer.send(call(1, "echo", text="x") + call(2, "echo", text="x"))
        await peer.ended.wait()
    assert peer.endings == ["closed"]


async def test_a_stdin_that_cannot_be_read_is_at_its_end(tmp_path: Path) -> None:
    """As a socket is that was reset; here it is a folder."""
    fd_in, fd_out = os.open(tmp_path, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
    closed: list[str] = []

    async def on_eof() -> None:
        closed.append("closed")

    with anyio.fail_after(20):
        opening = Opening(fd_in, fd_out)
        await serve_stdio(Sample().server(), opening, clock=FakeClock(), on_eof=on_eof)
    os.close(fd_in)
    os.close(fd_out)
    assert closed == ["closed"]


async def test_a_file_can_be_read_and_written(tmp_path: Path) -> None:
    """`factory-mcp stdio < requests > answers`."""
    requests, answers = tmp_path / "requests", tmp_path / "answers"
    await anyio.Path(requests).write_bytes(call(1, "echo", text="x"))
    fd_in, fd_out = os.open(requests, os.O_RDONLY), os.open(answers, os.O_CREAT | os.O_WRONLY)

    with anyio.fail_after(20):
        await serve_stdio(
            Sample().server(), open_wire(fd_in, fd_out), clock=FakeClock(), on_eof=nothing
        )
    os.close(fd_in)
    os.close(fd_out)
    assert json.loads(await anyio.Path(answers).read_bytes())["id"] == 1
